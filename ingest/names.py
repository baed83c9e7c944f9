"""File extensions of media: one list for files, folders, globs and manifests."""

from __future__ import annotations

_FILMS = (
    ".mp4 .m4v .mov .qt .mkv .mk3d .webm .ts .mts .m2ts .m2t .trp .mpg .mpeg .mpe .m1v .m2v .mpv .vob .avi "
    ".divx .flv .f4v .wmv .asf .3gp .3gpp .3g2 .ogv .ogm .ogx .mxf .dv .dif .rm .rmvb .nut .nsv .wtv .ivf"
)
_SOUND = (
    ".ogg .oga .opus .spx .wav .wave .bwf .rf64 .bw64 .w64 .flac .mp3 .mp2 .mp1 .mpa .m4a .m4b .m4r .f4a "
    ".aac .adts .ac3 .ec3 .eac3 .dts .wma .aiff .aif .aifc .caf .amr .awb .3ga .au .snd .voc .sph .nist "
    ".mka .weba .gsm .sln .g722 .ul .al .ra .ape .wv .tta .tak .shn .qcp .loas .latm"
)
MEDIA_SUFFIXES = frozenset(f"{_FILMS} {_SOUND}".split())
"""Files used from a folder or glob. A file named explicitly is tried whatever its name."""

HEADERLESS = {".sln": "sln", ".g722": "g722", ".ul": "mulaw", ".al": "alaw", ".gsm": "gsm"}
"""Telephone sound at 8 kHz (g722: 16) without a header: only the name says what it is."""


def is_media_name(name: str) -> bool:
    """True for a name with a media extension, in upper or lower case."""
    return suffix_of(name) in MEDIA_SUFFIXES


def suffix_of(name: str) -> str:
    """As `PurePath(name).suffix`, in lower case: without an object for each of a million names."""
    name = name.rpartition("/")[2]
    dot = name.rfind(".")
    return name[dot:].lower() if 0 < dot < len(name) - 1 else ""
