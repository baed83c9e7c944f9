"""The calculation of many hours: it grows as it must, and its figures are those of the document."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from corpus.pipeline import plan_hours as rates
from corpus.pipeline.plan_hours import plan_hours
from corpus.schemas.errors import UsageError


def test_twice_the_hours_take_twice_of_everything() -> None:
    one = plan_hours(100, nodes=2, cores_per_node=8, gpus=0, pictures=False)
    two = plan_hours(200, nodes=2, cores_per_node=8, gpus=0, pictures=False)
    for name in ("core_hours", "wall_hours", "dataset_bytes", "cache_bytes", "read_bytes", "written_bytes"):
        assert getattr(two, name) == pytest.approx(2 * getattr(one, name))
    assert two.memory_gb_per_node == one.memory_gb_per_node


def test_machines_share_the_work_and_no_bytes() -> None:
    one = plan_hours(100, nodes=1, cores_per_node=8, gpus=0, pictures=True)
    five = plan_hours(100, nodes=5, cores_per_node=8, gpus=0, pictures=True)
    assert five.wall_hours == pytest.approx(one.wall_hours / 5)
    assert (five.core_hours, five.written_bytes) == (one.core_hours, one.written_bytes)
    assert one.wall_hours > one.core_hours / 8


@pytest.mark.parametrize(
    ("hours", "nodes", "cores"), [(0, 1, 1), (-1, 1, 1), (float("nan"), 1, 1), (1, 0, 1), (1, 1, 0)]
)
def test_numbers_that_mean_nothing_are_refused(hours: float, nodes: int, cores: int) -> None:
    with pytest.raises(UsageError, match="cannot be planned; give hours above 0"):
        plan_hours(hours, nodes=nodes, cores_per_node=cores, gpus=0, pictures=False)


def test_the_document_states_the_rates(repository: Path) -> None:
    text = (repository / "docs" / "cluster.md").read_text("utf-8")
    for stage, rate in rates.CORE_S_BY_STAGE.items():
        assert re.search(rf"\| {stage} \| {rate:.3f} \|", text), stage
    assert f"| cache : dataset | {rates.CACHE_SHARE} |" in text
