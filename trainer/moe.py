"""A mixture of experts: sigmoid router, balance by bias, dropless grouped products, no atomics.

# B rows, L positions, T = B L tokens, D width, E experts, K of them a token, N = T K rows, F inner width

    x_TD --order--> rows_ND, by expert --gate_up, silu, x weight, down--> rows_ND --back, sum over K--> y_TD

Padding is not routed: it is not counted, its weight is exactly zero, and its rows only fill the end of the
last expert's group, because `F.grouped_mm` leaves rows after the last group unset (and NaN in its backward).
Going by a permutation and back are each other's backward, so no gradient is scattered with atomics.
fp64, which `F.grouped_mm` refuses, runs every expert on every token: the oracle, free of batch effects.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from corpus.schemas.errors import SettingsError
from corpus.trainer.config import ModelConfig
from corpus.trainer.layers import Gated, Norm, parameter, wide

FEW_TOKENS = 8
"""Up to so many tokens, without gradient, the weights of each token's experts are gathered instead."""
_SPARE_ROWS = 8
"""Zero rows on every rank under expert parallelism: a product over no rows at all hangs or fails on GPUs."""


class Routes(NamedTuple):
    choice_TK: torch.Tensor
    weight_TK: torch.Tensor
    """fp32; zero for padding."""
    score_TE: torch.Tensor
    logit_TE: torch.Tensor


class RouterStats(NamedTuple):
    """Sums over the valid tokens of a batch, for losses and logs."""

    count_E: torch.Tensor
    """int64: tokens each expert got."""
    balance: torch.Tensor
    """Sum over rows of the row's balance loss times its tokens."""
    router_z: torch.Tensor
    """Sum over tokens of the squared log-sum-exp of the logits."""


class Order(NamedTuple):
    """Rows sorted by expert, stable."""

    order_N: torch.Tensor
    """Sorted row n is row order_N[n] of (T, K)."""
    inverse_N: torch.Tensor
    end_E: torch.Tensor
    """Where each expert's rows end; padding lies after the last."""


