"""Turns estimates into int16 samples whose sum with the room is the mix, sample for sample."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from corpus.schemas.arrays import Float32Array, Int16Array

_LOWEST, _HIGHEST = -32768, 32767


def shared_out(mix: npt.NDArray[np.int32], estimates: Float32Array) -> tuple[Int16Array, int]:
    """[speakers + room, samples], and the number of samples in which an estimate was reduced.

    `estimates` [speakers, samples] have full scale 1. The room gets the remainder; where that exceeds int16,
    the excess is taken back from the loudest estimate, then from the next.
    """
    voices = np.clip(np.rint(estimates.astype(np.float64) * 32768), _LOWEST, _HIGHEST).astype(np.int64)
    room = mix.astype(np.int64) - voices.sum(axis=0)
    columns = np.arange(len(mix))
    taken_back = (room < _LOWEST) | (room > _HIGHEST)
    for _ in range(len(voices)):
        excess = room - np.clip(room, _LOWEST, _HIGHEST)
        if not excess.any():
            break
        # Only estimates that push the room out of range are reduced, at most to zero: with all of them at
        # zero the room is the mix, which is int16.
        pull = np.where(voices * np.sign(excess) < 0, np.abs(voices), 0)
        loudest = pull.argmax(axis=0)
        back = np.sign(excess) * np.minimum(np.abs(excess), pull[loudest, columns])
        voices[loudest, columns] += back
        room -= back
    return np.concatenate([voices, room[None]]).astype(np.int16), int(taken_back.sum())
