"""Attention at the model's shape with packed rows: our kernel compared with others.

# B rows, L positions, H heads, G key heads, C head dimension
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from ratio_report import NEEDS_GPU, Row, interleaved, ratios
from ratio_setting import Setting

from corpus.trainer.model.attention import attend
from corpus.trainer.model.attention_mask import FlexMask, Sight, dense_mask

ROWS, LENGTH, DOCUMENT = 4, 4096, 1240
"""A document of 30 s, heard only, has some 1240 positions."""

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class Case:
    """Random queries, keys and values, and packed documents."""

    def __init__(self, setting: Setting) -> None:
        model, shape = setting.model, (ROWS, LENGTH)
        place = torch.arange(LENGTH, device=setting.device).expand(shape).int()
        self.segment_BL = (place // DOCUMENT).contiguous()
        self.turn_BL = (place % DOCUMENT // 8).contiguous()
        self.sight = Sight.of(model)
        heads = (model.heads, model.kv_heads, model.kv_heads)
        self.given = [
            torch.randn(
                ROWS,
                n,
                LENGTH,
                model.head_dim,
                device=setting.device,
                dtype=setting.dtype,
                requires_grad=True,
            )
            for n in heads
        ]
        self.grad = torch.randn_like(self.given[0])
        whole, rest = divmod(LENGTH, DOCUMENT)
        pairs = ROWS * (whole * DOCUMENT * (DOCUMENT + 1) + rest * (rest + 1)) / 2
        self.operations = 12 * pairs * model.heads * model.head_dim
        """Forward and backward, of visible pairs alone."""

    def trained(self, kernel: Attend) -> Callable[[], None]:
        def work() -> None:
            kernel(*self.given).backward(self.grad)
            for tensor in self.given:
                tensor.grad = None

        return work

    def flex(self) -> Attend:
        mask = FlexMask(ROWS, LENGTH, self.sight, self.segment_BL.device).set(self.segment_BL, self.turn_BL)
        return lambda q, k, v: attend(q, k, v, mask)

    def masked(self) -> Attend:
        mask = dense_mask(self.segment_BL, self.turn_BL, self.sight)
        return lambda q, k, v: F.scaled_dot_product_attention(q, _repeated(k, q), _repeated(v, q), mask)


def _repeated(key: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """Keys repeated for each query head, as the kernel that takes a mask does not support shared keys."""
    return key.repeat_interleave(query.shape[1] // key.shape[1], 1)


def _far(found: torch.Tensor, expected: torch.Tensor) -> float:
    error = float((found.double() - expected.double()).norm() / expected.double().norm())
    if not error < 2e-2:
        raise ArithmeticError(f"results differ by {error:.1e}")
    return error


def attention(setting: Setting) -> Iterator[Row]:
    what = f"SDPA with a mask : Flex, {ROWS} x {LENGTH} packed, forward and backward"
    row = Row(section="attention", what=what)
    if not setting.gpu:
        yield replace(row, missing=NEEDS_GPU)
        return
    case = Case(setting)
    flex, masked = case.flex(), case.masked()
    error = _far(flex(*case.given).detach(), masked(*case.given).detach())
    works = {"masked": case.trained(masked), "flex": case.trained(flex)}
    taken = interleaved(works, setting.device, rounds=setting.rounds)
    rate = case.operations / min(taken["flex"]) / 1e12
    note = f"Flex at best {rate:.3g} TFLOP/s of visible pairs; results differ by {error:.1e}"
    yield replace(row, values=ratios(taken["masked"], taken["flex"]), note=note)
    mask = FlexMask(ROWS, LENGTH, case.sight, setting.device)
    making = interleaved({"mask": lambda: mask.set(case.segment_BL, case.turn_BL)}, setting.device, rounds=3)
    yield Row(
        section="attention",
        what=f"a batch's mask, once for all layers, {ROWS} rows",
        values=tuple(1e3 * each for each in making["mask"]),
        unit=" ms",
    )


def varlen(setting: Setting) -> Iterator[Row]:
    """For information: torch's kernel for packed rows, which supports neither windows of turns nor sinks."""
    row = Row(section="varlen", what="varlen_attn : Flex, the same rows, forward and backward")
    if not setting.gpu:
        yield replace(row, missing=NEEDS_GPU)
        return
    from torch.nn.attention.varlen import varlen_attn

    case = Case(setting)
    starts = [r * LENGTH + d for r in range(ROWS) for d in range(0, LENGTH, DOCUMENT)]
    ends = torch.tensor([*starts, ROWS * LENGTH], dtype=torch.int32, device=setting.device)

    def kernel(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        flat = [x.transpose(1, 2).flatten(0, 1) for x in (q, _repeated(k, q), _repeated(v, q))]
        out = varlen_attn(*flat, ends, ends, DOCUMENT, DOCUMENT, window_size=(-1, 0))
        assert isinstance(out, torch.Tensor)
        return out.view(ROWS, LENGTH, *out.shape[1:]).transpose(1, 2)

    flex = case.flex()
    error = _far(kernel(*case.given).detach(), flex(*case.given).detach())
    works = {"varlen": case.trained(kernel), "flex": case.trained(flex)}
    taken = interleaved(works, setting.device, rounds=setting.rounds)
    note = f"keys repeated for varlen_attn; results differ by {error:.1e}"
    yield replace(row, values=ratios(taken["varlen"], taken["flex"]), note=note)


SECTIONS = {"attention": attention, "varlen": varlen}
