"""USTAR members without anything specific to the machine: no time, no owner, mode 0444, no compression."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from corpus.schemas.errors import FormatError

BLOCK = 512
END = bytes(2 * BLOCK)
"""Marks the end of an archive, once per shard. Segments lack it, so that they can be joined."""


def padding(size: int) -> int:
    """Zero bytes that follow a member of `size` bytes."""
    return -size % BLOCK


def header(name: str, size: int) -> bytes:
    """The 512 bytes before a member's content."""
    if len(name.encode()) > 100:
        raise ValueError(f"a member's name holds at most 100 bytes, got {name!r}")
    block = bytearray(BLOCK)
    block[0 : len(name.encode())] = name.encode()
    block[100:108] = b"0000444\0"
    block[108:116] = b"0000000\0"  # uid
    block[116:124] = b"0000000\0"  # gid
    block[124:136] = b"%011o\0" % size
    block[136:148] = b"00000000000\0"  # mtime
    # The checksum is taken with its own field as spaces, then written into it.
    block[148:156] = b" " * 8
    block[156:157] = b"0"
    block[257:265] = b"ustar\x0000"
    block[329:345] = b"0000000\x000000000\0"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file in a tar and the position of its content."""

    name: str
    offset: int
    size: int


def members(read: Callable[[int, int], memoryview], size: int, *, where: str = "") -> Iterator[Member]:
    """The members of a whole tar in order; each header must be exactly as this project writes it.

    `read` returns the bytes between two positions of a file of `size` bytes.

    Raises:
        FormatError: a header is not ours, a member is cut off, or the end mark is missing or not at the end.
    """
    at = 0
    # Not tarfile: a tar that another tool repacked would read well and have other offsets.
    while (head := bytes(read(at, min(at + BLOCK, size)))) != END[:BLOCK]:
        if len(head) < BLOCK:
            raise FormatError(f"the tar is cut off at byte {at + len(head)}", where=where)
        member = Member(
            name=_text(head[:100], at, where), offset=at + BLOCK, size=_octal(head[124:136], at, where)
        )
        if head != header(member.name, member.size):
            raise FormatError(f"the header at byte {at} is not one corpus writes", where=where)
        stop = member.offset + member.size
        at = stop + padding(member.size)
        if at > size:
            raise FormatError(f"{member.name!r} is cut off", where=where)
        if any(read(stop, at)):
            raise FormatError(f"the padding after {member.name!r} is not zeros", where=where)
        yield member
    if size - at != len(END) or read(at, size) != END:
        raise FormatError(f"the archive's end at byte {at} is not the end of the file", where=where)


def _text(raw: bytes, at: int, where: str) -> str:
    try:
        return raw.rstrip(b"\0").decode("ascii")
    except UnicodeDecodeError as error:
        raise FormatError(f"the header at byte {at} has no name", where=where) from error


def _octal(raw: bytes, at: int, where: str) -> int:
    digits = raw[:-1]
    if not digits.isdigit() or any(d > ord("7") for d in digits):
        raise FormatError(f"the header at byte {at} has no valid size", where=where)
    return int(digits, 8)
