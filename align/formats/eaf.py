"""ELAN's EAF: tiers of annotations on shared time slots, in milliseconds.

A tier's speaker is its PARTICIPANT, else its name. Tiers at the top hold utterances; a tier below
holds their words if its name or type says so or its pieces, joined, are the utterance, and it
replaces their text if it is called orthography, transcription or text. All other tiers are reported.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from corpus.align.annotation import Annotation
from corpus.align.formats.gather import Gathered, has_words
from corpus.align.parsing import LineError, read_bytes
from corpus.schemas.drops import Drop
from corpus.schemas.errors import SidecarError

TURN_TYPE, WORD_TYPE = "turns", "words"
"""Types of the tiers written here."""
_WORDS = re.compile(r"(.*[-_@ .:])?(words?|tokens?|wordt|wd|wrd)([-_@ .:].*)?", re.IGNORECASE)
_TEXT = re.compile(r"(.*[-_@ .:])?(orth\w*|transcri\w*|text|tx|utt\w*)([-_@ .:].*)?", re.IGNORECASE)
_REFERENCE = re.compile(r"(.*[-_@ .:])?ref(t)?([-_@ .:].*)?", re.IGNORECASE)
_NO_WORDS = re.compile(
    r"(.*[-_@ .:])?(phon\w*|gloss\w*|pos|notes?|comments?|morph\w*|lemma\w*)([-_@ .:].*)?", re.IGNORECASE
)


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses document types, which ELAN does not write: without one there is no entity expansion bomb."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise ElementTree.ParseError("it declares a document type")


@dataclass(slots=True)
class _Piece:
    """One annotation; times are None where it has none of its own."""

    id: str
    place: str
    text: str
    start_us: int | None = None
    stop_us: int | None = None
    parent: str = ""
    before: str = ""


@dataclass(slots=True)
class _Tier:
    name: str
    speaker: str
    type: str
    parent: str
    pieces: list[_Piece] = field(default_factory=list)

    def is_called(self, pattern: re.Pattern[str]) -> bool:
        if self.type in (TURN_TYPE, WORD_TYPE):  # its name ends with a speaker's, whatever that is
            return self.type == WORD_TYPE and pattern is _WORDS
        return bool(pattern.fullmatch(self.name) or pattern.fullmatch(self.type))


def read_eaf(path: Path, duration_us: int) -> tuple[Annotation, list[Drop]]:
    """Turns and words of the tiers at the top and of those below that hold their words."""
    try:
        root = ElementTree.fromstring(read_bytes(path), ElementTree.XMLParser(target=_NoDoctype()))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise SidecarError(f"is not XML: {error}", where=path.name) from error
    if root.tag != "ANNOTATION_DOCUMENT":
        raise SidecarError("is not an ELAN file", where=path.name)
    read = Gathered(path.name, duration_us)
    slots = _slots(root, _origin_us(root, path.stem))
    elements = root.findall("TIER")
    if sum(1 for _ in root.iter("TIER")) != len(elements):
        raise SidecarError("has nested tiers, which ELAN never writes", where=path.name)
    tiers = [_tier(element, slots, read) for element in elements]
    tops = _tops({tier.name: tier.parent for tier in tiers})
    # What stands under each top tier, its annotations referring to those of that tier.
    up = _tops(
        {piece.id: piece.parent for tier in tiers for piece in tier.pieces if piece.parent}, known=False
    )
    below: dict[str, list[_Tier]] = {}
    for tier in tiers:
        if tops[tier.name] != tier.name:
            below.setdefault(tops[tier.name], []).append(_lifted(tier, up))
    used: set[str] = set()
    for tier in sorted(tiers, key=lambda tier: not tier.is_called(_WORDS)):
        if tops[tier.name] == tier.name:
            used |= _take(tier, below.get(tier.name, []), read)
    for tier in tiers:
        if tier.name not in used and tier.pieces:
            reason = f"tier {tier.name!r} with {len(tier.pieces)} annotations holds no utterances or words"
            read.tell(f"{read.file}:{tier.name}", "tier_unused", reason)
    return read.annotation(), read.drops


def _tops(above: dict[str, str], *, known: bool = True) -> dict[str, str]:
    """The top of each name's chain: the last that is a key (`known`) or that a key refers to.

    A name in a cycle is its own.
    """
    tops: dict[str, str] = {}
    for name in above:
        chain = dict.fromkeys([name])
        at = name
        # Each name is visited once: those of a chain found before are known.
        while at not in tops and above.get(at, "") and (above[at] in above or not known):
            at = above[at]
            if at in chain:
                tops.update({each: each for each in chain})
                break
            if at not in above:
                break
            chain[at] = None
        top = tops.get(at, at)
        for each in chain:
            tops.setdefault(each, top)
    return tops


def _lifted(tier: _Tier, up: dict[str, str]) -> _Tier:
    """The tier with its annotations referring to those of the top tier."""
    return replace(tier, pieces=[replace(p, parent=up.get(p.parent, p.parent)) for p in tier.pieces])


def _origin_us(root: ElementTree.Element, stem: str) -> int:
    """Where in the recording ELAN's time begins: synchronised media files do not begin together."""
    media = list(root.iter("MEDIA_DESCRIPTOR"))
    own = [each for each in media if PurePosixPath(each.get("MEDIA_URL", "")).stem == stem] or media
    origin = own[0].get("TIME_ORIGIN", "") if own else ""
    return int(origin) * 1000 if re.fullmatch(r"\d{1,12}", origin) else 0


