"""How training weights `<sil>`, `<spk>` and `<eow>`, and how its effect on probabilities is undone.

An onset is rare and has a large weight, continued silence a small one. Weighted cross-entropy is minimal
where the odds are the true ones times weight(`<spk>`) / weight(`<sil>`). Which weights apply depends on
whether the speaker spoke in the window before, and so does the factor:

    before      <sil>         <spk>         odds are multiplied by
    silence     silence       onset         onset / silence, 15 by default
    speech      offset        offset        1

A token of text has weight 1, so the odds of `<eow>` against text are multiplied by its weight, 0.5 by
default.

`control_weights` is what training uses, `Weighting` the factors that follow from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

import numpy as np

from corpus.schemas.arrays import BoolArray, Float64Array
from corpus.trainer.config import LossConfig


def control_weights(before_N: BoolArray, speak_N: BoolArray, loss: LossConfig) -> Float64Array:
    """The weight of each window's `<sil>` or `<spk>`, which depends on speech in the window before."""
    changed = np.where(speak_N, loss.onset, loss.offset)
    unchanged = np.where(speak_N, loss.offset, loss.silence)
    return np.where(before_N == speak_N, unchanged, changed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighting:
    """The factors by which training multiplied the odds; 1 for a model without a run."""

    after_silence: float = 1.0
    """For the odds of `<spk>` after a window without speech."""
    after_speech: float = 1.0
    """For the odds of `<spk>` after a window with speech."""
    end_of_window: float = 1.0
    """For the odds of `<eow>` against text."""

    @classmethod
    def of(cls, loss: LossConfig) -> Weighting:
        """The factors of a model trained with these weights. A weight of 0 means that the token is not
        learnt, which cannot be undone: its factor stays 1."""
        silent, speaks = (
            control_weights(np.array([False, True]), np.full(2, each), loss) for each in (False, True)
        )
        after = [float(s / n) if s > 0 and n > 0 else 1.0 for s, n in zip(speaks, silent, strict=True)]
        return cls(after_silence=after[0], after_speech=after[1], end_of_window=loss.end_of_window or 1.0)

    @overload
    def undone(self, p: float, before: bool) -> float: ...
    @overload
    def undone(self, p: Float64Array, before: BoolArray) -> Float64Array: ...
    def undone(self, p: float | Float64Array, before: bool | BoolArray) -> float | Float64Array:
        """The true probability of speaking for a learnt `p`, after a window with or without speech."""
        factor = np.where(before, self.after_speech, self.after_silence)
        # Divide the odds p / (1 - p) by the factor, written so that p = 1 does not divide by zero.
        true_p = p / (p + (1 - p) * factor)
        return true_p if isinstance(p, np.ndarray) else float(true_p)
