"""Writers of the tier formats: TextGrid (long, UTF-8) and ELAN's EAF."""

from __future__ import annotations

from xml.etree import ElementTree

from corpus.align.formats.eaf import TURN_TYPE, WORD_TYPE
from corpus.align.formats.outgoing import (
    Said,
    fitting,
    layers,
    left_out,
    seconds_text,
    sound_words,
    utterances,
    without_place,
    written,
)
from corpus.align.formats.textgrid import WORD_TIER, is_plain_tier
from corpus.schemas.conversation import Conversation, Word
from corpus.schemas.drops import Drop

_Row = list[tuple[int, int, str]]
"""Start, stop and text of what stands in one tier."""


def _rows(talk: Conversation, unit_us: int) -> tuple[list[tuple[str, str, _Row]], list[Drop]]:
    """Speaker, `turns` or `words`, and a row in which nothing overlaps; times in units of the format."""
    said, drops = utterances(talk)
    words, _ = sound_words(talk)
    rows: list[tuple[str, str, _Row]] = []
    short = 0
    for speaker in talk.speakers:
        for kind, items in (
            ("turns", [each for each in said if each.speaker == speaker]),
            ("words", [word for word in words if word.speaker == speaker]),
        ):
            for layer in layers(items):
                row = [_entry(item, unit_us) for item in layer]
                kept = [entry for entry in row if entry[0] < entry[1]]
                short += len(row) - len(kept)
                rows += [(speaker, kind, kept)] if kept else []
    reason = "words or turns are shorter than the format can hold and are left out"
    return rows, [*drops, *left_out(talk, "too_short", reason, short)]


def _entry(item: Said | Word, unit_us: int) -> tuple[int, int, str]:
    span = item.span
    assert span is not None
    start, stop = ((time * 2 + unit_us) // (2 * unit_us) for time in (span.start_us, span.stop_us))
    return start, stop, item.text if isinstance(item, Said) else written(item)


def write_textgrid(talk: Conversation) -> tuple[str, list[Drop]]:
    """Tiers `NAME` with a speaker's turns and `NAME - words`; overlaps in one voice take more tiers."""
    names, renamed = fitting(talk, _tier_name)
    rows, drops = _rows(talk, 1)
    end_us = max([talk.duration_us, *(row[-1][1] for _, _, row in rows)])
    out = ['File type = "ooTextFile"', 'Object class = "TextGrid"', ""]
    out += [
        "xmin = 0",
        f"xmax = {seconds_text(end_us)}",
        "tiers? <exists>",
        f"size = {len(rows)}",
        "item []:",
    ]
    for number, (speaker, kind, row) in enumerate(rows, 1):
        name = names[speaker] + (WORD_TIER if kind == "words" else "")
        whole = _filled(row, end_us)
        out += [f"    item [{number}]:", '        class = "IntervalTier"', f"        name = {_quoted(name)}"]
        out += ["        xmin = 0", f"        xmax = {seconds_text(end_us)}"]
        out += [f"        intervals: size = {len(whole)}"]
        for at, (start_us, stop_us, text) in enumerate(whole, 1):
            out += [f"        intervals [{at}]:", f"            xmin = {seconds_text(start_us)}"]
            out += [f"            xmax = {seconds_text(stop_us)}", f"            text = {_quoted(text)}"]
    return "\n".join(out) + "\n", [*renamed, *drops, *without_place(talk)]


def _filled(row: _Row, end_us: int) -> _Row:
    """With empty intervals in between, for a tier has no holes."""
    filled: _Row = []
    at_us = 0
    for start_us, stop_us, text in row:
        if start_us > at_us:
            filled.append((at_us, start_us, ""))
        filled.append((start_us, stop_us, text))
        at_us = stop_us
    return [*filled, (at_us, end_us, "")] if at_us < end_us else filled


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _tier_name(name: str) -> str:
    """A name that is not taken for a tier of words or of sounds."""
    one = " ".join(name.split())
    return one if is_plain_tier(one) else f"{one}_"


def write_eaf(talk: Conversation) -> tuple[str, list[Drop]]:
    """Tiers of turns and of words with their PARTICIPANT, in whole milliseconds."""
    names, renamed = fitting(talk, lambda name: " ".join(name.split()))
    rows, drops = _rows(talk, 1000)
    root = ElementTree.Element("ANNOTATION_DOCUMENT", AUTHOR="", DATE="1970-01-01T00:00:00+00:00")
    root.attrib |= {"FORMAT": "3.0", "VERSION": "3.0"}
    root.set("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance")
    root.set("xsi:noNamespaceSchemaLocation", "http://www.mpi.nl/tools/elan/EAFv3.0.xsd")
    ElementTree.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    order = ElementTree.SubElement(root, "TIME_ORDER")
    count = 0
    for number, (speaker, kind, row) in enumerate(rows, 1):
        type_name = TURN_TYPE if kind == "turns" else WORD_TYPE
        attributes = {"LINGUISTIC_TYPE_REF": type_name, "PARTICIPANT": names[speaker]}
        tier = ElementTree.SubElement(root, "TIER", attributes, TIER_ID=f"{kind}{number}@{names[speaker]}")
        for start, stop, text in row:
            count += 1
            for half, time in enumerate((start, stop)):
                slot = {"TIME_SLOT_ID": f"ts{2 * count - 1 + half}", "TIME_VALUE": str(time)}
                ElementTree.SubElement(order, "TIME_SLOT", slot)
            times = {"TIME_SLOT_REF1": f"ts{2 * count - 1}", "TIME_SLOT_REF2": f"ts{2 * count}"}
            around = ElementTree.SubElement(tier, "ANNOTATION")
            one = ElementTree.SubElement(around, "ALIGNABLE_ANNOTATION", times, ANNOTATION_ID=f"a{count}")
            ElementTree.SubElement(one, "ANNOTATION_VALUE").text = text
    for type_name in (TURN_TYPE, WORD_TYPE):
        attributes = {"GRAPHIC_REFERENCES": "false", "TIME_ALIGNABLE": "true"}
        ElementTree.SubElement(root, "LINGUISTIC_TYPE", attributes, LINGUISTIC_TYPE_ID=type_name)
    ElementTree.indent(root, "  ")
    text = '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
    return text, [*renamed, *drops, *without_place(talk)]
