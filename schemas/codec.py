"""Frozen dataclasses to JSON and back, with errors that name the field.

Machines that only train have no validation library, so this is our own and small. Supported types:
bool, int, float, str, None unions, Literal, tuple[X, ...], dict[str, X] and dataclasses of these.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from corpus.schemas.errors import CorpusError, FormatError, NewerSchemaError, SettingsError

T = TypeVar("T")

MOST_INT = 1 << 63
"""The largest integer that Arrow, DuckDB and numpy hold."""


_SCALARS = frozenset((str, int, float, bool, type(None)))


def to_plain(value: object) -> Any:
    """Dataclasses as dicts in field order, tuples as lists; everything else as it is."""
    kind: Any = type(value)
    if kind in _SCALARS:  # most values are
        return value
    if (names := _names_if_dataclass(kind)) is not None:
        fields = ((name, getattr(value, name)) for name in names)
        return {name: one if type(one) in _SCALARS else to_plain(one) for name, one in fields}
    if isinstance(value, (list, tuple)):
        return [item if type(item) in _SCALARS else to_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: to_plain(item) for name, item in value.items()}
    return value


def to_json(value: object, *, indent: int | None = None) -> str:
    """JSON text, always the same for the same value: field order, UTF-8, floats with a point, no NaN."""
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(
        to_plain(value),
        ensure_ascii=False,
        allow_nan=False,
        indent=indent,
        separators=separators,
    )


def write_json(path: Path, value: object) -> None:
    """Write the value's JSON to a file; not atomic."""
    path.write_text(to_json(value), encoding="utf-8")


def read_json(cls: type[T], path: Path) -> T:
    """Read what `write_json` wrote; raises like `from_json`, and OSError."""
    return from_json(cls, path.read_bytes(), where=str(path))


def digest(value: object) -> str:
    """sha256 of the canonical JSON (keys sorted), as 64 hex digits."""
    text = json.dumps(
        to_plain(value),
        ensure_ascii=False,
        allow_nan=False,
        sort_keys=True,
        separators=(",", ":"),
    )
    return hashlib.sha256(text.encode()).hexdigest()


def reads(cls: type[Any], form: object) -> bool:
    """Whether text of this form can be read as a `cls`: the class's own form or an older one it knows."""
    return form == cls.__dataclass_fields__["schema"].default or form in getattr(cls, "older", {})


def from_json(cls: type[T], text: str | bytes, *, where: str = "") -> T:
    """A `cls` from JSON text.

    Raises:
        FormatError: not JSON, or a field is missing, unknown or of the wrong type.
        NewerSchemaError: the text's `schema` is a later version of the form than ours.
    """
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"not JSON: {error}", where=where) from error
    try:
        return from_plain(cls, plain, where=where)
    except SettingsError as error:  # settings in a file that claims to hold valid ones
        raise FormatError(f"{error.where}: {error.what}", where=where, todo=error.todo) from error


def from_plain(cls: type[T], plain: object, *, where: str = "") -> T:
    """A `cls` from the result of `json.loads` or `tomllib.loads`; raises like `from_json`."""
    if isinstance(plain, dict):
        older: dict[object, Callable[[Any], dict[str, Any]]] = getattr(cls, "older", {})
        if isinstance(form := plain.get("schema"), str) and form in older:
            try:
                plain = older[form](plain)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise FormatError(f"is not of the form {form}: {error!r}", where=where) from error
        _check_form(cls, plain.get("schema"), where)
    value: T = _convert(cls, plain, where, "")
    return value


def _check_form(cls: type[Any], found: object, where: str) -> None:
    fields = getattr(cls, "__dataclass_fields__", {})
    if "schema" not in fields:
        return
    ours = fields["schema"].default
    if found is None or found == ours:
        return
    name, _, version = str(ours).partition("/")
    found_name, _, found_version = str(found).partition("/")
    if found_name == name and found_version.isdigit() and int(found_version) > int(version):
        raise NewerSchemaError(
            f"written as {found}, this version reads {ours}",
            where=where,
            todo="install a newer duplex-corpus",
        )
    raise FormatError(f"schema is {found!r}, expected {ours!r}", where=where)


def _is_unicode(text: str) -> bool:
    """False for half of a surrogate pair, which JSON can express and nothing can store."""
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:
        return False
    return True


