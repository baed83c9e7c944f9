"""Conversation JSON, forms `corpus.conversation/2` and `/1`: ours as written, and as people write it.

What ours says is taken over exactly. Files of others may also hold `spans` and `evidence` as
objects, null kinds, `after`, `sounds`, `unscored`, `gold_labels`, and may leave fields out.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from corpus.align.annotation import Annotation
from corpus.align.formats.other_json import tool_of
from corpus.align.parsing import (
    LONGEST_FILE_BYTES,
    LineError,
    clip,
    clipped_drop,
    drop_at,
    read_bytes,
    sound_span,
)
from corpus.align.values import LARGEST_INTEGER, check_values, object_text, speaker_name
from corpus.schemas.codec import from_plain
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
from corpus.schemas.span import Span

Item = TypeVar("Item", Turn, Word, Cue, Event)
DURATION_TOLERANCE_US = 1_000_000
MOST_ITEMS = 10_000
MOST_ITEMS_A_SECOND = 200
PARTS = ("turns", "words", "cues", "events", "speakers")


def most_bytes_for(duration_us: int) -> int:
    """How much JSON a recording of this length may have: 16 MiB, and 64 KiB a second."""
    return min(LONGEST_FILE_BYTES, (1 << 24) + (duration_us // 1_000_000 << 16))


def load_conversation(path: Path, most_bytes: int = LONGEST_FILE_BYTES) -> dict[str, Any] | None:
    """The file's object if its `schema` is a conversation, None if it is something unrelated.

    Raises:
        SidecarError: it cannot be read, or looks like a conversation and is none.
        NewerSchemaError: a later version of the form than ours.
    """
    return conversation_of(parse_json(path, most_bytes), path)


def conversation_of(plain: object, path: Path) -> dict[str, Any] | None:
    """As `load_conversation`, of a file that has been parsed."""
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
    """A transcript of another tool is refused by its name."""
    if tool := tool_of(plain):
        raise SidecarError(
            f"is a transcript as {tool} writes it, which is not read here",
            where=path.name,
            todo="convert it to conversation JSON: `corpus annotations convert --help`",
        )


def parse_json(path: Path, most_bytes: int) -> Any:
    """The file's value, plain or gzipped; raises SidecarError."""
    data = read_bytes(path)
    try:
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
    text = engine.decompress(data, most_bytes)
    if engine.unconsumed_tail:
        raise SidecarError(_too_large(most_bytes), where=path.name)
    if not engine.eof:
        raise EOFError("the compressed file is cut short")
    return text


