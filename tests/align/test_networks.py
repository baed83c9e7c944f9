"""The two networks of the default diarization against their own forward passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("pyannote.audio")

from corpus.align import campplus
from corpus.align.models import find
from corpus.align.segmentation import WINDOW_SAMPLES, load_segmentation, posteriors
from corpus.schemas.errors import MissingModelError

RATE_HZ = 16_000

pytestmark = pytest.mark.models


def test_windows_that_share_their_filters_give_what_each_gives_alone() -> None:
    try:
        network = load_segmentation(find("segmentation-3.0"))
    except MissingModelError as error:
        pytest.skip(str(error))
    noise = np.random.default_rng(5).normal(size=13 * RATE_HZ + 777).astype(np.float32)
    # Loud, with an offset, and silent at the end: each window has a mean and a loudness of its own.
    loudness = np.linspace(0.2, 0.0, len(noise), dtype=np.float32)
    sound = noise * np.maximum(loudness - 0.02, 0) + np.float32(0.03)
    found = posteriors(network, sound, RATE_HZ)
    assert list(found.starts[:4]) == [0, RATE_HZ, 2 * RATE_HZ, 3 * RATE_HZ] and len(found.starts) == 5
    padded = np.pad(sound, (0, int(found.starts[-1]) + WINDOW_SAMPLES - len(sound)))
    windows = np.stack([padded[start : start + WINDOW_SAMPLES] for start in found.starts])
    with torch.inference_mode():
        alone = network(torch.from_numpy(windows)[:, None]).exp().numpy()
    assert np.abs(found.classes - alone).max() < 1e-3


def test_folded_norms_change_no_voice(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        folder = find("campplus")
    except MissingModelError as error:
        pytest.skip(str(error))
    folded = campplus.load_network(folder)
    monkeypatch.setattr(campplus, "_fold_norms", lambda module: None)
    plain = campplus.load_network(folder)
    assert sum(isinstance(part, torch.nn.BatchNorm2d) for part in folded.modules()) == 0
    assert sum(isinstance(part, torch.nn.BatchNorm2d) for part in plain.modules()) == 12
    rng = np.random.default_rng(6)
    pieces = [torch.from_numpy(rng.normal(size=(frames, 80)).astype(np.float32)) for frames in (20, 75, 75)]
    expected = [plain((piece - piece.mean(dim=0))[None]).detach().numpy()[0] for piece in pieces]
    assert np.abs(campplus.embed(folded, pieces) - np.stack(expected)).max() < 1e-4
