"""A clip as one of its speakers lives it: what the speaker hears, sees and is told, says and writes.

A document is one view: one clip, one speaker, whose part the model plays. Micro-turn i of a clip of W
windows is in_i from window i and out_i from window i + response_delay, so it has W - response_delay.

Heard sound is everything but the speaker's own channel: `mix` sums the other channels' samples in 32
bits, saturates to 16 and computes mel as the shards do, which is what a microphone beside the speaker
would have given; `max` takes the largest of the other channels' mel bytes, which needs no decoder. Where
the other channels are digitally silent the room's noise is heard (room.py), however one hears. The first
frame of a clip looks 25 ms back: into the clip before it where that stands beside it in the dataset and
they meet, else onto zeros.

Whether the speaker speaks is what the activity flags say and nothing else: only there the channel holds the
speaker's sound. Words never make speech, speech carries words: a word belongs to the window it starts in and
is written in the first windows of speech from there on that have room, in order; what `text_slots` cannot
hold, or what starts in a silent window, waits for the speaker's next window of speech. Nothing is lost
uncounted (`TextCounts`). An event's text is given from the window of its start on. Words before the first out
window belong to no micro-turn.

Shape suffixes: W windows of the clip, N micro-turns, F frames, M bins, C channels, S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from corpus.schemas.artifacts import PADDED, SPEECH, UNRELIABLE
from corpus.shards.mel import MelShape, mel_bytes, mel_shape
from corpus.shards.read import Clip, Clips
from corpus.trainer.config import DataConfig, ModelConfig
from corpus.trainer.data.clip_head import check_head, read_head
from corpus.trainer.data.layout import Bytes, Flags, Places, Turns, lengths, turn_sizes
from corpus.trainer.data.room import Room, filled, looked_at, room_of, silent_frames, silent_mels
from corpus.trainer.data.text import Tokens

Samples = npt.NDArray[np.int16]
Hears = Literal["mix", "max"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCounts:
    """What became of a document's text, in tokens."""

    written: int = 0
    spilled: int = 0
    """Written in a later window than their word starts in."""
    later: int = 0
    """Of these, written after a silent window: in a later stretch of speech than their word starts in, if
    it starts in one."""
    left: int = 0
    """Still waiting at the document's end."""
    before: int = 0
    """Of words that start before the first window the model speaks in."""

    def __add__(self, other: TextCounts) -> TextCounts:
        return TextCounts(
            written=self.written + other.written,
            spilled=self.spilled + other.spilled,
            later=self.later + other.later,
            left=self.left + other.left,
            before=self.before + other.before,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The plan of a document: everything but sound and pixels, so all sizes are known without them."""

    place: int
    """Of the clip among the clips of its split."""
    key: str
    speaker: str
    channel: int
    sample_rate_hz: int
    given: tuple[Tokens, ...]
    """Per micro-turn."""
    written: tuple[Tokens, ...]
    speak_N: Flags
    spoke_before: bool
    """In the window before the first out window."""
    pictures_N: Flags
    sizes_N: Places
    """Positions of each micro-turn."""
    text: TextCounts

    @property
    def id(self) -> str:
        return view_id(self.key, self.channel)

    def __len__(self) -> int:
        return len(self.speak_N)


def view_id(key: str, channel: int) -> str:
    return f"{key}/{channel}"


def plan_view(clips: Clips, place: int, channel: int, model: ModelConfig, data: DataConfig) -> View:
    """The view of the speaker on `channel` of a clip; reads its head and its activity only."""
    clip = clips[place]
    head = read_head(clip)
    check_head(head, model, data)
    speaker, delay = head.speakers[channel], model.response_delay
    turns = max(0, head.windows - delay)
    inside = range(head.windows)
    words = [(head.window(at), tokens) for who, at, _, _, tokens in head.words if who == speaker]
    words = [(window - delay, tokens) for window, tokens in words if window in inside]
    notes = [(head.window(at), tokens) for who, at, _, _, tokens in head.events if who in (None, speaker)]
    speech_W = ((clip.activity()[channel] & SPEECH) != 0).any(1)
    speak_N = speech_W[delay : delay + turns]
    written, own = spread(words, speak_N, model.text_slots)
    given, told = spread(
        [note for note in notes if note[0] in inside], np.ones(turns, bool), model.text_slots
    )
    before = sum(len(tokens) for turn, tokens in words if turn < 0)
    written_N, given_N = lengths(written), lengths(given)
    pictures_N = np.zeros(turns, bool)
    if head.picture_sizes and data.pictures and model.patches:
        looked_at_N = np.arange(turns) % model.picture_every == 0
        pictures_N = (np.array(head.picture_sizes[:turns]) > 0) & looked_at_N
    return View(
        place=place,
        key=clip.key,
        speaker=speaker,
        channel=channel,
        sample_rate_hz=head.sample_rate_hz,
        given=given,
        written=written,
        speak_N=speak_N,
        spoke_before=bool(delay and len(speech_W) and speech_W[delay - 1]),
        pictures_N=pictures_N,
        sizes_N=turn_sizes(pictures_N, given_N, speak_N, written_N, model),
        text=own + told + TextCounts(before=before),
    )


def spread(
    items: Sequence[tuple[int, Tokens]], open_N: Flags, slots: int
) -> tuple[tuple[Tokens, ...], TextCounts]:
    """Tokens of each micro-turn, at most `slots` and only in open ones; the rest waits in a queue.

    Items name the micro-turn they start in, rising; those before the first are left out.
    """
    since = [turn for turn, tokens in items if turn >= 0 for _ in tokens]
    text = [token for turn, tokens in items if turn >= 0 for token in tokens]
    closed_N1 = [0, *np.cumsum(~open_N).tolist()]
    made: list[Tokens] = []
    done = come = spilled = later = 0
    for turn, is_open in enumerate(open_N.tolist()):
        while come < len(since) and since[come] <= turn:
            come += 1
        stop = min(come, done + slots) if is_open else done
        if done < stop and since[done] < turn:
            spilled += sum(came < turn for came in since[done:stop])
            later += sum(closed_N1[came] < closed_N1[turn] for came in since[done:stop])
        made.append(tuple(text[done:stop]))
        done = stop
    return tuple(made), TextCounts(written=done, spilled=spilled, later=later, left=len(text) - done)


class Heard(NamedTuple):
    """What a speaker hears in consecutive windows."""

    sound_NFM: Bytes
    drawn_NF: Flags
    """Frames that nobody recorded: the room's noise, drawn."""


def read_turns(clips: Clips, view: View, heard: Heard, start: int, stop: int, model: ModelConfig) -> Turns:
    """Sound and pictures of micro-turns `[start, stop)` of a view, with its plan.

    `heard` is of all of the view's windows, from the function of that name.
    """
    clip = clips[view.place]
    own = slice(start + model.response_delay, stop + model.response_delay)
    flags_NF = clip.activity()[view.channel, own]
    others_CNF = np.delete(clip.activity()[:, start:stop], view.channel, axis=0)
    bad_NF = ((others_CNF & (UNRELIABLE | PADDED)) != 0).any(0)
    return Turns(
        heard_NFM=heard.sound_NFM[start:stop],
        heard_known_NF=~(heard.drawn_NF[start:stop] | bad_NF),
        pictures=[
            _patches(clip, window, model) if view.pictures_N[window] else None
            for window in range(start, stop)
        ],
        given=view.given[start:stop],
        speak_N=view.speak_N[start:stop],
        written=view.written[start:stop],
        sound_NFM=clip.mel()[view.channel, own],
        audible_NF=(flags_NF & (UNRELIABLE | PADDED)) == 0,
        known_N=~((flags_NF & PADDED) != 0).all(1),
        spoke_before=view.spoke_before if start == 0 else bool(view.speak_N[start - 1]),
    )


def _patches(clip: Clip, window: int, model: ModelConfig) -> Bytes | None:
    """A window's picture as patches, row by row."""
    picture = clip.picture(window)
    return None if picture is None else patches_of(picture, model)


def patches_of(picture: Bytes, model: ModelConfig) -> Bytes:
    """`[P, H, W, C]` of a picture `[height, width, 3]` that holds the model's patches."""
    rows, columns, side = model.picture_rows, model.picture_columns, model.patch_pixels
    grid = picture.reshape(rows, side, columns, side, 3).swapaxes(1, 2)
    return np.ascontiguousarray(grid).reshape(rows * columns, side, side, 3)


def heard(clips: Clips, view: View, hears: Hears, *, seed: int = 0, epoch: int = 0) -> Heard:
    """What the speaker hears in all windows of a view."""
    return heard_by(
        clips,
        view.place,
        view.channel,
        len(view),
        sample_rate_hz=view.sample_rate_hz,
        hears=hears,
        seed=seed,
        epoch=epoch,
    )


def heard_by(
    clips: Clips,
    place: int,
    channel: int,
    windows: int,
    *,
    sample_rate_hz: int,
    hears: Hears,
    seed: int = 0,
    epoch: int = 0,
) -> Heard:
    """What the speaker on a channel hears in the first windows of a clip.

    `seed` and `epoch` decide the room's noise, which stands where the other channels are silent.
    """
    clip, before = clips[place], _clip_before(clips, place)
    shape = mel_shape(sample_rate_hz, clip.mel().shape[2])
    if hears == "max":
        heard_NFM = _loudest(clip, channel)[:windows]
        silent_NF = silent_mels(heard_NFM, shape)
    else:
        unknown = shape.context_samples if before is None else 0
        ahead_S = np.zeros(unknown, np.int16)
        if before is not None:
            ahead_S = mixed(before.audio_end(shape.context_samples), channel)
        inside_S = mixed(clip.audio()[:, : windows * shape.samples_per_window], channel)
        mix_S = np.concatenate([ahead_S, inside_S])
        heard_NFM = mel_bytes(mix_S[None], sample_rate_hz, shape.frames_per_window)[0]
        silent_NF = silent_frames(mix_S, shape, unknown=unknown)
    if not silent_NF.any():
        return Heard(heard_NFM, silent_NF)
    room = _room(clip, heard_NFM, silent_NF, shape)
    if before is not None:
        earlier_NFM = _loudest(before, channel)
        earlier = _room(before, earlier_NFM, silent_mels(earlier_NFM, shape), shape)
        room = room.after(earlier, len(earlier_NFM))
    others_WF = np.asarray(np.delete(_speech(clip), channel, axis=0).any(0), bool)
    keeps_NF = looked_at(others_WF, shape)[:windows] & heard_NFM.any(2)
    drawn_NF = silent_NF & ~keeps_NF
    name = view_id(clip.key, channel)
    sound_NFM = filled(
        heard_NFM, drawn_NF, room, rate_hz=sample_rate_hz, seed=seed, document=name, epoch=epoch
    )
    return Heard(sound_NFM, drawn_NF)


def heard_alone(sound_S: Samples, sample_rate_hz: int, frames_per_window: int) -> Bytes:
    """Mel bytes `[W, F, M]` of sound nobody has said anything about: its digital silence is a quiet room."""
    shape = mel_shape(sample_rate_hz, frames_per_window)
    heard_WFM = mel_bytes(
        np.pad(sound_S, (shape.context_samples, 0))[None], sample_rate_hz, frames_per_window
    )[0]
    silent_WF = np.asarray(~heard_WFM.any(2), bool)
    unknown = room_of(heard_WFM, silent_WF, np.zeros_like(silent_WF))
    return filled(heard_WFM, silent_WF, unknown, rate_hz=sample_rate_hz, seed=0, document="")


def _loudest(clip: Clip, channel: int) -> Bytes:
    """Mel bytes `[W, F, M]`: the largest of all channels but one."""
    loudest: Bytes = np.delete(clip.mel(), channel, axis=0).max(axis=0)
    return loudest


def _speech(clip: Clip) -> Flags:
    speech_CWF: Flags = (clip.activity() & SPEECH) > 0
    return speech_CWF


def _room(clip: Clip, heard_NFM: Bytes, silent_NF: Flags, shape: MelShape) -> Room:
    """Of a clip's windows: nobody speaks in the frame's samples, and the source has some."""
    speech_WF = _speech(clip).any(0) | ((clip.activity()[-1] & PADDED) > 0)
    return room_of(heard_NFM, silent_NF, ~looked_at(speech_WF, shape)[: len(heard_NFM)])


def mixed(sound_CS: Samples, without: int) -> Samples:
    """The exact sum of all channels but one, saturated to 16 bits."""
    total = np.zeros(sound_CS.shape[1], np.int32)
    for channel, sound_S in enumerate(
        sound_CS
    ):  # decoded sound lies sample by sample: slow to sum over its first axis
        if channel != without:
            total += sound_S
    return total.clip(-32768, 32767).astype(np.int16)


def _clip_before(clips: Clips, place: int) -> Clip | None:
    """The clip that ends where this one starts."""
    before = clips[place - 1] if place > 0 else None
    return before if before is not None and _meet(before, clips[place]) else None


def _meet(before: Clip, clip: Clip) -> bool:
    """Whether a clip goes on where another ends, told from their keys and sizes without reading heads."""
    recording, _, first = clip.key.rpartition("-")
    recording_before, _, first_before = before.key.rpartition("-")
    same = recording == recording_before and len(before.mel()) == len(clip.mel())
    return same and int(first_before) + before.mel().shape[1] == int(first)
