from __future__ import annotations

import re
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from corpus.report.catalog_rows import CatalogEntry
from corpus.report.page import write_report
from corpus.report.page_parts import counted, plural
from corpus.report.stats import dataset_stats
from corpus.schemas.conversation import Cue, Turn
from corpus.schemas.drops import Drop

Made = Callable[..., CatalogEntry]
Written = Callable[..., Path]

BALANCED = frozenset(
    "html head body main section table thead tbody tr td th svg g figure div p ul li".split()
)


class Checker(HTMLParser):
    """Every element that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.remote: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag in BALANCED:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href") and not (value or "").startswith("data:"):
                self.remote.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in BALANCED:
            assert self.open.pop() == tag


def checked(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    assert checker.remote == []
    assert "script" not in checker.seen
    assert not re.search(r"https?://|@import|url\(", text)
    return checker


def report_of(out: Path) -> str:
    write_report(out, dataset_stats(out))
    return (out / "report.html").read_text(encoding="utf-8")


def test_names_from_outside_are_text(make_entry: Made, write_built: Written) -> None:
    evil = '<script>alert("x")</script>'
    turns = [
        Turn(speaker=evil, start_us=0, stop_us=1_000_000),
        Turn(speaker="B", start_us=500_000, stop_us=2_000_000),
    ]
    drop = Drop(item=f"{evil}.mp4", stage="probe", kind="fault", code="unusable", reason=f"{evil} is none")
    text = report_of(write_built([make_entry(evil, turns=turns, sidecars=(f"{evil}.rttm",))], [drop]))
    checked(text)
    assert "&lt;script&gt;" in text


def test_it_says_what_was_built_and_left_out(make_entry: Made, write_built: Written) -> None:
    cue = Cue(
        label="hold",
        kind="pause",
        speaker="A",
        start_us=0,
        stop_us=1,
        confidence=1.0,
        origin="hold/1",
        evidence="{}",
    )
    drops = [
        Drop(item="bad one.mp4", stage="probe", kind="fault", code="unusable", reason="is no media file")
    ]
    entries = [make_entry("talk", cues=[cue], sidecars=("talk.rttm",)), make_entry("two", split="test")]
    out = write_built(entries, drops)
    text = report_of(out)
    checker = checked(text)
    assert checker.seen.count("caption") == checker.seen.count("table")
    for said in ("talk.mp4", "talk.rttm", "models", "bad one.mp4", "is no media file", "hold · pause"):
        assert said in text, said
    assert "corpus errors OUT retry" in text and str(out) not in text
    assert "variable frame rate" in text and "between 12 and 30 pictures a second" in text
    assert "6 changes of speaker" in text
    assert "windows_per_clip" in text


def test_every_drawing_has_a_title(make_entry: Made, write_built: Written) -> None:
    text = report_of(write_built([make_entry()]))
    drawings = re.findall(r"<svg[^>]*>(<title>[^<]+</title>)?", text)
    assert len(drawings) == 5  # funnel, one strip, voices, overlaps, offsets; no cues, no fault
    assert all(drawings)
    assert "retry" not in text


def test_a_dataset_with_nothing_in_it(write_built: Written) -> None:
    assert "no clips" in report_of(write_built([]))


@pytest.mark.slow
def test_ten_thousand_recordings_stay_a_page(make_entry: Made, write_built: Written) -> None:
    entries = [make_entry(f"talk {n:05d}") for n in range(10_000)]
    drops = [
        Drop(item=f"bad {n}.mp4", stage="probe", kind="fault", code="unusable", reason=f"is none: {n}")
        for n in range(10_000)
    ]
    out = write_built(entries, drops)
    began = time.monotonic()
    text = report_of(out)
    assert time.monotonic() - began < 20
    checked(text)
    assert len(text) < 200_000
    assert "The 50 longest of 10,000." in text
    assert "The first 50 of 10,000 faults." in text


def test_one_of_a_thing_is_named_in_the_singular() -> None:
    assert [plural(count, "clip") for count in (0, 1, 2)] == ["clips", "clip", "clips"]
    assert [counted(count, "window") for count in (1, 2000)] == ["1 window", "2,000 windows"]
