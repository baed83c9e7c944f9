"""When somebody speaks, measured in windows: Full-Duplex-Bench's definitions as pure functions.

Everything is a function of per-window flags "speaks" on the corpus clock, at the window in which the sound
is heard. A run is a stretch of windows in which somebody speaks, half-open.

    take-over        speech whose span from first to last is >= 1 s, or of more than 3 words
    latency          first window of it minus the window the other ended in; never below 0; only of take-overs
    backchannel      a run of < 1 s with at most 2 words while the other holds the floor
    rate, distance   backchannels per second; Jensen-Shannon distance (square root, natural logarithm, at most
                     0.8326) between onsets on 0.2 s bins, 1 where the model gave none
    stop             the other begins to interrupt while it speaks: it is silent within 1.5 s

Unlike the published scripts every run of a recording counts (there the last segment overwrites what was
found before), and speech begun before the window looked at is looked at whole.

The rate of right actions and the timing error compare with a reference's onsets and silences instead.

Shape suffix: W windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpus.schemas.clock import US, WINDOW_US

Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Run = tuple[int, int]

WINDOW_S = WINDOW_US / US
SECOND = US // WINDOW_US
"""Windows in a second."""
TAKE_OVER_WINDOWS = SECOND
TAKE_OVER_WORDS = 3
BACKCHANNEL_WORDS = 2
STOP_WINDOWS = 7
"""1.5 s, in whole windows."""
ANSWER_WINDOWS = 25
"""After a turn's end take-overs are looked for so long, if nobody else speaks before."""
SEARCH_WINDOWS = 10
"""An onset further than this from the reference's is not the answer to the same thing."""
TOLERANCE_WINDOWS = 1


def runs(speaks_W: Flags) -> list[Run]:
    """Stretches of True, half-open."""
    edge = np.diff(np.concatenate(([0], np.asarray(speaks_W, np.int8), [0])))
    return [
        (int(a), int(b)) for a, b in zip(np.flatnonzero(edge == 1), np.flatnonzero(edge == -1), strict=True)
    ]


def onsets(speaks_W: Flags) -> list[int]:
    return [start for start, _ in runs(speaks_W)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeOver:
    """What is found in a stretch of windows."""

    taken: bool
    onset: int | None
    """Where the speech in it begins, possibly before it; None without speech."""


def take_over(speaks_W: Flags, words_W: Counts, start: int, stop: int) -> TakeOver:
    """Whether the turn is taken by speech that is heard in windows `[start, stop)`."""
    inside = [(a, b) for a, b in runs(speaks_W) if a < stop and b > start]
    if not inside:
        return TakeOver(taken=False, onset=None)
    first, last = inside[0][0], inside[-1][1]
    words = int(words_W[first:last].sum())
    return TakeOver(taken=last - first >= TAKE_OVER_WINDOWS or words > TAKE_OVER_WORDS, onset=first)


def latency_windows(found: TakeOver, ended: int) -> int | None:
    """Windows from the other's end to the take-over."""
    if not found.taken or found.onset is None:
        return None
    return max(0, found.onset - ended)


def answer_stop(other_W: Flags, ended: int) -> int:
    """Up to where an answer to a turn that ended before window `ended` is looked for."""
    latest = min(len(other_W), ended + ANSWER_WINDOWS)
    again = np.flatnonzero(other_W[ended + 1 : latest])
    return ended + 1 + int(again[0]) if len(again) else latest


def backchannels(speaks_W: Flags, words_W: Counts, other_W: Flags) -> list[int]:
    """Onsets of short runs begun while the other speaks, or in the window after."""
    floor = other_W | np.concatenate(([False], other_W[:-1]))
    return [
        start
        for start, stop in runs(speaks_W)
        if floor[start]
        and stop - start < TAKE_OVER_WINDOWS
        and int(words_W[start:stop].sum()) <= BACKCHANNEL_WORDS
    ]


def timing_distance(found: Sequence[int], reference: Sequence[int], windows: int) -> float:
    """Jensen-Shannon distance between two sets of onsets, each as a distribution over windows."""
    if not found:
        return 1.0
    p, q = (np.bincount(np.asarray(places, np.int64), minlength=windows) for places in (found, reference))
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    return math.sqrt(max(0.0, (_divergence(p, middle) + _divergence(q, middle)) / 2))


def _divergence(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> float:
    some = p > 0
    return float((p[some] * np.log(p[some] / q[some])).sum())


def stop_windows(speaks_W: Flags, interrupted: int) -> int | None:
    """Windows until it is silent after an interruption began; None if it did not speak then."""
    for start, stop in runs(speaks_W):
        if start <= interrupted < stop:
            return stop - interrupted
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """How a reference's onsets were met and its silences kept."""

    onsets: int
    met: int
    silences: int
    kept: int
    errors: tuple[float, ...]
    """Windows between each of the reference's onsets and the nearest; infinite for none within reach."""

    def __add__(self, other: Actions) -> Actions:
        return Actions(
            onsets=self.onsets + other.onsets,
            met=self.met + other.met,
            silences=self.silences + other.silences,
            kept=self.kept + other.kept,
            errors=self.errors + other.errors,
        )

    @property
    def right(self) -> float | None:
        """Share of right actions: to speak at an onset, to be silent through a silence."""
        total = self.onsets + self.silences
        return (self.met + self.kept) / total if total else None

    @property
    def median_error(self) -> float | None:
        return float(np.median(self.errors)) if self.errors else None


NO_ACTIONS = Actions(onsets=0, met=0, silences=0, kept=0, errors=())


def actions(speaks_W: Flags, reference_W: Flags, *, told: bool, first: int = 0) -> Actions:
    """Compare with a reference, from window `first` on.

    `told`: the flags were made knowing the reference's past, as under teacher forcing. Then speech
    after an onset is no merit: an onset is met in its own window or one before, never after.
    """
    reference_runs = runs(reference_W)
    late = 0 if told else TOLERANCE_WINDOWS
    reach = 0 if told else SEARCH_WINDOWS
    wanted = [start for start, _ in reference_runs if start >= max(first, 1)]
    given = np.array(onsets(speaks_W), np.int64)
    errors, met = [], 0
    for start in wanted:
        near = given[(given >= start - SEARCH_WINDOWS) & (given <= start + reach)]
        error = float(np.abs(near - start).min()) if len(near) else math.inf
        errors.append(error)
        met += bool(((near >= start - TOLERANCE_WINDOWS) & (near <= start + late)).any())
    windows = len(reference_W)
    # The window after a run and the one before the next belong to the tolerance of these onsets.
    margins = [(a + (a > 0), b - (b < windows)) for a, b in _gaps(reference_runs, windows)]
    inner = [(max(a, first), b) for a, b in margins if b > max(a, first)]
    kept = sum(not ((given >= a) & (given < b)).any() for a, b in inner)
    return Actions(onsets=len(wanted), met=met, silences=len(inner), kept=kept, errors=tuple(errors))


def _gaps(found: Sequence[Run], windows: int) -> list[Run]:
    starts = [0, *(stop for _, stop in found)]
    stops = [*(start for start, _ in found), windows]
    return list(zip(starts, stops, strict=True))
