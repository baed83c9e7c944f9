"""Annotation files that a stranger wrote to cost time: each ends soon, as what it says or as a sentence."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from corpus.align.formats.textgrid import _words_of
from corpus.align.sidecars import read_sidecars

N = 20_000
"""At this size what grows with the square takes minutes."""
LONGEST_S = 8.0


def eaf(tiers: str) -> str:
    slots = "".join(f'<TIME_SLOT TIME_SLOT_ID="t{i}" TIME_VALUE="{i * 10}"/>' for i in range(60))
    return f"<ANNOTATION_DOCUMENT><TIME_ORDER>{slots}</TIME_ORDER>{tiers}</ANNOTATION_DOCUMENT>"


def tier(name: str, content: str, parent: str = "", type: str = "u") -> str:
    above = f' PARENT_REF="{parent}"' if parent else ""
    return f'<TIER TIER_ID="{name}"{above} LINGUISTIC_TYPE_REF="{type}">{content}</TIER>'


def aligned(id: str) -> str:
    value = "<ANNOTATION_VALUE>hi</ANNOTATION_VALUE>"
    times = 'TIME_SLOT_REF1="t1" TIME_SLOT_REF2="t50"'
    head = f'<ALIGNABLE_ANNOTATION ANNOTATION_ID="{id}" {times}>'
    return f"<ANNOTATION>{head}{value}</ALIGNABLE_ANNOTATION></ANNOTATION>"


def referring(id: str, to: str) -> str:
    value = "<ANNOTATION_VALUE>hi</ANNOTATION_VALUE>"
    head = f'<REF_ANNOTATION ANNOTATION_ID="{id}" ANNOTATION_REF="{to}">'
    return f"<ANNOTATION>{head}{value}</REF_ANNOTATION></ANNOTATION>"


def textgrid(*tiers: tuple[str, str]) -> str:
    items = (f'"IntervalTier" "{name}" 0 60 1 0 1 "{label}"' for name, label in tiers)
    return f'"ooTextFile" "TextGrid" 0 60 <exists> {len(tiers)} ' + " ".join(items)


def cue(text: str) -> str:
    return f"WEBVTT\n\n00:01.000 --> 00:02.000\n{text}\n"


FILES: dict[str, tuple[str, Callable[[], str]]] = {
    "a chain of annotations": (
        "x.eaf",
        lambda: eaf(
            tier("A", aligned("a0"))
            + tier("w", "".join(referring(f"a{i}", f"a{i - 1}") for i in range(1, N)), "A", "words")
        ),
    ),
    "a circle of annotations": (
        "x.eaf",
        lambda: eaf(
            tier("A", aligned("z"))
            + tier("w", "".join(referring(f"a{i}", f"a{(i + 1) % N}") for i in range(N)), "A", "words")
        ),
    ),
    "empty tiers": ("x.eaf", lambda: eaf("".join(tier(f"A{i}", "") for i in range(N)))),
    "a chain of tiers": ("x.eaf", lambda: eaf("".join(tier(f"A{i}", "", f"A{i - 1}") for i in range(N)))),
    "a circle of tiers": (
        "x.eaf",
        lambda: eaf("".join(tier(f"A{i}", "", f"A{(i + 1) % N}") for i in range(N))),
    ),
    "a tier a word": ("x.eaf", lambda: eaf("".join(tier(f"A{i}", aligned(f"b{i}")) for i in range(N)))),
    "tiers in tiers": ("x.eaf", lambda: eaf('<TIER TIER_ID="A">' * N + "</TIER>" * N)),
    "open voices": ("x.vtt", lambda: cue("<v " * 8 * N)),
    "open classes": ("x.vtt", lambda: cue("<v.<v." * 8 * N)),
    "open tags": ("x.vtt", lambda: cue("<i " * 8 * N)),
    "open braces": ("x.srt", lambda: "1\n00:00:01,000 --> 00:00:02,000\n" + "{\\" * 8 * N),
    "a name of spaces": ("x.TextGrid", lambda: textgrid(("a" + " " * 3 * N + "b", "x"))),
    "tiers of words": (
        "x.TextGrid",
        lambda: textgrid(
            *((f"A{i} - words", "x") for i in range(N // 4)), *((f"A{i}", "x y") for i in range(N // 4))
        ),
    ),
    "a speaker a word": ("x.ctm", lambda: "".join(f"id{k}_{k} 1 {k % 50} 0.1 w\n" for k in range(N))),
    "names in neither file": (
        "x.stm",
        lambda: "".join(f"x 1 S{k} {k % 50} {k % 50}.5 w\n" for k in range(N)),
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_no_file_costs_the_square_of_its_size(name: str, tmp_path: Path) -> None:
    file, made = FILES[name]
    path = tmp_path / file
    path.write_text(made(), encoding="utf-8")
    begun = time.process_time()
    annotation, drops = read_sidecars([path], 60_000_000)
    assert time.process_time() - begun < LONGEST_S
    # Part of it is used, or the reason why not is reported.
    assert annotation.turns or annotation.words or drops


def test_strangers_are_matched_with_many_speakers_soon(tmp_path: Path) -> None:
    turns, words = tmp_path / "x.rttm", tmp_path / "x.ctm"
    turns.write_text("".join(f"SPEAKER x 1 {k % 50} 1 <NA> <NA> S{k % 190} <NA> <NA>\n" for k in range(N)))
    words.write_text("".join(f"x 1 {k % 50} 0.5 w 1 lex T{k % 190}\n" for k in range(N)))
    begun = time.process_time()
    read_sidecars([turns, words], 60_000_000)
    assert time.process_time() - begun < LONGEST_S


def test_tiers_of_words_are_known_by_their_names() -> None:
    """By the pattern that says it at once, and takes the square of a name's length."""
    pattern = re.compile(r"(?:(.*?)\s*[-_/:.]\s*|)(?:words?|ort)", re.IGNORECASE | re.DOTALL)
    rng, parts = random.Random(1), ["a", " ", "-", "_", ":", ".", "word", "words", "ort", "Words", "\n"]
    for _ in range(5000):
        name = "".join(rng.choice(parts) for _ in range(rng.randint(0, 7)))
        found = pattern.fullmatch(name)
        assert _words_of(name) == ((found.group(1) or "").strip() if found else None), name


def test_references_lead_to_the_top_whatever_their_order(tmp_path: Path) -> None:
    text = eaf(
        tier("w", referring("c", "b") + referring("d", "c"), "m", "words")
        + tier("m", referring("b", "a"), "A")
        + tier("A", aligned("a").replace("hi", "c d"))
    )
    path = tmp_path / "x.eaf"
    path.write_text(
        text.replace(
            '"c" ANNOTATION_REF="b"><ANNOTATION_VALUE>hi', '"c" ANNOTATION_REF="b"><ANNOTATION_VALUE>c'
        )
    )
    annotation, _ = read_sidecars([path], 60_000_000)
    assert [(t.speaker, t.start_us, t.stop_us) for t in annotation.turns or ()] == [("A", 10_000, 500_000)]
    assert [w.text for w in annotation.words or ()] == ["c", "d"]
