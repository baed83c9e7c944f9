"""The length of a recording that was not built, so that the lost time can be counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from corpus.pipeline.cache import Cache
from corpus.pipeline.decoding import decode_key, read_decoded
from corpus.pipeline.identify import Identity
from corpus.schemas.drops import Drop
from corpus.schemas.errors import CorpusError
from corpus.schemas.settings import Settings


def over_all(drop: Drop, identity: Identity, settings: Settings, cache: Cache) -> Drop:
    """The Drop of a whole recording, over its length if known."""
    length_us = _length_us(identity, settings, cache)
    return replace(drop, start_us=0, stop_us=length_us) if length_us else drop


def _length_us(identity: Identity, settings: Settings, cache: Cache) -> int | None:
    """The decoded length, otherwise the declared one; None if neither can be read."""
    from corpus.ingest.probe import probe_media

    decode = cache.get("decode", decode_key(identity, settings), "decoded.json")
    try:
        if decode is not None:
            return read_decoded(decode.folder).duration_us
        return max((probe_media(Path(mark.place)).duration_us or 0 for mark in identity.media), default=0)
    except (CorpusError, OSError, ValueError):
        return None
