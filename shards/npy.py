"""The .npy format with a header that does not depend on numpy's version."""

from __future__ import annotations

import ast
import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from corpus.schemas.errors import FormatError

_MAGIC = b"\x93NUMPY\x01\x00"
HEADER_BYTES = 128


def npy_bytes(array: npt.NDArray[np.uint8]) -> bytes:
    """Version 1.0, C order, 128 bytes of header."""
    return _header(array.shape) + np.ascontiguousarray(array).tobytes()


def npy_view(data: memoryview, *, where: str = "") -> npt.NDArray[np.uint8]:
    """The array in `data` without a copy.

    Raises:
        FormatError: the header was not written by `npy_bytes`, or the size does not match it.
    """
    shape = npy_shape(data[:HEADER_BYTES], len(data), where=where)
    return np.frombuffer(data, np.uint8, offset=HEADER_BYTES).reshape(shape)


def npy_shape(header: memoryview, size: int, *, where: str = "") -> tuple[int, ...]:
    """The shape in the header of an array file of `size` bytes; raises like `npy_view`."""
    shape = _shape(bytes(header), where)
    if size - HEADER_BYTES != math.prod(shape):
        raise FormatError(f"holds {size - HEADER_BYTES} bytes, its shape is {shape}", where=where)
    return shape


def _header(shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape!r}, }}"
    room = HEADER_BYTES - len(_MAGIC) - 2
    return _MAGIC + room.to_bytes(2, "little") + text.encode().ljust(room - 1) + b"\n"


@lru_cache(maxsize=1024)
def _shape(head: bytes, where: str) -> tuple[int, ...]:
    text = head[len(_MAGIC) + 2 :]
    try:
        fields = ast.literal_eval(text.decode("ascii").strip())
        shape = tuple(int(n) for n in fields["shape"])
        # Written again and compared: only the exact header of ours passes, so nothing else needs parsing.
        good = min(shape) >= 0 and head == _header(shape)
    except (
        ValueError,
        SyntaxError,
        KeyError,
        TypeError,
        OverflowError,
        MemoryError,
        RecursionError,
    ) as error:
        raise FormatError("the .npy header is not one that corpus writes", where=where) from error
    if not good:
        raise FormatError("the .npy header is not one that corpus writes", where=where)
    return shape
