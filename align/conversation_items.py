"""The lists of a conversation file as turns, words, cues and events: valid ones are kept, the others are
Drops.

Foreign files may hold `spans` and `evidence` as objects, null kinds and unknown fields; they are completed
here where their meaning is clear.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from corpus.align.parsing import LineError, clip, clipped_drop, drop_at, sound_span
from corpus.align.values import LARGEST_INTEGER, check_values, object_text
from corpus.schemas.codec import from_plain
from corpus.schemas.conversation import Cue, Event, Turn, Word
from corpus.schemas.drops import Drop
from corpus.schemas.errors import FormatError, SidecarError
from corpus.schemas.span import Span

Item = TypeVar("Item", Turn, Word, Cue, Event)
DURATION_TOLERANCE_US = 1_000_000
MOST_ITEMS = 10_000
MOST_ITEMS_A_SECOND = 200


@dataclass(slots=True)
class ItemReader:
    """The reader of one file: its known speakers, and what was left out."""

    file: str
    duration_us: int
    known: set[str]
    words: list[Any]
    """As stored, because word ranges in foreign cues index this list."""
    drops: list[Drop]
    source: str
    ignored: Counter[tuple[str, str]] = field(default_factory=Counter)

    def items(self, kind: type[Item], name: str, plain: object) -> tuple[Item, ...]:
        """All valid items of one list, in the file's order."""
        if not isinstance(plain, list):
            raise SidecarError(f"{name} must be a list", where=self.file)
        items: list[Item] = []
        most = MOST_ITEMS + self.duration_us // 1_000_000 * MOST_ITEMS_A_SECOND
        if len(plain) > most:
            reason = f"{len(plain)} {name} are too many for a recording of this length; {most} are read"
            drop = drop_at(f"{self.file}:{name}", "too_many_items", reason)
            self.drops.append(replace(drop, count=len(plain) - most))
        for number, raw in enumerate(plain[:most]):
            place = f"{self.file}:{name}[{number}]"
            try:
                items.append(self._item(kind, raw, place))
            except LineError as error:
                self.drops.append(drop_at(place, error.code, str(error)))
            except FormatError as error:
                reason = f"{error.what}; {error.todo}" if error.todo else error.what
                self.drops.append(drop_at(place, "malformed", reason))
        return tuple(items)

    def _item(self, kind: type[Item], raw: object, place: str) -> Item:
        if not isinstance(raw, dict):
            raise LineError("malformed", "is not an object")
        # First of all: numbers beyond 64 bits and lone surrogates would fail far from here, in Parquet or
        # SQL.
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

    def compare_duration(self, declared_us: object) -> None:
        """Report a file that seems to belong to another recording; its times are used nevertheless."""
        if isinstance(declared_us, int) and abs(declared_us) > LARGEST_INTEGER:
            reason = "says that the recording lasts longer than 64 bits can count"
            self.drops.append(drop_at(self.file, "duration_differs", reason, "trim"))
        elif isinstance(declared_us, int) and abs(declared_us - self.duration_us) > DURATION_TOLERANCE_US:
            lengths = f"{declared_us / 1e6:.3f} s long, the media is {self.duration_us / 1e6:.3f} s"
            reason = f"says that the recording is {lengths}; check that it belongs to it"
            self.drops.append(drop_at(self.file, "duration_differs", reason, "trim"))

    def all_drops(self) -> list[Drop]:
        """All Drops, with one for each unknown field."""
        ignored = [
            replace(drop_at(place, "unknown_field", f"field {name!r} is not read", "trim"), count=count)
            for (place, name), count in sorted(self.ignored.items())
        ]
        return self.drops + ignored

    def _span(self, raw: dict[str, Any], place: str) -> Span | None:
        if raw.get("start_us") is None and raw.get("stop_us") is None:
            return None
        whole = sound_span(_whole(raw.get("start_us")), _whole(raw.get("stop_us")))
        # A moment at the very end lies in no half-open span, but in the recording.
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
        """Require that a part of a cue begins in the recording; clip its end."""
        whole = sound_span(_whole(part.get("start_us")), _whole(part.get("stop_us")))
        if whole.start_us > self.duration_us:
            raise LineError("past_the_end", "a part of the cue lies behind the recording's end")
        part["stop_us"] = min(whole.stop_us, self.duration_us)

    def _spelled(self, evidence: dict[str, Any]) -> dict[str, Any]:
        """Replace a range of words by their text: indices into the file's list mean nothing outside it."""
        word_range = evidence.get("words")
        rest = {name: value for name, value in evidence.items() if name != "words"}
        if not (
            isinstance(word_range, list)
            and len(word_range) == 2
            and all(isinstance(i, int) for i in word_range)
        ):
            return evidence
        covered = self.words[slice(*word_range)]
        return {**rest, "text": " ".join(str(w.get("text", "")) for w in covered if isinstance(w, dict))}

    def sounds(self, plain: object) -> tuple[Event, ...]:
        return self._noted("sounds", plain, lambda raw: ("sound", str(raw.get("kind", "")), {}))

    def unscored(self, plain: object) -> tuple[Event, ...]:
        """Stretches left open by annotators, kept as events so that no score counts them."""
        kept = ("source", "words")
        return self._noted(
            "unscored",
            plain,
            lambda raw: ("unscored", str(raw.get("label", "")), {n: raw[n] for n in kept if n in raw}),
        )

    def _noted(
        self,
        name: str,
        plain: object,
        read: Callable[[dict[str, Any]], tuple[str, str, dict[str, Any]]],
    ) -> tuple[Event, ...]:
        """A foreign list as events; one by somebody who never speaks has no speaker and keeps the name."""
        events: list[Any] = []
        for raw in plain or [] if isinstance(plain, list) else []:
            if not isinstance(raw, dict):
                events.append(raw)
                continue
            label, kind, payload = read(raw)
            speaker = raw.get("speaker")
            if speaker not in self.known and speaker is not None:
                payload, speaker = {**payload, "speaker": speaker}, None
            event = {"label": label, "kind": kind, "speaker": speaker, "origin": self.source}
            times = {"start_us": raw.get("start_us"), "stop_us": raw.get("stop_us")}
            events.append({**event, **times, "payload": self._spelled(payload)})
        return self.items(Event, name, events)


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
