"""A dataset's turns, words and cues by recording, put together from its clips."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from corpus.schemas.conversation import Cue, Turn, Word


@dataclass(slots=True)
class _Recording:
    """Turns, words and cues by id: an item in several clips counts once."""

    turns: dict[str, Turn] = field(default_factory=dict)
    words: dict[str, Word] = field(default_factory=dict)
    cues: dict[str, Cue] = field(default_factory=dict)


def by_recording(dataset: Path) -> dict[str, _Recording]:
    """Every recording, keyed by its file's base name.

    Raises:
        DatasetError: the dataset cannot be read.
    """
    from corpus.shards.read import open_clips

    recordings: dict[str, _Recording] = {}
    for clip in open_clips(dataset):
        name = Path(clip.json.source.uri.rpartition("/")[2]).stem
        recording = recordings.setdefault(name, _Recording())
        recording.turns.update({turn.id: turn for turn in clip.json.turns})
        recording.words.update({word.id: word for word in clip.json.words})
        recording.cues.update({cue.id: cue for cue in clip.json.cues})
    return recordings
