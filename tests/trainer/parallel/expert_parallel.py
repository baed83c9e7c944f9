"""One of several processes that share the experts; run by test_expert_parallel.py.

Every rank has rows of its own. Its outputs and gradients must be those of a process that has all experts.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import warnings

import torch
import torch.distributed as dist

from corpus.trainer.config import Recompute
from corpus.trainer.model import experts
from corpus.trainer.model.moe import MixtureOfExperts
from corpus.trainer.presets import MODELS


def mixture(dtype: torch.dtype) -> MixtureOfExperts:
    config = dataclasses.replace(MODELS["tiny"], experts=8, top_k=3)
    module = MixtureOfExperts(config)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.2, generator=random)
    return module.to(dtype)


def rows(rank: int, pattern: str, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Rank 1's rows are partly padding; with pattern "empty" all of them."""
    x = torch.randn(2, 20, 64, generator=torch.Generator().manual_seed(rank + 7))
    valid = torch.ones(2, 20, dtype=torch.bool)
    if rank == 1:
        valid[1, 12:] = False
        valid &= pattern != "empty"
    return x.to(dtype), valid


def outcome(
    module: MixtureOfExperts, inputs: list[tuple[torch.Tensor, torch.Tensor]]
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    outputs, grads = [], []
    for x, valid in inputs:
        x = x.requires_grad_()
        y, _ = module(x, valid)
        (y.square() * torch.linspace(0, 1, y.shape[1], dtype=y.dtype)[:, None]).sum().backward()
        assert x.grad is not None
        outputs.append(y.detach())
        grads.append(x.grad)
    return outputs, grads


def sent_in(module: MixtureOfExperts, inputs: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[object, int]:
    """The outcome, and how often rows or weights were sent in forward and by computing again."""
    calls, exchange = 0, experts._all_to_all

    def counted(*given: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return exchange(*given)  # type: ignore[arg-type]

    experts._all_to_all = counted  # type: ignore[assignment]
    found = outcome(module, inputs)
    experts._all_to_all = exchange
    return found, calls


def check_recomputation() -> None:
    """The same bits; the choices are made once, and only `exchange` sends rows and weights again."""
    rank = dist.get_rank()
    expected: list[torch.Tensor] = []
    kinds: list[tuple[Recompute, int]] = [("none", 3), ("blocks", 3), ("exchange", 5)]
    for what, exchanges in kinds:
        module = mixture(torch.float32)
        module.experts.share(torch.distributed.device_mesh.init_device_mesh("cpu", (dist.get_world_size(),)))
        module.recompute, module.experts.recompute = what != "none", what
        ((y,), (dx,)), calls = sent_in(module, [rows(rank, "even", torch.float32)])  # type: ignore[misc]
        assert calls == exchanges, f"{what}: {calls}"
        found = [y, dx, *(parameter.grad for parameter in module.parameters())]
        found = [getattr(part, "_local_tensor", part) for part in found]
        expected = expected or found
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, expected, strict=True)), what


def check(pattern: str, dtype: torch.dtype, tolerance: float) -> None:
    rank, world = dist.get_rank(), dist.get_world_size()
    inputs = [rows(other, pattern, dtype) for other in range(world)]
    whole = mixture(dtype)
    if pattern == "one rank's":
        whole.router.bias_E[:3] = 10
    expected_y, expected_dx = outcome(whole, inputs)
    shared = mixture(dtype)
    shared.router.bias_E.copy_(whole.router.bias_E)
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (world,))
    shared.experts.share(mesh)
    (y,), (dx,) = outcome(shared, inputs[rank : rank + 1])
    pairs = [(y, expected_y[rank]), (dx, expected_dx[rank])]
    here = 8 // world
    for name in ("gate_up", "down"):
        grad = getattr(shared.experts, name).grad.to_local()
        theirs = getattr(whole.experts, name).grad[rank * here : (rank + 1) * here]
        pairs.append((grad, theirs))
    summed = shared.router.weight.grad.clone()
    dist.all_reduce(summed)
    pairs.append((summed, whole.router.weight.grad))
    for number, (mine, theirs) in enumerate(pairs):
        scale = max(1.0, float(theirs.abs().max()))
        error = float((mine - theirs).abs().max()) / scale
        assert error <= tolerance, f"rank {rank}, {pattern}, {dtype}, pair {number}: {error}"


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo")
    for pattern in ("even", "one rank's", "empty"):
        check(pattern, torch.float32, 1e-5)
        check(pattern, torch.float64, 1e-12)
        # Memory that is not set reads as NaN.
        torch.use_deterministic_algorithms(True)
        check(pattern, torch.float32, 1e-5)
        torch.use_deterministic_algorithms(False)
    check_recomputation()
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)  # on a busy machine torch's threads abort now and then while the interpreter ends


if __name__ == "__main__":
    main()
