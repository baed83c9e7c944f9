"""A dataset's turns, words and cues by recording, put together from its clips."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.schemas.conversation import Cue, Turn, Word

if TYPE_CHECKING:
    from corpus.shards.far_heads import HeadsSpread


@dataclass(slots=True)
class _Recording:
    """Turns, words and cues by id: an item in several clips counts once."""

    turns: dict[str, Turn] = field(default_factory=dict)
    words: dict[str, Word] = field(default_factory=dict)
    cues: dict[str, Cue] = field(default_factory=dict)


def by_recording(dataset: Path | str, spread: HeadsSpread | None = None) -> dict[str, _Recording]:
    """Every recording, keyed by its file's base name. Of a dataset at a URL only heads are read, by `spread`.

    Raises:
        DatasetError: the dataset cannot be read.
    """
    from corpus.shards.far_heads import far_heads
    from corpus.shards.read import open_clips

    recordings: dict[str, _Recording] = {}
    near = isinstance(dataset, Path)
    for head in (clip.json for clip in open_clips(dataset)) if near else far_heads(str(dataset), spread):
        name = Path(head.source.uri.rpartition("/")[2]).stem
        recording = recordings.setdefault(name, _Recording())
        recording.turns.update({turn.id: turn for turn in head.turns})
        recording.words.update({word.id: word for word in head.words})
        recording.cues.update({cue.id: cue for cue in head.cues})
    return recordings
