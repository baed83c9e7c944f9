"""How well a model predicts cues, compared with the best constant: by label, begins or holds, own or others'.

Shape suffixes: C windows, K cue targets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from corpus.trainer.data.cues import CUE_LABELS, CUE_SHAPE, OWN
from corpus.trainer.data.sequence import CUE_TARGETS, CUE_UNKNOWN

What = Literal["begins", "holds"]
WHATS: tuple[What, What] = ("begins", "holds")


@dataclass(frozen=True, slots=True, kw_only=True)
class CueScore:
    """The score of one label, over windows of recordings in which it was looked for."""

    label: str
    own: bool
    """Whether these are cues of the speaker that the model plays; if not, of anybody else."""
    what: What
    windows: int
    cases: int
    """Windows in which the target is true."""
    nats: float
    """Mean loss of the model."""
    constant: float
    """Mean loss of the best constant, the share of cases in these very windows."""
    auc: float | None
    """Area under the ROC curve of the probabilities; None if all windows are alike."""


class CueScores:
    """Targets and probabilities of documents."""

    def __init__(self) -> None:
        self._target: list[npt.NDArray[np.uint8]] = []
        self._p: list[npt.NDArray[np.float64]] = []

    def add(self, target_CK: npt.NDArray[np.uint8], p_CK: npt.NDArray[np.float64]) -> None:
        self._target.append(target_CK)
        self._p.append(p_CK)

    def rows(self) -> tuple[CueScore, ...]:
        """The scores of all targets that are known anywhere, by label."""
        if not self._target:
            return ()
        target_CK, p_CK = np.concatenate(self._target), np.concatenate(self._p)
        scores = []
        for place in np.arange(CUE_TARGETS).reshape(CUE_SHAPE).transpose(1, 2, 0).reshape(-1).tolist():
            what, label, who = np.unravel_index(place, CUE_SHAPE)
            known_C = target_CK[:, place] != CUE_UNKNOWN
            if known_C.any():
                target_C = target_CK[known_C, place] == 1
                scores.append(
                    CueScore(
                        label=CUE_LABELS[label],
                        own=int(who) == OWN,
                        what=WHATS[int(what)],
                        windows=len(target_C),
                        cases=int(target_C.sum()),
                        nats=_nats(target_C, p_CK[known_C, place]),
                        constant=_entropy(float(target_C.mean())),
                        auc=area(target_C, p_CK[known_C, place]),
                    )
                )
        return tuple(scores)


def _nats(target_C: npt.NDArray[np.bool_], p_C: npt.NDArray[np.float64]) -> float:
    right_C = np.where(target_C, p_C, 1 - p_C)
    return float(-np.log(right_C.clip(min=1e-300)).mean())


def _entropy(share: float) -> float:
    return -sum(p * math.log(p) for p in (share, 1 - share) if p > 0)


def area(target_C: npt.NDArray[np.bool_], p_C: npt.NDArray[np.float64]) -> float | None:
    """Area under the ROC curve, by ranks, with ties counting half."""
    cases, others = int(target_C.sum()), int((~target_C).sum())
    if not cases or not others:
        return None
    _, place_C, count_U = np.unique(p_C, return_inverse=True, return_counts=True)
    rank_U = count_U.cumsum() - (count_U - 1) / 2
    above = rank_U[place_C[target_C]].sum() - cases * (cases + 1) / 2
    return float(above / (cases * others))
