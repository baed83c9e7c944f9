"""The sample film, built as a new user builds it: models say who speaks and what is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpus.align.models import find
from corpus.cli.main import app
from corpus.schemas.errors import MissingModelError
from corpus.shards import open_clips
from corpus.shards.verify import verify_dataset


def test_models_alone_make_a_dataset(tmp_path: Path) -> None:
    try:
        for name in ("segmentation-3.0", "campplus", "whisper-base", "faces"):
            find(name)
    except MissingModelError as error:
        pytest.skip(str(error))
    film, out = tmp_path / "call.mp4", tmp_path / "OUT"
    app(["sample", str(film)], standalone_mode=False)
    app(["build", str(film), "--out", str(out)], standalone_mode=False)
    assert not verify_dataset(out).problems
    (clip,) = open_clips(out)
    assert len(clip.json.speakers) == 2
    # 81 were said. Which of them are found is measured in tests/align/test_processors.py.
    assert 60 < len(clip.json.words) < 90
