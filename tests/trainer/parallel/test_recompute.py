"""Computing blocks again in backward: the same bits, nothing counted or chosen twice, less kept."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from corpus.trainer.config import LossConfig, ModelConfig
from corpus.trainer.data.sequence import Batch, Positions
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.model.router import Router
from corpus.trainer.parallel.compile import compile_blocks
from corpus.trainer.parallel.prepare import recompute_in_backward

Make = Callable[..., Positions]
Pack = Callable[..., Batch]


def pair(config: ModelConfig) -> tuple[InteractionModel, InteractionModel]:
    """One that keeps and one that computes again, of the same weights."""
    torch.manual_seed(0)
    keeps = InteractionModel(config)
    again = copy.deepcopy(keeps)
    recompute_in_backward(again, "blocks")
    return keeps, again


def outcome(model: InteractionModel, batch: Batch) -> list[torch.Tensor]:
    sums = model(batch, LossConfig())
    loss = sums.total(sums.denominators)
    return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))]


def test_the_same_bits(tiny: ModelConfig, batch: Batch) -> None:
    for dtype in (torch.float32, torch.float64):
        keeps, again = (model.to(dtype) for model in pair(dataclasses.replace(tiny, layers=3)))
        for mine, theirs in zip(outcome(again, batch), outcome(keeps, batch), strict=True):
            assert torch.equal(mine, theirs)


def test_routers_choose_once_and_are_counted_once(
    tiny: ModelConfig, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeps, again = pair(dataclasses.replace(tiny, layers=4))
    calls = 0
    forward = Router.forward

    def counted(self: Router, *inputs: Any) -> Any:
        nonlocal calls
        calls += 1
        return forward(self, *inputs)

    monkeypatch.setattr(Router, "forward", counted)
    outcome(again, batch)
    assert calls == 3
    outcome(keeps, batch)
    assert torch.equal(again.load_NE, keeps.load_NE)
    assert int(again.load_NE[0].sum()) == int((batch.segment_BL >= 0).sum()) * tiny.top_k
    for model in (keeps, again):
        model.update_router_bias()
    assert torch.equal(again.blocks[1].feed.router.bias_E, keeps.blocks[1].feed.router.bias_E)


def test_attention_and_feed_forward_run_twice_and_only_in_training(
    tiny: ModelConfig, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, again = pair(tiny)
    calls: list[str] = []
    parts = ((again.blocks[0].attention, "mix"), (again.blocks[0].feed, "answer"))
    parts += ((again.blocks[1].attention, "mix"), (again.blocks[1].feed, "answer"))

    def watched(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*inputs: Any) -> Any:
            calls.append(name)
            return method(*inputs)

        return call

    for number, (unit, method) in enumerate(parts):
        monkeypatch.setattr(unit, method, watched(f"{number}", getattr(unit, method)))
    outcome(again, batch)
    assert calls == ["0", "1", "2", "3", "3", "2", "1", "0"]
    calls.clear()
    with torch.no_grad():
        again(batch, LossConfig())
    assert calls == ["0", "1", "2", "3"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_in_parts(tiny: ModelConfig, make_document: Make, pack_rows: Pack) -> None:
    """One graph for each kind of part, however many layers; gradients near those of the eager model."""
    keeps, again = pair(dataclasses.replace(tiny, layers=6))
    keeps.compute = again.compute = torch.bfloat16
    batches = [pack_rows([[make_document(tiny, 5, n), make_document(tiny, 4, n + 9)]], 128) for n in range(3)]
    torch._dynamo.reset()
    compile_blocks(again)
    counter = torch._dynamo.utils.counters
    counter.clear()
    graphs = []
    for batch in batches:
        found, expected = outcome(again, batch), outcome(keeps, batch)
        assert float(found[0]) == pytest.approx(float(expected[0]), rel=2e-2)
        ours, theirs = (torch.cat([grad.flatten() for grad in side[1:]]) for side in (found, expected))
        assert float((ours - theirs).norm() / theirs.norm()) < 0.1
        graphs.append(counter["stats"]["unique_graphs"])
    assert graphs == [4, 4, 4]
