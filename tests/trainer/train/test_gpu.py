"""What only a GPU can show: its kernels against the CPU's, compiled and not, and how long a step takes.

Needs no PyAV: what is trained on is heard by `max`.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from corpus.trainer.config import LossConfig, ModelConfig
from corpus.trainer.data.sequence import Batch, Positions
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.model.moe import MixtureOfExperts
from corpus.trainer.overrides import with_overrides
from corpus.trainer.parallel.compile import compile_blocks
from corpus.trainer.presets import MODELS, preset
from corpus.trainer.session.incremental import Reader
from corpus.trainer.train.loop import train_model
from corpus.trainer.train.memory import footprint

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"),
    pytest.mark.filterwarnings("ignore"),
]
GPU = torch.device("cuda")
Make = Callable[..., Positions]
Pack = Callable[..., Batch]


@pytest.fixture
def batch(tiny: ModelConfig, make_document: Make, pack_rows: Pack) -> Batch:
    return pack_rows(
        [[make_document(tiny, 9, 0), make_document(tiny, 8, 1)], [make_document(tiny, 20, 2)]], 256
    )


@pytest.fixture
def poison() -> Iterator[None]:
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def outcome(model: InteractionModel, batch: Batch) -> tuple[float, list[torch.Tensor]]:
    sums = model(batch, LossConfig())
    loss = sums.total(sums.denominators)
    return float(loss.detach()), list(torch.autograd.grad(loss, list(model.parameters())))


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("compiled", [False, True])
def test_bf16_on_the_gpu_is_fp64_on_the_cpu(tiny: ModelConfig, batch: Batch, compiled: bool) -> None:
    torch.manual_seed(0)
    exact = InteractionModel(tiny).double()
    model = copy.deepcopy(exact).float().to(GPU)
    model.compute = torch.bfloat16
    if compiled:
        torch._dynamo.reset()
        compile_blocks(model)
    expected, expected_grads = outcome(exact, batch)
    found, grads = outcome(model, batch.to(GPU))
    assert found == pytest.approx(expected, rel=2e-2)
    ours = torch.cat([grad.flatten().cpu().double() for grad in grads])
    theirs = torch.cat([grad.flatten() for grad in expected_grads])
    assert bool(ours.isfinite().all())
    assert float((ours - theirs).norm() / theirs.norm()) < 0.1


def test_new_batches_compile_nothing(tiny: ModelConfig, make_document: Make, pack_rows: Pack) -> None:
    model = InteractionModel(tiny).to(GPU)
    model.compute = torch.bfloat16
    torch._dynamo.reset()
    compile_blocks(model)
    counter = torch._dynamo.utils.counters
    counter.clear()
    graphs = []
    for seed in range(20):
        rows = [[make_document(tiny, 5 + seed % 4, seed)], [make_document(tiny, 8, seed + 50)]]
        outcome(model, pack_rows(rows, 128, capacity=256).to(GPU))
        graphs.append(counter["stats"]["unique_graphs"])
    assert graphs[1] == graphs[-1]


@torch.no_grad()
def test_the_step_equals_the_full_pass_in_fp64(
    tiny: ModelConfig, make_document: Make, pack_rows: Pack, cut_positions: Callable[..., Positions]
) -> None:
    model = InteractionModel(tiny).double().to(GPU).eval()
    whole = make_document(tiny, 8)
    cache = Reader.of(model, capacity_positions=len(whole))
    steps = [cache.read(cut_positions(whole, n, n + 1)) for n in range(len(whole))]
    full = model.hidden(pack_rows([[whole]], len(whole)).to(GPU))[0]
    assert float((torch.cat(steps) - full).abs().max()) < 1e-10


@pytest.mark.usefixtures("poison")
def test_experts_of_base_are_those_of_fp64_with_some_unvisited() -> None:
    """Near ties send some tokens elsewhere in bf16, so the middle token is looked at."""
    torch.manual_seed(0)
    layer = MixtureOfExperts(dataclasses.replace(MODELS["base"], top_k=2))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(0, 0.02) if parameter.ndim > 1 else parameter.fill_(1)
    layer = layer.to(GPU, torch.bfloat16)
    layer.router.bias_E[[1, 31]] = -10
    exact = copy.deepcopy(layer).double()
    x_BLD = torch.randn(1, 512, MODELS["base"].width, device=GPU, dtype=torch.bfloat16, requires_grad=True)
    valid_BL = torch.ones(1, 512, dtype=torch.bool, device=GPU)
    for _ in range(2):  # fresh memory is often zero: the second pass finds what the first left
        layer.zero_grad()
        y_BLD, _ = layer(x_BLD, valid_BL)
        y_BLD.square().sum().backward()
    with torch.no_grad():
        expected, _ = exact(x_BLD.double(), valid_BL)
    off = (y_BLD.detach().double() - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert float(off.median()) < 2e-2
    for parameter in layer.parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all())
        assert parameter.ndim < 3 or not bool(parameter.grad[[1, 31]].any())


def test_a_run_stopped_and_resumed_is_the_unbroken_run(
    rules: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole command: pinned batches, compiled blocks, fused AdamW, a checkpoint of the GPU's tensors."""
    if importlib.util.find_spec("av") is None:
        monkeypatch.setattr("corpus.shards.cut.encode_flac", lambda *_: b"fLaC")  # not read by `max`
    data = rules.write(tmp_path / "beeps", "beep", {"train": 12}, windows=40).path
    pairs = [f"data.data={data}", "data.hears=max", "data.length=128", "data.pictures=false", "device=cuda"]
    pairs += ["precision=bf16", "compile=true", "steps=6", "log_every=1", "save_every=3"]
    whole = with_overrides(preset("tiny"), pairs)
    # Stopped by its number of steps, so the learning rate must not hang on it.
    whole = dataclasses.replace(whole, optim=dataclasses.replace(whole.optim, schedule="constant"))
    losses = []
    for run, parts in ((tmp_path / "whole", (6,)), (tmp_path / "parts", (3, 6))):
        for steps in parts:
            torch._dynamo.reset()
            train_model(dataclasses.replace(whole, steps=steps), run, talk=lambda _: None)
        lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
        losses.append([json.loads(line)["loss"] for line in lines])
    assert len(losses[0]) == 6
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_step_takes_the_memory_the_formula_says(rules: ModuleType, tmp_path: Path, compiled: bool) -> None:
    data = rules.write(tmp_path / "talks", "talk", {"train": 8}, windows=300).path
    pairs = [f"data.data={data}", "data.hears=max", "data.pictures=false", "device=cuda", "data.workers=1"]
    pairs += ["model.layers=4", "model.experts=8", "model.vocab=8192", "data.rows=4", "accumulate=2"]
    pairs += ["steps=2", "log_every=1", f"compile={str(compiled).lower()}"]
    config = with_overrides(preset("base"), pairs)
    torch._dynamo.reset()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    train_model(config, tmp_path / "run", talk=lambda _: None)
    found = torch.cuda.max_memory_allocated() - before
    needed = footprint(config, InteractionModel.unset(config.model).named_parameters(), 1).total
    assert 0.88 * needed < found < 1.02 * needed  # it supposes as much sound and text as there can be
