"""Who speaks, what was said, whose voice it is, and which cues occur."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corpus.schemas.lazy import loaded

if TYPE_CHECKING:
    from corpus.align.diarize import open_diarizer
    from corpus.align.label import label_cues
    from corpus.align.sidecars import read_sidecars
    from corpus.align.transcribe import open_transcriber
    from corpus.align.voices import split_voices

__all__ = [
    "label_cues",
    "open_diarizer",
    "open_transcriber",
    "read_sidecars",
    "split_voices",
]
_HOMES = {
    "label_cues": "label",
    "open_diarizer": "diarize",
    "open_transcriber": "transcribe",
    "read_sidecars": "sidecars",
    "split_voices": "voices",
}

if not TYPE_CHECKING:  # else every misspelt name would pass the type checker

    def __getattr__(name: str) -> object:
        return loaded(__name__, _HOMES, name)
