"""Printing: data on stdout, messages on stderr, progress bars only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from tqdm import tqdm

from corpus.schemas.codec import to_json
from corpus.schemas.drops import Drop


def data(text: str) -> None:
    """Print text as it is to a pipe, and without control characters to a terminal."""
    print(_harmless(text) if sys.stdout.isatty() else text)


def json_line(value: object) -> None:
    print(plain_json(to_json(value)))


def plain_json(text: str) -> str:
    """The same JSON with everything that a terminal might obey escaped."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def talk(text: str) -> None:
    print(_harmless(text), file=sys.stderr)


def _harmless(text: str) -> str:
    return "\n".join(map(one_line, text.split("\n")))


def table(rows: Sequence[Sequence[str]], head: Sequence[str]) -> None:
    """Print left-aligned columns on stdout, no wider than their content."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        data("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def drop_line(drop: Drop) -> str:
    times = f" x{drop.count}" if drop.count > 1 else ""
    return f"{one_line(drop.item)}: {drop.stage}: {one_line(drop.reason)} [{drop.code}]{times}"


def one_line(text: str) -> str:
    """Escape line breaks and control characters: a terminal must not obey names from outside."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def counted(count: int, noun: str) -> str:
    """`1 clip`, `2 clips`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def duration(us: float) -> str:
    seconds = us / 1e6
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


class Bars:
    """A tqdm bar for each phase of a build; silent if stderr is not a terminal."""

    def __init__(self) -> None:
        self._bar: tqdm[NoReturn] | None = None

    def phase(self, name: str, total: int) -> None:
        self.close()
        self._bar = tqdm(
            total=total,
            desc=name.ljust(8),
            unit="rec",
            disable=None,
            leave=False,
            bar_format="{desc} {percentage:3.0f}% |{bar:24}| {n:.1f}/{total} {unit} "
            "{elapsed}<{remaining} {postfix}",
        )

    def at(self, done: float, detail: str) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(one_line(detail)[:60], refresh=False)
            self._bar.n = done
            self._bar.refresh()

    def say(self, line: str) -> None:
        tqdm.write(_harmless(line), file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
