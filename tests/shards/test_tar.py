"""Tar members as others read them, and as `verify` holds them to their form."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.schemas.errors import FormatError
from corpus.shards import tar
from corpus.shards.tar import END, Member, header, padding


def tar_of(contents: dict[str, bytes]) -> bytes:
    parts = [header(name, len(data)) + data + bytes(padding(len(data))) for name, data in contents.items()]
    return b"".join(parts) + END


def members(data: bytes) -> list[Member]:
    view = memoryview(data)
    return list(tar.members(lambda start, stop: view[start:stop], len(data)))


CONTENTS = {"k-0.json": b"{}", "k-0.flac": b"x" * 512, "k-0.mjpeg": b"", "z.bin": b"y" * 1025}


def test_tarfile_reads_the_members_back() -> None:
    with tarfile.open(fileobj=io.BytesIO(tar_of(CONTENTS))) as file:
        infos = file.getmembers()
        assert {i.name: file.extractfile(i).read() for i in infos} == CONTENTS  # type: ignore[union-attr]
    for info in infos:
        assert (info.mtime, info.uid, info.gid, info.uname, info.gname, info.mode) == (0, 0, 0, "", "", 0o444)
        assert info.isreg()
        assert not info.pax_headers


def test_a_header_is_the_one_tarfile_writes_in_ustar() -> None:
    """But for the device numbers, which readers ignore in a plain file."""
    info = tarfile.TarInfo("k-0000000.mel.npy")
    info.size, info.mode = 12345, 0o444
    theirs = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    ours = bytearray(header("k-0000000.mel.npy", 12345))
    for block in (theirs, ours):
        block[329:345] = bytes(16)
        block[148:156] = bytes(8)
    assert ours == theirs


def test_members_say_where_the_content_stands() -> None:
    data = tar_of(CONTENTS)
    assert {m.name: data[m.offset : m.offset + m.size] for m in members(data)} == CONTENTS


def test_a_name_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="100 bytes"):
        header("a" * 101, 0)


@given(place=st.integers(0, len(tar_of(CONTENTS)) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_outside_the_contents_is_found(place: int, bit: int) -> None:
    data = bytearray(tar_of(CONTENTS))
    inside = any(m.offset <= place < m.offset + m.size for m in members(bytes(data)))
    data[place] ^= 1 << bit
    if inside:
        assert len(list(members(bytes(data)))) == len(CONTENTS)
    else:
        with pytest.raises(FormatError):
            list(members(bytes(data)))


@given(size=st.integers(0, len(tar_of(CONTENTS)) - 1))
def test_a_tar_cut_off_anywhere_is_found(size: int) -> None:
    with pytest.raises(FormatError):
        list(members(tar_of(CONTENTS)[:size]))


def test_more_after_the_end_is_found() -> None:
    with pytest.raises(FormatError, match="not the end"):
        list(members(tar_of(CONTENTS) + bytes(512)))
