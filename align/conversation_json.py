"""Conversation JSON, forms `corpus.conversation/2` and `/1`: as written by us and by others.

Our own files are read strictly. Foreign files may also hold `spans` and `evidence` as objects, null kinds,
`after`, `sounds`, `unscored`, `gold_labels`, and may omit fields.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from corpus.align.annotation import Annotation
from corpus.align.conversation_items import ItemReader
from corpus.align.formats.other_json import tool_of
from corpus.align.parsing import (
    LONGEST_FILE_BYTES,
    LineError,
    drop_at,
    read_bytes,
)
from corpus.align.values import check_values, speaker_name
from corpus.schemas.conversation import (
    CONVERSATION_FORM,
    CUE_KINDS,
    Conversation,
    Cue,
    Event,
    LabelMade,
    Turn,
    Word,
)
from corpus.schemas.drops import Drop
from corpus.schemas.errors import FormatError, NewerSchemaError, SidecarError
from corpus.schemas.evidence import as_json
from corpus.schemas.older import items_from_1

PARTS = ("turns", "words", "cues", "events", "speakers")


def most_bytes_for(duration_us: int) -> int:
    """The largest JSON file for a recording of this length: 16 MiB plus 64 KiB per second."""
    return min(LONGEST_FILE_BYTES, (1 << 24) + (duration_us // 1_000_000 << 16))


def load_conversation(path: Path, most_bytes: int = LONGEST_FILE_BYTES) -> dict[str, Any] | None:
    """The file's object if its `schema` is a conversation, None if it is unrelated.

    Raises:
        SidecarError: the file cannot be read, or looks like a conversation but is not one.
        NewerSchemaError: the form is a later version than ours.
    """
    return conversation_of(parse_json(path, most_bytes), path)


def conversation_of(plain: object, path: Path) -> dict[str, Any] | None:
    """Like `load_conversation`, for a parsed file."""
    if not isinstance(plain, dict):
        _refuse_other_tools(plain, path)
        return None
    name, _, version = str(plain.get("schema")).partition("/")
    if name != CONVERSATION_FORM.partition("/")[0]:
        if isinstance(plain.get("turns"), list) and len(plain.keys() & set(PARTS)) > 1:
            raise SidecarError(
                "is not a conversation file",
                where=path.name,
                todo=f'give it "schema": "{CONVERSATION_FORM}" if it is meant as one',
            )
        _refuse_other_tools(plain, path)
        return None
    if plain["schema"] == CONVERSATION_FORM:
        return plain
    if plain["schema"] in Conversation.older:
        return items_from_1(plain)
    if version.isdigit() and int(version) > int(CONVERSATION_FORM.partition("/")[2]):
        raise NewerSchemaError(
            f"written as {plain['schema']}, this version reads {CONVERSATION_FORM}",
            where=path.name,
            todo="install a newer duplex-corpus",
        )
    raise SidecarError(f"its schema is {plain['schema']!r}", where=path.name)


def _refuse_other_tools(plain: object, path: Path) -> None:
    """Refuse another tool's transcript, naming the tool."""
    if tool := tool_of(plain):
        raise SidecarError(
            f"is a transcript written by {tool}, which is not supported",
            where=path.name,
            todo="convert it to conversation JSON: `corpus annotations convert --help`",
        )


def parse_json(path: Path, most_bytes: int) -> Any:
    """The file's value, plain or gzipped; raises SidecarError."""
    data = read_bytes(path)
    try:
        # By content, not by name: `.json` files are often gzipped.
        if data[:2] == b"\x1f\x8b":
            data = _unzipped(data, path, most_bytes)
        if len(data) > most_bytes:
            raise SidecarError(_too_large(most_bytes), where=path.name)
        return json.loads(data)
    except (ValueError, RecursionError, EOFError, OSError, zlib.error) as error:
        raise SidecarError(f"is not JSON: {error}", where=path.name) from error


def _too_large(most_bytes: int) -> str:
    return f"holds more than {most_bytes >> 20} MiB, too much for a recording of this length"


def _unzipped(data: bytes, path: Path, most_bytes: int) -> bytes:
    engine = zlib.decompressobj(wbits=31)
    # Bounded while unpacking: a few kilobytes may unpack to gigabytes.
    text = engine.decompress(data, most_bytes)
    if engine.unconsumed_tail:
        raise SidecarError(_too_large(most_bytes), where=path.name)
    if not engine.eof:
        raise EOFError("the compressed file is cut short")
    return text


def _sound_names(names: list[str], file: str, drops: list[Drop]) -> tuple[str, ...]:
    """The valid speaker names; items of invalid ones are left out with them."""
    sound: list[str] = []
    for name in names:
        try:
            sound.append(speaker_name(name))
        except LineError as error:
            drops.append(drop_at(f"{file}:speakers", error.code, str(error)))
    return tuple(sound)