def _slots(root: ElementTree.Element, origin_us: int) -> dict[str, int]:
    """The slots' times; slots without one are spaced evenly between their neighbours, as ELAN shows them."""
    listed = [(each.get("TIME_SLOT_ID", ""), each.get("TIME_VALUE", "")) for each in root.iter("TIME_SLOT")]
    times = [
        int(value) * 1000 + origin_us if re.fullmatch(r"\d{1,12}", value) else None for _, value in listed
    ]
    known = [i for i, time in enumerate(times) if time is not None]
    slots = {name: time for (name, _), time in zip(listed, times, strict=True) if time is not None}
    for left, right in itertools.pairwise(known):
        low, high = times[left] or 0, times[right] or 0
        for i in range(left + 1, right if low <= high else left + 1):
            if listed[i][1] == "":
                slots[listed[i][0]] = low + (high - low) * (i - left) // (right - left)
    return slots


def _tier(element: ElementTree.Element, slots: dict[str, int], read: Gathered) -> _Tier:
    name = element.get("TIER_ID", "").strip()
    speaker = element.get("PARTICIPANT", "").strip() or name
    tier = _Tier(name, speaker, element.get("LINGUISTIC_TYPE_REF", ""), element.get("PARENT_REF", "").strip())
    for child in element.iter():
        if child.tag not in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION"):
            continue
        id = child.get("ANNOTATION_ID", "")
        piece = _Piece(id, f"{read.file}:{name}/{id}", (child.findtext("ANNOTATION_VALUE") or "").strip())
        with read.item(piece.place):
            if child.tag == "REF_ANNOTATION":
                piece.parent = child.get("ANNOTATION_REF", "")
                piece.before = child.get("PREVIOUS_ANNOTATION", "")
            else:
                piece.start_us = slots.get(child.get("TIME_SLOT_REF1", ""))
                piece.stop_us = slots.get(child.get("TIME_SLOT_REF2", ""))
                if piece.start_us is None or piece.stop_us is None:
                    raise LineError("no_times", "refers to a time slot that has no time")
            tier.pieces.append(piece)
    return tier


def _take(tier: _Tier, below: list[_Tier], read: Gathered) -> set[str]:
    """Read a top tier with the tiers below that hold its words or text; the names of those used."""
    if tier.is_called(_WORDS):
        alone = _WORDS.sub(r"\1", tier.name).strip("-_@ .:")
        _take_words(tier.pieces, alone if tier.speaker == tier.name else tier.speaker, read)
        return {tier.name}
    if not below and tier.is_called(_NO_WORDS):
        return set()
    written = next((each for each in below if each.is_called(_TEXT) and _is_one_each(each)), None)
    texts = {piece.id: "" if tier.is_called(_REFERENCE) else piece.text for piece in tier.pieces}
    texts |= {piece.parent: piece.text for piece in written.pieces} if written else {}
    words = next((each for each in below if _holds_words(each, tier, texts)), None)
    inside = _by_parent(words, tier) if words else {}
    starts = read.word_starts()
    for piece in tier.pieces:
        if piece.start_us is None or piece.stop_us is None:
            continue  # reported where its time slots were resolved
        with read.item(piece.place):
            parts = inside.get(piece.id, [])
            timed = [part for part in parts if part.start_us is not None]
            text = "" if timed else texts[piece.id] or " ".join(part.text for part in _in_order(parts))
            if has_words(starts, tier.speaker, piece.start_us, piece.stop_us):
                text = ""  # they stand in a tier of their own
            # One without a text is a turn, too: people mark who speaks before they write what is said.
            read.utterance(piece.place, tier.speaker, piece.start_us, piece.stop_us, text)
            _take_words(timed, tier.speaker, read)
    return {tier.name} | ({words.name} if words else set()) | ({written.name} if written else set())


def _in_order(pieces: list[_Piece]) -> list[_Piece]:
    """Pieces of one annotation, in the order of their PREVIOUS_ANNOTATION references."""
    after = {piece.before: piece for piece in pieces}
    ordered: list[_Piece] = []
    following = after.get("")
    while following is not None and len(ordered) < len(pieces):
        ordered.append(following)
        following = after.get(following.id)
    return ordered if len(ordered) == len(pieces) else pieces


def _take_words(pieces: Iterable[_Piece], speaker: str, read: Gathered) -> None:
    for piece in pieces:
        with read.item(piece.place):
            if piece.start_us is None or piece.stop_us is None:
                raise LineError("no_times", "a word without times of its own")
            if piece.text:
                read.word(piece.place, speaker, piece.start_us, piece.stop_us, piece.text)


def _is_one_each(tier: _Tier) -> bool:
    parents = [piece.parent for piece in tier.pieces]
    return all(parents) and len(set(parents)) == len(parents)


def _by_parent(words: _Tier, tier: _Tier) -> dict[str, list[_Piece]]:
    """Words under the annotation they belong to: the one they refer to, or that covers their start."""
    inside: dict[str, list[_Piece]] = {}
    ordered = sorted(
        (p for p in tier.pieces if p.start_us is not None), key=lambda piece: piece.start_us or 0
    )
    at = 0
    for piece in sorted(words.pieces, key=lambda piece: piece.start_us or 0):
        if piece.start_us is None:
            inside.setdefault(piece.parent, []).append(piece)
            continue
        while at + 1 < len(ordered) and (ordered[at + 1].start_us or 0) <= piece.start_us:
            at += 1
        if ordered:
            inside.setdefault(ordered[at].id, []).append(piece)
    return inside


def _holds_words(below: _Tier, tier: _Tier, texts: dict[str, str]) -> bool:
    if not below.pieces or below.is_called(_NO_WORDS):
        return False
    if below.is_called(_WORDS):
        return True
    inside = _by_parent(below, tier)
    joined = {id: " ".join(part.text for part in parts) for id, parts in inside.items()}
    timed = all(piece.start_us is not None for piece in below.pieces)
    return timed and all(" ".join(texts.get(id, "").split()) == text for id, text in joined.items())