@dataclass(slots=True)
class _Reader:
    """One file being read: where we are, what was left out."""

    file: str
    duration_us: int
    known: set[str]
    words: list[Any]
    """As stored, for the word ranges of foreign cues point into it."""
    drops: list[Drop]
    source: str
    ignored: Counter[tuple[str, str]] = field(default_factory=Counter)

    def items(self, kind: type[Item], name: str, plain: object) -> tuple[Item, ...]:
        """Every sound item of one list, in the file's order."""
        if not isinstance(plain, list):
            raise SidecarError(f"{name} must be a list", where=self.file)
        found: list[Item] = []
        most = MOST_ITEMS + self.duration_us // 1_000_000 * MOST_ITEMS_A_SECOND
        if len(plain) > most:
            reason = f"{len(plain)} {name} are too many for a recording of this length; {most} are read"
            drop = drop_at(f"{self.file}:{name}", "too_many_items", reason)
            self.drops.append(replace(drop, count=len(plain) - most))
        for number, raw in enumerate(plain[:most]):
            place = f"{self.file}:{name}[{number}]"
            try:
                found.append(self._item(kind, raw, place))
            except LineError as error:
                self.drops.append(drop_at(place, error.code, str(error)))
            except FormatError as error:
                reason = f"{error.what}; {error.todo}" if error.todo else error.what
                self.drops.append(drop_at(place, "malformed", reason))
        return tuple(found)

    def _item(self, kind: type[Item], raw: object, place: str) -> Item:
        if not isinstance(raw, dict):
            raise LineError("malformed", "is not an object")
        check_values(raw)
        span = self._span(raw, place)
        plain = dict(raw)
        if kind is Word:
            _complete_word(plain, span)
        elif span is None:
            raise LineError("malformed", "has no times")
        elif kind is Cue:
            self._complete_cue(plain)
        elif kind is Event and "payload" in plain:
            plain["payload"] = object_text(plain["payload"], "payload")
        if span is not None:
            plain["start_us"], plain["stop_us"] = span.start_us, span.stop_us
        item = from_plain(kind, self._known(kind, plain, place))
        if item.speaker is not None and item.speaker not in self.known:
            raise LineError("unknown_speaker", f"speaker {item.speaker!r} is not among the file's speakers")
        return item

    def _known(self, kind: type[Item], plain: dict[str, Any], place: str) -> dict[str, Any]:
        names = {field.name for field in fields(kind)}
        for name in sorted(plain.keys() - names):
            self.ignored[(place.partition("[")[0], name)] += 1
        return {name: value for name, value in plain.items() if name in names}

    def compare_duration(self, told_us: object) -> None:
        """Flag a file that seems to be of another recording; its times are used all the same."""
        if isinstance(told_us, int) and abs(told_us) > LARGEST_INTEGER:
            reason = "says that the recording lasts longer than 64 bits can count"
            self.drops.append(drop_at(self.file, "duration_differs", reason, "trim"))
        elif isinstance(told_us, int) and abs(told_us - self.duration_us) > DURATION_TOLERANCE_US:
            lengths = f"{told_us / 1e6:.3f} s long, the media is {self.duration_us / 1e6:.3f} s"
            reason = f"says that the recording is {lengths}; check that it belongs to it"
            self.drops.append(drop_at(self.file, "duration_differs", reason, "trim"))

    def all_drops(self) -> list[Drop]:
        """The Drops, and one for each field that the form does not know."""
        ignored = [
            replace(drop_at(place, "unknown_field", f"field {name!r} is not read", "trim"), count=count)
            for (place, name), count in sorted(self.ignored.items())
        ]
        return self.drops + ignored

    def _span(self, raw: dict[str, Any], place: str) -> Span | None:
        if raw.get("start_us") is None and raw.get("stop_us") is None:
            return None
        whole = sound_span(_whole(raw.get("start_us")), _whole(raw.get("stop_us")))
        if not whole and whole.start_us == self.duration_us:
            return whole
        inside = clip(whole, self.duration_us)
        if inside != whole:
            self.drops.append(clipped_drop(place, whole, self.duration_us))
        return inside

    def _complete_cue(self, plain: dict[str, Any]) -> None:
        plain["kind"] = plain.get("kind") or ""
        plain.setdefault("confidence", 1.0)
        plain.setdefault("origin", self.source)
        spans = plain.get("spans")
        if spans is None:
            plain.pop("spans", None)
        elif isinstance(spans, dict):
            plain["spans"] = [
                {"role": role, "start_us": value[0], "stop_us": value[1]}
                for role, value in spans.items()
                if isinstance(value, list) and len(value) == 2 and not role.endswith("_words")
            ]
        evidence = plain.get("evidence", {})
        spelled = self._spelled(evidence) if isinstance(evidence, dict) else evidence
        plain["evidence"] = object_text(spelled, "evidence")
        if "thresholds" in plain:
            plain["thresholds"] = object_text(plain["thresholds"], "thresholds")
        for part in plain.get("spans") or ():
            if isinstance(part, dict) and isinstance(part.get("stop_us"), int):
                self._check_part(part)

    def _check_part(self, part: dict[str, Any]) -> None:
        """A part of a cue lies in the recording; its end is cut there."""
        whole = sound_span(_whole(part.get("start_us")), _whole(part.get("stop_us")))
        if whole.start_us > self.duration_us:
            raise LineError("past_the_end", "a part of the cue lies behind the recording's end")
        part["stop_us"] = min(whole.stop_us, self.duration_us)

    def _spelled(self, evidence: dict[str, Any]) -> dict[str, Any]:
        """A range of words as their text: positions in the file's list mean nothing outside of it."""
        place = evidence.get("words")
        rest = {name: value for name, value in evidence.items() if name != "words"}
        if not (isinstance(place, list) and len(place) == 2 and all(isinstance(i, int) for i in place)):
            return evidence
        covered = self.words[slice(*place)]
        return {**rest, "text": " ".join(str(w.get("text", "")) for w in covered if isinstance(w, dict))}

    def sounds(self, plain: object) -> tuple[Event, ...]:
        return self._noted("sounds", plain, lambda raw: ("sound", str(raw.get("kind", "")), {}))

    def unscored(self, plain: object) -> tuple[Event, ...]:
        """Stretches the annotators left open, kept as events so that no score counts them."""
        told = ("source", "words")
        return self._noted(
            "unscored",
            plain,
            lambda raw: ("unscored", str(raw.get("label", "")), {n: raw[n] for n in told if n in raw}),
        )

    def _noted(
        self,
        name: str,
        plain: object,
        read: Callable[[dict[str, Any]], tuple[str, str, dict[str, Any]]],
    ) -> tuple[Event, ...]:
        """Events of a foreign list; one by somebody who never speaks is nobody's and holds the name."""
        made: list[Any] = []
        for raw in plain or [] if isinstance(plain, list) else []:
            if not isinstance(raw, dict):
                made.append(raw)
                continue
            label, kind, payload = read(raw)
            speaker = raw.get("speaker")
            if speaker not in self.known and speaker is not None:
                payload, speaker = {**payload, "speaker": speaker}, None
            event = {"label": label, "kind": kind, "speaker": speaker, "origin": self.source}
            times = {"start_us": raw.get("start_us"), "stop_us": raw.get("stop_us")}
            made.append({**event, **times, "payload": self._spelled(payload)})
        return self.items(Event, name, made)


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise LineError("not_a_number", f"{value!r} is not a whole number of microseconds")
    return value


