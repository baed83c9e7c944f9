"""A clip from one speaker's point of view: what the speaker hears, sees, reads, says and writes.

A document is one view: one clip and the speaker that the model plays. Micro-turn i of a clip of W windows is
in_i from window i and out_i from window i + response_delay, so there are W - response_delay. What the speaker
hears is in hearing.py.

The activity flags alone decide whether the speaker speaks; elsewhere the channel does not hold the speaker's
sound. Words are carried by speech and never create it. A word belongs to the window it starts in and is
written from there on, in order, in the first windows of speech that have room. Tokens beyond `text_slots`, or
of a word that starts in a silent window, wait for the speaker's next window of speech. Everything lost is
counted (`TextCounts`). An event's text is given from the window of its start on. Words before the first out
window belong to no micro-turn.

Shape suffixes: W windows of the clip, N micro-turns, F frames, M bins, C channels, S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from corpus.schemas.activity import PADDED, SPEECH, UNRELIABLE
from corpus.schemas.arrays import BoolArray, Int64Array, UInt8Array
from corpus.schemas.errors import FormatError
from corpus.shards.read import Clip
from corpus.trainer.config import DataConfig, ModelConfig
from corpus.trainer.data.clip_head import Head, check_head, read_head, view_id
from corpus.trainer.data.hearing import ClipsByPlace, Heard, Hears, heard_by
from corpus.trainer.data.layout import Turns, turn_sizes
from corpus.trainer.data.sheet import lengths
from corpus.trainer.data.text import BYTES, Tokenizer, Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCounts:
    """Counts of a document's text, in tokens."""

    written: int = 0
    spilled: int = 0
    """Written in a later window than their word starts in."""
    later: int = 0
    """Spilled past a silent window: in a later stretch of speech than their word's start."""
    left: int = 0
    """Still waiting at the end of the document."""
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
    """The plan of a document: everything except sound and pixels. It gives all sizes."""

    place: int
    """The clip's position among the clips of its split."""
    key: str
    speaker: str
    channel: int
    sample_rate_hz: int
    given: tuple[Tokens, ...]
    """Tokens per micro-turn."""
    written: tuple[Tokens, ...]
    speak_N: BoolArray
    spoke_before: bool
    """Whether the speaker spoke in the window before the first out window."""
    pictures_N: BoolArray
    sizes_N: Int64Array
    """Positions of each micro-turn."""
    text: TextCounts

    @property
    def id(self) -> str:
        return view_id(self.key, self.channel)

    def __len__(self) -> int:
        return len(self.speak_N)


def plan_view(
    clips: ClipsByPlace,
    place: int,
    channel: int,
    model: ModelConfig,
    data: DataConfig,
    tokenizer: Tokenizer = BYTES,
) -> View:
    """The view of the speaker on `channel` of a clip. Reads only the head and the activity."""
    clip = clips[place]
    head = read_head(clip, tokenizer)
    check_head(head, model, data)
    _check_shapes(clip, head)
    if channel >= len(head.speakers):
        what = f"clips.parquet counts more speakers than {head.speakers}"
        raise FormatError(what, where=clip.key, todo="corpus verify says what else is wrong")
    speaker, delay = head.speakers[channel], model.response_delay
    turns = max(0, head.windows - delay)
    # Words of the recording that start in another clip belong to that clip.
    inside = range(head.windows)
    words = [(head.window(at), tokens) for who, at, _, _, tokens in head.words if who == speaker]
    words = [(window - delay, tokens) for window, tokens in words if window in inside]
    notes = [(head.window(at), tokens) for who, at, _, _, tokens in head.events if who in (None, speaker)]
    # The flags alone decide who speaks; out_i is of window i + delay.
    speech_W = ((clip.activity()[channel] & SPEECH) != 0).any(1)
    speak_N = speech_W[delay : delay + turns]
    # Words wait for windows of speech; notes are read in any window.
    written, own = spread(words, speak_N, model.text_slots)
    given, notes_text = spread(
        [note for note in notes if note[0] in inside], np.ones(turns, bool), model.text_slots
    )
    # Words before the first out window cannot be written: count them.
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
        text=own + notes_text + TextCounts(before=before),
    )


def _check_shapes(clip: Clip, head: Head) -> None:
    """Require arrays as long as the head says, since later reads do not check. Raises: FormatError."""
    expected = (len(head.speakers) + 1, head.windows, head.frames_per_window)
    mel, activity = clip.mel_shape(), clip.activity().shape
    if activity != expected or mel != (*expected, head.mel.bins):
        what = f"mel and activity are {mel} and {activity}, the head says {expected}"
        raise FormatError(what, where=clip.key, todo="corpus verify says what else is wrong")
    if head.picture_sizes and len(head.picture_sizes) != head.windows:
        what = f"{len(head.picture_sizes)} pictures are listed for {head.windows} windows"
        raise FormatError(what, where=clip.key, todo="corpus verify says what else is wrong")