class _Permute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TD: torch.Tensor, order_N: torch.Tensor, inverse_N: torch.Tensor, k: int) -> Any:
        ctx.save_for_backward(order_N, inverse_N)
        ctx.k = k
        return x_TD[order_N // k]

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        order_N, inverse_N = ctx.saved_tensors
        return unpermute(grads[0], order_N, inverse_N, ctx.k), None, None, None


class _Unpermute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y_ND: torch.Tensor, order_N: torch.Tensor, inverse_N: torch.Tensor, k: int) -> Any:
        ctx.save_for_backward(order_N, inverse_N)
        ctx.k = k
        if k == 1:
            return y_ND[inverse_N]
        return y_ND[inverse_N].view(-1, k, y_ND.shape[-1]).sum(1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        order_N, inverse_N = ctx.saved_tensors
        return permute(grads[0], order_N, inverse_N, ctx.k), None, None, None


def permute(x_TD: torch.Tensor, order_N: torch.Tensor, inverse_N: torch.Tensor, k: int) -> torch.Tensor:
    """(T, D) to (T K, D) in expert order; its backward gathers and sums over K."""
    rows_ND: torch.Tensor = _Permute.apply(x_TD, order_N, inverse_N, k)  # type: ignore[no-untyped-call]
    return rows_ND


def unpermute(y_ND: torch.Tensor, order_N: torch.Tensor, inverse_N: torch.Tensor, k: int) -> torch.Tensor:
    """(T K, D) in expert order to the sum over K, (T, D); its backward gathers."""
    y_TD: torch.Tensor = _Unpermute.apply(y_ND, order_N, inverse_N, k)  # type: ignore[no-untyped-call]
    return y_TD


def sort_by_expert(choice_TK: torch.Tensor, valid_T: torch.Tensor, experts: int) -> Order:
    expert_N = choice_TK.masked_fill(~valid_T[:, None], experts).reshape(-1).to(torch.int32)
    sorted_N, order_N = expert_N.sort(stable=True)
    wanted = torch.arange(experts, dtype=torch.int32, device=sorted_N.device)
    end_E = torch.searchsorted(sorted_N, wanted, right=True)
    return Order(order_N, order_N.argsort(), end_E)


def counts(end_E: torch.Tensor) -> torch.Tensor:
    return torch.diff(end_E, prepend=end_E.new_zeros(1))


class Router(nn.Module):
    """Sigmoid scores in fp32; a bias that is no parameter takes part in the choice, not in the weights."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = parameter(config.experts, config.width)
        self.top_k = config.top_k
        self.route_scale = config.route_scale
        self.register_buffer("bias_E", torch.zeros(config.experts, dtype=torch.float32))

    bias_E: torch.Tensor

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Casting the model must not round the bias: it moves in steps of a thousandth."""
        before = self.bias_E
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.bias_E.dtype != before.dtype:
            self.bias_E = before.to(self.bias_E.device)
        return self

    def forward(self, x_TD: torch.Tensor, valid_T: torch.Tensor) -> Routes:
        x32 = wide(x_TD)
        logit_TE = F.linear(x32, self.weight.to(x32.dtype))
        score_TE = logit_TE.sigmoid()
        choice_TK = (score_TE.detach() + self.bias_E).topk(self.top_k, -1).indices
        chosen_TK = score_TE.gather(1, choice_TK)
        weight_TK = chosen_TK / (chosen_TK.sum(-1, keepdim=True) + 1e-20) * self.route_scale
        return Routes(choice_TK, weight_TK.masked_fill(~valid_T[:, None], 0), score_TE, logit_TE)


def router_stats(routes: Routes, valid_BL: torch.Tensor) -> RouterStats:
    """Balance within a row: sum over experts of (share of choices x E) times (mean share of scores)."""
    rows, length = valid_BL.shape
    experts, k = routes.score_TE.shape[1], routes.choice_TK.shape[1]
    valid_BL1 = valid_BL[:, :, None]
    kinds = torch.arange(experts, device=valid_BL.device)
    choice = routes.choice_TK.view(rows, length, k, 1) == kinds
    chosen_BE = (choice.any(2) & valid_BL1).sum(1)
    share_TE = routes.score_TE / (routes.score_TE.sum(-1, keepdim=True) + 1e-20)
    share_BE = share_TE.view(rows, length, experts).masked_fill(~valid_BL1, 0).sum(1)
    tokens_B1 = valid_BL.sum(1, keepdim=True).clamp_min(1)
    balance = (chosen_BE * (experts / k) / tokens_B1 * share_BE).sum()
    z_T = routes.logit_TE.logsumexp(-1).square().masked_fill(~valid_BL.reshape(-1), 0)
    return RouterStats(chosen_BE.sum(0), balance, z_T.sum())


def grouped(rows_ND: torch.Tensor, weight_EFD: torch.Tensor, end_E: torch.Tensor) -> torch.Tensor:
    """rows @ weight[e].T for each expert's rows; every row must belong to one."""
    if rows_ND.dtype != torch.float64:
        return F.grouped_mm(rows_ND, weight_EFD.to(rows_ND.dtype).mT, offs=end_E.to(torch.int32))
    sizes = counts(end_E).tolist()
    parts = zip(torch.split(rows_ND, sizes), weight_EFD, strict=True)
    return torch.cat([F.linear(part, weight) for part, weight in parts])


class Experts(nn.Module):
    """The experts' packed weights and the ways to apply them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.count = config.experts
        self.gate_up = parameter(config.experts, 2 * config.expert_width, config.width)
        self.down = parameter(config.experts, config.width, config.expert_width)
        self.group: dist.ProcessGroup | None = None
        """Expert parallelism: the ranks that share the experts between them, in equal consecutive parts."""

    def share(self, mesh: DeviceMesh) -> None:
        """Keep this rank's part of the experts; the gradients of a part come from the tokens of all ranks."""
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
        if self.group is None and x_TD.dtype == torch.float64:
            return self.every_expert(x_TD, routes)
        if self.group is None and len(x_TD) <= FEW_TOKENS and not torch.is_grad_enabled():
            return self.few_tokens(x_TD, routes)
        order = sort_by_expert(routes.choice_TK, valid_T, self.count)
        apply = self.permuted if self.group is None else self._exchanged
        return apply(x_TD, routes, order)

    def permuted(self, x_TD: torch.Tensor, routes: Routes, order: Order) -> torch.Tensor:
        """The fast path: two grouped products over all rows."""
        order_N, inverse_N, end_E = order
        k = routes.choice_TK.shape[1]
        rows_ND = permute(x_TD, order_N, inverse_N, k)
        weight_N1 = permute(routes.weight_TK.reshape(-1, 1), order_N, inverse_N, 1)
        last = torch.arange(self.count, device=end_E.device) == self.count - 1
        y_ND = self._apply_rows(rows_ND, weight_N1, torch.where(last, len(rows_ND), end_E))
        return unpermute(y_ND, order_N, inverse_N, k)

    def _apply_rows(
        self, rows_ND: torch.Tensor, weight_N1: torch.Tensor | None, end_E: torch.Tensor
    ) -> torch.Tensor:
        gate_up, down = self._weights()
        gate, up = grouped(rows_ND, gate_up, end_E).chunk(2, -1)
        hidden_NF = F.silu(gate) * up
        if weight_N1 is not None:
            hidden_NF = (hidden_NF * weight_N1).to(rows_ND.dtype)
        return grouped(hidden_NF, down, end_E)

    def few_tokens(self, x_TD: torch.Tensor, routes: Routes) -> torch.Tensor:
        """Matrix-vector products with gathered weights: reads only the experts in use."""
        gate_up, down = self._weights()
        chosen = routes.choice_TK
        shape = *chosen.shape, -1
        both = torch.bmm(gate_up[chosen].flatten(1, 2).to(x_TD.dtype), x_TD[..., None]).view(shape)
        gate, up = both.chunk(2, -1)
        hidden_TKF = (F.silu(gate) * up * routes.weight_TK[..., None]).to(x_TD.dtype)
        y_N1 = torch.bmm(down[chosen].flatten(0, 1).to(x_TD.dtype), hidden_TKF.flatten(0, 1)[..., None])
        return y_N1.view(shape).sum(1)

    def every_expert(self, x_TD: torch.Tensor, routes: Routes) -> torch.Tensor:
        """Every expert on every token, summed in the experts' order: no result depends on other tokens."""
        y_TD = torch.zeros_like(x_TD)
        gate_up, down = self._weights()
        for expert in range(self.count):
            weight_T = routes.weight_TK.masked_fill(routes.choice_TK != expert, 0).sum(1)
            gate, up = F.linear(x_TD, gate_up[expert].to(x_TD.dtype)).chunk(2, -1)
            y_TD = y_TD + F.linear(F.silu(gate) * up * weight_T[:, None], down[expert].to(x_TD.dtype))
        return y_TD

    def _exchanged(self, x_TD: torch.Tensor, routes: Routes, order: Order) -> torch.Tensor:
        """Rows travel to the ranks that hold their experts and back. Two lists of sizes go to the host."""
        assert self.group is not None
        order_N, inverse_N, end_E = order
        k = routes.choice_TK.shape[1]
        ranks = dist.get_world_size(self.group)
        sent_E = counts(end_E)
        received_E = torch.empty_like(sent_E)
        dist.all_to_all_single(received_E, sent_E, group=self.group)
        out_sizes = sent_E.view(ranks, -1).sum(1).tolist()
        in_sizes = received_E.view(ranks, -1).sum(1).tolist()
        rows_ND = permute(x_TD, order_N, inverse_N, k)
        mine = _all_to_all(rows_ND[: sum(out_sizes)], in_sizes, out_sizes, self.group)
        mine = _all_to_all(self._apply_received(mine, received_E), out_sizes, in_sizes, self.group)
        y_ND = torch.cat((mine, mine.new_zeros(len(rows_ND) - len(mine), mine.shape[1])))
        weight_N1 = permute(routes.weight_TK.reshape(-1, 1), order_N, inverse_N, 1)
        return unpermute((y_ND * weight_N1).to(x_TD.dtype), order_N, inverse_N, k)

    def _apply_received(self, rows_ND: torch.Tensor, received_E: torch.Tensor) -> torch.Tensor:
        """Apply this rank's experts to rows that come sorted by (sender, expert)."""
        assert self.group is not None
        ranks = dist.get_world_size(self.group)
        here = self.count // ranks
        expert_N = torch.arange(here, device=rows_ND.device).repeat(ranks)
        expert_N = torch.repeat_interleave(expert_N, received_E, output_size=len(rows_ND))
        order_N = expert_N.argsort(stable=True)
        inverse_N = order_N.argsort()
        end_E = received_E.view(ranks, here).sum(0).cumsum(0)
        end_E[-1] += _SPARE_ROWS
        sorted_ND = permute(rows_ND, order_N, inverse_N, 1)
        sorted_ND = torch.cat((sorted_ND, sorted_ND.new_zeros(_SPARE_ROWS, sorted_ND.shape[1])))
        y_ND = self._apply_rows(sorted_ND, None, end_E)[: len(rows_ND)]
        return unpermute(y_ND, order_N, inverse_N, 1)


def _all_to_all(
    rows_ND: torch.Tensor, sizes_in: list[int], sizes_out: list[int], group: dist.ProcessGroup
) -> torch.Tensor:
    from torch.distributed._functional_collectives import all_to_all_single_autograd

    rows: torch.Tensor = all_to_all_single_autograd(rows_ND.contiguous(), sizes_in, sizes_out, group)
    wait = getattr(rows, "wait", None)
    return wait() if wait is not None else rows


class MixtureOfExperts(nn.Module):
    """Norm, routed experts, and the expert every position visits."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = Norm(config.width, config.norm_eps)
        self.router = Router(config)
        self.experts = Experts(config)
        self.shared = Gated(config.width, config.shared_width) if config.shared_width else None

    def forward(
        self, x_BLD: torch.Tensor, valid_BL: torch.Tensor, with_stats: bool = True
    ) -> tuple[torch.Tensor, RouterStats | None]:
        normed = self.norm(x_BLD)
        x_TD = normed.flatten(0, 1)
        valid_T = valid_BL.reshape(-1)
        routes = self.router(x_TD, valid_T)
        y_TD = self.experts(x_TD, routes, valid_T)
        if self.shared is not None:
            y_TD = y_TD + self.shared(x_TD)
        stats = router_stats(routes, valid_BL) if with_stats else None
        return y_TD.view_as(x_BLD), stats


class Dense(nn.Module):
    """Norm and one feed-forward for all, with no router to speak of."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = Norm(config.width, config.norm_eps)
        self.gated = Gated(config.width, config.dense_width)

    def forward(
        self, x_BLD: torch.Tensor, valid_BL: torch.Tensor, with_stats: bool = True
    ) -> tuple[torch.Tensor, None]:
        return self.gated(self.norm(x_BLD)), None
