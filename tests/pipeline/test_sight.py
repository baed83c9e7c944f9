"""Sight as a stage: the same bytes from one pass or two, and what is said where it cannot be made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from corpus.schemas.settings import Settings, SightSettings
from corpus.shards.read import open_clips

Run = Callable[..., Any]
MOVEMENT_ONLY = SightSettings(faces=False)


def made(out: Path) -> tuple[bool, str]:
    (label,) = [m for m in open_clips(out)[0].json.labels_made if m.label == "visual"]
    return label.made, label.reason


def sight_files(cache: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (cache / "sight").rglob("*") if p.is_file()}


def test_a_second_pass_sees_what_one_pass_sees(
    run_build: Run, talks: Path, tmp_path: Path, no_models: Settings
) -> None:
    on = replace(no_models, sight=MOVEMENT_ONLY)
    one, two = tmp_path / "one", tmp_path / "two"
    run_build(talks / "meeting.mp4", out=one, settings=on)
    assert made(one) == (True, "")
    run_build(talks / "meeting.mp4", out=two, settings=no_models)
    assert made(two) == (False, "sight is switched off (sight.enabled)")
    run_build(talks / "meeting.mp4", out=two, settings=on)
    assert sight_files(one / ".cache") == sight_files(two / ".cache") != {}
