"""A run's output: RUN/log.jsonl and its report, TensorBoard and wandb if installed, a progress line."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from corpus.schemas.files import write_whole
from corpus.trainer.train.log_line import LogLine

LOG_NAME = "log.jsonl"
BAR = "{n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}"
"""No bar, because the figures need the space."""


class Log:
    """The run's log; only the first rank has one. A full disk stops the log, not the run.

    In a terminal the newest line's figures follow the step count; elsewhere every line goes to stderr.
    """

    def __init__(self, run: Path, steps: int, step: int, talk: Callable[[str], None]) -> None:
        self._path, self._steps, self._talk = run / LOG_NAME, steps, talk
        self._cut(step)
        self._file = self._path.open("a", encoding="utf-8")
        self._board = _board(run)
        self._wandb = self._open_wandb(run)
        self._bar: tqdm[NoReturn] = tqdm(
            total=steps, initial=step, disable=None, dynamic_ncols=True, leave=True, bar_format=BAR
        )

    def _cut(self, step: int) -> None:
        """Drop lines of steps that will be repeated, and incomplete lines."""
        if not self._path.exists():
            return
        # A resumed run repeats the steps after its checkpoint: their lines would appear twice.
        kept = []
        for line in self._path.read_bytes().splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + b"\n")
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
        write_whole(self._path, b"".join(kept))

    def advance(self, step: int) -> None:
        self._bar.update(step - self._bar.n)

    def _open_wandb(self, run: Path) -> Any:
        """A wandb run, if wandb is installed; offline unless WANDB_MODE says otherwise."""
        if importlib.util.find_spec("wandb") is None:
            return None
        wandb = importlib.import_module("wandb")
        try:
            return wandb.init(
                project=os.environ.get("WANDB_PROJECT", "corpus"),
                name=run.name,
                id=hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:12],
                resume="allow",
                dir=str(run),
                mode=os.environ.get("WANDB_MODE", "offline"),
            )
        except Exception as error:  # a tracker that fails must not end the run
            self._talk(f"wandb is left out: {error}")
            return None

    def write(self, line: LogLine) -> None:
        plain = _finite(asdict(line))
        try:
            self._file.write(json.dumps(plain, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            self._talk(f"the log could not be written: {os.strerror(error.errno or 0)}")
        if self._board is not None:
            for name, value in scalars(plain):
                self._board.add_scalar(name, value, line.step)
        if self._wandb is not None:
            self._wandb.log(dict(scalars(plain)), step=line.step)
        if self._bar.disable:
            tqdm.write(f"step {line.step}/{self._steps}: {progress(line)}", file=sys.stderr)
        self._bar.set_postfix_str(progress(line))

    def draw(self) -> None:
        """Write RUN/report.html from all lines so far."""
        from corpus.trainer.train.run_report import draw_report

        try:
            draw_report(self._path, self._steps)
        except OSError as error:
            self._talk(f"the report could not be drawn: {os.strerror(error.errno or 0)}")

    def close(self) -> None:
        self._bar.close()
        with contextlib.suppress(OSError):  # already reported when it was written
            self._file.close()
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def _finite(value: Any) -> Any:
    """The value with NaN and Inf, which JSON cannot hold, replaced by None."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def scalars(plain: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """A line's numbers by name, those of a layer as `layer_03/load`."""
    for name, value in plain.items():
        if name == "layers":
            for layer in value:
                named = {key: each for key, each in layer.items() if key != "layer"}
                for key, each in scalars(named):
                    yield f"layer_{layer['layer']:02d}/{key}", each
        elif name == "held_out_by_window":
            for part in value:
                for key in ("control", "words"):
                    if part[key] is not None:
                        yield f"held_out_windows_{part['start']:03d}/{key}", part[key]
        elif name not in ("schema", "step") and value is not None:
            yield name, value


def progress(line: LogLine) -> str:
    """The figures of the progress line."""
    parts = [
        f"control {_shown(line.nats_control)}",
        f"words {_shown(line.nats_words)}",
        f"audio {_shown(line.audio)}",
        f"{line.positions_per_s:.0f} pos/s",
        f"{line.audio_hours_per_hour:.{0 if line.audio_hours_per_hour >= 100 else 1}f} h/h",
        *([f"MFU {100 * line.mfu:.1f} %"] if line.mfu is not None else []),
        f"wait {line.data_wait_ms:.0f} ms",
    ]
    return ", ".join(parts)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.{2 if abs(value) >= 1 else 3}f}"


def _board(run: Path) -> Any:
    """A TensorBoard writer, if it is installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run / "tensorboard"))
