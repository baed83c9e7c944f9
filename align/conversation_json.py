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
from corpus.align.parsing import (
    LONGEST_FILE_BYTES,
    LineError,
    clip,
    clipped_drop,
    drop_at,
    read_bytes,
    sound_span,
)
from corpus.schemas.codec import from_plain
from corpus.schemas.conversation import CONVERSATION_FORM, Conversation, Cue, Event, Turn, Word
from corpus.schemas.drops import Drop
from corpus.schemas.errors import FormatError, NewerSchemaError, SidecarError
from corpus.schemas.older import items_from_1
from corpus.schemas.span import Span

Item = TypeVar("Item", Turn, Word, Cue, Event)
DURATION_TOLERANCE_US = 1_000_000
PARTS = ("turns", "words", "cues", "events", "speakers")


def load_conversation(path: Path) -> dict[str, Any] | None:
    """The file's object if its `schema` is a conversation, None if it is something unrelated.

    Raises:
        SidecarError: it cannot be read, or looks like a conversation and is none.
        NewerSchemaError: a later version of the form than ours.
    """
    plain = _parse(path)
    if not isinstance(plain, dict):
        return None
    name, _, version = str(plain.get("schema")).partition("/")
    if name != CONVERSATION_FORM.partition("/")[0]:
        if isinstance(plain.get("turns"), list) and len(plain.keys() & set(PARTS)) > 1:
            raise SidecarError(
                "is not a conversation file",
                where=path.name,
                todo=f'give it "schema": "{CONVERSATION_FORM}" if it is meant as one',
            )
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


def _parse(path: Path) -> Any:
    data = read_bytes(path)
    try:
        if data[:2] == b"\x1f\x8b":
            data = _unzipped(data, path)
        return json.loads(data)
    except (ValueError, RecursionError, EOFError, OSError, zlib.error) as error:
        raise SidecarError(f"is not JSON: {error}", where=path.name) from error


def _unzipped(data: bytes, path: Path) -> bytes:
    engine = zlib.decompressobj(wbits=31)
    text = engine.decompress(data, LONGEST_FILE_BYTES)
    if engine.unconsumed_tail:
        raise SidecarError("unpacks to more than 512 MiB", where=path.name)
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
        for number, raw in enumerate(plain):
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
        span = self._span(raw, place)
        plain = dict(raw)
        if kind is Word:
            _complete_word(plain, span)
        elif span is None:
            raise LineError("malformed", "has no times")
        elif kind is Cue:
            self._complete_cue(plain)
        elif kind is Event and isinstance(plain.get("payload"), dict):
            plain["payload"] = _json(plain["payload"])
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
        if isinstance(told_us, int) and abs(told_us - self.duration_us) > DURATION_TOLERANCE_US:
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
        if isinstance(evidence, dict):
            plain["evidence"] = _json(self._spelled(evidence))

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
            made.append({**event, **times, "payload": _json(self._spelled(payload))})
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


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


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


def _named(plain: dict[str, Any], speakers: tuple[str, ...], file: str) -> tuple[str, ...]:
    """Those the file says are people known beyond this recording."""
    named = plain.get("named_speakers") or []
    if not isinstance(named, list) or not set(map(str, named)) <= set(speakers):
        raise SidecarError("named_speakers must be some of the file's speakers", where=file)
    return tuple(str(name) for name in named)


def named_in(paths: Sequence[Path]) -> list[str]:
    """The people whom conversation files vouch for; what cannot be read is told of when it is used."""
    found: list[str] = []
    for path in paths:
        if path.name.lower().endswith((".json", ".json.gz")):
            with suppress(SidecarError, FormatError):
                plain = load_conversation(path)
                found += _named(plain, _names(plain, path.name), path.name) if plain else ()
    return found


def _speaking(plain: dict[str, Any]) -> tuple[str, ...]:
    first: dict[str, int] = {}
    for part in ("turns", "words"):
        for item in plain.get(part) or []:
            if isinstance(item, dict) and isinstance(item.get("speaker"), str):
                start = item.get("start_us")
                start = start if isinstance(start, int) else 1 << 62
                first[item["speaker"]] = min(start, first.get(item["speaker"], 1 << 62))
    return tuple(sorted(first, key=lambda name: (first[name], name)))


def read_conversation(path: Path, duration_us: int) -> tuple[Annotation | None, list[Drop]]:
    """What the file says, None if it is an unrelated JSON file; raises as `load_conversation`."""
    plain = load_conversation(path)
    if plain is None:
        return None, []
    words = plain.get("words")
    speakers = _names(plain, path.name)
    source = plain["source"] if isinstance(plain.get("source"), str) else path.name
    stored = words if isinstance(words, list) else []
    reader = _Reader(path.name, duration_us, set(speakers), stored, [], source)
    reader.compare_duration(plain.get("duration_us"))
    annotation = Annotation(
        turns=reader.items(Turn, "turns", plain["turns"]) if plain.get("turns") is not None else None,
        words=reader.items(Word, "words", words) if words is not None else None,
        cues=reader.items(Cue, "cues", plain.get("cues") or []),
        events=reader.items(Event, "events", plain.get("events") or []),
        speakers=speakers,
        named_speakers=_named(plain, speakers, path.name),
        used=(path.name,),
    )
    extra = (*reader.sounds(plain.get("sounds")), *reader.unscored(plain.get("unscored")))
    events = (*annotation.events, *extra, *_gold(plain, duration_us, source))
    return replace(annotation, events=events), reader.all_drops()


def _gold(plain: dict[str, Any], duration_us: int, source: str) -> tuple[Event, ...]:
    """Which labels people marked here, as a note over the whole recording."""
    marked = plain.get("gold_labels")
    if not marked:
        return ()
    payload = _json({"gold_labels": marked, "gold_kinds": plain.get("gold_kinds") or {}})
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
