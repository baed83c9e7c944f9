"""Who speaks when in the mix, overlaps kept.

Sound is processed in stretches of about ten minutes, each with a margin on either side that only gives
context; the speakers of the stretches are linked by their voices. So memory, and the cost of a minute, do not
grow with the length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from corpus.align.backend import MODEL_RATE_HZ, Backend, Bounds, Found, StretchDiarizer, View, device_of
from corpus.align.linking import Voice, link
from corpus.align.pyannote_pipeline import library_versions, named_backend, require_pyannote
from corpus.schemas.clock import us_from_seconds, us_of_sample
from corpus.schemas.codec import digest
from corpus.schemas.conversation import Turn
from corpus.schemas.drops import Drop
from corpus.schemas.errors import SettingsError
from corpus.schemas.pcm import Pcm
from corpus.schemas.settings import DiarizeSettings
from corpus.schemas.sight import Seen

VERSION = "diarize/7"
STRETCH_S = 600
LONGEST_STRETCH_S = 900
"""Sound up to this length is one stretch."""
MARGIN_S = 10
"""Context on either side of a stretch: the network's own window."""
JOIN_US = 50_000
"""The two parts of a turn cut by a stretch's end are joined over at most this."""

FLICKER_US = 40_000
"""Two frames of the network are 34 ms; nobody says anything in that."""

PYANNOTE_PREFIX = "pyannote:"
SORTFORMER_PREFIX = "sortformer:"


@dataclass(frozen=True, slots=True)
class Diarized:
    """Who talks when in a recording, and how sure that is."""

    turns: list[Turn]
    drops: list[Drop]
    sure: tuple[tuple[int, int, float], ...] = ()
    """Start and stop in microseconds, in order and apart, and how sure; empty where it is not known."""


class Diarizer(Protocol):
    """Finds the turns of a recording."""

    key: str
    """Digest of weights, settings and library versions."""

    def __call__(self, pcm: Pcm, seen: Seen | None = None) -> tuple[list[Turn], list[Drop]]:
        """The turns. `seen` may help to distinguish speakers whose faces are visible."""
        ...

    def diarized(self, pcm: Pcm, seen: Seen | None = None) -> Diarized:
        """The same, and how sure it is."""
        ...


@dataclass(frozen=True, slots=True)
class Stretch:
    """Decides about samples `[start, stop)`, with `[low, high)` as input."""

    start: int
    stop: int
    low: int
    high: int


def open_diarizer(settings: DiarizeSettings, models: Path | None = None) -> Diarizer:
    """A diarizer for the settings' backend; its models are loaded at the first recording.

    Raises:
        MissingModelError: weights are not on this machine.
        MissingDependencyError: pyannote.audio is not installed.
        SettingsError: an unknown backend.
    """
    require_pyannote()
    device = device_of(settings.device)
    if settings.backend == "default":
        from corpus.align.bundled import bundled_backend

        backend = bundled_backend(settings, models, device)
    elif settings.backend.startswith(PYANNOTE_PREFIX):
        backend = named_backend(settings.backend.removeprefix(PYANNOTE_PREFIX), models, device)
    elif settings.backend.startswith(SORTFORMER_PREFIX):
        from corpus.align.sortformer import sortformer_backend

        backend = sortformer_backend(settings.backend.removeprefix(SORTFORMER_PREFIX), models, device)
    else:
        raise SettingsError(
            f"diarize.backend = {settings.backend!r} is unknown",
            todo="it must be default, pyannote:HUB-ID-OR-DIRECTORY, sortformer:HUB-ID-OR-FILE or none",
        )
    return _StretchByStretch(settings, backend)


