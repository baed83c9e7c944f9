"""Choosing streams: which are used from which files, what each becomes, and where zero is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from corpus.ingest.head import StreamHead, file_start, preferred, scan, stream_heads
from corpus.ingest.media import open_reader
from corpus.ingest.probe import require_usable
from corpus.schemas.clock import US
from corpus.schemas.errors import MediaError
from corpus.schemas.settings import Channels, IngestSettings

_HANDOVER = Fraction(1, 2)
"""Streams that overlap by no more than this follow each other."""
_MOST_SPEAKERS = 7
"""A clip holds seven voices and the room."""


@dataclass(frozen=True, slots=True)
class DecodeSource:
    """One file of a recording."""

    path: Path
    speaker: str | None = None
    offset_us: int = 0
    """The file's first presentation relative to that of the other files; the earliest becomes zero."""


@dataclass(slots=True)
class Plan:
    """What is used from one file."""

    source: DecodeSource
    container: str
    heads: dict[int, StreamHead]
    outputs: dict[int, list[str | None]]
    """For each chosen audio stream, the speakers of the channels it becomes."""
    channels: Channels
    several: bool = False
    """The recording has several files."""
    kinds: frozenset[str] = frozenset()
    """What is used from the file: audio, video or both, even if it begins late."""
    start: Fraction = Fraction(0)
    """The file's earliest presentation, on its own clock, in seconds."""
    zero: Fraction = Fraction(0)
    """The time on the file's own clock that is the recording's zero."""

    @property
    def mixed(self) -> bool:
        """Each stream becomes one channel, the mean of its channels."""
        return self.channels != "per_channel"


def choose(files: Sequence[DecodeSource], settings: IngestSettings) -> list[Plan]:
    """One plan per file, based on the files' heads, listing every stream."""
    if not files:
        raise MediaError("a recording has no file")
    several = len(files) > 1
    plans: list[Plan] = []
    with_picture = False
    for source in files:
        plan = _plan(source, settings, several=several, video=settings.pictures and not with_picture)
        # The first file with a picture gives it: one recording, one picture.
        with_picture = with_picture or any(h.chosen and h.kind == "video" for h in plan.heads.values())
        plans.append(plan)
    if several:
        _leave_out_room_sound(plans)
    _check_speakers(plans)
    # The file that is offset least begins at zero; the others keep their lead before it.
    earliest_us = min(plan.source.offset_us for plan in plans)
    for plan in plans:
        plan.zero = plan.start - Fraction(plan.source.offset_us - earliest_us, US)
    return plans


def _plan(source: DecodeSource, settings: IngestSettings, *, several: bool, video: bool) -> Plan:
    # With one file per speaker, several channels in a file are several microphones for one person.
    channels: Channels = "mix" if several else settings.channels
    with open_reader(source.path) as (container, reader):
        heads = stream_heads(container, reader)
        _choose_streams(heads, channels, video=video)
        if several and not any(h.chosen for h in heads):
            video = settings.pictures
            # A file of nothing but pictures stays in use: refusing it would be an error.
            _choose_streams(heads, channels, video=video)
        require_usable(heads, source.path.name)
        scan(container, heads)
        _begin_with_the_first(heads)
        # The scan may have refused what the header promised.
        require_usable(heads, source.path.name)
        return Plan(
            source=source,
            container=container.format.name,
            heads={h.index: h for h in heads},
            outputs=_outputs(heads, source, channels, several=several),
            channels=channels,
            several=several,
            kinds=frozenset(("audio", "video") if video else ("audio",)),
            start=file_start(heads),
        )


def _choose_streams(heads: list[StreamHead], channels: Channels, *, video: bool) -> None:
    for head in heads:
        head.chosen = False
    picture = preferred(heads, "video") if video else None
    if picture is not None:
        picture.chosen = True
    if channels == "per_stream":
        for head in heads:
            head.chosen = head.chosen or (head.kind == "audio" and not head.refused)
        return
    sound = preferred(heads, "audio")
    if sound is not None:
        sound.chosen = True


def _begin_with_the_first(heads: list[StreamHead]) -> None:
    """If the chosen stream begins after another of its kind has ended, begin with that other one."""
    for late in [h for h in heads if h.chosen and h.first is not None]:
        sooner = [h for h in heads if _comes_before(h, late)]
        if sooner:
            late.chosen = False
            min(sooner, key=lambda h: h.first or 0).chosen = True


def _comes_before(head: StreamHead, late: StreamHead) -> bool:
    if head.kind != late.kind or head.chosen or head.refused or head.other_clock:
        return False
    if head.first is None or head.last is None or late.first is None:
        return False
    return head.first < late.first - _HANDOVER and head.last <= late.first + _HANDOVER


def late_speakers(plan: Plan, channels: int) -> list[str | None]:
    """The speakers of sound that begins in mid-file, in a file that seemed to have none."""
    if channels > _MOST_SPEAKERS and plan.channels == "per_channel":
        raise _too_many(plan, channels)
    if plan.channels == "mix":
        return [plan.source.speaker if plan.several else None]
    return [plan.source.speaker or "S1"] if channels == 1 or plan.mixed else [None] * channels


def _outputs(
    heads: list[StreamHead], source: DecodeSource, channels: Channels, *, several: bool
) -> dict[int, list[str | None]]:
    chosen = [h for h in heads if h.chosen and h.kind == "audio"]
    if channels == "mix":
        return {h.index: [source.speaker if several else None] for h in chosen}
    counts = [max(1, h.channels) if channels == "per_channel" else 1 for h in chosen]
    alone = sum(counts) == 1
    # A single channel called None would be read as a mix of several speakers.
    name = (source.speaker or "S1") if alone else None
    return {h.index: [name] * count for h, count in zip(chosen, counts, strict=True)}


def _leave_out_room_sound(plans: list[Plan]) -> None:
    """Leave out the sound of the picture's file if other files name speakers: it repeats everybody."""
    if not any(plan.source.speaker for plan in plans):
        return
    for plan in plans:
        has_picture = any(h.chosen and h.kind == "video" for h in plan.heads.values())
        if plan.source.speaker is None and has_picture:
            for head in plan.heads.values():
                if head.kind == "audio" and head.chosen:
                    head.chosen = False
                    head.refused_code = "room_sound"
                    head.refused = "holds everybody's sound, and each speaker has a file of their own"
            plan.outputs.clear()
            plan.kinds -= {"audio"}


def _check_speakers(plans: list[Plan]) -> None:
    channels = [name for plan in plans for names in plan.outputs.values() for name in names]
    if len(channels) > _MOST_SPEAKERS:
        raise _too_many(plans[0], len(channels))


def _too_many(plan: Plan, channels: int) -> MediaError:
    return MediaError(
        f"has {channels} channels of one speaker each; a clip holds {_MOST_SPEAKERS} voices",
        where=plan.source.path.name,
        todo='use channels = "mix"',
    )
