"""Runs one session's positions through a model, in few fixed shapes.

# L positions, S slots read, D width, A sounds, P patches, R frames a position, M mel bins

    positions -> one block of bytes -> one copy to the model's device -> the run of this (L, S) -> hidden_LD

The memory that a run reads and writes stays in place, so on a GPU each (L, S) is recorded once and replayed.
L is 1 for positions that are decided one at a time, or one of the few lengths of `in_i`; each S is twice the
previous one. Shorter inputs are padded; padding goes to the cache's trash slot, which nothing sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from corpus.trainer.config import ModelConfig
from corpus.trainer.data.layout import part
from corpus.trainer.data.sequence import PAD, Positions, Stream
from corpus.trainer.model.attention import HIDDEN, KeyStore
from corpus.trainer.model.batch_invariant import is_batch_invariant
from corpus.trainer.model.rope import places, turns
from corpus.trainer.session.cuda_graph import Replay
from corpus.trainer.session.kv_cache import FAR, KvCache

if TYPE_CHECKING:
    from corpus.trainer.model.model import InteractionModel

FEWEST_KEYS = 512
_COLUMNS = ("token_L", "stream_L", "time_L", "row_L", "column_L", "turn_L")


def run_lengths(config: ModelConfig) -> tuple[int, ...]:
    """Numbers of positions that are run at once: one; pending positions and a window's sound; these with
    given text; and all of them with a picture."""
    heard = 1 + config.audio_positions
    with_text = heard + config.text_slots
    return (1, heard, with_text, with_text + config.patches) if config.patches else (1, heard, with_text)


class StepInput(NamedTuple):
    """The inputs of a run of L positions, as views of one block of memory."""

    column_8L: torch.Tensor
    """Token, stream, time, row, column, micro-turn, number, slot."""
    sound_at_A: torch.Tensor
    """As in a batch; A = L and P are capacities, and padding has position L."""
    patch_at_P: torch.Tensor
    last_1: torch.Tensor
    """The last position that is not padding."""
    sound_ARM: torch.Tensor
    patch_PHWC: torch.Tensor

    @classmethod
    def of(cls, memory: torch.Tensor, length: int, patches: int, config: ModelConfig) -> StepInput:
        integers, sound, pixels = torch.split(memory, [*_sizes(length, patches, config)])
        columns, sound_at, patch_at, last = torch.split(
            integers.view(torch.int32), [8 * length, length, patches, 1]
        )
        side = config.patch_pixels
        return cls(
            column_8L=columns.view(8, length),
            sound_at_A=sound_at,
            patch_at_P=patch_at,
            last_1=last,
            sound_ARM=sound.view(length, config.frames_per_position, config.mel_bins),
            patch_PHWC=pixels.view(patches, side, side, 3),
        )


def _sizes(length: int, patches: int, config: ModelConfig) -> tuple[int, int, int]:
    """Bytes of the integers, of the sound and of the pixels."""
    sound = length * config.frames_per_position * config.mel_bins
    return 4 * (9 * length + patches + 1), sound, patches * config.patch_pixels**2 * 3


class Inputs:
    """A block on the model's device, and its twin on the host, from which one copy fills it."""

    def __init__(self, config: ModelConfig, length: int, cache: KvCache) -> None:
        """Only the greatest length has room for patches."""
        self.length = length
        patches = length if config.patches and length == run_lengths(config)[-1] else 0
        on_gpu = cache.device.type == "cuda"
        size = sum(_sizes(length, patches, config))
        self._host = torch.zeros(size, dtype=torch.uint8, pin_memory=on_gpu)
        self._memory = torch.zeros_like(self._host, device=cache.device) if on_gpu else self._host
        self.block = StepInput.of(self._memory, length, patches, config)
        twin = StepInput.of(self._host, length, patches, config)
        self._column, self._sound_at, self._patch_at, self._last, self._sound, self._patch = (
            each.numpy() for each in twin
        )
        self._blank = np.array([[PAD], [Stream.PAD], [0], [0], [0], [0], [FAR], [cache.slots - 1]], np.int32)

    def fill(self, positions: Positions | None, first: int, slot_L: npt.NDArray[np.int64]) -> None:
        """Fill in positions numbered from `first`, then padding; only padding without positions."""
        count = len(slot_L)
        self._column[:, count:] = self._blank
        self._sound_at[:] = self._patch_at[:] = self.length
        self._last[0] = max(count - 1, 0)
        if positions is not None:
            for row, name in enumerate(_COLUMNS):
                self._column[row, :count] = getattr(positions, name)
            self._column[6, :count] = np.arange(first, first + count)
            self._column[7, :count] = slot_L
            sounds, patches = len(positions.audio_at_A), len(positions.patch_at_P)
            self._sound_at[:sounds] = positions.audio_at_A
            self._sound[:sounds] = positions.audio_ARM
            self._patch_at[:patches] = positions.patch_at_P
            self._patch[:patches] = positions.patch_PHWC
        if self._memory is not self._host:
            self._memory.copy_(self._host)


