from __future__ import annotations

import io
import struct
import zlib
from html.parser import HTMLParser

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from corpus.report.pages.charts import Bar, bars, shortened
from corpus.report.pages.markup import Markup, el, page
from corpus.report.pages.png import indexed_png, ramp


class Reader(HTMLParser):
    """What a browser would see: elements by name, and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    return reader


@given(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"))))
def test_text_from_outside_stays_text(text: str) -> None:
    found = read(el("p", text, title=text))
    assert found.tags == ["p"]
    shown = "".join(
        c if c.isprintable() or c == "\u00a0" else c.encode("unicode_escape").decode() for c in text
    )
    assert "".join(found.texts) == shown
    assert found.attributes == [("title", shown)]


@given(st.text(max_size=20))
def test_no_text_ever_opens_an_element(text: str) -> None:
    assert read(el("p", text, class_=text)).tags == ["p"]
    str(el("p", text)).encode()


def test_control_and_direction_characters_are_shown() -> None:
    assert el("b", "a\x00\x1b[31m\u202eb\udcff") == "<b>a\\x00\\x1b[31m\\u202eb\\udcff</b>"


def test_attributes() -> None:
    made = el("svg", el("br"), viewBox="0 0 1 1", class_="a", aria_label="x", width=1.5, hidden=True, id=None)
    assert made == '<svg viewBox="0 0 1 1" class="a" aria-label="x" width="1.5" hidden><br></svg>'


def test_a_page_allows_nothing_from_outside() -> None:
    text = page("a<b", Markup("<p></p>"), styles=("page.css",))
    assert "default-src 'none'" in text and "script-src 'none'" in text
    assert "<title>a&lt;b</title>" in text
    assert "http://" not in text and "https://" not in text


def test_long_labels_keep_both_ends() -> None:
    assert shortened("short", 10) == "short"
    cut = shortened("a-very-long-name-001.wav", 12)
    assert len(cut) == 12 and cut.startswith("a-very") and cut.endswith(".wav")


def test_the_longest_bar_takes_the_room_and_nothing_divides_by_zero() -> None:
    assert "rect" in bars("none", [Bar(label="a", value=0, shown="0")])
    assert bars("empty", []).startswith("<svg")


def test_png_is_what_went_in() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    palette = [(n * 10, n, 255 - n, 255 if n else 0) for n in range(12)]
    with Image.open(io.BytesIO(indexed_png(pixels, palette))) as image:
        assert np.asarray(image.convert("RGBA")).tolist() == [
            [list(palette[p]) for p in row] for row in pixels
        ]


def test_png_chunks_carry_their_checks() -> None:
    data = indexed_png(np.zeros((2, 2), np.uint8), [(0, 0, 0, 255)])
    at, names = 8, []
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size]) == (
            zlib.crc32(data[at + 4 : at + 8 + size]),
        )
        names.append(data[at + 4 : at + 8])
        at += 12 + size
    assert names == [b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"]


def test_a_ramp_runs_through_its_anchors() -> None:
    made = ramp([(0.0, (0, 0, 0, 255)), (1.0, (250, 100, 50, 255))], 6)
    assert made[0] == (0, 0, 0, 255)
    assert made[1] == (50, 20, 10, 255)
    assert made[-1] == (250, 100, 50, 255)