@cache
def _names(cls: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cls))


@cache
def _names_if_dataclass(cls: type[Any]) -> tuple[str, ...] | None:
    return _names(cls) if dataclasses.is_dataclass(cls) else None


@cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


@cache
def _required(cls: type[Any]) -> frozenset[str]:
    return frozenset(
        f.name
        for f in dataclasses.fields(cls)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    )


def _wrong(kind: str, plain: object, where: str, path: str) -> FormatError:
    try:
        shown = ascii(plain) if isinstance(plain, str) and not _is_unicode(plain) else repr(plain)
    except ValueError:  # a number of more digits than Python writes out
        shown = "a number of thousands of digits"
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return FormatError(f"{path or 'the value'} must be {kind}, got {shown}", where=where)


def _convert(kind: Any, plain: Any, where: str, path: str) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _convert_union(kind, plain, where, path)
    if origin is Literal:
        if plain not in get_args(kind) or isinstance(plain, bool) != isinstance(get_args(kind)[0], bool):
            raise _wrong(f"one of {list(get_args(kind))}", plain, where, path)
        return plain
    if origin is tuple:
        if not isinstance(plain, (list, tuple)):
            raise _wrong("a list", plain, where, path)
        item = get_args(kind)[0]
        return tuple(_convert(item, p, where, f"{path}[{i}]") for i, p in enumerate(plain))
    if origin is dict:
        if not isinstance(plain, dict):
            raise _wrong("a table", plain, where, path)
        item = get_args(kind)[1]
        return {str(k): _convert(item, p, where, f"{path}.{k}") for k, p in plain.items()}
    if dataclasses.is_dataclass(kind):
        return _convert_dataclass(kind, plain, where, path)
    return _convert_scalar(kind, plain, where, path)


def _convert_union(kind: Any, plain: Any, where: str, path: str) -> Any:
    if plain is None:
        return None
    (inner,) = [arg for arg in get_args(kind) if arg is not type(None)]
    return _convert(inner, plain, where, path)


def _convert_scalar(kind: Any, plain: Any, where: str, path: str) -> Any:
    if kind in (int, float) and isinstance(plain, int) and not -MOST_INT <= plain < MOST_INT:
        raise _wrong("a number of at most 64 bits", plain, where, path)
    if kind is float and isinstance(plain, (int, float)) and not isinstance(plain, bool):
        if not math.isfinite(plain):
            raise _wrong("a finite number", plain, where, path)
        return float(plain)
    if kind is int and isinstance(plain, int) and not isinstance(plain, bool):
        return plain
    if kind is str and isinstance(plain, str):
        if not _is_unicode(plain):
            raise _wrong("valid Unicode", plain, where, path)
        return plain
    if kind is bool and isinstance(plain, bool):
        return plain
    names = {float: "a number", int: "a whole number", str: "a string", bool: "true or false"}
    raise _wrong(names[kind], plain, where, path)


def _is_right(value: object) -> bool:
    """Whether a value of the right type is certainly valid."""
    if isinstance(value, str):
        return value.isascii()
    return isinstance(value, int) and -MOST_INT <= value < MOST_INT


def _convert_dataclass(cls: Any, plain: Any, where: str, path: str) -> Any:
    if not isinstance(plain, dict):
        raise _wrong("an object", plain, where, path)
    hints = _hints(cls)
    unknown = sorted(set(plain) - set(hints))
    if unknown:
        names = ", ".join(f"{path}.{n}".lstrip(".") for n in unknown)
        raise FormatError(f"unknown field {names}", where=where, todo=f"known here: {', '.join(hints)}")
    values: dict[str, Any] = {}
    for name, kind in hints.items():
        if name in plain:
            value = plain[name]
            # Most values are right and there are many: only others need a path for the message.
            if not (value.__class__ is kind and _is_right(value)):
                value = _convert(kind, value, where, f"{path}.{name}".lstrip("."))
            values[name] = value
        elif name in _required(cls):
            raise FormatError(f"field {f'{path}.{name}'.lstrip('.')} is missing", where=where)
    try:
        return cls(**values)
    except CorpusError:
        raise
    except ValueError as error:
        raise FormatError(f"{path or 'the value'}: {error}", where=where) from error
