"""Finding and reading conversation files for labelling and scoring."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from corpus.align.annotation import Annotation
from corpus.align.conversation_json import load_conversation, read_conversation
from corpus.schemas.conversation import Conversation
from corpus.schemas.drops import Drop
from corpus.schemas.errors import UsageError

_ENDINGS = (".json", ".json.gz")
_LATEST_US = 1 << 53


def base_name(path: Path) -> str:
    """The file's name without its extension, by which recordings are matched."""
    ending = next((e for e in reversed(_ENDINGS) if path.name.lower().endswith(e)), "")
    return path.name[: len(path.name) - len(ending)]


def conversation_files(given: Sequence[Path]) -> list[Path]:
    """The conversation files given, and those in the folders given, by name.

    Raises:
        UsageError: a file is missing or not a conversation file, or two have the same base name.
    """
    files: list[Path] = []
    for path in given:
        if path.is_dir():
            files += sorted(file for file in path.iterdir() if file.name.lower().endswith(_ENDINGS))
        elif not path.exists():
            raise UsageError("no such file or folder", where=str(path))
        elif path.name.lower().endswith(_ENDINGS):
            files.append(path)
        else:
            raise UsageError(
                f"is not a conversation file; {' and '.join(_ENDINGS)} are read", where=str(path)
            )
    first: dict[str, Path] = {}
    for path in files:
        if (other := first.setdefault(base_name(path), path)) != path:
            raise UsageError(f"has the same base name as {other}", where=str(path), todo="rename one of them")
    return files


def read_marks(path: Path) -> tuple[Annotation, int, list[Drop]]:
    """A conversation file and its duration, with Drops for invalid items.

    Raises:
        SidecarError, NewerSchemaError: it is not a conversation file that can be read.
        UsageError: it is an unrelated JSON file.
    """
    plain = load_conversation(path)
    if plain is None:
        raise UsageError("is not a conversation file", where=str(path))
    stated = plain.get("duration_us")
    if isinstance(stated, int) and not isinstance(stated, bool) and stated > 0:
        annotation, drops = read_conversation(path, stated)
        assert annotation is not None
        return annotation, stated, drops
    annotation, _ = read_conversation(path, _LATEST_US)
    assert annotation is not None
    last_us = _last_us(annotation)
    annotation, drops = read_conversation(path, last_us)
    assert annotation is not None
    reason = (
        f"{path.name}: has no duration_us; taken to end with the last that it holds, {last_us / 1e6:.3f} s"
    )
    return (
        annotation,
        last_us,
        [Drop(item=path.name, stage="input", kind="trim", code="no_duration", reason=reason), *drops],
    )


def _last_us(annotation: Annotation) -> int:
    """Where the last turn, word or cue ends; 1 for none."""
    stops = [turn.stop_us for turn in annotation.turns or ()] + [cue.stop_us for cue in annotation.cues]
    stops += [word.stop_us for word in annotation.words or () if word.stop_us is not None]
    return max(stops, default=1)


def without_cues(path: Path, annotation: Annotation, duration_us: int) -> Conversation:
    """Turns, words and events of a file as a conversation, without its cues, which are to be remade."""
    from corpus.align.attribute import turns_of_words

    turns = annotation.turns
    words = annotation.words or ()
    if turns is None:
        turns = turns_of_words(words, 200_000)
    names = dict.fromkeys((*annotation.speakers, *(t.speaker for t in turns), *(w.speaker for w in words)))
    events = tuple(e for e in annotation.events if e.label != "unscored" and e.kind != "gold_labels")
    return Conversation(
        recording=base_name(path),
        duration_us=duration_us,
        speakers=tuple(names),
        turns=turns,
        words=words,
        events=events,
        named_speakers=annotation.named_speakers,
    )
