"""ID3 tags before files whose format has none: libav does not find the file after them."""

from __future__ import annotations

from collections.abc import Callable

_ReadAt = Callable[[int, int], bytes]
"""(position, size) -> the bytes there, fewer at the end."""

_MOST_TAGS = 16
_HEADS = (
    *(
        b"RIFF",
        b"RF64",
        b"BW64",
        b"FORM",
        b"caff",
        b".snd",
        b"riff\x2e\x91\xcf\x11",
        b"wvpk",
        b"MAC ",
        b"ajkg",
    ),
    *(b"\x1a\x45\xdf\xa3", b"OggS", b"FLV\x01", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"#!AMR", b"NIST_1A"),
)
"""How such files begin. MP3, AAC, FLAC and TTA are left to libav, which also reads their tags."""


def behind_tags(read: _ReadAt) -> int:
    """Where a file begins after ID3 tags; 0 for one whose format allows them, or that has none."""
    at = 0
    for _ in range(_MOST_TAGS):
        head = read(at, 12)
        if head[:3] != b"ID3" or len(head) < 12 or any(byte > 127 for byte in head[6:10]):
            break
        size = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        # A footer repeats the ten bytes of the header.
        at += 10 + size + (10 if head[5] & 0x10 else 0)
    head = read(at, 12) if at else b""
    return at if head.startswith(_HEADS) or head[4:8] == b"ftyp" else 0
