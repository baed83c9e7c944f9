"""Files whose recorders' clocks run apart, put on one clock before anybody is listened to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from corpus.pipeline.artifact import HEAD, Artifact
from corpus.pipeline.cache import Cache
from corpus.pipeline.stages import pcm_of
from corpus.pipeline.versions import stage_key
from corpus.schemas.artifacts import Decoded
from corpus.schemas.codec import from_json, to_json
from corpus.schemas.drops import Drop


def clock_stage(decode: Artifact, decoded: Decoded, cache: Cache) -> Artifact:
    """The decoded files on one clock: the artifact given, or a decode artifact with channels corrected."""
    from corpus.align import clocks

    reference = clocks.reference_of(decoded)
    if reference is None or not decoded.windows:
        return decode

    def measure(folder: Path) -> list[Drop]:
        from corpus.align.channels_vad import require_vad, speech_of
        from corpus.align.crosstalk import listen

        require_vad()
        pcm = pcm_of(decode, decoded)
        found = clocks.paces(pcm, listen(pcm, speech_of(pcm)), reference)
        (folder / "paces.json").write_text(to_json(clocks.Paces(paces=tuple(found))) + "\n", encoding="utf-8")
        return []

    key = stage_key("clock", decode=decode.digest, channels=decoded.channels, model=clocks.VERSION)
    path = cache.make("clock", key, measure).folder / "paces.json"
    found = from_json(clocks.Paces, path.read_bytes(), where=str(path)).paces
    if not any(pace.corrected for pace in found):
        return decode

    def correct(folder: Path) -> list[Drop]:
        made = clocks.on_one_clock(decoded, decode.folder, found, folder)
        (folder / "decoded.json").write_text(to_json(made) + "\n", encoding="utf-8")
        for file in decode.folder.iterdir():
            if file.name != HEAD and not (folder / file.name).exists():
                _same_file(file, folder / file.name)
        return list(decode.drops)

    return cache.make("decode", key, correct)


def _same_file(file: Path, place: Path) -> None:
    """What did not change takes no second place on the disk, where the file system can do that."""
    try:
        os.link(file, place)
    except OSError:
        shutil.copyfile(file, place)