class _StretchByStretch:
    def __init__(self, settings: DiarizeSettings, backend: Backend) -> None:
        self.key = digest([VERSION, STRETCH_S, MARGIN_S, backend.identity, library_versions(), settings])
        self._settings = settings
        self._backend = backend
        self._diarizer: StretchDiarizer | None = None

    def __call__(self, pcm: Pcm, seen: Seen | None = None) -> tuple[list[Turn], list[Drop]]:
        done = self.diarized(pcm, seen)
        return done.turns, done.drops

    def diarized(self, pcm: Pcm, seen: Seen | None = None) -> Diarized:
        import torch

        torch.set_num_threads(self._settings.threads)
        if self._diarizer is None:
            self._diarizer = self._backend.load()
        stretches = list(split(pcm))
        by_stretch = [
            self._diarizer(
                heard(pcm, stretch.low, stretch.high),
                self._bounds(stretch),
                View(seen, us_of_sample(stretch.low, pcm.sample_rate_hz)) if seen is not None else None,
            )
            for stretch in stretches
        ]
        rate, same_voice = pcm.sample_rate_hz, self._backend.same_voice
        turns = together(stretches, by_stretch, rate, self._of_recording(), same_voice)
        return Diarized(turns, [], sureness(stretches, by_stretch, rate))

    def _of_recording(self) -> Bounds:
        exact = self._settings.num_speakers
        return Bounds(
            at_least=exact or self._settings.min_speakers or 1, at_most=exact or self._settings.max_speakers
        )

    def _bounds(self, stretch: Stretch) -> Bounds:
        whole = self._of_recording()
        if (stretch.low, stretch.high) == (stretch.start, stretch.stop):
            return whole
        # For a part of the recording only the upper bound holds: not everybody talks in it.
        return Bounds(at_most=whole.at_most)


def heard(pcm: Pcm, low: int, high: int) -> npt.NDArray[np.float32]:
    """The mix over `[low, high)` as floats at the networks' rate."""
    mix = np.clip(pcm.mix(low, high), -32768, 32767)
    return to_model_rate(mix.astype(np.float32) / np.float32(32768), pcm.sample_rate_hz)


def to_model_rate(waveform: npt.NDArray[np.float32], rate_hz: int) -> npt.NDArray[np.float32]:
    if rate_hz == MODEL_RATE_HZ:
        return waveform
    import torch
    from torchaudio.functional import resample

    resampled: npt.NDArray[np.float32] = resample(torch.from_numpy(waveform), rate_hz, MODEL_RATE_HZ).numpy()
    return resampled


