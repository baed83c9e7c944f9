"""Arrays are joined without a copy only where they lie one after another; batches are the same either way."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from corpus.trainer.data import loader as loader_module
from corpus.trainer.data.in_a_row import in_a_row
from corpus.trainer.data.loader import Loader
from corpus.trainer.overrides import with_overrides
from corpus.trainer.presets import preset


def test_only_what_lies_in_a_row_is_joined() -> None:
    whole = np.arange(100, dtype=np.uint8)
    run = in_a_row([whole[10:20], whole[20:26].reshape(2, 3), whole[26:30]])
    assert run is not None and (run.start, run.stop) == (10, 30)
    assert run.whole.base is whole or run.whole is whole
    assert in_a_row([whole[0:4], whole[5:9]]) is None
    assert in_a_row([whole[5:9], whole[1:5]]) is None
    assert in_a_row([whole[0:4], whole[4:8:2]]) is None
    assert in_a_row([whole[0:4], np.arange(4, 8, dtype=np.uint8)]) is None
    assert in_a_row([whole]) is None and in_a_row([]) is None
    assert in_a_row([np.arange(10, dtype=np.int64)[:4].view(np.uint8)]) is None


@pytest.mark.parametrize("accumulate", [1, 2])
def test_pixels_are_filled_where_the_batch_has_them(
    rules: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    data = rules.write(tmp_path, "talk", {"train": 5}, windows=18).path
    own = (f"data.data={data}", "data.length=260", "data.rows=4", "device=cpu", f"accumulate={accumulate}")
    small = ("model.picture_rows=2", "model.picture_columns=2", "model.picture_every=1")
    config = with_overrides(preset("tiny"), [*own, *small])
    ours = [batch for batch, _ in zip(iter(Loader(config, ahead=0)), range(4), strict=False)]
    # Without room of the batch's own every picture is put where it is read, and copied.
    monkeypatch.setattr(
        loader_module.Loader, "_rooms", lambda self, rows: [[None] * len(row) for row in rows]
    )
    theirs = [batch for batch, _ in zip(iter(Loader(config, ahead=0)), range(4), strict=False)]
    for (mine, state), (other, other_state) in zip(ours, theirs, strict=True):
        assert state == other_state
        for field in dataclasses.fields(mine):
            assert torch.equal(getattr(mine, field.name), getattr(other, field.name)), field.name
        assert mine.patch_PHWC.any()
