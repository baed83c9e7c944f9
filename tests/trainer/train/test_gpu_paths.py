"""What can be known of the paths only a GPU takes, without one: shapes, types and devices."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from corpus.trainer.config import ModelConfig, OptimConfig
from corpus.trainer.model.attention_mask import FlexMask, Sight
from corpus.trainer.model.model import Block, InteractionModel
from corpus.trainer.model.moe import MixtureOfExperts
from corpus.trainer.parallel.ranks import Ranks
from corpus.trainer.presets import MODELS, preset
from corpus.trainer.session.incremental import run_lengths
from corpus.trainer.train.meter import Meter
from corpus.trainer.train.optim import Optimizer
from corpus.trainer.train.step import Learner


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_blocks_of_base_trace_forward_and_backward_with_the_gpu_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlexAttention has no backward on a CPU; on the meta device its graphs are traced all the same.

    Whole graphs, fp32 masters and bf16 activations, a window with sinks, a mask whose tensors are overwritten
    by the next batch; one graph for the dense layer, one for the mixture, none for the second batch.
    """
    monkeypatch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *_: None)
    config = dataclasses.replace(MODELS["base"], attention_window_s=8.0)
    meta, rows, length = torch.device("meta"), 2, 256
    flex = FlexMask(rows, length, Sight.of(config), meta)
    segment_BL = torch.zeros(rows, length, dtype=torch.int64, device=meta)
    place_3BL = torch.zeros(3, rows, length, dtype=torch.int32, device=meta)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for dense in (True, False):
        with meta:
            block = Block(config, dense=dense)
        block.compile(fullgraph=True, dynamic=False, backend="aot_eager")
        for _ in range(2):
            x_BLD = torch.zeros(
                rows, length, config.width, dtype=torch.bfloat16, device=meta, requires_grad=True
            )
            mask = flex.set(segment_BL, segment_BL)
            y_BLD, _ = block(x_BLD, place_3BL, mask, segment_BL >= 0)
            y_BLD.sum().backward()
            assert y_BLD.dtype == torch.bfloat16 and x_BLD.grad is not None
            assert all(parameter.grad is not None for parameter in block.parameters())
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_an_optimiser_on_a_gpu_holds_and_updates_there(tiny: ModelConfig, optimizer: str) -> None:
    """Fused AdamW refuses state that lies elsewhere; fake tensors know where they would lie."""
    with FakeTensorMode(), torch.device("cuda"):
        block = Block(tiny, dense=False)
        named = [(f"blocks.0.{name}", parameter) for name, parameter in block.named_parameters()]
        made = Optimizer(named, OptimConfig(optimizer=optimizer))  # type: ignore[arg-type]
        for _, parameter in named:
            parameter.grad = torch.ones_like(parameter)
        made.step(1.0)
        state = made.state_dict()
    assert {value.device.type for name, value in state.items() if name != "steps"} == {"cuda"}


def test_rows_are_numbered_where_their_noise_is_drawn(tiny: ModelConfig) -> None:
    """Sent there, the host would wait in the middle of a step for all that is under way."""
    config = preset("tiny")
    ranks = Ranks(rank=1, world=2, device=torch.device("meta"))
    learner = Learner(InteractionModel.unset(tiny), config, ranks, Meter(config.loss))
    assert learner._global_rows(1, 4).device.type == "meta"


@torch.no_grad()
def test_a_session_in_fp32_has_no_grouped_product(tiny: ModelConfig) -> None:
    """Off its own kernel, bf16 on Hopper and Blackwell, it asks the host: no recording could hold it."""
    with FakeTensorMode(), torch.device("cuda"):
        layer = MixtureOfExperts(tiny)
        grouped: list[object] = []

        class Watch(TorchDispatchMode):
            def __torch_dispatch__(
                self, function: Any, types: Any, args: Any = (), kwargs: Any = None
            ) -> Any:
                if function is torch.ops.aten._grouped_mm.default:
                    grouped.append(function)
                    return args[0].new_empty(len(args[0]), args[1].shape[-1])
                return function(*args, **(kwargs or {}))

        with Watch():
            for length in run_lengths(tiny):
                layer(torch.ones(1, length, tiny.width), torch.ones(1, length, dtype=torch.bool))
            assert not grouped
            layer(torch.ones(1, 256, tiny.width), torch.ones(1, 256, dtype=torch.bool))
        assert len(grouped) == 2
