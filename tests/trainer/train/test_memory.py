"""The formula for memory against a count of what autograd really keeps; the presets fit on their GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from corpus.schemas.errors import SettingsError
from corpus.trainer.config import LossConfig, ModelConfig, RunConfig
from corpus.trainer.data.sequence import Batch, Positions
from corpus.trainer.model.attention_mask import Sight, dense_mask
from corpus.trainer.model.model import Block, InteractionModel
from corpus.trainer.overrides import with_overrides
from corpus.trainer.parallel.compute_copies import copied
from corpus.trainer.parallel.prepare import recompute_in_backward
from corpus.trainer.presets import preset
from corpus.trainer.train import memory
from corpus.trainer.train.memory import (
    check_memory,
    ends_bytes,
    footprint,
    layer_bytes,
    state_bytes,
    trunk_bytes,
)
from corpus.trainer.train.optim import Average, Optimizer

H100_BYTES = 79.1 * 2**30
"""What such a card of 80 GB reports; a context and its kernels take about 1 GB of it."""
MARGIN = 0.9

Make = Callable[..., Positions]
Pack = Callable[..., Batch]


def kept(call: Callable[[], object], *owned: torch.Tensor) -> int:
    """Bytes of the storages saved for backward while `call` runs, each once, but those of `owned`."""
    given = {tensor.untyped_storage()._cdata for tensor in owned}
    found: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in given:
            found[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = call()
    total = sum(storage.nbytes() for storage in found.values())
    del result
    return total


def kept_by_layer(config: RunConfig, *, dense: bool, positions: int) -> float:
    """Bytes a position of one layer, x included, the mask excluded: a GPU's is made of blocks."""
    torch.manual_seed(0)
    block = Block(config.model, dense=dense)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_(0, 0.02)
    for unit in (block.attention, block.feed):
        unit.recompute = config.recompute != "none"
    if config.compile:
        from corpus.trainer.parallel.compile import backend

        block.compile(backend=backend, fullgraph=True, dynamic=False)
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    x = torch.randn(1, positions, config.model.width, dtype=dtype).requires_grad_()
    valid = torch.ones(1, positions, dtype=torch.bool)
    turn = (torch.arange(positions, dtype=torch.int32) // 10)[None]
    mask = dense_mask(torch.zeros_like(turn), turn, Sight.of(config.model))
    place = torch.stack([turn, torch.zeros_like(turn), torch.zeros_like(turn)])
    # SDPA on a CPU keeps the mask in the type of the queries; it is L wide, so it is told apart by that.
    owned = [*block.parameters(), *block.buffers(), mask, valid, place]
    total = kept(lambda: block(x + 0, place, mask, valid, None, valid), *owned)
    mask_bytes = 0 if config.compile or config.recompute != "none" else x.element_size() * positions**2
    return (total - mask_bytes) / positions


def base(**changes: object) -> RunConfig:
    """A layer of base, with a quarter of its experts: they are parameters, which are not counted."""
    run = preset("base")
    model = dataclasses.replace(run.model, experts=8)
    return dataclasses.replace(run, model=model, compile=False, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("recompute", ["none", "blocks"])
def test_a_layer_of_base_keeps_what_the_formula_says(dense: bool, recompute: str) -> None:
    """A position's share: what a layer keeps whatever the length, its rounded weights, is left out."""
    config = base(recompute=recompute)
    few, many = (n * kept_by_layer(config, dense=dense, positions=n) for n in (96, 192))
    assert (many - few) / 96 == pytest.approx(layer_bytes(config, dense=dense), rel=0.01)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_layer_of_base_keeps_what_the_formula_says() -> None:
    """41 kB a position: 1.35 GB at 32,768."""
    config = dataclasses.replace(base(), compile=True)
    torch._dynamo.reset()
    found = kept_by_layer(config, dense=False, positions=96)
    assert found == pytest.approx(layer_bytes(config, dense=False), rel=0.01)
    assert found == pytest.approx(1.35e9 / 32_768, rel=0.02)


@pytest.mark.parametrize(("recompute", "listens"), [("none", False), ("blocks", False), ("none", True)])
def test_a_whole_model_keeps_what_the_formula_says(
    tiny: ModelConfig,
    make_document: Make,
    pack_rows: Pack,
    monkeypatch: pytest.MonkeyPatch,
    recompute: str,
    listens: bool,
) -> None:
    """At the batch's own share of targets; masks are not in the formula."""
    model_config = dataclasses.replace(tiny, layers=4, width=128, picture_rows=0, user_audio=listens)
    loss = LossConfig(user_audio=float(listens))
    run = RunConfig(model=model_config, preset="tiny", recompute=recompute, loss=loss)  # type: ignore[arg-type]
    batch = pack_rows([[make_document(model_config, 24)]], 240)
    monkeypatch.setattr(memory, "SOUND_TARGETS", len(batch.audio_target_at_T) / 240)
    monkeypatch.setattr(memory, "HEARD_TARGETS", int(batch.heard_known_A.sum()) / 240)
    model = InteractionModel(model_config)
    recompute_in_backward(model, run.recompute)
    mask = dense_mask(batch.segment_BL, batch.turn_BL, Sight.of(model_config))
    model._mask = lambda *_: mask  # type: ignore[method-assign, assignment]
    columns = [getattr(batch, field.name) for field in dataclasses.fields(batch)]
    owned = [*model.parameters(), *model.buffers(), mask, *columns]
    found = kept(lambda: model(batch, LossConfig()), *owned)
    if recompute == "none":
        found -= model_config.layers * 4 * 240**2
    table = 4 * model_config.vocab * model_config.width
    expected = 240 * (trunk_bytes(run) + ends_bytes(run)) + table
    assert found == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("decay", ["none", "0.5"])
def test_the_state_is_what_optimiser_and_average_hold(optimizer: str, decay: str) -> None:
    run = with_overrides(preset("tiny"), [f"optim.optimizer={optimizer}", f"optim.ema_decay={decay}"])
    named = list(InteractionModel(run.model).named_parameters())
    gradients = [parameter.detach() for _, parameter in named]
    held = [parameter for _, parameter in named] + gradients
    moments = Optimizer(named, run.optim).state_dict()
    held += [value for key, value in moments.items() if key != "steps"]
    if run.optim.ema_decay is not None:
        held += Average(named, run.optim.ema_decay).state_dict().values()
    assert state_bytes(run, named) == sum(value.nbytes for value in held)


def test_in_bf16_one_gpu_holds_copies_too() -> None:
    run = with_overrides(preset("tiny"), ["precision=bf16"])
    model = InteractionModel(run.model)
    model.compute = torch.bfloat16
    copies = sum(2 * master.numel() for _, _, master in copied(model))
    named = list(model.named_parameters())
    assert copies
    assert state_bytes(run, named, 1) == state_bytes(run, named, 2) + copies


@pytest.mark.parametrize("name", ["small", "base"])
def test_presets_fit_on_one_gpu_of_80_gb_without_recomputation(name: str) -> None:
    run = preset(name)
    with torch.device("meta"):
        model = InteractionModel(run.model)
    needed = footprint(run, model.named_parameters(), 1)
    assert run.recompute == "none"
    assert needed.total < MARGIN * H100_BYTES
    state = 16 * sum(parameter.numel() for parameter in model.parameters())
    model.compute = torch.bfloat16
    assert needed.state == state + 2 * sum(master.numel() for _, _, master in copied(model))
    check_memory(run, model, 1, torch.device("cuda"), free=H100_BYTES)


def test_what_cannot_fit_is_said_with_what_would() -> None:
    run = preset("base")
    with torch.device("meta"):
        model = InteractionModel(run.model)

    def said(config: RunConfig, free: float) -> str:
        with pytest.raises(SettingsError, match="GB needed") as caught:
            check_memory(config, model, 1, torch.device("cuda"), free=free)
        return str(caught.value.todo)

    at_once = dataclasses.replace(run, accumulate=2)
    assert said(at_once, H100_BYTES) == "set accumulate=4 or recompute=blocks"
    assert said(run, 60e9) == "set accumulate=16 or recompute=blocks"
    assert "larger GPUs" in said(run, 40e9)
    check_memory(run, model, 1, torch.device("cpu"))
