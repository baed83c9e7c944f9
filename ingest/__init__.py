"""Turning a media file into sound and pictures on one clock: probe, decode, faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corpus.schemas.lazy import loaded

if TYPE_CHECKING:
    from corpus.ingest.decode import DecodeSource, decode_media
    from corpus.ingest.probe import probe_media

__all__ = [
    "DecodeSource",
    "decode_media",
    "probe_media",
]
_HOMES = {
    "DecodeSource": "decode",
    "decode_media": "decode",
    "probe_media": "probe",
}

if not TYPE_CHECKING:  # else every misspelt name would pass the type checker

    def __getattr__(name: str) -> object:
        return loaded(__name__, _HOMES, name)
