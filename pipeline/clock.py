"""Putting files whose recorders' clocks drift apart on one clock, before anything else uses the sound."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from corpus.pipeline.artifact import HEAD, Kept
from corpus.pipeline.cache import Cache
from corpus.pipeline.decoding import read_decoded
from corpus.pipeline.stages import pcm_of
from corpus.pipeline.versions import stage_key
from corpus.schemas.artifacts import Decoded
from corpus.schemas.codec import read_json, write_json
from corpus.schemas.drops import Drop

_PACES_FILE = "paces.json"


def clock_stage(decode: Kept[Decoded], cache: Cache) -> Kept[Decoded]:
    """The decoded files on one clock: the artifact given, or a decode artifact with channels corrected."""
    from corpus.align import clocks

    reference = clocks.reference_of(decode.value)
    if reference is None or not decode.value.windows:
        return decode

    def measure(folder: Path) -> tuple[clocks.Paces, Sequence[Drop]]:
        from corpus.align.channels_vad import require_vad, speech_of
        from corpus.align.crosstalk import listen

        require_vad()
        pcm = pcm_of(decode)
        paces = clocks.Paces(paces=tuple(clocks.paces(pcm, listen(pcm, speech_of(pcm)), reference)))
        write_json(folder / _PACES_FILE, paces)
        return paces, []

    key = stage_key("clock", decode=decode.digest, channels=decode.value.channels, model=clocks.VERSION)
    kept = cache.keep("clock", key, measure, lambda folder: read_json(clocks.Paces, folder / _PACES_FILE))
    paces = kept.value.paces
    if not any(pace.corrected for pace in paces):
        return decode

    def correct(folder: Path) -> tuple[Decoded, Sequence[Drop]]:
        corrected = clocks.on_one_clock(decode.value, decode.folder, paces, folder)
        write_json(folder / "decoded.json", corrected)
        for file in decode.folder.iterdir():
            if file.name != HEAD and not (folder / file.name).exists():
                _same_file(file, folder / file.name)
        return corrected, decode.drops

    return cache.keep("decode", key, correct, read_decoded)


def _same_file(file: Path, place: Path) -> None:
    """Link an unchanged file instead of copying it, if the file system can."""
    try:
        os.link(file, place)
    except OSError:
        shutil.copyfile(file, place)
