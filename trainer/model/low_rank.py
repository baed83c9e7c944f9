"""LoRA: attention's matrices are frozen, and a product of two small matrices added to each is trained.

# R rank, O rows and I columns of the frozen matrix

    y = x W^T + (x down^T) up^T        up_OR starts as zeros, so that a run starts as the base model

Merged, `W + up down` is an ordinary model.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from corpus.trainer.config import ModelConfig
from corpus.trainer.model.layers import linear, parameter

_MARK = ".low."


class _LowRank(nn.Module):
    """The term added to a frozen linear map."""

    def __init__(self, rank: int, rows: int, columns: int) -> None:
        super().__init__()
        self.down = parameter(rank, columns)
        self.up = parameter(rows, rank)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(linear(x, self.down), self.up)


def low_ranks(config: ModelConfig, shapes: Mapping[str, torch.Size]) -> nn.ModuleDict:
    """A low-rank term for each of these maps that the settings choose; none at rank 0."""
    chosen = config.lora_targets if config.lora_rank else ()
    return nn.ModuleDict({name: _LowRank(config.lora_rank, *shapes[name]) for name in chosen})


def is_trained(name: str, config: ModelConfig) -> bool:
    """Whether a weight is trained; with a LoRA rank only the low-rank ones are."""
    return not config.lora_rank or _MARK in name


def merged(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of an equivalent model without LoRA."""
    whole = {name: value for name, value in state.items() if _MARK not in name}
    for name, up in state.items():
        if _MARK in name and name.endswith(".up"):
            owner, _, target = name.removesuffix(".up").rpartition(_MARK)
            weight = whole[f"{owner}.{target}"]
            # In fp64, so that only the last rounding to the weight's own type is lost.
            added = up.double() @ state[name.removesuffix("up") + "down"].double()
            whole[f"{owner}.{target}"] = (weight.double() + added).to(weight.dtype)
    return whole
