"""Times, keeps and prints the rows of the trainer's ratio table.

Compared work takes turns, A B A B …, so that anything that slows the machine slows both. On a GPU a sample is
timed with events around enough calls to fill some milliseconds; elsewhere by wall time.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

NEEDS_GPU = "needs a GPU"
Work = Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: a figure with its spread, or the reason why there is none."""

    section: str
    what: str
    bar: str = ""
    """Floor / aim."""
    values: tuple[float, ...] = ()
    """Of each round."""
    unit: str = ""
    digits: int = 2
    note: str = ""
    missing: str = ""
    """Why there is no figure."""

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values else None

    def figure(self) -> str:
        """`median [least, most]`."""
        if not self.values:
            return self.missing
        shown = [f"{v:,.{self.digits}f}" for v in (self.median or 0.0, min(self.values), max(self.values))]
        spread = f" [{shown[1]}, {shown[2]}]" if len(self.values) > 1 else ""
        return f"{shown[0]}{self.unit}{spread}"


def ratios(above: Sequence[float], below: Sequence[float]) -> tuple[float, ...]:
    """The ratios of the rounds."""
    return tuple(a / b for a, b in zip(above, below, strict=True))


def interleaved(
    works: Mapping[str, Work],
    device: torch.device,
    *,
    rounds: int,
    least_s: float = 0.02,
    warm: int = 2,
) -> dict[str, list[float]]:
    """Seconds per call, of all work in each round. Each is called `warm` times first."""
    calls = {}
    for name, work in works.items():
        for _ in range(warm):
            work()
        calls[name] = max(1, min(200, round(least_s / max(1e-6, _sample(work, device, 1)))))
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(_sample(work, device, calls[name]))
    return taken


def _sample(work: Work, device: torch.device, calls: int) -> float:
    if device.type != "cuda":
        start_s = time.perf_counter()
        for _ in range(calls):
            work()
        return (time.perf_counter() - start_s) / calls
    torch.cuda.synchronize()
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(calls):
        work()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop) / 1e3 / calls


def keep(file: Path, rows: Sequence[Row]) -> None:
    """Append rows; a later run of a section replaces an earlier one."""
    with file.open("a", encoding="utf-8") as opened:
        for row in rows:
            opened.write(json.dumps(dataclasses.asdict(row)) + "\n")


def kept(file: Path) -> list[Row]:
    """The rows of a file; for each section those of its last run."""
    if not file.exists():
        return []
    plain = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    rows = {(one["section"], one["what"]): Row(**{**one, "values": tuple(one["values"])}) for one in plain}
    return list(rows.values())


def table(rows: Sequence[Row], heading: str) -> str:
    """Markdown, for benchmarks/RESULTS.md."""
    lines = [heading, "", "| what | bar: must / aim | measured | section |", "|---|---|---|---|"]
    for row in rows:
        measured = row.figure() + (f" ({row.note})" if row.note else "")
        cells = (row.what, row.bar, measured, row.section)
        lines.append("| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