def _names(plain: dict[str, Any], file: str) -> tuple[str, ...]:
    """The file's list of speakers; without one, those who speak, in order of first speech."""
    listed = plain.get("speakers")
    if listed is None:
        return _speaking(plain)
    if not isinstance(listed, list) or not all(isinstance(name, str) and name for name in listed):
        raise SidecarError("speakers must be a list of names", where=file)
    if len(set(listed)) < len(listed):
        raise SidecarError("a speaker is listed twice", where=file)
    return tuple(listed)


def _named(plain: dict[str, Any], speakers: tuple[str, ...], file: str, drops: list[Drop]) -> tuple[str, ...]:
    """Those the file says are people known beyond this recording."""
    named = plain.get("named_speakers") or []
    if not isinstance(named, list):
        named = [named]
    known = tuple(name for name in named if isinstance(name, str) and name in speakers)
    if len(known) < len(named):
        reason = "names some who are not among the file's speakers; they are left out"
        drops.append(drop_at(f"{file}:named_speakers", "unknown_speaker", reason))
    return known


def named_in(paths: Sequence[Path]) -> list[str]:
    """People named in conversation files; unreadable files are reported when they are used."""
    people: list[str] = []
    for path in paths:
        if path.name.lower().endswith((".json", ".json.gz")):
            with suppress(SidecarError, FormatError):
                plain = load_conversation(path)
                if plain:
                    names = _sound_names(list(_names(plain, path.name)), path.name, [])
                    people += _named(plain, names, path.name, [])
    return people


def _speaking(plain: dict[str, Any]) -> tuple[str, ...]:
    first: dict[str, int] = {}
    for part in ("turns", "words"):
        for item in _list(plain.get(part)):
            if isinstance(item, dict) and isinstance(item.get("speaker"), str):
                start = item.get("start_us")
                start = start if isinstance(start, int) else 1 << 62
                first[item["speaker"]] = min(start, first.get(item["speaker"], 1 << 62))
    return tuple(sorted(first, key=lambda name: (first[name], name)))


def read_conversation(path: Path, duration_us: int) -> tuple[Annotation | None, list[Drop]]:
    """The file's annotation, None if it is unrelated JSON; raises like `load_conversation`."""
    return annotation_of(parse_json(path, most_bytes_for(duration_us)), path, duration_us)


def annotation_of(parsed: object, path: Path, duration_us: int) -> tuple[Annotation | None, list[Drop]]:
    """Like `read_conversation`, for a parsed file."""
    plain = conversation_of(parsed, path)
    if plain is None:
        return None, []
    words = plain.get("words")
    drops: list[Drop] = []
    speakers = _sound_names(list(_names(plain, path.name)), path.name, drops)
    source = _source(plain, path.name)
    stored = words if isinstance(words, list) else []
    reader = ItemReader(path.name, duration_us, set(speakers), stored, drops, source)
    reader.compare_duration(plain.get("duration_us"))
    annotation = Annotation(
        turns=reader.items(Turn, "turns", plain["turns"]) if plain.get("turns") is not None else None,
        words=reader.items(Word, "words", words) if words is not None else None,
        cues=reader.items(Cue, "cues", plain.get("cues") or []),
        events=reader.items(Event, "events", plain.get("events") or []),
        speakers=speakers,
        named_speakers=_named(plain, speakers, path.name, drops),
        used=(path.name,),
    )
    extra = (*reader.sounds(plain.get("sounds")), *reader.unscored(plain.get("unscored")))
    events = (*annotation.events, *extra, *_gold(plain, duration_us, source, drops))
    labels = _labels_made(plain, annotation.cues)
    return replace(annotation, events=events, labels_made=labels), reader.all_drops()


def _source(plain: dict[str, Any], file: str) -> str:
    source = plain.get("source")
    try:
        check_values(source)
    except LineError:
        return file
    return source if isinstance(source, str) else file


def _labels_made(plain: dict[str, Any], cues: tuple[Cue, ...]) -> tuple[LabelMade, ...]:
    """The labels the file covers: those of its cues, those it lists as made, those marked by people."""
    covered = {cue.label for cue in cues}
    for part in _list(plain.get("labels_made")):
        if isinstance(part, dict) and part.get("made") is True:
            covered.add(str(part.get("label")))
    covered.update(str(label) for label in _list(plain.get("gold_labels")))
    return tuple(LabelMade(label=label, made=True) for label in CUE_KINDS if label in covered)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _gold(plain: dict[str, Any], duration_us: int, source: str, drops: list[Drop]) -> tuple[Event, ...]:
    """The labels that people marked in this file, as a note over the whole recording."""
    marked = plain.get("gold_labels")
    if not marked:
        return ()
    content = {"gold_labels": marked, "gold_kinds": plain.get("gold_kinds") or {}}
    try:
        check_values(content)
        if not isinstance(marked, list) or not all(isinstance(label, str) for label in marked):
            raise LineError("malformed", "gold_labels must be a list of labels")
    except LineError as error:
        drops.append(drop_at(f"{source}:gold_labels", error.code, str(error)))
        return ()
    payload = as_json(**content)
    note = Event(
        label="note",
        kind="gold_labels",
        speaker=None,
        start_us=0,
        stop_us=duration_us,
        origin=source,
        payload=payload,
    )
    return (note,)