def _complete_word(plain: dict[str, Any], span: Span | None) -> None:
    if span is None:
        plain["timing"], plain["start_us"], plain["stop_us"] = "unknown", None, None
    elif plain.get("timing") == "unknown":
        plain["timing"] = "measured"
    if plain.get("after") is None:
        plain.pop("after", None)


def _sound_names(names: list[str], file: str, drops: list[Drop]) -> tuple[str, ...]:
    """The names that speakers may have; what is said of the others is left out with them."""
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
    """The people whom conversation files vouch for; what cannot be read is told of when it is used."""
    found: list[str] = []
    for path in paths:
        if path.name.lower().endswith((".json", ".json.gz")):
            with suppress(SidecarError, FormatError):
                plain = load_conversation(path)
                if plain:
                    names = _sound_names(list(_names(plain, path.name)), path.name, [])
                    found += _named(plain, names, path.name, [])
    return found


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
    """What the file says, None if it is an unrelated JSON file; raises as `load_conversation`."""
    return annotation_of(parse_json(path, most_bytes_for(duration_us)), path, duration_us)


def annotation_of(parsed: object, path: Path, duration_us: int) -> tuple[Annotation | None, list[Drop]]:
    """As `read_conversation`, of a file that has been parsed."""
    plain = conversation_of(parsed, path)
    if plain is None:
        return None, []
    words = plain.get("words")
    drops: list[Drop] = []
    speakers = _sound_names(list(_names(plain, path.name)), path.name, drops)
    source = _source(plain, path.name)
    stored = words if isinstance(words, list) else []
    reader = _Reader(path.name, duration_us, set(speakers), stored, drops, source)
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
    made = _labels_made(plain, annotation.cues)
    return replace(annotation, events=events, labels_made=made), reader.all_drops()


def _source(plain: dict[str, Any], file: str) -> str:
    told = plain.get("source")
    try:
        check_values(told)
    except LineError:
        return file
    return told if isinstance(told, str) else file


def _labels_made(plain: dict[str, Any], cues: tuple[Cue, ...]) -> tuple[LabelMade, ...]:
    """The labels the file speaks of: those of its cues, those it says were looked for or marked by people."""
    told = {cue.label for cue in cues}
    for part in _list(plain.get("labels_made")):
        if isinstance(part, dict) and part.get("made") is True:
            told.add(str(part.get("label")))
    told.update(str(label) for label in _list(plain.get("gold_labels")))
    return tuple(LabelMade(label=label, made=True) for label in CUE_KINDS if label in told)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _gold(plain: dict[str, Any], duration_us: int, source: str, drops: list[Drop]) -> tuple[Event, ...]:
    """Which labels people marked here, as a note over the whole recording."""
    marked = plain.get("gold_labels")
    if not marked:
        return ()
    told = {"gold_labels": marked, "gold_kinds": plain.get("gold_kinds") or {}}
    try:
        check_values(told)
        if not isinstance(marked, list) or not all(isinstance(label, str) for label in marked):
            raise LineError("malformed", "gold_labels must be a list of labels")
    except LineError as error:
        drops.append(drop_at(f"{source}:gold_labels", error.code, str(error)))
        return ()
    payload = as_json(**told)
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
