"""`key=value` on the command line over a run's configuration, and the file RUN/config.json."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus.schemas.codec import from_json, from_plain, to_json, to_plain
from corpus.schemas.errors import CorpusError, SettingsError, UsageError
from corpus.trainer.config import RunConfig
from corpus.trainer.files import write_whole

CONFIG_NAME = "config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """RUN/config.json: what a run was started with, resolved."""

    schema: str = "corpus.run-file/1"
    dataset: str
    """sha256 of the dataset's manifest."""
    torch: str
    config: RunConfig


def read_run(run: Path) -> RunFile:
    """Raises: UsageError when there is none, FormatError when it cannot be read."""
    path = run / CONFIG_NAME
    try:
        text = path.read_bytes()
    except OSError as error:
        todo = "name a folder that corpus train has written"
        raise UsageError("is no run: no config.json", where=str(run), todo=todo) from error
    return from_json(RunFile, text, where=str(path))


def write_run(run: Path, file: RunFile) -> None:
    write_whole(run / CONFIG_NAME, (to_json(file, indent=2) + "\n").encode())


def with_overrides(config: RunConfig, pairs: Sequence[str]) -> RunConfig:
    """The configuration with some values replaced: `steps=300`, `model.width=128`, `optim.ema_decay=none`.

    Raises:
        UsageError: no `key=value`, or no such key; the nearest known one is named.
        SettingsError: the value is of the wrong kind or out of range.
    """
    plain, known = to_plain(config), settings_of(config)
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign:
            raise UsageError(f"{pair!r} is no key=value", todo="write for example steps=300")
        if key not in known:
            raise UsageError(f"no setting {key!r}", todo=_nearest(key, list(known)))
        *parents, last = key.split(".")
        table = plain
        for parent in parents:
            table = table[parent]
        table[last] = _value(text, known[key])
    try:
        changed = from_plain(RunConfig, plain)
    except SettingsError:
        raise
    except CorpusError as error:
        raise SettingsError(error.what, where="settings", todo=error.todo) from error
    check(changed)
    return changed


def settings_of(config: RunConfig) -> dict[str, Any]:
    """Every setting by the name it has on the command line."""
    return dict(_leaves(to_plain(config)))


def changes(before: RunConfig, after: RunConfig) -> list[str]:
    """Settings that differ, as `optim.lr 0.003 -> 0.001`."""
    old, new = settings_of(before), settings_of(after)
    return [f"{name} {old[name]} -> {new[name]}" for name in new if old[name] != new[name]]


def _leaves(plain: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in plain.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{name}.")
        elif name not in ("schema", "preset"):
            yield f"{path}{name}", value


def _nearest(key: str, known: Sequence[str]) -> str:
    last = {name: name.rsplit(".", 1)[-1] for name in known}
    near = [name for name in known if last[name] == key.rsplit(".", 1)[-1]]
    near = near or difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"


def _value(text: str, before: Any) -> Any:
    if isinstance(before, str):
        return text
    if text.lower() in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[text.lower()]
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


def check(config: RunConfig) -> None:
    """Ranges that no part of the configuration checks by itself. Raises: SettingsError."""
    optim, data = config.optim, config.data
    wanted = (
        ("steps", config.steps >= 1, "at least 1"),
        ("accumulate", config.accumulate >= 1, "at least 1"),
        ("save_every", config.save_every >= 1, "at least 1"),
        ("log_every", config.log_every >= 1, "at least 1"),
        ("keep", config.keep >= 1, "at least 1"),
        ("nan_limit", config.nan_limit >= 1, "at least 1"),
        ("expert_parallel", config.expert_parallel >= 1, "at least 1"),
        ("replicas", config.replicas >= 1, "at least 1"),
        ("data.rows", data.rows >= 1, "at least 1"),
        ("data.seed", 0 <= data.seed < 2**63, "in [0, 2^63)"),
        ("data.workers", data.workers >= 1, "at least 1"),
        *((f"loss.{name}", value >= 0, "not negative") for name, value in to_plain(config.loss).items()),
        ("optim.lr", optim.lr >= 0, "not negative"),
        ("optim.muon_lr", optim.muon_lr >= 0, "not negative"),
        ("optim.eps", optim.eps > 0, "above 0"),
        ("optim.weight_decay", optim.weight_decay >= 0, "not negative"),
        ("optim.clip", optim.clip > 0, "above 0"),
        ("optim.betas", len(optim.betas) == 2 and all(0 <= b < 1 for b in optim.betas), "two in [0, 1)"),
        ("optim.warmup_steps", optim.warmup_steps >= 0, "not negative"),
        ("optim.decay_share", 0 <= optim.decay_share <= 1, "in [0, 1]"),
        ("optim.final_share", 0 <= optim.final_share <= 1, "in [0, 1]"),
        ("optim.ema_decay", optim.ema_decay is None or 0 <= optim.ema_decay < 1, "none or in [0, 1)"),
    )
    for name, fits, must in wanted:
        if not fits:
            raise SettingsError("is out of range", where=name, todo=f"must be {must}")
