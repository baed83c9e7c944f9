"""Several runs on one page: one chart for each quantity, with a curve over steps for each run."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from corpus.report.pages.line_chart import STYLE, Curve, Panel, drawable, figure
from corpus.schemas.errors import StorageError, UsageError
from corpus.schemas.files import write_whole
from corpus.trainer.overrides import changes
from corpus.trainer.train.logs import LOG_NAME
from corpus.trainer.train.run_file import read_run
from corpus.trainer.train.run_report import read_lines

SHOWN = (
    ("nats_control", "When to speak", "nats a token, training"),
    ("held_out_control", "When to speak, held out", "nats a token"),
    ("nats_words", "Words", "nats a token, training"),
    ("held_out_words", "Words, held out", "nats a token"),
    ("audio", "Sound", "nats a bin, or the flow's squared error, training"),
    ("held_out_audio", "Sound, held out", "as above"),
    ("cues", "Cues", "nats a target"),
    ("positions_per_s", "Throughput", "positions a second"),
)
Line = dict[str, Any]


def compare(runs: Sequence[Path], out: Path) -> None:
    """Write the page.

    Raises:
        UsageError: fewer than two runs, a folder that is no run, or a run without a log.
        StorageError: the page cannot be written.
    """
    if len(runs) < 2:
        raise UsageError("one run cannot be compared", todo="name two or more")
    logs: dict[str, list[Line]] = {}
    for run in runs:
        read_run(run)
        try:
            logs[_name(run, runs)] = read_lines(run / LOG_NAME)
        except OSError as error:
            raise UsageError("has no log yet", where=str(run), todo="train it first") from error
    try:
        write_whole(out, _page(logs, _differences(runs)).encode())
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(out)) from error


def _page(logs: Mapping[str, Sequence[Line]], differ: Sequence[str]) -> str:
    drawn = "".join(figure(panel, steps) for panel, steps in panels(logs))
    said = "".join(f"<li>{html.escape(line)}</li>" for line in differ)
    settings = f"<h2>Settings that differ from the first run's</h2><ul>{said}</ul>" if said else ""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>Runs compared</title><style>{STYLE}</style>'
        f"<h1>Runs compared</h1><p>Curves over steps, one a run.</p>"
        f"<main>{drawn or '<p>Nothing logged yet.</p>'}</main>{settings}</html>\n"
    )


def panels(logs: Mapping[str, Sequence[Line]]) -> list[tuple[Panel, list[int]]]:
    """A panel for each quantity that any run has logged, and the steps of all its curves."""
    steps = sorted({line["step"] for lines in logs.values() for line in lines})
    drawn = []
    for name, title, explained in SHOWN:
        scale: Literal["linear", "log"] = "linear" if name == "positions_per_s" else "log"
        curves = [Curve(label=run, values=_at(lines, name, steps)) for run, lines in logs.items()]
        kept = tuple(curve for curve in curves if any(drawable(value, scale) for value in curve.values))
        if kept:
            floor = 0 if scale == "linear" else None
            panel = Panel(title=title, explained=explained, curves=kept, scale=scale, floor=floor)
            drawn.append((panel, steps))
    return drawn


def _at(lines: Sequence[Line], name: str, steps: Sequence[int]) -> list[float | None]:
    """A run's values at these steps, interpolated between its log lines; None outside them."""
    known = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
    values: list[float | None] = []
    at = 0
    for step in steps:  # both rise, so one index walks along
        while at + 1 < len(known) and known[at + 1][0] <= step:
            at += 1
        if not known or step < known[0][0] or step > known[-1][0]:
            values.append(None)
        elif known[at][0] == step or at + 1 == len(known):
            values.append(known[at][1])
        else:
            (left, low), (right, high) = known[at], known[at + 1]
            values.append(low + (high - low) * (step - left) / (right - left))
    return values


def _name(run: Path, runs: Sequence[Path]) -> str:
    """A folder's name if it is unique, else its path."""
    return run.name if sum(other.name == run.name for other in runs) == 1 else str(run)


def _differences(runs: Sequence[Path]) -> list[str]:
    first = read_run(runs[0]).config
    return [
        f"{_name(run, runs)}: {change}" for run in runs[1:] for change in changes(first, read_run(run).config)
    ]
