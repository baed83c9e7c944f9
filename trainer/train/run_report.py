"""RUN/report.html: the curves of log.jsonl on one self-contained page.

A curve has at most `POINTS` points, each the mean of equally many lines. Losses, norms and ratios are on
logarithmic scales, loads and rates on linear ones. Each curve ends in a label with its last value.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from corpus.report.pages.line_chart import STYLE, Curve, Panel, drawable, figure
from corpus.schemas.files import write_whole
from corpus.trainer.model.batch_stats import STREAMS
from corpus.trainer.train.gradient_norms import GROUPS

REPORT_NAME = "report.html"
Line = dict[str, Any]


def draw_report(log: Path, steps: int) -> Path:
    """Draw a run's log; replaces the page beside it."""
    lines = read_lines(log)
    path = log.with_name(REPORT_NAME)
    write_whole(path, page(log.parent.name, steps, lines).encode())
    return path


def read_lines(log: Path) -> list[Line]:
    """All complete lines; damaged and unfinished ones are left out."""
    lines = []
    for text in log.read_bytes().splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines


def panels(lines: Sequence[Line]) -> list[Panel]:
    """The panels to draw; those without a value in any line are left out."""

    def of(name: str, label: str | None = None) -> Curve:
        return Curve(label=label or name, values=[line.get(name) for line in lines])

    def groups(name: str) -> tuple[Curve, ...]:
        return (of(name, "all"), *(of(f"{name}_{group}", group) for group in GROUPS))

    def layers(name: str) -> tuple[Curve, ...]:
        # Dense layers have no router, so layers are known by number, not by place.
        numbers = sorted({layer["layer"] for line in lines for layer in line.get("layers", ())})
        each = [{layer["layer"]: layer[name] for layer in line.get("layers", ())} for line in lines]
        return tuple(
            Curve(label=f"layer {number}", values=[by_layer.get(number) for by_layer in each])
            for number in numbers
        )

    def by_window(name: str) -> tuple[Curve, ...]:
        parts = [{part["start"]: part for part in line.get("held_out_by_window", ())} for line in lines]
        # Longer documents may come later in a run, so all windows ever seen have a curve.
        starts = sorted({(start, part["stop"]) for each in parts for start, part in each.items()})
        return tuple(
            Curve(label=f"{start} to {stop - 1}", values=[each.get(start, {}).get(name) for each in parts])
            for start, stop in starts
        )

    nats = (
        *(of(f"nats_{name}", name) for name in STREAMS),
        of("held_out_control", "control, held out"),
        of("held_out_words", "words, held out"),
    )
    all_panels = [
        Panel(title="Text", explained="nats a token, without weights", curves=nats, scale="log"),
        Panel(
            title="When to speak by window, held out",
            explained="nats a token; a model in its regime has one curve",
            curves=by_window("control"),
            scale="log",
        ),
        Panel(
            title="Words by window, held out",
            explained="nats a token",
            curves=by_window("words"),
            scale="log",
        ),
        Panel(
            title="Sound",
            explained="nats a bin, or the flow's squared error",
            curves=(of("audio"), of("held_out_audio", "audio, held out"), of("user_audio", "heard next")),
            scale="log",
        ),
        Panel(title="Cues", explained="nats a target", curves=(of("cues"),), scale="log"),
        Panel(title="Gradient", explained="norm before clipping", curves=groups("grad_norm"), scale="log"),
        Panel(
            title="Update : parameter",
            explained="root mean squares, of one step",
            curves=groups("update"),
            scale="log",
        ),
        Panel(
            title="Expert load",
            explained="busiest : mean, all windows",
            curves=layers("load"),
            scale="linear",
            floor=1,
        ),
        Panel(
            title="Expert load where it speaks",
            explained="the same without silent windows",
            curves=layers("load_speaking"),
            scale="linear",
            floor=1,
        ),
        Panel(
            title="Router margin",
            explained="last chosen score above the next",
            curves=layers("margin"),
            scale="linear",
            floor=0,
        ),
        Panel(
            title="Throughput",
            explained="positions a second",
            curves=(of("positions_per_s", "positions/s"),),
            scale="linear",
            floor=0,
        ),
        Panel(title="MFU", explained="share of peak", curves=(of("mfu", "MFU"),), scale="linear", floor=0),
        Panel(title="Learning rate", explained="", curves=(of("lr"),), scale="linear", floor=0),
    ]
    # Quantities that this run's settings leave out get no empty box.
    kept = [_without_empty(panel) for panel in all_panels]
    return [panel for panel in kept if panel.curves]


def _without_empty(panel: Panel) -> Panel:
    curves = tuple(c for c in panel.curves if any(drawable(v, panel.scale) for v in c.values))
    return Panel(
        title=panel.title,
        explained=panel.explained,
        curves=curves,
        scale=panel.scale,
        floor=panel.floor,
    )


def page(name: str, steps: int, lines: Sequence[Line]) -> str:
    last = lines[-1] if lines else {}
    drawn = "".join(figure(panel, [line["step"] for line in lines]) for panel in panels(lines))
    said = [f"step {last.get('step', 0)} of {steps}"]
    if last.get("skipped"):
        said.append(f"{last['skipped']} steps skipped")
    if last.get("gpu_peak_bytes"):
        said.append(f"{last['gpu_peak_bytes'] / 2**30:.1f} GiB of GPU memory at most")
    title, drawn = html.escape(name), drawn or "<p>Nothing logged yet.</p>"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{title}</title><style>{STYLE}</style>'
        f"<h1>{title}</h1><p>{'; '.join(said)}; curves over steps</p><main>{drawn}</main></html>\n"
    )
