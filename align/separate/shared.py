"""Divides the sound of speakers who share a channel: each one's own, and their overlaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from corpus.align.separate.apply import Apart, Judged, Separating, judge, taken_apart
from corpus.align.separate.overlaps import Talk, several_talk
from corpus.schemas.artifacts import Decoded, Segment, VoicesForm
from corpus.schemas.clip import Separation
from corpus.schemas.clock import WINDOW_US, samples_per_window
from corpus.schemas.drops import Drop
from corpus.schemas.pcm import Owners, Pcm
from corpus.schemas.span import Span, intersect, union

_MASK = "mask/1"
"""Sound goes to the only one who talks, and to nobody where several talk."""
_BLOCK_SAMPLES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """How the sound was divided."""

    form: VoicesForm
    separation: Separation | None
    """None if nobody overlaps."""
    estimated: dict[str, list[Span]] = field(default_factory=dict)
    """Spans in which each speaker's sound is an estimate."""
    taken_back_samples: int = 0
    drops: list[Drop] = field(default_factory=list)


def share(
    decoded: Decoded, decode_dir: Path, talk: Talk, owned: Owners, out: Path, separating: Separating | None
) -> _Shared:
    """Divide the sound and write the owners into the folder `out`."""
    both = several_talk(talk)
    shares = _Told(both, union(span for spans in talk.values() for span in spans))
    if separating is None or not both:
        owned.write(out)
        return _Shared(form="owners", separation=shares.of_mask() if both else None)
    pcm = Pcm(decode_dir, 1, decoded.segments, decoded.sample_rate_hz)
    written = [
        Span(s.first_window * WINDOW_US, (s.first_window + s.windows) * WINDOW_US) for s in decoded.segments
    ]
    judged = judge(separating, pcm, talk, written)
    separation = shares.of_refused(separating.separator.name, judged)
    if not judged.tested.accepted:
        owned.write(out)
        return _Shared(form="owners", separation=separation, drops=[_refused(separation, both)])
    files = _Files(out, list(talk), decoded.segments, samples_per_window(decoded.sample_rate_hz))
    files.write(pcm, owned)
    estimated: dict[str, list[Span]] = {name: [] for name in talk}
    taken_back = 0
    for apart in taken_apart(separating, pcm, talk, written, judged):
        files.put(apart)
        taken_back += apart.taken_back_samples
        for name in apart.overlap.speakers:
            estimated[name] += intersect(talk[name], [apart.overlap.span])
    return _Shared(
        form="channels",
        separation=shares.of_accepted(separating.separator.name, judged, estimated),
        estimated=estimated,
        taken_back_samples=taken_back,
    )


@dataclass(frozen=True, slots=True)
class _Told:
    """What clips say about the recording's overlaps."""

    both: Sequence[Span]
    speech: Sequence[Span]

    def of_mask(self) -> Separation:
        return Separation(
            separator=_MASK,
            accepted=False,
            reason=f"the speakers share a channel and nothing separates them: {self._in_room()}",
        )

    def of_refused(self, name: str, judged: Judged) -> Separation:
        tested = judged.tested
        return Separation(
            separator=name,
            accepted=tested.accepted,
            reason=f"the separator was not used: {tested.reason}; {self._in_room()}",
            si_sdri_db=tested.si_sdri_db,
            words_found=tested.words_found,
            words_invented=tested.words_invented,
        )

    def of_accepted(self, name: str, judged: Judged, estimated: Mapping[str, Sequence[Span]]) -> Separation:
        tested = judged.tested
        apart_us = _length_us(union(span for spans in estimated.values() for span in spans))
        left_us = _length_us(self.both) - apart_us
        return Separation(
            separator=name,
            accepted=True,
            reason=(
                f"the speakers share a channel: of {self._several()} {apart_us / 1e6:.1f} s are a separator's"
                f" estimates, and {left_us / 1e6:.1f} s stay in the room and are silent in the speakers'"
                f" channels; {tested.reason}"
            ),
            si_sdri_db=tested.si_sdri_db,
            words_found=tested.words_found,
            words_invented=tested.words_invented,
        )

    def _in_room(self) -> str:
        return f"{self._several()} are in the room and silent in their channels"

    def _several(self) -> str:
        both_us = _length_us(self.both)
        return (
            f"{both_us / 1e6:.1f} s in which several talk, {both_us / _length_us(self.speech):.1%} of the"
            " speech,"
        )


def _length_us(spans: Sequence[Span]) -> int:
    return sum(span.duration_us for span in spans)


def _refused(separation: Separation, both: Sequence[Span]) -> Drop:
    return Drop(
        item="overlaps",
        stage="channels",
        kind="trim",
        code="separator_not_accepted",
        reason=separation.reason,
        start_us=both[0].start_us,
        stop_us=both[-1].stop_us,
        count=len(both),
    )


class _Files:
    """The files `channel-N.i16` of a voices folder, segment after segment."""

    def __init__(
        self, folder: Path, speakers: Sequence[str], segments: Sequence[Segment], window_samples: int
    ) -> None:
        self._speakers = speakers
        self._paths = [folder / f"channel-{number}.i16" for number in range(len(speakers) + 1)]
        self._segments = segments
        self._window_samples = window_samples

    def write(self, pcm: Pcm, owned: Owners) -> None:
        """Write each speaker's own sound, and overlaps to the room."""
        with ExitStack() as stack:
            files = [stack.enter_context(path.open("wb")) for path in self._paths]
            for start, stop in pcm.blocks(_BLOCK_SAMPLES):
                sound = pcm.read(0, start, stop)
                for channel, file in enumerate(files):
                    file.write(owned.part(sound, channel, start).astype("<i2").tobytes())

    def put(self, apart: Apart) -> None:
        """Write an overlap's estimates to its speakers, and the rest to the room."""
        speakers = [self._speakers.index(name) for name in apart.overlap.speakers]
        for channel, sound in zip([*speakers, len(self._speakers)], apart.sounds, strict=True):
            with self._paths[channel].open("r+b") as file:
                file.seek(2 * self._place(apart.start))
                file.write(sound.astype("<i2").tobytes())

    def _place(self, sample: int) -> int:
        """The place in the files of a sample of the recording's clock."""
        before = 0
        for segment in self._segments:
            first, length = (n * self._window_samples for n in (segment.first_window, segment.windows))
            if first <= sample < first + length:
                return before + sample - first
            before += length
        raise AssertionError(f"sample {sample} is in no segment")
