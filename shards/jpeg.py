"""Decoding JPEGs with the fastest decoder that is installed."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt

from corpus.schemas.errors import FormatError, MissingDependencyError

_Pixels = npt.NDArray[np.uint8]


def decode_jpeg(data: bytes, *, where: str = "", into: _Pixels | None = None) -> _Pixels:
    """uint8 `[height, width, 3]` of a JPEG, by simplejpeg if it is installed, else pillow, else PyAV.

    The first two give the same pixels; PyAV upsamples colours differently. The result may use the memory of
    `into`: new memory for each picture costs as much as decoding it.

    Raises:
        FormatError: not a JPEG, or cut off.
    """
    try:
        import simplejpeg
    except ImportError:
        return _decode_by_pillow(data, where)
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, "RGB", buffer=into), np.uint8)
    except ValueError as error:
        raise FormatError(f"the JPEG cannot be decoded: {error}", where=where) from error


def _decode_by_pillow(data: bytes, where: str) -> _Pixels:
    try:
        from PIL import Image
    except ImportError:
        return _decode_by_av(data, where)
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise FormatError(f"the JPEG cannot be decoded: {error}", where=where) from error


def _decode_by_av(data: bytes, where: str) -> _Pixels:
    try:
        import av
    except ImportError as error:
        hint = "pip install simplejpeg"
        raise MissingDependencyError(
            "pictures need simplejpeg, pillow or PyAV", where=where, todo=hint
        ) from error
    try:
        codec = av.CodecContext.create("mjpeg", "r")
        frames = [*codec.decode(av.Packet(data)), *codec.decode(None)]
        return np.asarray(frames[0].to_ndarray(format="rgb24"), np.uint8)
    except (av.FFmpegError, IndexError) as error:
        raise FormatError(f"the JPEG cannot be decoded: {error}", where=where) from error
