"""Pitch and loudness of each speaker's channel, every ten milliseconds, as stored in the cache.

prosody/   prosody.json  Prosody
           pitch.npy     int16 [speakers, frames]: cents above 50 Hz, 0 without a pitch
           level.npy     uint8 [speakers, frames]: half decibels above -127.5 dB of full scale, 0 in silence
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from corpus.schemas.codec import from_json, to_json
from corpus.schemas.errors import FormatError

_PROSODY_FORM = "corpus.prosody/1"
_PROSODY_FILE, PITCH_FILE, _LEVEL_FILE = "prosody.json", "pitch.npy", "level.npy"
HOP_US = 10_000
LOWEST_HZ = 50.0
QUIETEST_DB = -127.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Prosody:
    """The head of a prosody artifact. The file form `corpus.prosody/1`."""

    schema: str = _PROSODY_FORM
    hop_us: int = HOP_US
    """Frame k covers `[k * hop_us, (k + 1) * hop_us)` of the recording's clock."""
    speakers: tuple[str, ...]
    """In row order."""
    frames: int


@dataclass(frozen=True, slots=True)
class Tracks:
    """Pitch and loudness of all speakers."""

    head: Prosody
    pitch: npt.NDArray[np.int16]
    level: npt.NDArray[np.uint8]


def write_prosody(tracks: Tracks, folder: Path) -> None:
    """Write the three files into an existing folder."""
    np.save(folder / PITCH_FILE, tracks.pitch, allow_pickle=False)
    np.save(folder / _LEVEL_FILE, tracks.level, allow_pickle=False)
    (folder / _PROSODY_FILE).write_text(to_json(tracks.head) + "\n", encoding="utf-8")


def read_prosody(folder: Path) -> Tracks:
    """Read what `write_prosody` wrote.

    Raises:
        FormatError: a file is not of this form, or the files do not belong together.
    """
    place = folder / _PROSODY_FILE
    head = from_json(Prosody, place.read_bytes(), where=str(place))
    shape = (len(head.speakers), head.frames)
    pitch = _array(folder / PITCH_FILE, np.dtype(np.int16), shape)
    return Tracks(head, pitch, _array(folder / _LEVEL_FILE, np.dtype(np.uint8), shape))


def _array(path: Path, dtype: np.dtype[Any], shape: tuple[int, int]) -> npt.NDArray[Any]:
    try:
        rows: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise FormatError(f"is not an array: {error}", where=str(path)) from error
    if rows.dtype != dtype or rows.shape != shape:
        raise FormatError(f"rows are not the {dtype} {shape} that the head declares", where=str(path))
    return rows
