"""The columns of positions while layout.py fills them in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from corpus.schemas.arrays import BoolArray, Int64Array, UInt8Array
from corpus.trainer.config import ModelConfig
from corpus.trainer.data.in_a_row import in_a_row
from corpus.trainer.data.sequence import (
    CUE_TARGETS,
    NO_TARGET,
    Positions,
    Stream,
)


def lengths(lists: Sequence[Sequence[int]]) -> Int64Array:
    """The number of tokens in each window."""
    return np.fromiter(map(len, lists), np.int64, len(lists))


def flat(lists: Sequence[Sequence[int]]) -> Int64Array:
    return np.array([token for tokens in lists for token in tokens], np.int64)


def _spread(counts_N: Int64Array) -> tuple[Int64Array, Int64Array]:
    """The list that each of `counts_N.sum()` items belongs to, and its place in that list."""
    owner = np.repeat(np.arange(len(counts_N)), counts_N)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts_N) - counts_N, counts_N)


def _joined(pictures: Sequence[UInt8Array]) -> UInt8Array:
    """The patches of all pictures; not copied if they lie one after another in memory."""
    run = in_a_row(pictures)
    if run is None:
        return np.concatenate(pictures)
    return run.whole[run.start : run.stop].reshape(-1, *pictures[0].shape[1:])


class Sheet:
    """Columns to fill in, in any order; every position is filled exactly once."""

    def __init__(self, length: int, model: ModelConfig) -> None:
        self.model = model
        self.token_L = np.full(length, -1, np.int32)
        self.stream_L = np.zeros(length, np.int8)
        self.time_L = np.zeros(length, np.int32)
        self.row_L = np.zeros(length, np.int16)
        self.column_L = np.zeros(length, np.int16)
        self.turn_L = np.zeros(length, np.int32)
        self.text_target_L = np.full(length, NO_TARGET, np.int32)
        self.text_weight_L = np.zeros(length, np.float32)
        self.sounds: list[tuple[Int64Array, UInt8Array, BoolArray]] = []
        self.pictures: tuple[Int64Array, UInt8Array] = (np.zeros(0, np.int64), self._no_patch())
        self.targets: tuple[Int64Array, UInt8Array] = (
            np.zeros(0, np.int64),
            self._frames(np.zeros(0, np.uint8)),
        )
        self.target_weight_T = np.zeros(0, np.float32)
        self.cues: tuple[Int64Array, UInt8Array] = (
            np.zeros(0, np.int64),
            np.zeros((0, CUE_TARGETS), np.uint8),
        )

    def _no_patch(self) -> UInt8Array:
        return np.zeros((0, self.model.patch_pixels, self.model.patch_pixels, 3), np.uint8)

    def _frames(self, sound: UInt8Array) -> UInt8Array:
        return sound.reshape(-1, self.model.frames_per_position, self.model.mel_bins)

    def _place(
        self,
        at: Int64Array,
        turn: Int64Array,
        stream: Stream,
        offset: Int64Array | int,
        row: Int64Array | int,
        column: Int64Array | int,
    ) -> None:
        self.stream_L[at] = stream
        self.turn_L[at] = turn
        self.time_L[at] = self.model.frames_per_window * turn + offset
        self.row_L[at] = row
        self.column_L[at] = column

    def token(
        self,
        at: Int64Array,
        turn: Int64Array,
        slot: Int64Array | int,
        stream: Stream,
        token: Int64Array | int,
    ) -> None:
        self._place(at, turn, stream, np.minimum(slot, self.model.frames_per_window - 1), slot, slot)
        self.token_L[at] = token

    def text(
        self,
        start_N: Int64Array,
        turn_N: Int64Array,
        stream: Stream,
        lists: Sequence[Sequence[int]],
        *,
        slot: int = 0,
    ) -> Int64Array:
        """Write lists of tokens from their starts on; returns their positions."""
        owner, place = _spread(lengths(lists))
        at = start_N[owner] + place
        self.token(at, turn_N[owner], place + slot, stream, flat(lists))
        return at

    def sound(
        self,
        start_N: Int64Array,
        turn_N: Int64Array,
        stream: Stream,
        sound_NFM: UInt8Array,
        listened_NF: BoolArray | None = None,
    ) -> Int64Array:
        """Write windows of sound from their starts on; returns their positions."""
        count = self.model.audio_positions
        place = np.tile(np.arange(count), len(start_N))
        at = np.repeat(start_N, count) + place
        self.sound_at(at, np.repeat(turn_N, count), place, stream, sound_NFM, listened_NF)
        return at

    def sound_at(
        self,
        at: Int64Array,
        turn: Int64Array,
        place: Int64Array,
        stream: Stream,
        sound: UInt8Array,
        listened_NF: BoolArray | None = None,
    ) -> None:
        self._place(at, turn, stream, place * self.model.frames_per_position, place, place)
        known: BoolArray = np.zeros(len(at), bool)
        if listened_NF is not None:
            known = np.asarray(listened_NF.reshape(-1, self.model.frames_per_position).all(1), bool)
        self.sounds.append((at, self._frames(sound), known))

    def patches(self, start_N: Int64Array, turn_N: Int64Array, pictures: Sequence[UInt8Array | None]) -> None:
        seen = [picture for picture in pictures if picture is not None]
        if not seen:
            return
        owner, place = _spread(np.array([0 if p is None else len(p) for p in pictures]))
        at = start_N[owner] + place
        row, column = np.divmod(place, self.model.picture_columns)
        self._place(at, turn_N[owner], Stream.PICTURE, 0, row, column)
        self.pictures = (at, _joined(seen))

    def predict(self, at: Int64Array, token: Int64Array | int, weight: npt.NDArray[np.float32]) -> None:
        self.text_target_L[at] = token
        self.text_weight_L[at] = weight

    def predict_sound(self, at: Int64Array, sound_NFM: UInt8Array, weight_T: npt.NDArray[np.float32]) -> None:
        self.targets = (at, self._frames(sound_NFM))
        self.target_weight_T = weight_T.astype(np.float32, copy=False)

    def positions(self) -> Positions:
        nothing = (np.zeros(0, np.int64), self._frames(np.zeros(0, np.uint8)), np.zeros(0, bool))
        at, sound, known = (np.concatenate(parts) for parts in zip(nothing, *self.sounds, strict=True))
        rising = np.argsort(at, kind="stable")
        return Positions(
            token_L=self.token_L,
            stream_L=self.stream_L,
            time_L=self.time_L,
            row_L=self.row_L,
            column_L=self.column_L,
            turn_L=self.turn_L,
            text_target_L=self.text_target_L,
            text_weight_L=self.text_weight_L,
            audio_at_A=at[rising].astype(np.int32),
            audio_ARM=sound[rising],
            heard_known_A=known[rising],
            patch_at_P=self.pictures[0].astype(np.int32),
            patch_PHWC=self.pictures[1],
            audio_target_at_T=self.targets[0].astype(np.int32),
            audio_target_TRM=self.targets[1],
            audio_weight_T=self.target_weight_T,
            cue_at_C=self.cues[0].astype(np.int32),
            cue_CK=self.cues[1],
        )
