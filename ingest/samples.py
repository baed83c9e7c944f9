"""Decoded frames of sound as numbers, whatever their sample format and number of channels."""

from __future__ import annotations

from collections.abc import Sequence

import av
import numpy as np
import numpy.typing as npt

from corpus.schemas.arrays import Float64Array

_SAMPLES: dict[str, tuple[str, float]] = {
    "u8": ("u1", 2.0**7),
    "s16": ("<i2", 2.0**15),
    "s32": ("<i4", 2.0**31),
    "s64": ("<i8", 2.0**63),
    "flt": ("<f4", 1.0),
    "dbl": ("<f8", 1.0),
}
"""Sample format: how it lies in memory, and its full scale."""


def samples_of(frames: Sequence[av.AudioFrame]) -> Float64Array:
    """(channels, samples), full scale 1, of frames of one format, one after another."""
    name = frames[0].format.name
    channels = frames[0].layout.nb_channels
    kind, full_scale = _SAMPLES[name.removesuffix("p")]
    # Planar formats ("...p") have a plane per channel, packed ones have all channels interleaved in one.
    width = 1 if name.endswith("p") else channels
    planes = channels if width == 1 else 1
    parts: list[list[npt.NDArray[np.generic]]] = [[] for _ in range(planes)]
    for frame in frames:
        for part, plane in zip(parts, frame.planes, strict=False):
            # The count leaves out the padding that libav puts behind each plane.
            part.append(np.frombuffer(plane, kind, frame.samples * width))  # type: ignore[call-overload]
    raw = np.stack([np.concatenate(part) for part in parts])
    floats = np.ascontiguousarray(raw.reshape(-1, channels).T if width > 1 else raw, np.float64)
    if kind == "u1":
        floats -= full_scale
    if full_scale != 1.0:
        return floats / full_scale
    # A broken stream may decode to NaN or infinity; such a sample says nothing.
    return floats if np.isfinite(floats.sum()) else np.nan_to_num(floats, nan=0.0, posinf=0.0, neginf=0.0)


def fit(block: Float64Array, channels: int) -> Float64Array:
    """Fit a block to this many channels: missing ones become silent, surplus ones are left out."""
    fitted = np.zeros((channels, block.shape[1]))
    common = min(channels, len(block))
    fitted[:common] = block[:common]
    return fitted
