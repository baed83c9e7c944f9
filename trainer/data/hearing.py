"""What one of a clip's speakers hears: everything except their own channel.

    energy  the other channels' stored mel bytes: where one sounds, its bytes; where several do, the sum
            of their energies, which is what uncorrelated sounds add up to on average
    mix     the other channels' samples summed in 32 bits, saturated to 16, and mel computed as the shards
            do: what a microphone beside the speaker would have recorded. The reference, ten times the work
    max     the largest of the other channels' bytes; kept for runs that began with it

Where the other channels are digitally silent, all three hear room noise (room.py). The first frame of a clip
covers 25 ms before it. `mix` takes them from the previous clip, if the dataset holds it and it is adjacent,
else zeros; stored bytes were made from the whole recording.

Shape suffixes: C channels, W windows of the clip, N micro-turns, F frames, M bins, S samples,
K chosen frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from corpus.schemas.activity import PADDED, SPEECH
from corpus.schemas.arrays import BoolArray, Int16Array, UInt8Array
from corpus.schemas.clip import parse_clip_key
from corpus.shards.mel import STEP, MelShape, mel_bytes, mel_shape
from corpus.shards.read import Clip, Clips
from corpus.trainer.data.clip_head import view_id
from corpus.trainer.data.room import Room, filled, looked_at, room_of, silent_frames, silent_mels

Parts = npt.NDArray[np.int16]
Hears = Literal["energy", "mix", "max"]

_FINE = 16
"""Energies are added in 1/16 of a mel byte, so that rounding adds up to less than one byte."""


ClipsByPlace = Clips | Mapping[int, Clip]
"""All clips of a split, or the few that a document is read from, by their place."""


class Heard(NamedTuple):
    """What a speaker hears in consecutive windows."""

    sound_NFM: UInt8Array
    drawn_NF: BoolArray
    """Frames that are drawn room noise, not recorded."""


def heard_by(
    clips: ClipsByPlace,
    place: int,
    channel: int,
    windows: int,
    *,
    sample_rate_hz: int,
    hears: Hears,
    seed: int = 0,
    epoch: int = 0,
) -> Heard:
    """What the speaker on a channel hears in the first windows of a clip.

    `seed` and `epoch` decide the room noise that replaces the other channels' silence.
    """
    # The previous clip is needed for the first frame, and for the sound of the room.
    clip, before = clips[place], _clip_before(clips, place)
    shape = mel_shape(sample_rate_hz, clip.mel_shape()[2])
    if hears != "mix":
        others_CNFM = np.delete(clip.mel(), channel, axis=0)[:, :windows]
        heard_NFM = others_CNFM.max(0) if hears == "max" else added(others_CNFM)
        silent_NF = silent_mels(heard_NFM, shape)
    else:
        unknown = shape.context_samples if before is None else 0
        ahead_S = np.zeros(unknown, np.int16)
        if before is not None:
            ahead_S = mixed(before.audio_end(shape.context_samples), channel)
        inside_S = mixed(clip.audio()[:, : windows * shape.samples_per_window], channel)
        mix_S = np.concatenate([ahead_S, inside_S])
        heard_NFM = mel_bytes(mix_S[None], sample_rate_hz, shape.frames_per_window)[0]
        silent_NF = silent_frames(mix_S, shape, unknown=unknown)
    # The usual case for recordings with a microphone each: nothing to replace.
    if not silent_NF.any():
        return Heard(heard_NFM, silent_NF)
    room = _room(clip, heard_NFM, silent_NF, shape)
    if before is not None:
        earlier_NFM = _loudest(before, channel)
        earlier = _room(before, earlier_NFM, silent_mels(earlier_NFM, shape), shape)
        # The previous clip also shows the room: a clip may begin while the speaker talks.
        room = room.after(earlier, len(earlier_NFM))
    others_WF = np.asarray(np.delete(_speech(clip), channel, axis=0).any(0), bool)
    # A frame that is silent only in part stays if somebody else speaks in it.
    keeps_NF = looked_at(others_WF, shape)[:windows] & heard_NFM.any(2)
    drawn_NF = silent_NF & ~keeps_NF
    name = view_id(clip.key, channel)
    sound_NFM = filled(
        heard_NFM, drawn_NF, room, rate_hz=sample_rate_hz, seed=seed, document=name, epoch=epoch
    )
    return Heard(sound_NFM, drawn_NF)


def heard_alone(sound_S: Int16Array, sample_rate_hz: int, frames_per_window: int) -> UInt8Array:
    """Mel bytes `[W, F, M]` of unlabelled sound; digital silence becomes a quiet room."""
    shape = mel_shape(sample_rate_hz, frames_per_window)
    heard_WFM = mel_bytes(
        np.pad(sound_S, (shape.context_samples, 0))[None], sample_rate_hz, frames_per_window
    )[0]
    silent_WF = np.asarray(~heard_WFM.any(2), bool)
    unknown = room_of(heard_WFM, silent_WF, np.zeros_like(silent_WF))
    return filled(heard_WFM, silent_WF, unknown, rate_hz=sample_rate_hz, seed=0, document="")


def added(channels_CNFM: UInt8Array) -> UInt8Array:
    """Mel bytes of several sounds at once: the sum of their energies."""
    # Where one channel sounds, its bytes already are the sum.
    loudest_NFM: UInt8Array = channels_CNFM.max(0)
    several_NF = channels_CNFM.any(3).sum(0) > 1
    if not several_NF.any():
        return loudest_NFM
    # Only frames in which several sound need arithmetic, and they are few.
    sounds_CKM = channels_CNFM[:, several_NF]
    if len(sounds_CKM) == 2:
        loudest_NFM[several_NF] = _pair(*sounds_CKM)
        return loudest_NFM
    total_KM = _fine(sounds_CKM[0])
    for sound_KM in sounds_CKM[1:]:  # in parts of a byte, so that rounding stays below one byte
        total_KM = _sum(total_KM, _fine(sound_KM))
    loudest_NFM[several_NF] = total_KM // _FINE
    return loudest_NFM


def _fine(sound: UInt8Array) -> Parts:
    """The middle of each byte in 1/16 of a byte; silence stays 0."""
    return sound.astype(np.int16) * _FINE + (sound > 0) * np.int16(_FINE // 2)


def _sum(one: Parts, other: Parts) -> Parts:
    """Two levels with their energies added; silence adds nothing."""
    high, low = np.maximum(one, other), np.minimum(one, other)
    total: Parts = high + np.where(low > 0, _gains()[high - low], np.int16(0))
    total.clip(max=256 * _FINE - 1, out=total)  # saturate at the loudest byte
    return total


def _pair(one: UInt8Array, other: UInt8Array) -> UInt8Array:
    """The sum of two sounds, equal to `_sum` but computed on bytes, many times faster than a look-up."""
    high, low = np.maximum(one, other), np.minimum(one, other)
    quieter, gained = high - low, np.zeros_like(high)
    for least in _pair_steps():
        # Each step that the difference passes adds one byte: comparisons of bytes vectorise, look-ups do not.
        gained += quieter <= least
    gained[low == 0] = 0
    total: UInt8Array = high + np.minimum(gained, 255 - high)
    return total


@cache
def _pair_steps() -> tuple[int, ...]:
    """How much quieter the other sound may be for a gain of one byte, of two, and so on."""
    gains = _gains()[::_FINE]
    bytes_gained = (_FINE // 2 + gains) // _FINE
    return tuple(int((bytes_gained >= n).sum()) - 1 for n in range(1, int(bytes_gained[0]) + 1))


@cache
def _gains() -> Parts:
    """The gain of a sound from another that is k parts quieter, by k; parts are 1/16 of a byte."""
    quieter = 10 ** (-2 * np.arange(256 * _FINE) / _FINE * STEP)
    return np.rint(np.log10(1 + quieter) / (2 * STEP) * _FINE).astype(np.int16)


def _loudest(clip: Clip, channel: int) -> UInt8Array:
    """Mel bytes `[W, F, M]`: the largest of all channels but one."""
    loudest: UInt8Array = np.delete(clip.mel(), channel, axis=0).max(axis=0)
    return loudest


def _speech(clip: Clip) -> BoolArray:
    speech_CWF: BoolArray = (clip.activity() & SPEECH) > 0
    return speech_CWF


def _room(clip: Clip, heard_NFM: UInt8Array, silent_NF: BoolArray, shape: MelShape) -> Room:
    """The room of a clip: frames in which nobody speaks and the source has sound."""
    speech_WF = _speech(clip).any(0) | ((clip.activity()[-1] & PADDED) > 0)
    return room_of(heard_NFM, silent_NF, ~looked_at(speech_WF, shape)[: len(heard_NFM)])


def mixed(sound_CS: Int16Array, without: int) -> Int16Array:
    """The exact sum of all channels but one, saturated to 16 bits."""
    total = np.zeros(sound_CS.shape[1], np.int32)
    for channel, sound_S in enumerate(
        sound_CS
    ):  # decoded sound is interleaved in memory: summing over its first axis would be slow
        if channel != without:
            total += sound_S
    return total.clip(-32768, 32767).astype(np.int16)


def _clip_before(clips: ClipsByPlace, place: int) -> Clip | None:
    """The clip that ends where this one starts."""
    few = isinstance(clips, Mapping)
    before = clips[place - 1] if place > 0 and not (few and place - 1 not in clips) else None
    return before if before is not None and _meet(before, clips[place]) else None


def _meet(before: Clip, clip: Clip) -> bool:
    """Whether a clip begins where another ends, by their keys and sizes, without reading heads."""
    recording, first = parse_clip_key(clip.key)
    recording_before, first_before = parse_clip_key(before.key)
    if recording != recording_before:
        return False
    channels_before, windows_before = before.mel_shape()[:2]
    return channels_before == clip.mel_shape()[0] and first_before + windows_before == first
