"""Room noise in place of digital silence.

With one microphone all of the sound goes to the only talker (align/voices.py), and the other channels are
digitally silent. To a model that plays this speaker the silence would give away when they speak, and it never
occurs at a microphone. So silent frames are replaced by noise drawn from the room's earlier sound:

    heard     room room room A A A A room room ░ 0 0 0 0 0 ░ room        0 silent, ░ silent in part: this
    returned  room room room A A A A room room r r r r r r r room        speaker alone talks

Each window gets a stretch of frames from earlier windows in which nobody spoke, from a random start. Frames
more than 12 dB above the quieter quarter of them are left out: they are noises, not the room. A frame is the
mean of four neighbours in the stretch plus white noise of three quarters of its variance, so it varies like a
frame of the room, and no frame is a copy of another. Where there is no such frame yet, and in silent
recordings, `QUIET` is used. A frame that is silent in part is kept if somebody else speaks in it.

All arithmetic is in integers, and randomness depends on (seed, epoch, document, window, frame) alone. Every
epoch sounds different, so that a model cannot recognise a recording by its noise. Nothing looks past its
window.

Shape suffixes: N windows, F frames a window, M bins, S samples, X all frames, R frames of the room.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import cast

import numpy as np
import numpy.typing as npt

from corpus.schemas.arrays import BoolArray, UInt8Array
from corpus.schemas.clock import WINDOW_US
from corpus.shards.mel import BINS, STEP, MelShape, mel_bytes, mel_shape
from corpus.trainer.data.noise import words

QUIET: UInt8Array = np.interp(np.arange(BINS), (0, 8, 20, 40, 79), (116, 103, 93, 86, 80)).astype(np.uint8)
"""Mel bytes of an ordinary room: straight lines through the median of eight recorded rooms' medians."""

SILENT_US = 2500
"""Zeros for this long are silence; shorter runs occur in quiet sound too."""
_JOINED = 4
_LOUD = round(12 / 20 / STEP)
"""12 dB in mel bytes."""
_NOISE_WINDOWS = 128
_STRETCH, _GRAIN, _SAMPLE = range(3)
"""Keys of the random draws."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Frames in which nobody spoke, in order."""

    frames_RM: UInt8Array
    """Their mel bytes; `QUIET` where they were silent."""
    window_R: npt.NDArray[np.int64]
    """The window of each frame; negative in the previous clip."""

    def after(self, other: Room, windows: int) -> Room:
        """This room, preceded by the frames of another of so many windows that ends where this one begins."""
        return Room(
            frames_RM=np.concatenate([other.frames_RM, self.frames_RM]),
            window_R=np.concatenate([other.window_R - windows, self.window_R]),
        )


