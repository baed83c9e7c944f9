"""AdamW and Muon behind one optimiser, and averages of weights.

# N matrices, R rows, C columns

Everything works on this rank's part of a parameter: AdamW is elementwise, and Muon's update first gathers
whole matrices if they are sharded. States are kept by parameter name and returned with the placement of their
parameters, so that any number of ranks can read a checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard

from corpus.trainer.config import OptimConfig

Named = Iterable[tuple[str, nn.Parameter]]

MUON_MOMENTUM = 0.95
TOGETHER = 1 << 26
"""Entries that are orthogonalised at once, unless a single matrix has more: 256 MB, and as much for each
intermediate result."""
_POLAR = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
"""Odd polynomials of degree 5 that together move singular values in about [1e-3, 1] close to 1: the optimal
ones of "The Polar Express" (arXiv 2505.16932), with its 2 % margin for rounding."""


def local_part(tensor: torch.Tensor) -> torch.Tensor:
    """This rank's part of a tensor, sharing its memory."""
    with torch.no_grad():
        return tensor.to_local() if isinstance(tensor, DTensor) else tensor.detach()


def _placed_like(parameter: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """A rank's part as a tensor with the placement of a parameter, sharing the part's memory."""
    if not isinstance(parameter, DTensor):
        return part
    mesh, places = parameter.device_mesh, parameter.placements
    shape, stride = parameter.shape, parameter.stride()
    return DTensor.from_local(part, mesh, places, run_check=False, shape=shape, stride=stride)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Roughly the nearest (..., R, C) with all singular values 1, for a batch of matrices.

    In bf16 on a GPU, where products dominate; in fp32 elsewhere. A matrix of zeros stays zero.
    """
    x = matrix.bfloat16() if matrix.is_cuda else matrix.float()
    tall = x.shape[-2] > x.shape[-1]
    # Work on the smaller Gram matrix.
    x = x.mT if tall else x
    # The Frobenius norm bounds the largest singular value, so all are in [0, 1].
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * 1.02 + 1e-6)
    for a, b, c in _POLAR:
        square = x @ x.mT
        x = a * x + (b * square + c * (square @ square)) @ x
    whole: torch.Tensor = (x.mT if tall else x).to(matrix.dtype)
    return whole


def _most_together(shape: Sequence[int]) -> int:
    """The number of matrices orthogonalised at once, so that memory stays small beside a backward pass's."""
    return max(1, TOGETHER // math.prod(shape[-2:]))


def _alike(shapes: Mapping[str, torch.Tensor]) -> list[list[str]]:
    """Groups of matrices of one shape that are orthogonalised at once; packed experts are on their own."""
    groups: list[list[str]] = []
    for shape in dict.fromkeys(each.shape for each in shapes.values()):
        names = [name for name, each in shapes.items() if each.shape == shape]
        most = _most_together(shape) if len(shape) == 2 else 1
        groups += [names[start : start + most] for start in range(0, len(names), most)]
    return groups


def uses_muon(name: str, parameter: torch.Tensor) -> bool:
    """Whether Muon updates it: hidden matrices and packed experts, not embeddings, heads, norms, routers."""
    return name.startswith("blocks.") and parameter.ndim >= 2 and not name.endswith("router.weight")


def decays(name: str, parameter: torch.Tensor) -> bool:
    """Whether its weights decay: matrices of products do, norms and lookup tables do not."""
    tables = ("embed.text", "embed.stream", "embed.sound.weight")
    return parameter.ndim >= 2 and name not in tables


class Optimizer:
    """AdamW for all parameters, or Muon for hidden matrices and AdamW for the rest."""

    def __init__(self, named: Named, config: OptimConfig) -> None:
        self.config = config
        self.parameters = dict(named)
        muon = config.optimizer == "muon"
        self._muon = {n: p for n, p in self.parameters.items() if muon and uses_muon(n, p)}
        self._adam_names = [n for n in self.parameters if n not in self._muon]
        # Plain tensors that share memory with the shards: AdamW's fused kernels know no DTensor.
        self._parts = {n: nn.Parameter(local_part(self.parameters[n])) for n in self._adam_names}
        self._adamw = self._new_adamw()
        self._momentum = {n: torch.zeros_like(local_part(p)) for n, p in self._muon.items()}
        self._alike = _alike(self._muon)
        self._steps = torch.zeros(())

    def _new_adamw(self) -> torch.optim.AdamW | None:
        """AdamW with its state allocated, so that a checkpoint can be loaded into it."""
        # A rank may hold no part of a small parameter, and AdamW refuses empty tensors.
        held = {n: part for n, part in self._parts.items() if part.numel()}
        groups = [
            {"params": [p for n, p in held.items() if decays(n, p) == decay], "weight_decay": weight}
            for decay, weight in ((True, self.config.weight_decay), (False, 0.0))
        ]
        groups = [group for group in groups if group["params"]]
        beta_1, beta_2 = self.config.betas
        if not groups:
            return None
        on_gpu = next(iter(held.values())).is_cuda
        adamw = torch.optim.AdamW(
            groups, lr=self.config.lr, betas=(beta_1, beta_2), eps=self.config.eps, fused=on_gpu
        )
        for part in held.values():
            adamw.state[part] = {
                "step": torch.zeros((), device=part.device if on_gpu else "cpu"),
                "exp_avg": torch.zeros_like(part, requires_grad=False),
                "exp_avg_sq": torch.zeros_like(part, requires_grad=False),
            }
        return adamw

    @torch.no_grad()
    def step(self, share: float) -> None:
        """Update once, with all learning rates at this share of their peak."""
        self._steps += 1
        for name, part in self._parts.items():
            grad = self.parameters[name].grad
            part.grad = None if grad is None else local_part(grad)
        if self._adamw is not None:
            for group in self._adamw.param_groups:
                group["lr"] = self.config.lr * share
            self._adamw.step()
            self._adamw.zero_grad()
        for names in self._alike:
            self._step_muon(names, share)

    def zero_grad(self) -> None:
        for parameter in self.parameters.values():
            parameter.grad = None

    def _step_muon(self, names: Sequence[str], share: float) -> None:
        """Update parameters of one shape."""
        updates = []
        for name in names:
            grad = self._muon[name].grad
            if grad is None:
                # An expert without tokens still decays, and all ranks must gather the same matrices.
                grad = torch.zeros_like(self._muon[name])
            momentum, part = self._momentum[name], local_part(grad).float()
            # An average of gradients, and Nesterov's look-ahead along it.
            momentum.lerp_(part, 1 - MUON_MOMENTUM)
            updates.append(part.lerp(momentum, MUON_MOMENTUM))  # Nesterov's
        whole = [_whole_matrices(self._muon[n], u) for n, u in zip(names, updates, strict=True)]
        if whole[0].ndim == 2:
            whole = list(orthogonal(torch.stack(whole)))
        elif whole[0].numel():
            for experts in torch.split(whole[0], _most_together(whole[0].shape)):
                experts.copy_(orthogonal(experts))
        lr = self.config.muon_lr * share
        for name, each in zip(names, whole, strict=True):
            parameter = self._muon[name]
            rows, columns = parameter.shape[-2:]
            # Tall matrices step further, so that the update's size per output is the same for all shapes.
            scale = max(1.0, rows / columns) ** 0.5
            part = local_part(parameter)
            # Decoupled weight decay, as in AdamW.
            part.mul_(1 - lr * self.config.weight_decay)
            part.add_(_own_part(parameter, each), alpha=-lr * scale)

    def state_dict(self) -> dict[str, Any]:
        """State by parameter name; tensors share memory with the optimiser, so loading into them loads it."""
        state: dict[str, Any] = {"steps": self._steps}
        for name, parameter in self.parameters.items():
            if name in self._muon:
                state[f"{name}.momentum"] = _placed_like(parameter, self._momentum[name])
                continue
            for kind in ("exp_avg", "exp_avg_sq"):
                state[f"{name}.{kind}"] = _placed_like(parameter, self._adam_state(name)[kind])
        return state

    def loaded(self) -> None:
        """Call after loading into `state_dict()`."""
        for name in self._adam_names:
            self._adam_state(name)["step"].copy_(self._steps)

    def _adam_state(self, name: str) -> Mapping[str, torch.Tensor]:
        part = self._parts[name]
        if self._adamw is not None and part in self._adamw.state:
            state: Mapping[str, torch.Tensor] = self._adamw.state[part]
            return state
        return {
            kind: torch.zeros_like(part, requires_grad=False) for kind in ("exp_avg", "exp_avg_sq", "step")
        }


def _matrix_places(parameter: DTensor) -> list[Placement]:
    """A parameter's placements with all matrices whole; packed experts may stay on their ranks."""
    keep = Shard(0) if parameter.ndim == 3 else None
    return [place if place == keep else Replicate() for place in parameter.placements]


def _whole_matrices(parameter: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    if not isinstance(parameter, DTensor):
        return part
    placed = _placed_like(parameter, part)
    assert isinstance(placed, DTensor)
    whole: torch.Tensor = placed.redistribute(placements=_matrix_places(parameter)).to_local()
    return whole


def _own_part(parameter: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    if not isinstance(parameter, DTensor):
        return whole
    mesh, shape, stride = parameter.device_mesh, parameter.shape, parameter.stride()
    places = _matrix_places(parameter)
    placed = DTensor.from_local(whole, mesh, places, run_check=False, shape=shape, stride=stride)
    own: torch.Tensor = placed.redistribute(placements=parameter.placements).to_local()
    return own


class Average:
    """Exponential moving average of the parameters, in fp32."""

    def __init__(self, named: Named, decay: float) -> None:
        self.decay = decay
        self._parameters = dict(named)
        self._parts = {n: local_part(p).float().clone() for n, p in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        now = [local_part(p).float() for p in self._parameters.values()]
        torch._foreach_lerp_(list(self._parts.values()), now, 1 - self.decay)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Tensors share memory with the average, so loading into them loads it."""
        return {n: _placed_like(p, self._parts[n]) for n, p in self._parameters.items()}
