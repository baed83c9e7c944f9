"""Which keys a query sees: earlier ones of its document; with a window only near ones and sinks.

# B batch rows, L positions, K and Q blocks of them

A key is near if its micro-turn is fewer than W back, a sink if it is one of the first. Off the GPU the mask
is a boolean matrix, the plain path; on a GPU training uses FlexAttention, whose mask reads tensors, so that
a new batch recompiles nothing. tests/trainer/model holds the two to each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from corpus.trainer.config import ModelConfig
from corpus.trainer.data.sequence import Batch

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """How far back a query sees."""

    window_turns: int | None
    sink_turns: int

    @classmethod
    def of(cls, config: ModelConfig) -> Sight:
        return cls(window_turns=config.attention_window_turns, sink_turns=config.sink_turns)

    def reaches(self, query_turn: Any, key_turn: Any) -> Any:
        """Whether a key's micro-turn is near or a sink; for tensors and numpy arrays alike."""
        if self.window_turns is None:
            # All true, in the shape and type of the operands.
            return key_turn == key_turn
        return (query_turn - key_turn < self.window_turns) | (key_turn < self.sink_turns)


def dense_mask(segment_BL: torch.Tensor, turn_BL: torch.Tensor, sight: Sight) -> torch.Tensor:
    """Boolean (B, 1, L, L); padding sees padding, so that no row is empty (a softmax over nothing is NaN)."""
    same = segment_BL[:, :, None] == segment_BL[:, None, :]
    reach = sight.reaches(turn_BL[:, :, None], turn_BL[:, None, :])
    # Rows are in the order of time: the lower triangle holds all earlier positions and the query's own.
    seen: torch.Tensor = (same & reach).tril()
    return seen[:, None]


class BatchMask:
    """The mask of a batch in the form its kernel takes; the choice of form is made only here."""

    def __init__(self, sight: Sight) -> None:
        self.sight = sight
        self._flex: FlexMask | None = None

    def __call__(self, batch: Batch, dtype: torch.dtype) -> torch.Tensor | BlockMask:
        """Valid until the next call."""
        if batch.token_BL.device.type != "cuda" or dtype == torch.float64:
            return dense_mask(batch.segment_BL, batch.turn_BL, self.sight)
        flex = self._flex
        if flex is None or flex.segment_BL.shape != batch.segment_BL.shape:
            flex = self._flex = FlexMask(*batch.shape, self.sight, batch.token_BL.device)
        return flex.set(batch.segment_BL, batch.turn_BL)


class FlexMask:
    """The mask of a batch shape for FlexAttention: its tensors are overwritten by each batch.

    One closure for its lifetime, so nothing is recompiled; valid until the next `set`.
    """

    BLOCK = 128

    def __init__(self, rows: int, length: int, sight: Sight, device: torch.device) -> None:
        self.segment_BL = torch.zeros(rows, length, dtype=torch.int32, device=device)
        self.turn_BL = torch.zeros(rows, length, dtype=torch.int32, device=device)
        self.sight = sight

    def set(self, segment_BL: torch.Tensor, turn_BL: torch.Tensor) -> BlockMask:
        from torch.nn.attention.flex_attention import BlockMask

        self.segment_BL.copy_(segment_BL)
        self.turn_BL.copy_(turn_BL)
        # Blocks that are seen wholly need no mask inside; only those at an edge evaluate `_seen`.
        some_BQK, all_BQK = self._blocks()
        length = self.segment_BL.shape[1]
        mask: BlockMask = BlockMask.from_kv_blocks(
            *_listed(some_BQK & ~all_BQK),
            *_listed(all_BQK),
            BLOCK_SIZE=self.BLOCK,
            mask_mod=self._seen,
            seq_lengths=(length, length),
        )
        return mask

    def _seen(
        self, row: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor
    ) -> torch.Tensor:
        same = self.segment_BL[row, query] == self.segment_BL[row, key]
        reach = self.sight.reaches(self.turn_BL[row, query], self.turn_BL[row, key])
        seen: torch.Tensor = same & reach & (key <= query)
        return seen

    def _blocks(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Boolean (B, L/128, L/128) each: where some query sees some key, and where all queries see all keys.

        One row at a time: a full mask of a row of 4096 takes 17 MB, several times over.
        """
        rows = zip(torch.split(self.segment_BL, 1), torch.split(self.turn_BL, 1), strict=True)
        some, every = zip(*(self._blocks_of_row(*row) for row in rows), strict=True)
        return torch.cat(some), torch.cat(every)

    def _blocks_of_row(
        self, segment_BL: torch.Tensor, turn_BL: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        length = segment_BL.shape[1]
        blocks = -(-length // self.BLOCK)
        dense = dense_mask(segment_BL, turn_BL, self.sight)[:, 0]
        short = blocks * self.BLOCK - length
        # A last block that is not full is no whole block, so the kernel evaluates its mask.
        dense = F.pad(dense, (0, short, 0, short))
        dense = dense.view(1, blocks, self.BLOCK, blocks, self.BLOCK)
        return dense.any(4).any(2), dense.all(4).all(2)


def _listed(blocks_BQK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The number of key blocks of each query block, and the blocks' numbers, seen ones first and rising."""
    count = blocks_BQK.sum(-1).to(torch.int32)[:, None]
    # A stable sort of False before True lists the seen blocks first, in rising order.
    order = (~blocks_BQK).to(torch.int8).argsort(dim=-1, stable=True).to(torch.int32)[:, None]
    return count, order
