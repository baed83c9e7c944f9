"""The learning rate as a share of its peak. It depends on the step alone, so there is no state to save."""

from __future__ import annotations

import math

from corpus.trainer.config import OptimConfig


def share(config: OptimConfig, step: int, steps: int) -> float:
    """The share for the step numbered `step` in `[0, steps)`.

    Warm-up is linear and reaches 1 with its last step. Then `wsd` stays at 1 until the last `decay_share` of
    all steps and falls linearly, `cosine` falls along half a wave, and `constant` stays at 1. The falling
    ones would reach `final_share` one step after the last.
    """
    # step + 1, so that the first step already learns.
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.schedule == "constant":
        return warm
    falling = steps - config.warmup_steps if config.schedule == "cosine" else config.decay_share * steps
    done = min(1.0, max(0.0, (step - (steps - falling)) / falling)) if falling > 0 else 0.0
    left = 1 - done if config.schedule == "wsd" else (1 + math.cos(math.pi * done)) / 2
    return warm * (config.final_share + (1 - config.final_share) * left)