def room_of(heard_NFM: UInt8Array, silent_NF: BoolArray, nobody_NF: BoolArray) -> Room:
    """The frames in which nobody speaks, except those silent in part."""
    # In a partly silent frame, zeros reach into sound. Such a frame is neither the room nor silence.
    frames_XM = heard_NFM.reshape(-1, heard_NFM.shape[2])
    sounds = np.asarray(frames_XM.any(1), bool)
    at = np.flatnonzero(nobody_NF.reshape(-1) & ~(silent_NF.reshape(-1) & sounds))
    frames_RM = np.where(sounds[at, None], frames_XM[at], QUIET)
    return Room(frames_RM=frames_RM, window_R=at // heard_NFM.shape[1])


def filled(
    heard_NFM: UInt8Array,
    replaced_NF: BoolArray,
    room: Room,
    *,
    rate_hz: int,
    seed: int,
    document: str,
    epoch: int = 0,
) -> UInt8Array:
    """The heard sound with the marked frames drawn from the room before their window."""
    windows = np.flatnonzero(replaced_NF.any(1))
    if not len(windows):
        return heard_NFM
    per_window = heard_NFM.shape[1]
    name = int.from_bytes(hashlib.sha256(document.encode()).digest()[:8], "little")
    grain = _grain(rate_hz, per_window)
    # One number per window decides where its stretch of the room begins.
    stretch = words(seed, epoch, name, windows, _STRETCH)
    at = np.flatnonzero(replaced_NF)
    window, frame = np.divmod(at, per_window)
    # One number per frame decides which two grains of white noise are added, so that no frame is a copy.
    pair = words(seed, epoch, name, window, frame, _GRAIN)
    rustle = grain[pair % len(grain)] + grain[(pair >> 16) % len(grain)]
    # Mean plus loudest bin: the mean alone misses a tone, the loudest bin alone a rustle.
    level_R = room.frames_RM.sum(1, dtype=np.int64) + BINS * room.frames_RM.max(1, initial=0).astype(np.int64)
    sums = [
        _stretch(room, level_R[: np.searchsorted(room.window_R, number)], int(bits), replaced_NF[number])
        for number, bits in zip(windows, stretch, strict=True)
    ]
    # Sums and grain are over `_JOINED` frames: divide once, round half up; at least 1, as 0 is silence.
    drawn = (np.concatenate(sums) + rustle + _JOINED // 2) // _JOINED
    out = heard_NFM.copy()
    out.reshape(-1, heard_NFM.shape[2])[at] = drawn.clip(1, 255)
    return out


def _stretch(
    room: Room, level_R: npt.NDArray[np.int64], bits: int, wanted_F: BoolArray
) -> npt.NDArray[np.int64]:
    """Sums of `_JOINED` neighbours of the room for the wanted frames of a window."""
    heard = len(level_R)
    if not heard:
        return np.tile(QUIET.astype(np.int64) * _JOINED, (int(wanted_F.sum()), 1))
    # Only what was heard so far. The room is the quieter quarter, and all frames within 12 dB of it.
    quarter = np.partition(level_R, heard // 4)[heard // 4]
    usable = np.flatnonzero(level_R <= quarter + 2 * _LOUD * BINS)
    place = bits % len(usable) + np.flatnonzero(wanted_F)[:, None] + np.arange(_JOINED)
    chosen = room.frames_RM[usable[place % len(usable)]]
    return cast("npt.NDArray[np.int64]", chosen.sum(1, dtype=np.int64))


@cache
def _grain(sample_rate_hz: int, frames_per_window: int) -> npt.NDArray[np.int64]:
    """Deviations of white noise's frames from their mean, in parts of a byte, `[R, M]`."""
    shape = mel_shape(sample_rate_hz, frames_per_window)
    samples = shape.context_samples + _NOISE_WINDOWS * shape.samples_per_window
    sound = (words(np.arange(samples), _SAMPLE) & 0x3FFF) - 0x2000
    mel = mel_bytes(sound[None].astype(np.int16), sample_rate_hz, frames_per_window).reshape(-1, BINS)
    share = ((1 - 1 / _JOINED) / 2) ** 0.5  # two grains are added: there are enough pairs never to repeat
    grain: npt.NDArray[np.int64] = np.rint((mel - mel.mean(0)) * (share * _JOINED)).astype(np.int64)
    return grain


def silent_frames(sound_S: npt.NDArray[np.int16], shape: MelShape, *, unknown: int = 0) -> BoolArray:
    """Which frames `[N, F]` of the context and whole windows of sound cover silence, wholly or in part.

    The first `unknown` samples count as unknown. A frame does not know how long silence lasts after it.
    """
    hop, width = shape.hop_samples, shape.window_samples
    least = SILENT_US * shape.samples_per_window // WINDOW_US
    # Edges of runs of zeros, start and stop alternating; short ones occur in quiet sound too.
    zero = np.concatenate([[False], sound_S[unknown:] == 0, [False]])
    turns = unknown + np.flatnonzero(zero[1:] != zero[:-1])
    start, stop = turns[::2], turns[1::2]
    long = stop - start >= least
    start, stop = start[long], stop[long]
    edges = np.zeros((len(sound_S) - shape.context_samples) // hop + 1, np.int64)
    # Frame f covers samples [f * hop, f * hop + width): mark where coverage begins and ends, then accumulate.
    np.add.at(edges, (-((width - start - least) // hop)).clip(0), 1)
    np.add.at(edges, ((stop - least) // hop + 1).clip(max=len(edges) - 1), -1)
    silent_NF: BoolArray = (edges[:-1].cumsum() > 0).reshape(-1, shape.frames_per_window)
    return silent_NF


def silent_mels(heard_NFM: UInt8Array, shape: MelShape) -> BoolArray:
    """The same from mel bytes: no bin of the frame or of a neighbouring frame sounds.

    Silence that begins in its window's last frames is not detected.
    """
    zero_NF = np.asarray(~heard_NFM.any(2), bool)
    near = shape.window_samples // shape.hop_samples
    silent_NF = _at_or_after(zero_NF, near)
    for ahead in range(1, min(near, shape.frames_per_window - 1) + 1):
        silent_NF[:, :-ahead] |= zero_NF[:, ahead:]
    return silent_NF


def looked_at(flags_NF: BoolArray, shape: MelShape) -> BoolArray:
    """Whether a flag is set anywhere in the 50 ms that a frame covers, including its own 25 ms."""
    return _at_or_after(flags_NF, shape.window_samples // shape.hop_samples - 1)


def _at_or_after(flags_NF: BoolArray, frames: int) -> BoolArray:
    flat = flags_NF.reshape(-1)
    seen = flat.copy()
    for back in range(1, frames + 1):
        seen[back:] |= flat[:-back]
    return seen.reshape(flags_NF.shape)