def spread(
    items: Sequence[tuple[int, Tokens]], open_N: BoolArray, slots: int
) -> tuple[tuple[Tokens, ...], TextCounts]:
    """Tokens of each micro-turn, at most `slots` and only in open ones; the rest waits in a queue.

    Items are in order and name the micro-turn they start in; those before the first are left out.
    """
    since = np.array([turn for turn, tokens in items if turn >= 0 for _ in tokens], np.int64)
    text = [token for turn, tokens in items if turn >= 0 for token in tokens]
    # How many tokens have arrived by the end of each micro-turn.
    arrived_N = np.searchsorted(since, np.arange(len(open_N)), side="right").tolist()
    by_turn: list[Tokens] = []
    done = 0
    for arrived, is_open in zip(arrived_N, open_N.tolist(), strict=True):
        stop = min(arrived, done + slots) if is_open else done
        by_turn.append(tuple(text[done:stop]))
        done = stop
    # For the counts: where each token was written, and how many silent windows began since its word.
    at, came = np.repeat(np.arange(len(by_turn)), lengths(by_turn)), since[:done]
    closed_N = np.concatenate([[0], np.cumsum(~open_N)])
    late = came < at
    later = int((late & (closed_N[came] < closed_N[at])).sum())
    counts = TextCounts(written=done, spilled=int(late.sum()), later=later, left=len(text) - done)
    return tuple(by_turn), counts


def read_turns(
    clips: ClipsByPlace,
    view: View,
    heard: Heard,
    start: int,
    stop: int,
    model: ModelConfig,
    room: UInt8Array | None = None,
    decoded: UInt8Array | None = None,
) -> Turns:
    """Micro-turns `[start, stop)` of a view: its plan with sound and pictures.

    `heard` covers all of the view's windows and comes from the function of that name. `room` is memory for
    all patches, which are written there; `decoded` is the result of `decode_pictures`, if there is one.
    """
    clip = clips[view.place]
    # The model's own sound is later than the heard sound by the response delay.
    own = slice(start + model.response_delay, stop + model.response_delay)
    activity_CWF = clip.activity()
    flags_NF = activity_CWF[view.channel, own]
    # Several voices in one microphone, or nothing recorded: heard sound is not a target there.
    others_CNF = np.delete(activity_CWF[:, start:stop], view.channel, axis=0)
    bad_NF = ((others_CNF & (UNRELIABLE | PADDED)) != 0).any(0)
    return Turns(
        heard_NFM=heard.sound_NFM[start:stop],
        heard_known_NF=~(heard.drawn_NF[start:stop] | bad_NF),
        pictures=_pictures(clip, view.pictures_N, (start, stop), model, room, decoded),
        given=view.given[start:stop],
        speak_N=view.speak_N[start:stop],
        written=view.written[start:stop],
        sound_NFM=clip.mel()[view.channel, own],
        audible_NF=(flags_NF & (UNRELIABLE | PADDED)) == 0,
        known_N=~((flags_NF & PADDED) != 0).all(1),
        spoke_before=view.spoke_before if start == 0 else bool(view.speak_N[start - 1]),
    )


def _pictures(
    clip: Clip,
    shown_N: BoolArray,
    turns: tuple[int, int],
    model: ModelConfig,
    room: UInt8Array | None,
    decoded: UInt8Array | None,
) -> list[UInt8Array | None]:
    """The patches of the pictures in some micro-turns of a view, in one array."""
    start, stop = turns
    at = np.flatnonzero(shown_N[start:stop])
    shape = _patches_shape(len(at), model)
    patches = np.empty(shape, np.uint8) if room is None else room.reshape(shape)
    if decoded is None:
        _decode(clip, start + at, model, patches)
    else:
        before = int(shown_N[:start].sum())
        patches[:] = decoded[before : before + len(at)]
    pictures: list[UInt8Array | None] = [None] * (stop - start)
    for number, turn in enumerate(at.tolist()):
        pictures[turn] = patches[number]
    return pictures


def decode_pictures(clips: ClipsByPlace, view: View, model: ModelConfig) -> UInt8Array:
    """The patches of all pictures in a view; the same for all views of a clip."""
    at = np.flatnonzero(view.pictures_N)
    patches = np.empty(_patches_shape(len(at), model), np.uint8)
    _decode(clips[view.place], at, model, patches)
    return patches


def _patches_shape(count: int, model: ModelConfig) -> tuple[int, ...]:
    side = model.patch_pixels
    return (count, model.picture_rows * model.picture_columns, side, side, 3)


def _decode(clip: Clip, windows: Int64Array, model: ModelConfig, patches: UInt8Array) -> None:
    """Decode the pictures of these windows into one buffer, and copy them once, patch by patch."""
    rows, columns, side = model.picture_rows, model.picture_columns, model.patch_pixels
    grids = patches.reshape(len(patches), rows, columns, side, side * 3)
    into = np.empty((rows * side, columns * side, 3), np.uint8)
    for number, window in enumerate(windows.tolist()):
        picture = clip.picture(window, into=into)
        if picture is None or picture.shape != into.shape:
            size = None if picture is None else picture.shape
            raise FormatError(f"a picture of {size}, its head says {into.shape}", where=clip.key)
        grids[number] = _grid(picture, model)


def patches_of(picture: UInt8Array, model: ModelConfig) -> UInt8Array:
    """The patches `[P, H, W, C]` of a picture `[height, width, 3]` of the model's size."""
    side = model.patch_pixels
    return np.ascontiguousarray(_grid(picture, model)).reshape(model.patches, side, side, 3)


def _grid(picture: UInt8Array, model: ModelConfig) -> UInt8Array:
    """A picture as rows, columns, lines of a patch and their bytes; not copied."""
    rows, columns, side = model.picture_rows, model.picture_columns, model.patch_pixels
    return picture.reshape(rows, side, columns, side * 3).swapaxes(1, 2)


def heard(clips: ClipsByPlace, view: View, hears: Hears, *, seed: int = 0, epoch: int = 0) -> Heard:
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
