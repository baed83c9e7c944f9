"""The .npy form, as numpy reads it and as damage is told."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from corpus.schemas.errors import FormatError
from corpus.shards.npy import npy_bytes, npy_view

ARRAYS = arrays(np.uint8, array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=7))


@given(ARRAYS)
def test_numpy_reads_it(array: np.ndarray) -> None:
    data = npy_bytes(array)
    loaded = np.load(io.BytesIO(data))
    assert loaded.dtype == np.uint8
    assert np.array_equal(loaded, array)
    assert np.array_equal(npy_view(memoryview(data)), array)


def test_arrays_of_any_layout_are_written_in_c_order() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4).transpose(2, 0, 1)
    assert np.array_equal(np.load(io.BytesIO(npy_bytes(array))), array)


def test_the_view_is_no_copy() -> None:
    data = bytearray(npy_bytes(np.zeros((2, 3), np.uint8)))
    view = npy_view(memoryview(data))
    data[-1] = 7
    assert view[1, 2] == 7


@given(st.data())
def test_a_flipped_byte_of_the_header_is_found(data: st.DataObject) -> None:
    raw = bytearray(npy_bytes(np.zeros((3, 5), np.uint8)))
    raw[data.draw(st.integers(0, 127))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(FormatError):
        npy_view(memoryview(bytes(raw)))


def test_a_member_cut_off_is_found() -> None:
    with pytest.raises(FormatError, match="holds 14 bytes"):
        npy_view(memoryview(npy_bytes(np.zeros((3, 5), np.uint8))[:-1]))
    with pytest.raises(FormatError):
        npy_view(memoryview(b""))
