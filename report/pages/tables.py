"""Tables that scroll sideways on small screens and have a caption for screen readers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from corpus.report.pages.markup import Markup, el


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    look: str = ""
    """CSS class of its cells: `n` for numbers, `name`, `words`."""


def table(caption: str, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> Markup:
    head = el("tr", *(el("th", c.title, scope="col", class_=c.look or None) for c in columns))
    body = [
        el("tr", *(el("td", cell, class_=c.look or None) for c, cell in zip(columns, row, strict=True)))
        for row in rows
    ]
    named = any(c.title for c in columns)
    whole = el(
        "table", el("caption", caption), el("thead", head) if named else Markup(""), el("tbody", *body)
    )
    return el("div", whole, class_="wide", tabindex="0", role="region", aria_label=caption)
