"""A separator in a build: refused with its reason where it cannot be tested, and asked for in vain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from corpus.pipeline.request import Outcome
from corpus.schemas.errors import MissingError
from corpus.schemas.settings import SeparateSettings
from corpus.shards import open_clips
from tests.align.separate.networks import filter_checkpoint
from tests.pipeline.conftest import NO_MODELS


def test_a_separator_that_cannot_be_tested_is_not_used(
    talks: Path, run_build: Callable[..., Outcome], tmp_path: Path
) -> None:
    filter_checkpoint(tmp_path / "bands.pth")
    settings = replace(NO_MODELS, separate=SeparateSettings(backend=f"asteroid:{tmp_path / 'bands.pth'}"))
    plain, tried = (
        run_build(talks / "meeting.mp4", out=tmp_path / name, settings=given)
        for name, given in (("plain", NO_MODELS), ("tried", settings))
    )
    assert plain.exit_code == tried.exit_code == 0
    (drop,) = [drop for drop in tried.drops if drop.code == "separator_not_accepted"]
    assert "too little to test it" in drop.reason
    assert not [drop for drop in plain.drops if drop.code == "separator_not_accepted"]
    for one, other in zip(open_clips(tmp_path / "plain"), open_clips(tmp_path / "tried"), strict=True):
        assert (one.audio() == other.audio()).all() and (one.activity() == other.activity()).all()
        assert one.json.separation is not None and one.json.separation.separator == "mask/1"
        assert other.json.separation is not None
        assert other.json.separation.separator.startswith("asteroid/1 ConvTasNet")
        assert not other.json.separation.accepted


def test_a_separator_that_is_not_there_stops_the_build_in_a_line(
    talks: Path, run_build: Callable[..., Outcome], tmp_path: Path
) -> None:
    settings = replace(NO_MODELS, separate=SeparateSettings(backend="asteroid:nowhere.pth"))
    with pytest.raises(MissingError, match=r"nowhere\.pth: no such file"):
        run_build(talks / "meeting.mp4", out=tmp_path / "out", settings=settings)
