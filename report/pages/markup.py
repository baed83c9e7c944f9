"""HTML from nested calls: a plain str is always escaped, so no text from outside becomes markup."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable
from pathlib import Path

_VOID = frozenset(("meta", "link", "br", "img", "input"))

Attribute = str | int | float | bool | None


class Markup(str):
    """HTML text. Anything else put into markup is escaped."""

    __slots__ = ()


def text(value: str) -> Markup:
    """Escaped text; control and direction characters are shown, not obeyed."""
    shown = "".join(
        c if c.isprintable() or c in "\n\u00a0" else c.encode("unicode_escape").decode() for c in value
    )
    return Markup(html.escape(shown))


def join(parts: Iterable[str]) -> Markup:
    return Markup("".join(part if isinstance(part, Markup) else text(part) for part in parts))


def el(tag: str, /, *children: str, **attributes: Attribute) -> Markup:
    """An element; `class_` is written `class`, `aria_label` is `aria-label`, None and False are left out."""
    written = "".join(
        f" {key}" if value is True else f' {key}="{text(_number(value))}"'
        for key, value in ((_name(key), value) for key, value in attributes.items())
        if value is not None and value is not False
    )
    if tag in _VOID:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{join(children)}</{tag}>")


def _name(key: str) -> str:
    return key.rstrip("_") if key in ("viewBox", "preserveAspectRatio") else key.rstrip("_").replace("_", "-")


def _number(value: Attribute) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def asset(name: str) -> str:
    """A style sheet or script that lies beside this file."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def page(title: str, *body: str, styles: Iterable[str], script: str = "") -> str:
    """A whole document that loads nothing: its policy allows only its own styles, script and data URIs."""
    style = "".join(asset(name) for name in styles)
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = "; ".join(
        (
            "default-src 'none'",
            "style-src 'unsafe-inline'",
            "img-src data:",
            "media-src data:",
            f"script-src 'sha256-{allowed}'" if script else "script-src 'none'",
        )
    )
    head = el(
        "head",
        el("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("link", rel="icon", href="data:,"),
        el("title", title),
        Markup(f"<style>{style}</style>"),
    )
    end = Markup(f"<script>{script}</script>") if script else Markup("")
    document = Markup("<!doctype html>\n") + el("html", head, el("body", *body, end), lang="en")
    return str(document)
