"""What a stage returns and what it keeps are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from corpus.pipeline import building
from corpus.pipeline.artifact import Kept
from corpus.pipeline.cache import Cache
from corpus.pipeline.engine import Done
from corpus.schemas.codec import to_json


def _here(function: Callable[[Any], Any], jobs: Sequence[Any], **_: object) -> Iterator[Done[Any, Any]]:
    return (Done(job, function(job)) for job in jobs)


def test_a_stage_returns_what_a_later_build_reads(
    talks: Path, tmp_path: Path, run_build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    keep = Cache.keep

    def checked(cache: Cache, stage: str, digest: str, fill: Any, read: Callable[[Path], Any]) -> Kept[Any]:
        kept = keep(cache, stage, digest, fill, read)
        assert read(kept.folder) == kept.value, stage
        assert to_json(read(kept.folder)) == to_json(kept.value), stage
        seen.append(stage)
        return kept

    monkeypatch.setattr(Cache, "keep", checked)
    monkeypatch.setattr(building, "run_jobs", _here)
    assert run_build(talks, out=tmp_path / "out").recordings == 4
    assert {"decode", "voices", "label", "quality"} <= set(seen)
