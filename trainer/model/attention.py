"""Attention with rotated queries and keys, the same in training and in a session's step.

# B batch rows, L queries, S keys, D width, H heads, G key heads, C head dimension

    x_BLD -> norm -> queries, keys, values -> norm, rotation (rope.py) -> attention -> projection

A mask says which keys a query sees; it is made once a batch for all layers (attention_mask.py). A session's
step passes a store of all keys so far, and a bias in place of the mask.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from corpus.trainer.config import ModelConfig
from corpus.trainer.model.batch_invariant import each_attended, is_batch_invariant
from corpus.trainer.model.layers import Norm, linear, parameter, recomputed, wide
from corpus.trainer.model.low_rank import low_ranks
from corpus.trainer.model.rope import rotate, turns

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


HIDDEN = -1e30
"""Added to the score of a key that is not seen. Finite, so that a query that sees nothing stays finite."""


class KeyStore(NamedTuple):
    """One layer's memory for a step of L positions."""

    key_GSC: torch.Tensor
    """All slots; the first `used` are read."""
    value_GSC: torch.Tensor
    used: int
    slot_L: torch.Tensor
    """Where the step's own keys and values go."""
    turned: tuple[torch.Tensor, torch.Tensor]
    """What `rope.turns` gives: the same in all layers."""
    order_S: torch.Tensor | None = None
    """Slots in the order of their positions, in a batch-invariant step."""

    def append(self, key_GLC: torch.Tensor, value_GLC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values, those of this step with them."""
        self.key_GSC.index_copy_(1, self.slot_L, key_GLC.to(self.key_GSC.dtype))
        self.value_GSC.index_copy_(1, self.slot_L, value_GLC.to(self.value_GSC.dtype))
        return self.key_GSC[:, : self.used], self.value_GSC[:, : self.used]


@cache
def _compiled_flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)


def attend(
    query_BHLC: torch.Tensor,
    key_BGSC: torch.Tensor,
    value_BGSC: torch.Tensor,
    mask: torch.Tensor | BlockMask,
) -> torch.Tensor:
    """Softmax attention, key heads shared by H/G query heads. The one place where kernels are chosen."""
    # GQA only where it is needed: some kernels refuse the flag even for equal head counts.
    shared = query_BHLC.shape[1] != key_BGSC.shape[1]
    if isinstance(mask, torch.Tensor):
        return F.scaled_dot_product_attention(query_BHLC, key_BGSC, value_BGSC, mask, enable_gqa=shared)
    return _attend_flex(query_BHLC, key_BGSC, value_BGSC, mask)


def _attend_flex(
    query_BHLC: torch.Tensor, key_BGSC: torch.Tensor, value_BGSC: torch.Tensor, mask: BlockMask
) -> torch.Tensor:
    """FlexAttention, as part of a compiled block or else compiled by itself.

    Inputs are made contiguous, because the compiler silently takes views made earlier in a block for
    contiguous: tests/trainer/model/test_model.py, test_the_gpu_mask_goes_into_compiled_blocks.
    """
    from torch.nn.attention.flex_attention import flex_attention

    kernel: Any = flex_attention if torch.compiler.is_compiling() else _compiled_flex()
    out: torch.Tensor = kernel(
        query_BHLC.contiguous(),
        key_BGSC.contiguous(),
        value_BGSC.contiguous(),
        block_mask=mask,
        enable_gqa=query_BHLC.shape[1] != key_BGSC.shape[1],
    )
    return out


def _attend_held(
    query_HLC: torch.Tensor, key_GSC: torch.Tensor, value_GSC: torch.Tensor, bias_LS: torch.Tensor
) -> torch.Tensor:
    """(H, L, C): few queries, many keys. Query heads that share a key head are treated as more queries of it.

    Two products and a softmax: fused kernels that take a mask work on one block of queries at a time, which
    here leaves all but G of a GPU's processors idle. Scores are fp32 or wider.
    """
    heads, length, size = query_HLC.shape
    groups = len(key_GSC)
    # (H, L) folded to (G, N): query heads of one key head stand together, so a plain batched product does.
    score_GNS = _product(query_HLC.reshape(groups, -1, size), key_GSC.mT)
    score = score_GNS.view(groups, heads // groups, length, -1)
    share = torch.add(bias_LS, score, alpha=size**-0.5).softmax(-1).to(value_GSC.dtype)
    return torch.bmm(share.view(score_GNS.shape), value_GSC).view(heads, length, size)


def _product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Batched, in fp32 or wider, without a rounding to half precision in between."""
    if a.dtype.itemsize < 4 and a.is_cuda:
        return torch.bmm(a, b, out_dtype=torch.float32)
    return torch.bmm(wide(a), wide(b))


def _each_attended(
    query_BHLC: torch.Tensor,
    key_BGSC: torch.Tensor,
    value_BGSC: torch.Tensor,
    mask: torch.Tensor | BlockMask,
    store: KeyStore | None,
) -> torch.Tensor:
    """Batch-invariant attention of a whole pass or a session's step: the same keys in the same order."""
    if not isinstance(mask, torch.Tensor):
        raise NotImplementedError("batch-invariant attention is for the CPU")
    if store is None:
        rows = zip(query_BHLC, key_BGSC, value_BGSC, mask[:, 0], strict=True)
        return torch.stack([each_attended(*row) for row in rows])
    key_GSC, value_GSC = store.append(key_BGSC[0], value_BGSC[0])
    order_S = store.order_S
    assert order_S is not None
    # A session's mask is a bias: HIDDEN for hidden keys, 0 for seen ones.
    seen_LS = mask[:, order_S] > HIDDEN / 2
    return each_attended(query_BHLC[0], key_GSC[:, order_S], value_GSC[:, order_S], seen_LS)[None]


class Attention(nn.Module):
    """Norm, projections, norms of queries and keys, rotation, attention, projection."""

    PARTS = ("mix",)
    """Compiled where the whole cannot be, because it is computed again in backward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.recompute = False
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.rope_theta, self.rope = config.rope_theta, config.rope
        self.norm = Norm(config.width, config.norm_eps)
        self.query = parameter(config.heads * config.head_dim, config.width)
        self.key_value = parameter(2 * config.kv_heads * config.head_dim, config.width)
        normed = config.head_norms
        self.query_norm = Norm(config.head_dim, config.norm_eps) if normed else nn.Identity()
        self.key_norm = Norm(config.head_dim, config.norm_eps) if normed else nn.Identity()
        self.out = parameter(config.width, config.heads * config.head_dim)
        shapes = {name: getattr(self, name).shape for name in ("query", "key_value", "out")}
        self.low = low_ranks(config, shapes)

    def forward(
        self,
        x_BLD: torch.Tensor,
        place_3BL: torch.Tensor,
        mask: torch.Tensor | BlockMask,
        store: KeyStore | None = None,
    ) -> torch.Tensor:
        """The term that attention adds to x. With a `store` keys come from it, B is 1 and the mask a bias."""
        if self.recompute and store is None:
            added: torch.Tensor = recomputed(self.mix, x_BLD, place_3BL, mask)
            return added
        return self.mix(x_BLD, place_3BL, mask, store)

    def mix(
        self,
        x_BLD: torch.Tensor,
        place_3BL: torch.Tensor,
        mask: torch.Tensor | BlockMask,
        store: KeyStore | None = None,
    ) -> torch.Tensor:
        normed = self.norm(x_BLD)
        turned = (
            turns(place_3BL, self.head_dim, self.rope_theta, self.rope) if store is None else store.turned
        )
        query = self._project("query", normed).view(*x_BLD.shape[:2], self.heads, self.head_dim)
        key_value = self._project("key_value", normed)
        key, value = key_value.view(*x_BLD.shape[:2], 2, self.kv_heads, self.head_dim).unbind(2)
        # Norm before rotation: a rotation keeps lengths, so the scores stay bounded by the norms' weights.
        query = rotate(self.query_norm(query), *turned).transpose(1, 2)
        key = rotate(self.key_norm(key), *turned).transpose(1, 2)
        value = value.transpose(1, 2)
        if is_batch_invariant():
            mixed = _each_attended(query, key, value, mask, store)
        elif store is None:
            mixed = attend(query, key, value, mask)
        else:
            assert isinstance(mask, torch.Tensor)
            # Append first: a step's positions attend to each other and to themselves.
            mixed = _attend_held(query[0], *store.append(key[0], value[0]), mask)[None]
        return self._project("out", mixed.transpose(1, 2).flatten(2))

    def _project(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """A linear map, plus its LoRA product where it has one."""
        y = linear(x, getattr(self, name))
        return y + self.low[name](x) if name in self.low else y