class Reader:
    """A model and the cache of what it read. Recordings use one cache's memory, so a fork makes its own."""

    @classmethod
    def of(cls, model: InteractionModel, *, capacity_positions: int) -> Reader:
        """A reader for one session that has read nothing yet; all its memory is allocated now."""
        config = model.config
        cache = KvCache(
            layers=config.layers,
            kv_heads=config.kv_heads,
            head_dim=config.head_dim,
            capacity_positions=capacity_positions,
            sight=model.sight,
            dtype=model.dtype,
            device=model.embed.stream.device,
        )
        return cls(model, cache)

    def __init__(self, model: InteractionModel, cache: KvCache) -> None:
        self.model, self.cache = model, cache
        config = model.config
        self._lengths = run_lengths(config)
        self._inputs: dict[int, Inputs] = {}
        self._hidden: dict[int, torch.Tensor] = {}
        self._runs: dict[tuple[int, int], Replay] = {}
        self.pool = torch.cuda.graph_pool_handle() if cache.device.type == "cuda" else None
        self.last_D = torch.zeros(config.width, dtype=cache.dtype, device=cache.device)
        """Hidden vector of the position read last, the input of both heads."""

    @property
    def length(self) -> int:
        """Positions read and not rolled back."""
        return self.cache.length

    @property
    def bytes(self) -> int:
        """Memory of keys and values."""
        return self.cache.bytes

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(L, S) of the runs made so far."""
        return tuple(sorted(self._runs))

    @torch.no_grad()
    def read(self, positions: Positions) -> torch.Tensor:
        """(L, D): hidden vectors of the next positions, whose keys go into the cache.

        Raises:
            CorpusError: they do not fit into the cache, which then is unchanged.
        """
        first = self.cache.length
        slot_L = self.cache.extend(positions.turn_L)
        hidden = []
        for start in range(0, len(positions), self._lengths[-1]):
            stop = min(start + self._lengths[-1], len(positions))
            whole = stop - start == len(positions)
            piece = positions if whole else part(positions, start, stop)
            hidden.append(self._read(piece, first + start, slot_L[start:stop]))
        return torch.cat(hidden)

    def _read(self, positions: Positions, first: int, slot_L: npt.NDArray[np.int64]) -> torch.Tensor:
        count = len(positions)
        length = self._length(count, len(positions.patch_at_P) > 0)
        self._inputs_of(length).fill(positions, first, slot_L)
        self._run_of(length, self._keys())()
        return self._hidden[length][:count].clone()

    def prepare(self) -> None:
        """Record all runs now, so that no window waits for it; does nothing on a CPU."""
        if self.cache.device.type != "cuda":
            return
        for length in self._lengths:
            self._inputs_of(length).fill(None, 0, np.zeros(0, np.int64))
            for keys in self._all_keys():
                self._run_of(length, keys)()

    def rollback(self, length: int) -> None:
        self.cache.rollback(length)

    def fork(self) -> Reader:
        """An independent copy, without recordings."""
        twin = Reader(self.model, self.cache.fork())
        twin.last_D.copy_(self.last_D)
        return twin

    def state_dict(self) -> dict[str, Any]:
        return self.cache.state_dict()

    def load_state_dict(self, plain: Mapping[str, Any]) -> None:
        self.cache.load_state_dict(plain)

    def _length(self, count: int, sees: bool) -> int:
        return self._lengths[-1] if sees else next(length for length in self._lengths if length >= count)

    def _all_keys(self) -> tuple[int, ...]:
        """Numbers of slots to read: few, as each is recorded, but at most twice as many as needed."""
        keys, all_keys = FEWEST_KEYS, []
        while keys < self.cache.slots:
            all_keys.append(keys)
            keys *= 2
        return (*all_keys, self.cache.slots)

    def _keys(self) -> int:
        return next(keys for keys in self._all_keys() if keys >= self.cache.used)

    def _inputs_of(self, length: int) -> Inputs:
        if length not in self._inputs:
            self._inputs[length] = Inputs(self.model.config, length, self.cache)
            self._hidden[length] = self.last_D.new_zeros(length, self.model.config.width)
        return self._inputs[length]

    def _run_of(self, length: int, keys: int) -> Replay:
        if (length, keys) not in self._runs:
            block, hidden_LD = self._inputs_of(length).block, self._hidden[length]
            model, cache, last_D = self.model, self.cache, self.last_D

            def run() -> None:  # does not refer to `self`: a cycle would keep the memory of closed sessions
                hidden_LD.copy_(forward(model, cache, block, keys))
                last_D.copy_(hidden_LD.index_select(0, block.last_1)[0])

            self._runs[length, keys] = Replay(run, self.cache.device, self.pool)
        return self._runs[length, keys]


def forward(model: InteractionModel, cache: KvCache, block: StepInput, keys: int) -> torch.Tensor:
    """(L, D): the model over one block of positions. Reads and writes only fixed memory."""
    config = model.config
    token_L, stream_L, time_L, row_L, column_L, turn_L, position_L, slot_L = block.column_8L.unbind()
    x_BLD = model.embed(
        token_L[None],
        stream_L[None],
        (block.sound_at_A, block.sound_ARM),
        (block.patch_at_P, block.patch_PHWC) if len(block.patch_at_P) else None,
        cache.dtype,
    )
    slot_L = slot_L.long()
    cache.position_S.index_copy_(0, slot_L, position_L)
    cache.turn_S.index_copy_(0, slot_L, turn_L)
    near_LS = cache.sight.reaches(turn_L[:, None], cache.turn_S[:keys])
    past_LS = cache.position_S[:keys] <= position_L[:, None]
    bias_LS = torch.where(near_LS & past_LS, 0.0, HIDDEN)
    place_3BL = places(config.rope, time_L[None], row_L[None], column_L[None], stream_L[None])
    turned = turns(place_3BL, config.head_dim, config.rope_theta, config.rope)
    valid_BL = (position_L != FAR)[None]
    order_S = cache.position_S[:keys].argsort() if is_batch_invariant() else None
    for layer, held in zip(model.blocks, cache.layers, strict=True):
        store = KeyStore(held.key_GSC, held.value_GSC, keys, slot_L, turned, order_S)
        # Not through a compiled call, which is for training's shapes.
        x_BLD, _ = layer.forward(x_BLD, place_3BL, bias_LS, valid_BL, store)
    hidden_BLD: torch.Tensor = model.norm(x_BLD)
    return hidden_BLD[0]
