"""Checkpoints in Asteroid's form: what the network gives, and what is refused."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from corpus.align.separate.asteroid import asteroid_separator
from corpus.align.separate.open import open_separator
from corpus.schemas.errors import (
    CorpusError,
    FormatError,
    MissingDependencyError,
    MissingModelError,
    SettingsError,
)
from corpus.schemas.settings import SeparateSettings
from tests.align.separate.networks import filter_checkpoint

HERE = Path(__file__).parent


def test_what_asteroid_itself_gives() -> None:
    """File and output were made by Asteroid 0.7.0: `ConvTasNet(...).serialize()`, and its forward pass."""
    separator = asteroid_separator(HERE / "convtasnet_of_asteroid.pth", "cpu")
    sound = np.random.default_rng(3).normal(size=2003).astype(np.float32)
    expected = np.load(HERE / "convtasnet_of_asteroid.npy")
    found = separator.load()(sound, 2)
    assert separator.most_speakers == 2
    assert found.shape == expected.shape
    # single precision, sums of some hundred terms
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("samples", [1, 63, 64, 5000])
def test_any_length_comes_back(tmp_path: Path, samples: int) -> None:
    filter_checkpoint(tmp_path / "bands.pth")
    separate = asteroid_separator(tmp_path / "bands.pth", "cpu").load()
    assert separate(np.ones(samples, np.float32), 2).shape == (2, samples)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_file_that_would_run_something_is_not_opened(tmp_path: Path) -> None:
    stored = filter_checkpoint(tmp_path / "good.pth")
    torch.save({**stored, "infos": Evil(tmp_path / "done")}, tmp_path / "evil.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Evil(tmp_path / "done")))
    with pytest.raises(FormatError, match="weights_only=False"):
        asteroid_separator(tmp_path / "evil.pth", "cpu")
    with pytest.raises(FormatError, match=r"plain\.pth"):
        asteroid_separator(tmp_path / "plain.pth", "cpu")
    assert not (tmp_path / "done").exists()


def _without(stored: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {**stored, "model_args": {**stored["model_args"], **changed}}


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (lambda s: _without(s, n_src=1), FormatError, "gives 1 voices"),
        (lambda s: _without(s, n_src="many"), FormatError, "n_src"),
        (lambda s: _without(s, hid_chan=-3), FormatError, "hid_chan"),
        (lambda s: _without(s, hid_chan=10**9), FormatError, "hid_chan"),
        (lambda s: _without(s, hid_chan=3), FormatError, "do not fit"),
        (lambda s: {**s, "model_name": "DPRNNTasNet"}, MissingDependencyError, "pip install"),
        (lambda s: _without(s, norm_type="cLN"), MissingDependencyError, "pip install"),
        (lambda s: s["state_dict"], FormatError, "lacks model_name"),
        (lambda s: [1, 2], FormatError, "lacks model_name"),
    ],
)
def test_odd_checkpoints_say_what_is_wrong(
    tmp_path: Path, change: Any, error: type[CorpusError], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    torch.save(change(filter_checkpoint(tmp_path / "good.pth")), tmp_path / "odd.pth")
    with pytest.raises(error, match=told):
        asteroid_separator(tmp_path / "odd.pth", "cpu").load()


def test_no_file_and_no_file_of_torch(tmp_path: Path) -> None:
    with pytest.raises(MissingModelError, match="no such file"):
        asteroid_separator(tmp_path / "none.pth", "cpu")
    for content in (b"", b"text of no use", b"PK\x03\x04 cut"):
        (tmp_path / "odd.pth").write_bytes(content)
        with pytest.raises(FormatError, match=r"odd\.pth"):
            asteroid_separator(tmp_path / "odd.pth", "cpu")


def test_settings_choose(tmp_path: Path) -> None:
    filter_checkpoint(tmp_path / "one.pth")
    filter_checkpoint(tmp_path / "other.pth", swapped=True)
    assert open_separator(SeparateSettings()) is None
    one, other = (
        open_separator(SeparateSettings(backend=f"asteroid:{tmp_path}/{n}.pth")) for n in ("one", "other")
    )
    assert one is not None and other is not None and one.identity != other.identity
    with pytest.raises(SettingsError, match="must be mask, pyannote:"):
        open_separator(SeparateSettings(backend="spleeter"))
