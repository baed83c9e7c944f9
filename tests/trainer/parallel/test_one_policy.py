"""bf16 is one thing: a model cut over two processes computes, bit for bit, what one process does."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from corpus.schemas.codec import to_json
from corpus.trainer.config import RunConfig

SmallRun = Callable[..., RunConfig]
Start = Callable[..., list[subprocess.CompletedProcess[str]]]

RANK = """
import hashlib, json, sys
from pathlib import Path
import torch
from corpus.schemas.codec import from_json
from corpus.trainer.config import RunConfig
from corpus.trainer.data.loader import Loader
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.parallel.compute_copies import ComputeCopies
from corpus.trainer.parallel.prepare import prepare
from corpus.trainer.parallel.ranks import joined

torch.set_num_threads(1)
config = from_json(RunConfig, Path(sys.argv[1]).read_bytes())


def bits(tensor):
    whole = tensor.detach()
    whole = whole.full_tensor() if hasattr(whole, "full_tensor") else whole
    data = whole.contiguous().view(torch.uint8).numpy().tobytes()
    return str(whole.dtype), hashlib.sha256(data).hexdigest()


def recorded(name):
    def hook(module, given, made):
        parts = made if isinstance(made, tuple) else (made,)
        tensors = [each for each in parts if isinstance(each, torch.Tensor) and each.is_floating_point()]
        seen.append((name, type(module).__name__, [bits(each) for each in tensors]))

    return hook


seen = []
with joined(config) as ranks:
    model = InteractionModel.unset(config.model).train()
    prepare(model, config, ranks)
    model.to_empty(device=ranks.device)
    model.initialise(config.data.seed)
    generator = torch.Generator().manual_seed(0)
    for name, value in model.named_parameters():
        # Norms begin as ones, which no rounding changes.
        if "norm" in name:
            part = value.to_local() if hasattr(value, "to_local") else value
            whole = 1 + 0.1 * torch.randn(value.shape, generator=generator)
            part.data.copy_(whole.chunk(ranks.world)[ranks.rank] if ranks.world > 1 else whole)
    for name, module in model.named_modules():
        if name and not list(module.children()):
            module.register_forward_hook(recorded(name))
    batch = next(iter(Loader(config)))[0]
    with ComputeCopies(model).in_place():
        sums = model(batch, config.loss)
        sums.total(sums.denominators).backward()
    gradients = {}
    for name, value in model.named_parameters():
        if name.startswith("blocks.") or name == "norm.weight":
            grad = value.grad.full_tensor() if hasattr(value.grad, "full_tensor") else value.grad
            gradients[name] = bits(grad / ranks.world)
    names = ("text_sum", "audio_sum", "cues_sum", "balance")
    losses = {name: float(getattr(sums, name).detach()) for name in names}
    if ranks.first:
        print(json.dumps({"modules": seen, "gradients": gradients, "losses": losses}))
"""


def test_one_process_and_two_compute_the_same_bits(
    small_run: SmallRun, start_python: Start, tmp_path: Path
) -> None:
    file = tmp_path / "asked.json"
    file.write_text(to_json(small_run("precision=bf16", "loss.cues=0.5")))
    found = []
    for world in (1, 2):
        done = start_python("-c", RANK, str(file), world=world)
        assert [process.returncode for process in done] == [0] * world, done[0].stderr[-3000:]
        found.append(json.loads(done[0].stdout.splitlines()[-1]))
    one, two = found
    kinds = {kind for _, kind, _ in one["modules"]}
    assert {"Norm", "Router"} <= kinds and len(one["modules"]) > 10
    for mine, theirs in zip(one["modules"], two["modules"], strict=True):
        assert mine == theirs
    dtypes = {
        kind: {dtype for _, of, made in one["modules"] if of == kind for dtype, _ in made} for kind in kinds
    }
    assert dtypes["Norm"] == {"torch.bfloat16"} and dtypes["Router"] == {"torch.float32"}
    assert one["losses"] == two["losses"]
    # Each of two ranks has the whole batch, and gradients are added up.
    assert one["gradients"] == two["gradients"]
