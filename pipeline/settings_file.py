"""Reading corpus.toml, and writing one that explains every setting."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

from corpus.schemas.codec import from_plain, to_plain
from corpus.schemas.errors import CorpusError, SettingsError
from corpus.schemas.settings import Settings


def read_settings(path: Path | None) -> Settings:
    """The settings of a TOML file; all defaults without one.

    Raises:
        SettingsError: the file is missing or not TOML, or a key is unknown or out of range.
    """
    if path is None:
        return Settings()
    try:
        plain = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"is not TOML: {error}", where=str(path)) from error
    return _settings_from(plain, where=str(path))


def _settings_from(plain: object, *, where: str) -> Settings:
    """Settings from nested tables; every error is a SettingsError that names the key."""
    try:
        return from_plain(Settings, plain, where=where)
    except SettingsError:
        raise
    except CorpusError as error:
        raise SettingsError(error.what, where=where, todo=error.todo) from error


def with_overrides(settings: Settings, assignments: Sequence[str]) -> Settings:
    """The settings with `table.key=value` assignments applied; a value is TOML, or else plain text."""
    plain = to_plain(settings)
    for text in assignments:
        name, separator, value = text.partition("=")
        if not separator:
            raise SettingsError(f"{text!r} is not an assignment", todo="write table.key=value")
        table = plain
        *tables, key = name.strip().split(".")
        for inner in tables:
            table = table.get(inner)
            if not isinstance(table, dict):
                raise SettingsError(f"unknown table {inner!r} in {text!r}")
        table[key] = _value(value.strip())
    return _settings_from(plain, where="--set")


def _value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]  # numbers, booleans and lists
    except tomllib.TOMLDecodeError:
        return text


def commented_toml() -> str:
    """A corpus.toml with every setting at its default, commented out, under its explanation."""
    lines = ["# Settings of `corpus build -c corpus.toml`. What is commented out is the default.", ""]
    default = Settings()
    for f in dataclasses.fields(Settings):
        value = getattr(default, f.name)
        if not dataclasses.is_dataclass(value):
            lines += [*_explained(Settings, f.name), _assignment(f.name, value), ""]
    for f in dataclasses.fields(Settings):
        value = getattr(default, f.name)
        if dataclasses.is_dataclass(value):
            lines += _table(f.name, value)
    return "\n".join(lines)


def _table(name: str, value: Any) -> list[str]:
    lines = [f"# {inspect.getdoc(type(value))}", f"[{name}]"]
    for f in dataclasses.fields(value):
        lines += [*_explained(type(value), f.name), _assignment(f.name, getattr(value, f.name))]
    return [*lines, ""]


def _assignment(name: str, value: object) -> str:
    return f"# {name} = {json.dumps(value)}" if value is not None else f"# {name} ="


def _explained(cls: type, name: str) -> list[str]:
    """The docstring below a field as comment lines, with the choices of a Literal."""
    text = _field_docs(cls).get(name, "")
    hint = get_type_hints(cls)[name]
    choices = getattr(hint, "__args__", ()) if "Literal" in str(hint) else ()
    if choices:
        text = f"{text} One of {', '.join(json.dumps(c) for c in choices)}.".strip()
    return [f"# {line.strip()}" for line in text.split("\n") if line.strip()]


def _field_docs(cls: type) -> dict[str, str]:
    """Field docstrings, read from the source because Python does not keep them."""
    # Field docstrings are expression statements, which Python discards.
    body = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(body, ast.ClassDef)
    docs = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            docs[field.target.id] = str(after.value.value)
    return docs
