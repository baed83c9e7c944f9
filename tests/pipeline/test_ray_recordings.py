"""Machines of a cluster that see less than the driver does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corpus.pipeline import ray_recordings
from corpus.pipeline.build import build_dataset
from corpus.pipeline.engine import Done
from corpus.pipeline.progress import Quiet
from corpus.pipeline.request import Request
from corpus.schemas.errors import StorageError
from corpus.schemas.settings import Settings

Run = Callable[..., Iterator[Done[Any, Any]]]


@pytest.fixture
def request_on_ray(
    talks: Path, tmp_path: Path, no_models: Settings, monkeypatch: pytest.MonkeyPatch
) -> Request:
    """A build whose machines are this process, which hides and shows files as the test wants."""
    from contextlib import nullcontext

    monkeypatch.setattr("corpus.pipeline.ray_engine.connected", lambda address: nullcontext())
    monkeypatch.setattr("corpus.pipeline.shard_jobs.run_jobs", None)
    monkeypatch.setattr("corpus.pipeline.ray_engine.run_on_ray", _on(lambda hide: None))
    monkeypatch.setattr(ray_recordings, "_PAUSE_S", 0.0)
    inputs = (str(talks / "sound only.wav"), str(talks / "deep.flac"))
    return Request(inputs=inputs, out=tmp_path / "OUT", settings=no_models, engine="ray")


def _on(before: Callable[[Any], None]) -> Run:
    def run(function: Callable[[Any], Any], jobs: Sequence[Any], **_: Any) -> Iterator[Done[Any, Any]]:
        for job in jobs:
            before(job)
            yield Done(job, function(job))

    return run


@pytest.mark.parametrize("hidden", ["sound only.wav", "scratch"])
def test_a_machine_without_the_inputs_or_the_cache_is_named_and_the_same_command_continues(
    request_on_ray: Request, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    """Or it would take all recordings that are left, and fail each."""
    with monkeypatch.context() as patch:
        patch.setattr(ray_recordings, "run_on_ray", _on(lambda job: None))
        patch.setattr(ray_recordings, "_is_seen", lambda path: hidden not in str(path))
        with pytest.raises(StorageError, match=rf": does not see .*{hidden}.*; mount it under the same path"):
            build_dataset(request_on_ray, Quiet())
    monkeypatch.setattr(ray_recordings, "run_on_ray", _on(lambda job: None))
    assert build_dataset(request_on_ray, Quiet()).recordings == 2


def test_a_file_that_everybody_misses_is_its_recordings_fault_until_it_is_back(
    request_on_ray: Request, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "in" / "a.wav"
    path.parent.mkdir()
    path.write_bytes((talks / "sound only.wav").read_bytes())
    request = replace(request_on_ray, inputs=(str(path), str(talks / "deep.flac")))

    def hide(job: Any) -> None:
        if job.identity.item.uri == "a.wav":
            path.rename(tmp_path / "hidden")

    monkeypatch.setattr(ray_recordings, "run_on_ray", _on(hide))
    outcome = build_dataset(request, Quiet())
    assert [(fault.item, fault.code) for fault in outcome.faults] == [("a.wav", "vanished")]
    assert outcome.recordings == 1
    (tmp_path / "hidden").rename(path)
    monkeypatch.setattr(ray_recordings, "run_on_ray", _on(lambda job: None))
    outcome = build_dataset(request, Quiet())
    assert outcome.exit_code == 0 and outcome.recordings == 2
