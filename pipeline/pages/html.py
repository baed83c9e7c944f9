"""The few pieces of HTML that the pages share. Arguments called `markup` are HTML already; all else is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from unicodedata import category


def text(value: object) -> str:
    """Any value as HTML; control characters, which file names may hold, are shown as escapes."""
    shown = "".join(c.encode("unicode_escape").decode() if _invisible(c) else c for c in str(value))
    return escape(shown, quote=True)


def _invisible(char: str) -> bool:
    """Control characters, lone surrogates, and marks that turn the direction of what follows."""
    return category(char)[0] == "C" or category(char) in ("Zl", "Zp")


def page(*, title: str, markup: str, style: Sequence[str] = ("style.css",), script: str = "") -> str:
    """A whole page. Its policy forbids the browser to fetch anything, whatever the markup says."""
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    )
    css = "\n".join(asset(name) for name in style)
    code = f"<script>{asset(script)}</script>" if script else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{text(title)}</title>\n<style>{css}</style>\n</head>\n<body>\n{markup}\n{code}\n</body>\n</html>\n"
    )


def asset(name: str) -> str:
    """A file that lies beside this module."""
    return files("corpus.pipeline.pages").joinpath(name).read_text(encoding="utf-8")


def table(
    *, caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()
) -> str:
    """A table of markup cells; columns in `numbers` stand to the right."""
    kinds = [' class="n"' if i in numbers else "" for i in range(len(head))]
    top = "".join(f'<th scope="col"{k}>{text(h)}</th>' for k, h in zip(kinds, head, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{k}>{cell}</td>" for k, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><caption>{text(caption)}</caption>'
        f"<thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def figures(pairs: Iterable[tuple[str, str, str]]) -> str:
    """Key figures: name, value, and what is small behind it."""
    items = (
        f"<div><dt>{text(name)}</dt><dd>{text(value)} <small>{text(note)}</small></dd></div>"
        for name, value, note in pairs
    )
    return f'<dl class="figures">{"".join(items)}</dl>'


def code(value: object) -> str:
    return f"<code>{text(value)}</code>"


def whole(number: int) -> str:
    """Thousands apart by a thin space."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def percent(share: float) -> str:
    return f"{share * 100:.1f}\N{NARROW NO-BREAK SPACE}%"


def length(us: int) -> str:
    """A time for people: `430 ms`, `12.4 s`, `3 min 05 s`, `2 h 10 min`."""
    sign, size = ("\N{MINUS SIGN}" if us < 0 else ""), abs(us)
    if size < 1_000_000:
        return f"{sign}{round(size / 1000)} ms"
    if size < 60_000_000:
        return f"{sign}{size / 1e6:.1f} s"
    minutes, seconds = divmod(round(size / 1e6), 60)
    if minutes < 60:
        return f"{sign}{minutes} min {seconds:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{whole(hours)} h {minutes:02d} min"


def size(count: int) -> str:
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
