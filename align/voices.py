"""One channel per speaker and the room, whose int32 sum is the mix, sample for sample.

If speakers share a channel, the sound goes to the only one who talks; where nobody or more than one talks it
goes to the room, and overlapped frames are flagged. If a separator has passed its test, each speaker in an
overlap gets its estimate, and the room gets the rest. Speakers with channels of their own keep them.

    turns     A ───────────          sample n belongs to a turn from sample_at(start_us)
              B        ─────────     up to sample_at(stop_us), so every sample has exactly one owner
    owner     A A A A  room  B B B   and the sum cannot differ from the mix
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from corpus.align.activity import write_activity
from corpus.align.separate.apply import Separating
from corpus.align.separate.shared import share
from corpus.schemas.artifacts import Decoded, Voices
from corpus.schemas.clock import WINDOW_US, sample_at
from corpus.schemas.codec import to_json
from corpus.schemas.conversation import Turn
from corpus.schemas.drops import Drop
from corpus.schemas.errors import CorpusError
from corpus.schemas.pcm import Owners, VoicePcm
from corpus.schemas.span import Span, union


def split_voices(
    decoded: Decoded,
    decode_dir: Path,
    turns: Sequence[Turn],
    speakers: Sequence[str],
    out: Path,
    separating: Separating | None = None,
) -> tuple[Voices, list[Drop]]:
    """Write the owners of the sound and the activity of `turns` into the folder `out`, `voices.json` last.

    The sound itself stays in the decoded channels. A speaker without turns has a silent channel.

    Raises:
        CorpusError: a turn's or an input channel's speaker is not among `speakers`.
    """
    talk = _talk(turns, speakers)
    source = _channel_of(decoded, speakers) if decoded.one_speaker_per_channel else None
    head = Voices(speakers=tuple(speakers), sample_rate_hz=decoded.sample_rate_hz, segments=decoded.segments)
    estimated: dict[str, list[Span]] = {}
    drops: list[Drop] = []
    if source is None and decoded.channels:
        owned = _owners(talk, speakers, decoded.sample_rate_hz)
        shared = share(decoded, decode_dir, talk, owned, out, separating)
        estimated, drops = shared.estimated, shared.drops
        voices = replace(
            head, form=shared.form, separation=shared.separation, taken_back_samples=shared.taken_back_samples
        )
    else:
        given = source or {}
        voices = replace(head, form="inputs", sources=(*(given.get(name) for name in speakers), None))
    VoicePcm(voices, out, decode_dir)  # check that all the sound exists
    write_activity(decoded, talk, speakers, source, out / "activity.npy", estimated)
    (out / "voices.json").write_text(to_json(voices) + "\n", encoding="utf-8")
    return voices, [*drops, *_unwritten(decoded, turns)]


def _talk(turns: Sequence[Turn], speakers: Sequence[str]) -> dict[str, list[Span]]:
    spans: dict[str, list[Span]] = {name: [] for name in speakers}
    for turn in turns:
        if turn.speaker not in spans:
            raise CorpusError(f"{turn.speaker!r} talks but is not among the speakers {list(speakers)}")
        spans[turn.speaker].append(turn.span)
    return {name: union(of_speaker) for name, of_speaker in spans.items()}


def _channel_of(decoded: Decoded, speakers: Sequence[str]) -> dict[str, int]:
    """Each speaker's input channel; each one must belong to somebody, or the sum would lose it."""
    channel_of: dict[str, int] = {}
    for channel, name in enumerate(decoded.channels):
        if name is None or name not in speakers or name in channel_of:
            raise CorpusError(
                f"input channel {channel} belongs to {name!r}",
                todo=f"give each input channel one of the speakers {list(speakers)}",
            )
        channel_of[name] = channel
    return channel_of


def _owners(talk: Mapping[str, Sequence[Span]], speakers: Sequence[str], rate_hz: int) -> Owners:
    """Who owns which samples: the only talker, or the room."""
    room = len(speakers)
    edges: list[tuple[int, int, int]] = []
    for channel, name in enumerate(speakers):
        for span in talk[name]:
            edges.append((sample_at(span.start_us, rate_hz), 1, channel))
            edges.append((sample_at(span.stop_us, rate_hz), -1, channel))
    starts, owners = [0], [room]
    talking = [0] * room
    for sample, step, channel in sorted(edges):
        talking[channel] += step
        active = [channel for channel, depth in enumerate(talking) if depth > 0]
        owner = active[0] if len(active) == 1 else room
        if starts[-1] == sample:
            owners[-1] = owner
        elif owners[-1] != owner:
            starts.append(sample)
            owners.append(owner)
    return Owners(np.array(starts, np.int64), np.array(owners, np.int64))


def _unwritten(decoded: Decoded, turns: Sequence[Turn]) -> list[Drop]:
    """A Drop for turns that lie entirely where no window is written."""
    written = [
        Span(s.first_window * WINDOW_US, (s.first_window + s.windows) * WINDOW_US) for s in decoded.segments
    ]
    lost = [turn for turn in turns if not any(turn.span.overlaps(span) for span in written)]
    if not lost:
        return []
    drop = Drop(
        item="turns",
        stage="channels",
        kind="trim",
        code="turn_outside_windows",
        reason=f"{len(lost)} turns lie where no window is written, in a hole or the last partial window",
        start_us=min(turn.start_us for turn in lost),
        stop_us=max(turn.stop_us for turn in lost),
        count=len(lost),
    )
    return [drop]
