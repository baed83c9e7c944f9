from __future__ import annotations

import math

import pytest

from corpus.trainer.config import OptimConfig
from corpus.trainer.train.schedule import share


def optim(schedule: str, **rest: float) -> OptimConfig:
    return OptimConfig(schedule=schedule, warmup_steps=10, **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize("schedule", ["wsd", "cosine", "constant"])
def test_warm_up_rises_in_equal_parts_and_reaches_the_peak(schedule: str) -> None:
    shares = [share(optim(schedule), step, 100) for step in range(10)]
    assert shares == pytest.approx([k / 10 for k in range(1, 11)])


def test_wsd_stays_then_falls_in_a_line() -> None:
    config = optim("wsd", decay_share=0.2, final_share=0.1)
    shares = [share(config, step, 100) for step in range(100)]
    assert shares[9:81] == [1.0] * 72
    assert shares[90] == pytest.approx(0.55)
    assert shares[99] == pytest.approx(0.1 + 0.9 / 20)
    assert share(config, 100, 100) == pytest.approx(0.1)


def test_wsd_without_decay_stays_to_the_end() -> None:
    assert share(optim("wsd", decay_share=0.0), 99, 100) == 1.0


def test_cosine_is_half_way_down_in_the_middle() -> None:
    config = optim("cosine", final_share=0.2)
    assert share(config, 10, 110) == pytest.approx(1.0)
    assert share(config, 60, 110) == pytest.approx(0.6)
    assert share(config, 35, 110) == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2)
    assert share(config, 110, 110) == pytest.approx(0.2)


def test_a_run_shorter_than_its_warm_up_never_reaches_the_peak() -> None:
    for schedule in ("wsd", "cosine", "constant"):
        assert all(0 <= share(optim(schedule), step, 5) <= 0.5 for step in range(5))


def test_no_warm_up_begins_at_the_peak() -> None:
    assert share(OptimConfig(warmup_steps=0, schedule="constant"), 0, 10) == 1.0
