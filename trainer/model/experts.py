"""The routed experts: packed weights, and three ways to apply them.

# T tokens, D width, E experts, K of them a token, N = T K rows

Padding is not routed: it is not counted, its weight is exactly zero, and its rows only fill the end of the
last expert's group, because `F.grouped_mm` leaves rows after the last group unset (and NaN in its backward).
fp64, which `F.grouped_mm` refuses, runs every expert on every token: the plain path, free of batch effects,
against which the tests check the others. A session's reads take it too on a GPU whose `F.grouped_mm` has no
kernel for them: that would need the groups' sizes on the host, which a CUDA graph (cuda_graph.py) rules out.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from corpus.schemas.errors import SettingsError
from corpus.trainer.config import ModelConfig, Recompute
from corpus.trainer.model.batch_invariant import is_batch_invariant
from corpus.trainer.model.grouped_mlp import apply_experts
from corpus.trainer.model.layers import linear, parameter, recomputed, swiglu
from corpus.trainer.model.permute import Order, counts, permute, sort_by_expert, unpermute
from corpus.trainer.model.router import Routes

FEW_TOKENS = 8
"""Up to this many tokens, without gradients, the weights of each token's experts are gathered instead."""
_SPARE_ROWS = 8
"""Zero rows on every rank under expert parallelism: a product over no rows at all hangs or fails on GPUs."""


