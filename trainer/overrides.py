"""`key=value` on the command line over a run's configuration."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from corpus.schemas.codec import from_plain, to_plain
from corpus.schemas.errors import CorpusError, SettingsError, UsageError
from corpus.trainer.config import RunConfig, check_ranges

_NOT_SET = ("schema", "preset", "model.user_audio", "model.cues", "model.text_tokens")
"""Settings that follow from others, or that nobody sets."""


def with_overrides(config: RunConfig, pairs: Sequence[str]) -> RunConfig:
    """The configuration with some values replaced: `steps=300`, `model.width=128`, `optim.ema_decay=none`.

    Raises:
        UsageError: not `key=value`, or an unknown key; the message names the nearest known one.
        SettingsError: the value is of the wrong kind or out of range.
    """
    plain, known = to_plain(config), settings_of(config)
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign:
            raise UsageError(f"{pair!r} is not key=value", todo="write for example steps=300")
        if key not in known:
            raise UsageError(f"no setting {key!r}", todo=_nearest(key, list(known)))
        *parents, last = key.split(".")
        table = plain
        for parent in parents:
            table = table[parent]
        table[last] = _value(text, known[key])
    given = {pair.partition("=")[0] for pair in pairs}
    if "data.tokenizer" in given:
        _fit_to_tokenizer(plain, vocab_given="model.vocab" in given)
    try:
        changed = from_plain(RunConfig, plain)
    except SettingsError:
        raise
    except CorpusError as error:
        raise SettingsError(error.what, where="settings", todo=error.todo) from error
    check_ranges(changed)
    return changed


def _fit_to_tokenizer(plain: dict[str, Any], *, vocab_given: bool) -> None:
    """Make the vocabulary as small as the tokenizer allows, and the tokenizer's path absolute."""
    from corpus.trainer.data.sequence import BYTE_0
    from corpus.trainer.data.tokenizer_named import tokenizer_named

    model, data = plain["model"], plain["data"]
    model["text_tokens"] = tokenizer_named(data["tokenizer"]).size
    if data["tokenizer"] != "bytes":
        data["tokenizer"] = str(Path(data["tokenizer"]).absolute())
        if not vocab_given:
            model["vocab"] = -(-(BYTE_0 + model["text_tokens"]) // 8) * 8


def settings_of(config: RunConfig) -> dict[str, Any]:
    """Every setting by its name on the command line."""
    return dict(_leaves(to_plain(config)))


def changes(before: RunConfig, after: RunConfig) -> list[str]:
    """Settings that differ, as `optim.lr 0.003 -> 0.001`."""
    old, new = settings_of(before), settings_of(after)
    return [f"{name} {old[name]} -> {new[name]}" for name in new if old[name] != new[name]]


def _leaves(plain: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in plain.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{name}.")
        elif f"{path}{name}" not in _NOT_SET:
            yield f"{path}{name}", value


def _nearest(key: str, known: Sequence[str]) -> str:
    if key in ("preset", "run"):
        return f"write --{key} {'tiny' if key == 'preset' else 'RUN'}"
    key = key.lower()
    last = {name: name.rsplit(".", 1)[-1] for name in known}
    near = [name for name in known if last[name] == key.rsplit(".", 1)[-1]]
    near = near or difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"


def _value(text: str, before: Any) -> Any:
    if isinstance(before, str):
        return text
    if text.lower() in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[text.lower()]
    if isinstance(before, list) and before and isinstance(before[0], str):
        return [part.strip() for part in text.strip("[]").split(",") if part.strip()]
    if isinstance(before, list) and not text.startswith("["):
        text = f"[{text}]"
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text
