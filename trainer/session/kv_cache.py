"""Keys and values of one session: append, roll back, fork, and forget keys that no query can see again.

# G key heads, S slots, C head dimension, L new positions

    slots   | sinks, kept for ever | ring: position p lies at sinks + (p - sinks) mod ring | spare, trash |

Without an attention window the ring never wraps around: a full cache is an error. With a window, memory is
bounded. Keys are stored rotated, so the order of the slots does not matter. Which keys a query sees is
decided on the device, from each slot's position and micro-turn: a slot that is empty, trash or left over from
before a rollback holds a position later than any query's until it is written again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from corpus.schemas.errors import CorpusError
from corpus.trainer.model.attention_mask import Sight

NEVER = -(2**30)
FAR = 2**30
"""The position of slots that no query sees."""
_ROUND = 64
"""The number of slots is a multiple of this."""
_INTEGERS = ("capacity", "length", "_sinks", "_lost", "_lost_turn")


class Layer(NamedTuple):
    key_GSC: torch.Tensor
    value_GSC: torch.Tensor

    def clone(self) -> Layer:
        return Layer(self.key_GSC.clone(), self.value_GSC.clone())


class KvCache:
    """A session's memory. `length` counts all positions ever appended and not rolled back."""

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
        self.capacity = capacity_positions
        self.slots = -(-(capacity_positions + 1) // _ROUND) * _ROUND
        """Including the last one, trash, to which padding is written."""
        shape = (kv_heads, self.slots, head_dim)

        def zeros() -> torch.Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self.layers = [Layer(zeros(), zeros()) for _ in range(layers)]
        self.position_S = torch.full((self.slots,), FAR, dtype=torch.int32, device=device)
        self.turn_S = torch.full((self.slots,), NEVER, dtype=torch.int32, device=device)
        self.sight = sight
        self.dtype, self.device = dtype, device
        self.length = 0
        self._turn_S = np.full(capacity_positions, NEVER, np.int32)
        """A copy of `turn_S` on the host, which decides what may be overwritten."""
        self._sinks: int | None = None
        """Positions of the sink micro-turns, once the first other one is known."""
        self._lost = 0
        """Positions [sinks, lost) have been overwritten."""
        self._lost_turn = NEVER
        """The micro-turn of the last overwritten position."""

    @property
    def bytes(self) -> int:
        """Memory of keys and values."""
        return sum(2 * layer.key_GSC.nbytes for layer in self.layers)

    @property
    def used(self) -> int:
        """The number of first slots that can hold visible keys."""
        return self.capacity if self._lost else self.length

    def extend(self, turn_L: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """Make room for positions of these micro-turns; returns the slots to write them to."""
        position_L = np.arange(self.length, self.length + len(turn_L))
        sinks = self._sinks
        try:
            slot_L = self._slots(position_L, turn_L)
        except CorpusError:
            self._sinks = sinks
            raise
        self._turn_S[slot_L] = turn_L
        self.length += len(turn_L)
        return slot_L

    def rollback(self, length: int) -> None:
        """Forget the positions from `length` on. Positions that the window evicted do not come back."""
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
        self.length = length

    def fork(self) -> KvCache:
        """An independent copy."""
        twin = object.__new__(KvCache)
        twin.__dict__.update(self.__dict__)
        twin.layers = [layer.clone() for layer in self.layers]
        twin.position_S, twin.turn_S = self.position_S.clone(), self.turn_S.clone()
        twin._turn_S = self._turn_S.copy()
        return twin

    def state_dict(self) -> dict[str, Any]:
        """Integers and copies of the tensors, since later positions may overwrite the present ones."""
        plain: dict[str, Any] = {name: getattr(self, name) for name in _INTEGERS}
        plain["position"], plain["turn"] = self.position_S.clone(), self.turn_S.clone()
        layers = [layer.clone() for layer in self.layers]
        plain["key"] = [layer.key_GSC for layer in layers]
        plain["value"] = [layer.value_GSC for layer in layers]
        return plain

    def load_state_dict(self, plain: Mapping[str, Any]) -> None:
        """Take over the content of another cache of the same sizes."""
        shapes = [tuple(key.shape) for key in plain["key"]]
        own = [tuple(layer.key_GSC.shape) for layer in self.layers]
        if shapes != own:
            raise CorpusError(f"keys of {shapes[:1]}, this cache holds {own[:1]}", where="KV cache")
        if plain["capacity"] != self.capacity:  # a ring of another size has positions in other slots
            what = f"a cache of {plain['capacity']} positions, this one has {self.capacity}"
            todo = "open the session as the one that was saved: max_seconds, history_turns, pictures"
            raise CorpusError(what, where="KV cache", todo=todo)
        for name in _INTEGERS:
            setattr(self, name, plain[name])
        self.position_S.copy_(plain["position"])
        self.turn_S.copy_(plain["turn"])
        self._turn_S[:] = plain["turn"][: self.capacity].cpu().numpy()
        for layer, key_GSC, value_GSC in zip(self.layers, plain["key"], plain["value"], strict=True):
            layer.key_GSC.copy_(key_GSC)
            layer.value_GSC.copy_(value_GSC)

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
        """Overwrite the oldest positions of the ring, if no future query can see them."""
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
        """Whether queries of this and later micro-turns see no overwritten position."""
        return self.sight.window_turns is not None and int(turn) - self._lost_turn >= self.sight.window_turns

    def _full(self) -> None:
        raise CorpusError(
            f"{self.capacity} positions are held and all can still be seen",
            where="KV cache",
            todo="open the session with more positions, or train with attention_window_s",
        )
