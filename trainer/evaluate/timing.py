"""When somebody speaks, measured in windows: Full-Duplex-Bench's definitions as pure functions.

Everything is a function of per-window flags "speaks" on the corpus clock, at the window in which the sound
is heard. A run is a half-open stretch of windows in which somebody speaks. Sound that only touches a window
fills it, so on average a run is one window longer than its sound, for people and models alike.

    take-over      speech that spans >= 1 s from first to last, or has more than 3 words
    latency        its first window minus the window in which the other ended; at least 0; only for take-overs
    backchannel    a run of < 1 s with at most 2 words, begun while the other holds the floor or in the window
                   after, with 1 s of own silence before and after (VAP's condition; the published scripts
                   hear only a listener and need none)
    distance       Jensen-Shannon distance (square root, natural logarithm, at most 0.8326) between the
                   windows filled by backchannels and by labelled ones; 1 if the model gave none
    stop           the other begins to interrupt while it speaks: it is silent within 1.5 s
    answer         it takes over after that interruption; speech that never stopped counts from there on

Unlike in the published scripts, every run of a recording counts (there the last segment overwrites earlier
ones), only backchannels enter their rate and distance (there every segment of up to 3 s does), and speech
begun before the examined window is examined as a whole. A decision made in a silence is heard up to one
window after it, so that window is examined, too.

Our own measures: a false start is a run of < 1 s that is no backchannel, begun and given up while the other
speaks. The share of overlap is the share of own speech during which another speaks too. The rate of right
actions and the timing error compare with a reference's onsets and silences.

Shape suffix: W windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from corpus.schemas.arrays import BoolArray, Int64Array
from corpus.schemas.clock import US, WINDOW_US
from corpus.trainer.data.runs import Run, runs

WINDOW_S = WINDOW_US / US
SECOND = US // WINDOW_US
"""Windows in a second."""
TAKE_OVER_WINDOWS = SECOND
TAKE_OVER_WORDS = 3
BACKCHANNEL_WORDS = 2
STOP_WINDOWS = 7
"""1.5 s, in whole windows."""
ANSWER_WINDOWS = 25
"""Windows after the end of a turn in which to look for a take-over, if nobody else speaks before."""
SEARCH_WINDOWS = 10
"""An onset further than this from the reference's does not answer the same thing."""
TOLERANCE_WINDOWS = 1
HEARD_AFTER = 1
"""A decision made in a window is heard in the next one."""


