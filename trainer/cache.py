"""Keys and values of one session: append, go back, fork, and forget what no query can see again.

# G key heads, S slots, C head dimension, L new positions

    slots   | sinks, kept for ever | ring: position p lies at sinks + (p - sinks) mod (S - sinks) |

Without an attention window the ring never comes round: a full cache is an error. With one, memory is bounded.
Keys were rotated before they came here, so the order of the slots does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from corpus.schemas.errors import CorpusError
from corpus.trainer.attention import Sight

NEVER = -(2**30)
_INTEGERS = ("length", "_sinks", "_lost", "_lost_turn")


@dataclass(slots=True)
class LayerStore:
    """One layer's keys and values, and where the next ones go (set by `KvCache.extend`)."""

    key_GSC: torch.Tensor
    value_GSC: torch.Tensor
    slot_L: torch.Tensor | None = None
    used: int = 0

    def append(self, key_GLC: torch.Tensor, value_GLC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert self.slot_L is not None
        self.key_GSC.index_copy_(1, self.slot_L, key_GLC.to(self.key_GSC.dtype))
        self.value_GSC.index_copy_(1, self.slot_L, value_GLC.to(self.value_GSC.dtype))
        return self.key_GSC[:, : self.used], self.value_GSC[:, : self.used]


class KvCache:
    """What a session remembers. `length` counts all positions ever appended and not rolled back."""

    def __init__(
        self,
        *,
        layers: int,
        kv_heads: int,
        head_dim: int,
        capacity_positions: int,
        sight: Sight,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (kv_heads, capacity_positions, head_dim)
        self.layers = [
            LayerStore(
                torch.zeros(shape, dtype=dtype, device=device), torch.zeros(shape, dtype=dtype, device=device)
            )
            for _ in range(layers)
        ]
        self.capacity = capacity_positions
        self.sight = sight
        self.device = device
        self.length = 0
        self._order_S = np.full(capacity_positions, NEVER, np.int64)
        """The position each slot holds."""
        self._turn_S = np.full(capacity_positions, NEVER, np.int32)
        self._sinks: int | None = None
        """Positions of the sink micro-turns, once the first other one is known."""
        self._lost = 0
        """Positions [sinks, lost) have been overwritten …"""
        self._lost_turn = NEVER
        """… the last of them in this micro-turn."""

    @property
    def bytes(self) -> int:
        """Memory of keys and values."""
        return sum(2 * store.key_GSC.nbytes for store in self.layers)

    def extend(self, turn_L: npt.NDArray[np.int32]) -> torch.Tensor:
        """Make room for positions of these micro-turns; boolean (L, used): what each of them sees."""
        position_L = np.arange(self.length, self.length + len(turn_L))
        sinks = self._sinks
        try:
            slot_L = self._slots(position_L, turn_L)
        except CorpusError:
            self._sinks = sinks
            raise
        self._order_S[slot_L] = position_L
        self._turn_S[slot_L] = turn_L
        self.length += len(turn_L)
        used = min(self.length + self._ahead(), self.capacity)
        slots = torch.from_numpy(slot_L).to(self.device)
        for store in self.layers:
            store.slot_L, store.used = slots, used
        order_S, turn_S = self._order_S[:used], self._turn_S[:used]
        past = (order_S <= position_L[:, None]) & (order_S >= 0)
        seen = past & self.sight.reaches(turn_L[:, None], turn_S)
        return torch.from_numpy(seen).to(self.device)

    def rollback(self, length: int) -> None:
        """Forget the positions from `length` on. What a window has evicted does not come back."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot roll back to {length}: {self.length} positions are held")
        if length < self.length and self._lost > (self._sinks or 0):
            turn = self._turn_S[self._slot(np.array([length - 1]))[0]] if length > self._lost else NEVER
            if not self._hidden(turn):
                raise CorpusError(
                    f"cannot go back to position {length}: keys it would see are overwritten",
                    where="KV cache",
                    todo="give the session more positions",
                )
        if self._sinks is not None and length <= self._sinks:
            self._sinks = None
        self._order_S[self._order_S >= length] = NEVER
        self.length = length

    def fork(self) -> KvCache:
        """An independent copy."""
        twin = object.__new__(KvCache)
        twin.__dict__.update(self.__dict__)
        twin.layers = [LayerStore(store.key_GSC.clone(), store.value_GSC.clone()) for store in self.layers]
        twin._order_S, twin._turn_S = self._order_S.copy(), self._turn_S.copy()
        return twin

    def state_dict(self) -> dict[str, Any]:
        """Tensors and integers; keys and values are not copied."""
        plain: dict[str, Any] = {name: getattr(self, name) for name in _INTEGERS}
        plain["order"], plain["turn"] = torch.from_numpy(self._order_S), torch.from_numpy(self._turn_S)
        plain["key"] = [store.key_GSC for store in self.layers]
        plain["value"] = [store.value_GSC for store in self.layers]
        return plain

    def load_state_dict(self, plain: Mapping[str, Any]) -> None:
        """Take over another cache's content, which must be of the same sizes."""
        shapes = [tuple(key.shape) for key in plain["key"]]
        own = [tuple(store.key_GSC.shape) for store in self.layers]
        if shapes != own:
            raise CorpusError(f"keys of {shapes[:1]}, this cache holds {own[:1]}", where="KV cache")
        for name in _INTEGERS:
            setattr(self, name, plain[name])
        self._order_S[:], self._turn_S[:] = plain["order"].numpy(), plain["turn"].numpy()
        for store, key_GSC, value_GSC in zip(self.layers, plain["key"], plain["value"], strict=True):
            store.key_GSC.copy_(key_GSC)
            store.value_GSC.copy_(value_GSC)

    def _ahead(self) -> int:
        """Slots beyond `length` may be held over from before a rollback past the ring's turn."""
        return self.capacity if self._lost else 0

    def _slot(self, position_L: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        if self._sinks is None:
            return position_L
        ring = self.capacity - self._sinks
        return np.where(
            position_L < self._sinks, position_L, self._sinks + (position_L - self._sinks) % max(ring, 1)
        )

    def _slots(
        self, position_L: npt.NDArray[np.int64], turn_L: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.int64]:
        if self._sinks is None and self.sight.window_turns is not None:
            later = np.flatnonzero(turn_L >= self.sight.sink_turns)
            if len(later):
                self._sinks = int(position_L[later[0]])
        slot_L = self._slot(position_L)
        if len(position_L) and position_L[-1] >= self.capacity:
            self._evict(position_L, turn_L)
        return slot_L

    def _evict(self, position_L: npt.NDArray[np.int64], turn_L: npt.NDArray[np.int32]) -> None:
        """Overwrite the oldest positions of the ring, if no query from now on can see them."""
        ring = self.capacity - (self._sinks if self._sinks is not None else self.capacity)
        first_lost, end_lost = max(self._lost, self._sinks or 0), int(position_L[-1]) + 1 - ring
        if ring < len(position_L):
            self._full()
        if end_lost <= first_lost:
            return
        turn = int(self._turn_S[self._slot(np.array([end_lost - 1]))[0]])
        if self.sight.window_turns is None or int(turn_L[0]) - turn < self.sight.window_turns:
            self._full()
        self._lost, self._lost_turn = end_lost, turn

    def _hidden(self, turn: int) -> bool:
        """Whether a query of this or a later micro-turn sees none of what is lost."""
        return self.sight.window_turns is not None and int(turn) - self._lost_turn >= self.sight.window_turns

    def _full(self) -> None:
        raise CorpusError(
            f"{self.capacity} positions are held and all can still be seen",
            where="KV cache",
            todo="open the session with more positions, or train with attention_window_s",
        )
