"""visual / scene_cut: the picture changes completely from one moment to the next."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from corpus.schemas.conversation import Cue
from corpus.schemas.evidence import as_json
from corpus.schemas.settings import VisualSettings
from corpus.schemas.sight import Seen

_ORIGIN = "scene_cut/1"
_FLASH_US = 1_000_000
"""A picture that is back within so long was never left: a flash, not a cut."""


def scene_cut(seen: Seen, settings: VisualSettings) -> list[Cue]:
    """The first picture after each cut. A picture after a hole is not judged."""
    cues: list[Cue] = []
    for at in cut_rows(seen, settings):
        start_us = int(seen.times_us[at])
        score = float(seen.frames["cut"][at])
        cues.append(
            Cue(
                label="visual",
                kind="scene_cut",
                speaker=None,
                start_us=start_us,
                stop_us=start_us + seen.head.period_us,
                confidence=round(min(1.0, score), 3),
                origin=_ORIGIN,
                thresholds=as_json(cut_least=settings.cut_least, flash_us=_FLASH_US),
                evidence=as_json(changed=round(score, 3)),
            )
        )
    return cues


def cut_rows(seen: Seen, settings: VisualSettings) -> list[int]:
    """Rows of the first sampled picture after each cut."""
    scores = seen.frames["cut"]
    jumps = np.flatnonzero(scores >= settings.cut_least)
    cuts: list[int] = []
    last_flash = -1
    for at in jumps:
        if at <= last_flash:
            continue
        back = _back_again(seen, int(at), settings)
        if back is None:
            cuts.append(int(at))
        else:
            last_flash = back
    return cuts


def _back_again(seen: Seen, at: int, settings: VisualSettings) -> int | None:
    """The row soon after `at` from which the picture is again the one before `at`."""
    if at == 0:
        return None
    stop = int(np.searchsorted(seen.times_us, seen.times_us[at] + _FLASH_US, "right"))
    before = seen.frames["thumb"][at - 1].astype(np.float64)
    for later in range(at + 1, min(stop, len(seen.frames))):
        jumps = float(seen.frames["cut"][later]) >= settings.cut_least
        if jumps and _gone(before, seen.frames["thumb"][later].astype(np.float64)) < settings.cut_least / 2:
            return later
    return None


def _gone(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> float:
    apart = float(before.var() + after.var()) + float(before.mean() - after.mean()) ** 2
    return float(np.mean((after - before) ** 2)) / (apart + 1.0)
