"""Building blocks for the parts of the report."""

from __future__ import annotations

from corpus.report.pages.markup import Markup, el
from corpus.report.pages.tables import Column


def section(title: str, *content: str) -> Markup:
    return el("section", el("h2", title), *content)


def note(*content: str) -> Markup:
    return el("p", *content, class_="note")


def figure(title: str, image: Markup, caption: str = "", *, look: str | None = None) -> Markup:
    below = el("figcaption", caption) if caption else Markup("")
    return el("figure", el("h3", title) if title else Markup(""), image, below, class_=look)


def command(*words: str) -> Markup:
    return el("pre", el("code", " ".join(words)))


def counted(number: int, one: str) -> str:
    return f"{number:,} {plural(number, one)}"


def plural(number: int, one: str) -> str:
    return one if number == 1 else f"{one}s"


def right(title: str) -> Column:
    return Column(title, "n")