class Experts(nn.Module):
    """The experts' packed weights and the ways to apply them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.recompute: Recompute = "none"
        """With a `group`: `blocks` recomputes on received rows, `exchange` also sends them again."""
        self.count = config.experts
        self.read_at_once = 1 + config.audio_positions + config.text_slots + config.patches
        """The most positions that a session reads at once."""
        self.gate_up = parameter(config.experts, 2 * config.expert_width, config.width)
        self.down = parameter(config.experts, config.width, config.expert_width)
        self.group: dist.ProcessGroup | None = None
        """Expert parallelism: the ranks among which the experts are divided, in equal consecutive parts."""

    def share(self, mesh: DeviceMesh) -> None:
        """Keep this rank's part of the experts, whose gradients come from the tokens of all ranks."""
        if self.count % mesh.size():
            raise SettingsError(
                f"{self.count} experts cannot be shared by {mesh.size()} ranks",
                where="run.expert_parallel",
                todo="take a divisor of the number of experts",
            )
        self.group = mesh.get_group()
        for name in ("gate_up", "down"):
            whole = getattr(self, name)
            shared = distribute_tensor(whole.data, mesh, [Shard(0)])
            setattr(self, name, nn.Parameter(shared, whole.requires_grad))

    def _weights(self) -> tuple[torch.Tensor, torch.Tensor]:
        gate_up: torch.Tensor = self.gate_up
        down: torch.Tensor = self.down
        if isinstance(gate_up, DTensor) and isinstance(down, DTensor):
            return gate_up.to_local(), down.to_local()
        return gate_up, down

    def forward(self, x_TD: torch.Tensor, routes: Routes, valid_T: torch.Tensor) -> torch.Tensor:
        if self.group is None and (x_TD.dtype == torch.float64 or is_batch_invariant()):
            return self.every_expert(x_TD, routes)
        if self.group is None and len(x_TD) <= FEW_TOKENS and not torch.is_grad_enabled():
            return self.few_tokens(x_TD, routes)
        if self.group is None and self._is_recorded(x_TD):
            return self.every_expert(x_TD, routes)
        order = sort_by_expert(routes.choice_TK, valid_T, self.count)
        apply = self.permuted if self.group is None else self._exchanged
        return apply(x_TD, routes, order)

    def _is_recorded(self, x_TD: torch.Tensor) -> bool:
        """Whether this may be captured in a CUDA graph, of which the grouped product cannot be part."""
        if torch.is_grad_enabled() or not x_TD.is_cuda or len(x_TD) > self.read_at_once:
            return False
        return x_TD.dtype != torch.bfloat16 or torch.cuda.get_device_capability(x_TD.device)[0] not in (9, 10)

    def permuted(self, x_TD: torch.Tensor, routes: Routes, order: Order) -> torch.Tensor:
        """The fast path: two grouped products over all rows."""
        rows = routes.choice_TK.numel()
        return apply_experts(x_TD, routes.weight_TK, *self._weights(), _filled(order, rows))

    def few_tokens(self, x_TD: torch.Tensor, routes: Routes) -> torch.Tensor:
        """Matrix-vector products with gathered weights: only the experts in use are read from memory."""
        gate_up, down = self._weights()
        chosen = routes.choice_TK
        shape = *chosen.shape, -1
        both = torch.bmm(gate_up[chosen].flatten(1, 2).to(x_TD.dtype), x_TD[..., None]).view(shape)
        hidden_TKF = (swiglu(both) * routes.weight_TK[..., None]).to(x_TD.dtype)
        y_N1 = torch.bmm(down[chosen].flatten(0, 1).to(x_TD.dtype), hidden_TKF.flatten(0, 1)[..., None])
        return y_N1.view(shape).sum(1)

    def every_expert(self, x_TD: torch.Tensor, routes: Routes) -> torch.Tensor:
        """Every expert on every token, summed in the experts' order: no output depends on other tokens."""
        y_TD = torch.zeros_like(x_TD)
        gate_up, down = self._weights()
        for expert in range(self.count):
            weight_T = routes.weight_TK.masked_fill(routes.choice_TK != expert, 0).sum(1)
            hidden_TF = swiglu(linear(x_TD, gate_up[expert])) * weight_T[:, None]
            y_TD = y_TD + linear(hidden_TF, down[expert])
        return y_TD

    def _exchanged(self, x_TD: torch.Tensor, routes: Routes, order: Order) -> torch.Tensor:
        """Send rows and their weights to the ranks that hold their experts, and collect the outputs.

        The host waits for the GPU to learn two lists of sizes.
        """
        group = self.group
        assert group is not None
        order_N, inverse_N, end_E = order
        k = routes.choice_TK.shape[1]
        ranks = dist.get_world_size(group)
        # First the sizes, so that every rank can size its buffers.
        sent_E = counts(end_E)
        received_E = torch.empty_like(sent_E)
        dist.all_to_all_single(received_E, sent_E, group=group)
        out_sizes = sent_E.view(ranks, -1).sum(1).tolist()
        in_sizes = received_E.view(ranks, -1).sum(1).tolist()
        sizes = (in_sizes, out_sizes)

        def send(x_TD: torch.Tensor, weight_TK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            weight_N1 = permute(weight_TK.reshape(-1, 1), order_N, inverse_N, 1)
            rows_ND, sent = permute(x_TD, order_N, inverse_N, k), sum(out_sizes)
            return _all_to_all(rows_ND[:sent], *sizes, group), _all_to_all(weight_N1[:sent], *sizes, group)

        def ask(x_TD: torch.Tensor, weight_TK: torch.Tensor) -> torch.Tensor:
            received = (*send(x_TD, weight_TK), received_E)
            if self.recompute == "blocks":
                answers: torch.Tensor = recomputed(self._apply_received, *received)
                return answers
            return self._apply_received(*received)

        asked = (x_TD, routes.weight_TK)
        answers = recomputed(ask, *asked) if self.recompute == "exchange" else ask(*asked)
        mine = _all_to_all(answers, out_sizes, in_sizes, group)
        # Padding was never sent: zero rows replace it, so that the inverse order fits.
        y_ND = torch.cat((mine, mine.new_zeros(len(order_N) - len(mine), mine.shape[1])))
        return unpermute(y_ND, order_N, inverse_N, k)

    def _apply_received(
        self, rows_ND: torch.Tensor, weight_N1: torch.Tensor, received_E: torch.Tensor
    ) -> torch.Tensor:
        """Apply this rank's experts to received rows, which are sorted by (sender, expert)."""
        assert self.group is not None
        ranks = dist.get_world_size(self.group)
        here = self.count // ranks
        # Rows arrive as (sender, expert); one more stable sort brings each expert's rows together.
        expert_N = torch.arange(here, device=rows_ND.device).repeat(ranks)
        expert_N = torch.repeat_interleave(expert_N, received_E, output_size=len(rows_ND))
        # Spare rows sort last, so that no rank multiplies an empty matrix.
        expert_N = torch.cat((expert_N, expert_N.new_full((_SPARE_ROWS,), here)))
        order_N = expert_N.argsort(stable=True)
        order = Order(order_N, order_N.argsort(), received_E.view(ranks, here).sum(0).cumsum(0))
        spare = (0, 0, 0, _SPARE_ROWS)
        y_ND = apply_experts(
            F.pad(rows_ND, spare), F.pad(weight_N1, spare), *self._weights(), _filled(order, len(expert_N))
        )
        return y_ND[: len(rows_ND)]


def _filled(order: Order, rows: int) -> Order:
    """Let the last group end with the last row: padding falls into it, and every row is in a group."""
    last = torch.arange(len(order.end_E), device=order.end_E.device) == len(order.end_E) - 1
    return order._replace(end_E=torch.where(last, rows, order.end_E))


def _all_to_all(
    rows_ND: torch.Tensor, sizes_in: list[int], sizes_out: list[int], group: dist.ProcessGroup
) -> torch.Tensor:
    from torch.distributed._functional_collectives import all_to_all_single_autograd

    rows: torch.Tensor = all_to_all_single_autograd(rows_ND.contiguous(), sizes_in, sizes_out, group)
    wait = getattr(rows, "wait", None)
    return wait() if wait is not None else rows
