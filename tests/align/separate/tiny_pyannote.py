"""A network of pyannote.audio's separation interface: two bands of the sound, and who is loud in which."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from pyannote.audio.core.model import Model
from pyannote.audio.utils.receptive_field import (
    conv1d_num_frames,
    conv1d_receptive_field_center,
    conv1d_receptive_field_size,
)

HOP, KERNEL = 160, 320


class TinySeparation(Model):  # type: ignore[misc]
    """Sources are a smoothed sound and what that leaves of it."""

    def __init__(self, sample_rate: int = 16_000, num_channels: int = 1, task: Any = None) -> None:
        super().__init__(sample_rate=sample_rate, num_channels=num_channels, task=task)
        self.save_hyperparameters("sample_rate", "num_channels")
        self.smooth = torch.nn.Conv1d(1, 1, 9, padding=4, bias=False)
        torch.nn.init.constant_(self.smooth.weight, 1 / 9)

    @property
    def dimension(self) -> int:
        return 1

    def build(self) -> None:
        self.activation = self.default_activation()

    @lru_cache  # noqa: B019
    def num_frames(self, num_samples: int) -> int:
        return int(conv1d_num_frames(num_samples, kernel_size=KERNEL, stride=HOP))

    def receptive_field_size(self, num_frames: int = 1) -> int:
        return int(conv1d_receptive_field_size(num_frames, kernel_size=KERNEL, stride=HOP))

    def receptive_field_center(self, frame: int = 0) -> int:
        return int(conv1d_receptive_field_center(frame, kernel_size=KERNEL, stride=HOP))

    def forward(self, waveforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        low = self.smooth(waveforms)
        sources = torch.cat([low, waveforms - low], dim=1)
        power = torch.nn.functional.avg_pool1d(sources**2, KERNEL, HOP)
        return (power > 1e-6).float().transpose(1, 2), sources.transpose(1, 2)