def onsets(speaks_W: BoolArray) -> list[int]:
    return [start for start, _ in runs(speaks_W)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _TakeOver:
    """Speech found in a stretch of windows."""

    taken: bool
    onset: int | None
    """Window in which the speech begins, possibly before the stretch; None without speech."""


def take_over(speaks_W: BoolArray, words_W: Int64Array, start: int, stop: int) -> _TakeOver:
    """Whether the turn is taken by speech that is heard in windows `[start, stop)`."""
    inside = [(a, b) for a, b in runs(speaks_W) if a < stop and b > start]
    if not inside:
        return _TakeOver(taken=False, onset=None)
    first, last = inside[0][0], inside[-1][1]
    words = int(words_W[first:last].sum())
    return _TakeOver(taken=last - first >= TAKE_OVER_WINDOWS or words > TAKE_OVER_WORDS, onset=first)


def latency_windows(found: _TakeOver, ended: int) -> int | None:
    """Windows from the end of the other's speech to the take-over."""
    if not found.taken or found.onset is None:
        return None
    return max(0, found.onset - ended)


def answer_stop(other_W: BoolArray, ended: int) -> int:
    """The window before which an answer to a turn that ended in window `ended` must begin."""
    latest = min(len(other_W), ended + ANSWER_WINDOWS)
    again = np.flatnonzero(other_W[ended + 1 : latest])
    return min(latest, ended + 1 + int(again[0]) + HEARD_AFTER) if len(again) else latest


def backchannels(speaks_W: BoolArray, words_W: Int64Array, other_W: BoolArray) -> list[Run]:
    """Short runs while the other has the floor, apart from other speech of one's own."""
    floor_W = other_W | np.concatenate(([False], other_W[:-1]))
    speech = runs(speaks_W)
    return [
        (start, stop)
        for (start, stop), apart in zip(speech, _apart(speech), strict=True)
        if apart
        and floor_W[start]
        and stop - start < TAKE_OVER_WINDOWS
        and words_W[start:stop].sum() <= BACKCHANNEL_WORDS
    ]


def false_starts(speaks_W: BoolArray, words_W: Int64Array, other_W: BoolArray) -> list[Run]:
    """Short runs, not backchannels, that are begun and given up while the other speaks."""
    given = set(backchannels(speaks_W, words_W, other_W))
    return [
        (start, stop)
        for start, stop in runs(speaks_W)
        if stop - start < TAKE_OVER_WINDOWS
        and other_W[start]
        and other_W[stop - 1]
        and (start, stop) not in given
    ]


def _apart(found: Sequence[Run]) -> list[bool]:
    """Whether each run has a second of silence on both sides, as far as is known."""
    far = [after[0] - before[1] >= SECOND for before, after in pairwise(found)]
    return [before and after for before, after in zip([True, *far], [*far, True], strict=True)][: len(found)]


def timing_distance(found: Sequence[Run], reference: Sequence[Run], windows: int) -> float:
    """Jensen-Shannon distance between two sets of runs, each as a distribution over the windows they fill."""
    if not found:
        return 1.0
    p, q = filled(found, windows), filled(reference, windows)
    middle = (p + q) / 2
    return math.sqrt(max(0.0, (_divergence(p, middle) + _divergence(q, middle)) / 2))


def filled(found: Sequence[Run], windows: int) -> npt.NDArray[np.float64]:
    """The distribution over windows that the runs fill."""
    counts = np.zeros(windows)
    for start, stop in found:
        counts[start:stop] += 1
    share: npt.NDArray[np.float64] = counts / counts.sum()
    return share


def _divergence(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> float:
    some = p > 0
    return float((p[some] * np.log(p[some] / q[some])).sum())


def stop_windows(speaks_W: BoolArray, interrupted: int) -> float | None:
    """Windows from the beginning of an interruption until it is silent; None if it did not speak then.

    Infinite if it speaks to the end of the known windows.
    """
    for start, stop in runs(speaks_W):
        if start <= interrupted < stop:
            return stop - interrupted if stop < len(speaks_W) else math.inf
    return None


def interruption_end(other_W: BoolArray, interrupted: int) -> int:
    """The first window after the beginning of an interruption in which nobody else speaks."""
    silent = np.flatnonzero(~other_W[interrupted + 1 :])
    return interrupted + 1 + int(silent[0]) if len(silent) else len(other_W)


def answer(speaks_W: BoolArray, words_W: Int64Array, other_W: BoolArray, ended: int) -> _TakeOver:
    """Speech after an interruption; continued speech counts from the end of the interruption on."""
    after_W = speaks_W.copy()
    after_W[:ended] = False
    return take_over(after_W, words_W, ended, answer_stop(other_W, ended))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Actions:
    """How a reference's onsets were met and its silences kept."""

    onsets: int
    met: int
    silences: int
    kept: int
    errors: tuple[float, ...]
    """Windows from each of the reference's onsets to the nearest one; infinite if none is within reach."""


def actions(speaks_W: BoolArray, reference_W: BoolArray, *, told: bool, first: int = 0) -> _Actions:
    """Compare with a reference, from window `first` on.

    `told`: the flags were made knowing the reference's past (teacher forcing). Then speech after an onset is
    no merit: an onset is met in its own window or the one before, never after.
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
    kept = sum(not speaks_W[a:b].any() for a, b in inner)
    return _Actions(onsets=len(wanted), met=met, silences=len(inner), kept=kept, errors=tuple(errors))


def _gaps(found: Sequence[Run], windows: int) -> list[Run]:
    starts = [0, *(stop for _, stop in found)]
    stops = [*(start for start, _ in found), windows]
    return list(zip(starts, stops, strict=True))