def split(pcm: Pcm) -> Iterator[Stretch]:
    """Equal stretches of each segment, none longer than `LONGEST_STRETCH_S`."""
    rate = pcm.sample_rate_hz
    for first, last in pcm.blocks(1 << 62):
        length = last - first
        count = 1 if length <= LONGEST_STRETCH_S * rate else -(-length // (STRETCH_S * rate))
        for place in range(count):
            start = first + length * place // count
            stop = first + length * (place + 1) // count
            low, high = max(first, start - MARGIN_S * rate), min(last, stop + MARGIN_S * rate)
            yield Stretch(start, stop, low, high)


def together(
    stretches: Sequence[Stretch],
    found: Sequence[Found],
    rate_hz: int,
    bounds: Bounds,
    same_voice: float,
) -> list[Turn]:
    """The stretches' turns on the recording's clock, with speakers S1, S2, ... in order of first speech."""
    local = [
        turn
        for place, (stretch, talk) in enumerate(zip(stretches, found, strict=True))
        for turn in _turns_of(place, stretch, talk, rate_hz)
    ]
    if len(stretches) > 1:
        names = _linked(local, found, bounds, same_voice)
        # Only now: a turn cut at a stretch's end has one name on both sides once voices are linked.
        local = _joined([replace(turn, speaker=names[turn.speaker]) for turn in local], JOIN_US)
    return in_order_of_speech(_joined(without_flicker(local), 0))


def sureness(
    stretches: Sequence[Stretch], found: Sequence[Found], rate_hz: int
) -> tuple[tuple[int, int, float], ...]:
    """How sure it is who talks, on the recording's clock, each stretch for what it decides."""
    sure_spans: list[tuple[int, int, float]] = []
    for stretch, talk in zip(stretches, found, strict=True):
        zero_us = us_of_sample(stretch.low, rate_hz)
        first_us, last_us = us_of_sample(stretch.start, rate_hz), us_of_sample(stretch.stop, rate_hz)
        for start, stop, sure in talk.sure:
            start_us = max(first_us, zero_us + us_from_seconds(start))
            stop_us = min(last_us, zero_us + us_from_seconds(stop))
            if start_us < stop_us:
                sure_spans.append((start_us, stop_us, sure))
    return tuple(sure_spans)


def _turns_of(place: int, stretch: Stretch, found: Found, rate_hz: int) -> list[Turn]:
    """A stretch's turns, cut to what it decides; the speaker is `PLACE LABEL`."""
    zero_us = us_of_sample(stretch.low, rate_hz)
    first_us, last_us = us_of_sample(stretch.start, rate_hz), us_of_sample(stretch.stop, rate_hz)
    turns: list[Turn] = []
    for start, stop, label in found.talk:
        start_us = max(first_us, zero_us + us_from_seconds(start))
        stop_us = min(last_us, zero_us + us_from_seconds(stop))
        if start_us < stop_us:
            turns.append(Turn(speaker=f"{place} {label}", start_us=start_us, stop_us=stop_us))
    return turns


def _linked(
    turns: Sequence[Turn], found: Sequence[Found], bounds: Bounds, same_voice: float
) -> dict[str, str]:
    talk_us: Counter[str] = Counter()
    for turn in turns:
        talk_us[turn.speaker] += turn.span.duration_us
    names = sorted(talk_us, key=lambda name: (int(name.partition(" ")[0]), name))
    voices = [_voice(name, found, talk_us[name]) for name in names]
    numbers = link(voices, same_voice, at_least=bounds.at_least, at_most=bounds.at_most)
    return {name: str(number) for name, number in zip(names, numbers, strict=True)}


def _voice(name: str, found: Sequence[Found], talk_us: int) -> Voice:
    place, _, label = name.partition(" ")
    return Voice(int(place), label, found[int(place)].centroids.get(label), talk_us)


def _joined(turns: Sequence[Turn], over_us: int) -> list[Turn]:
    """Join turns of one speaker that overlap or are at most `over_us` apart."""
    joined: list[Turn] = []
    last: dict[str, int] = {}
    for turn in sorted(turns, key=lambda turn: (turn.start_us, turn.stop_us)):
        place = last.get(turn.speaker)
        if place is not None and turn.start_us - joined[place].stop_us <= over_us:
            stop_us = max(joined[place].stop_us, turn.stop_us)
            joined[place] = replace(joined[place], stop_us=stop_us)
        else:
            last[turn.speaker] = len(joined)
            joined.append(turn)
    return joined


def without_flicker(turns: Sequence[Turn]) -> list[Turn]:
    """The turns without slivers at another speaker's edge, which go to the turn they touch.

    Where the networks waver between two voices, a frame or two goes to the wrong one.
    """
    kept = [turn for turn in turns if turn.span.duration_us >= FLICKER_US]
    starts = {turn.start_us: place for place, turn in enumerate(kept)}
    stops = {turn.stop_us: place for place, turn in enumerate(kept)}
    for turn in sorted(turns, key=lambda turn: turn.start_us):
        if turn.span.duration_us >= FLICKER_US:
            continue
        if turn.stop_us in starts:
            place = starts[turn.stop_us]
            kept[place] = replace(kept[place], start_us=turn.start_us)
        elif turn.start_us in stops:
            place = stops[turn.start_us]
            kept[place] = replace(kept[place], stop_us=turn.stop_us)
        else:
            kept.append(turn)
    return kept


def in_order_of_speech(turns: Sequence[Turn]) -> list[Turn]:
    """The turns by time, with speakers named S1, S2, ... in order of first speech."""
    ordered = sorted(turns, key=lambda turn: (turn.start_us, turn.stop_us, turn.speaker))
    names: dict[str, str] = {}
    for turn in ordered:
        names.setdefault(turn.speaker, f"S{len(names) + 1}")
    return [replace(turn, speaker=names[turn.speaker]) for turn in ordered]
