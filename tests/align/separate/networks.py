"""Separators for tests: a filter that is right, what does nothing, and a checkpoint in Asteroid's form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from corpus.align.separate.separator import Separate, Separator
from corpus.schemas.arrays import Float32Array
from tests.align.separate.made_talk import BANDS, filtered


def by_filter(sound: Float32Array, speakers: int) -> Float32Array:
    """Both voices, exactly, in the other order and at odd levels, one upside down."""
    return np.stack([3.0 * filtered(sound, *BANDS["B"]), -0.2 * filtered(sound, *BANDS["A"])]).astype(
        np.float32
    )


def by_nothing(sound: Float32Array, speakers: int) -> Float32Array:
    """The mixture for everybody, with a little noise, so that the two differ."""
    noise = np.random.default_rng(1).normal(size=(2, len(sound)))
    return (sound + 1e-3 * noise).astype(np.float32)


def of(separate: Separate) -> Separator:
    return Separator("test/1", "test", 2, lambda: separate)


def filter_checkpoint(path: Path, *, swapped: bool = False) -> dict[str, Any]:
    """A ConvTasNet in Asteroid's form whose masks are the two bands, whatever it hears.

    Its filters are a windowed Fourier transform and its inverse; all weights between them are zero, and the
    biases of the last layer open the first voice's band below 2.3 kHz, the second's above.
    """
    import torch

    kernel, stride = 64, 32
    bins = kernel // 2 + 1
    window = np.sin(np.pi * (np.arange(kernel) + 0.5) / kernel)
    angles = 2 * np.pi * np.outer(np.arange(bins), np.arange(kernel)) / kernel
    analysis = np.concatenate([np.cos(angles), np.sin(angles)]) * window
    twice = np.where((np.arange(bins) == 0) | (np.arange(bins) == bins - 1), 1, 2)
    synthesis = analysis * np.concatenate([twice, twice])[:, None] / kernel
    sizes = {
        "n_filters": 2 * bins,
        "bn_chan": 2,
        "hid_chan": 2,
        "skip_chan": 2,
        "n_blocks": 1,
        "n_repeats": 1,
    }
    state = {
        "encoder.filterbank._filters": analysis[:, None],
        "decoder.filterbank._filters": synthesis[:, None],
        **{"masker.bottleneck.0.gamma": np.ones(2 * bins), "masker.bottleneck.0.beta": np.zeros(2 * bins)},
        **{"masker.bottleneck.1.weight": np.zeros((2, 2 * bins, 1)), "masker.bottleneck.1.bias": np.zeros(2)},
        **{f"masker.TCN.0.{part}.weight": np.zeros((2, 2, 1)) for part in ("shared_block.0", "res_conv")},
        **{f"masker.TCN.0.{part}.bias": np.zeros(2) for part in ("shared_block.0", "res_conv", "skip_conv")},
        **{f"masker.TCN.0.shared_block.{place}.weight": np.full(1, 0.25) for place in (1, 4)},
        **{f"masker.TCN.0.shared_block.{place}.gamma": np.ones(2) for place in (2, 5)},
        **{f"masker.TCN.0.shared_block.{place}.beta": np.zeros(2) for place in (2, 5)},
        "masker.TCN.0.shared_block.3.weight": np.zeros((2, 1, 3)),
        "masker.TCN.0.shared_block.3.bias": np.zeros(2),
        "masker.TCN.0.skip_conv.weight": np.zeros((2, 2, 1)),
        "masker.mask_net.0.weight": np.full(1, 0.25),
        "masker.mask_net.1.weight": np.zeros((4 * bins, 2, 1)),
        "masker.mask_net.1.bias": _band_biases(bins, kernel, swapped),
    }
    stored = {
        "model_name": "ConvTasNet",
        "model_args": {"n_src": 2, "kernel_size": kernel, "stride": stride, "sample_rate": 16000, **sizes},
        "state_dict": {key: torch.from_numpy(np.asarray(value, np.float32)) for key, value in state.items()},
    }
    torch.save(stored, path)
    return stored


def _band_biases(bins: int, kernel: int, swapped: bool) -> np.ndarray:
    low = np.tile(np.arange(bins) * 16_000 / kernel < 2300, 2)
    first, second = (~low, low) if swapped else (low, ~low)
    return np.where(np.concatenate([first, second]), 30.0, -30.0)
