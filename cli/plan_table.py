"""The table that `corpus train plan` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corpus.trainer.plan.plan import Plan


def lines(made: Plan) -> list[tuple[str, str]]:
    """The plan as a table of two columns."""
    memory, counts = made.memory, made.counts
    return [
        ("preset", f"{made.preset}, {made.mesh.gpus} x {made.gpu.upper()}"),
        ("parameters", f"{_big(counts.total)} in all, {_big(counts.active)} active per position"),
        ("  in experts", _big(counts.experts)),
        ("mesh", str(made.mesh)),
        (
            "batch",
            f"{made.rows} rows of {made.length} positions, {made.micro_batches} micro-batches of "
            f"{made.micro_rows} per rank",
        ),
        ("memory per GPU", f"{_bytes(memory.total)} of {_bytes(made.memory_limit)} usable"),
        ("  weights, bf16", _bytes(memory.weights)),
        ("  gradients", _bytes(memory.gradients)),
        ("  optimiser, fp32", _bytes(memory.optimizer)),
        ("  activations", f"{_bytes(memory.activations)}, recomputed: {made.recompute}"),
        ("  working", _bytes(memory.working)),
        ("work per position", f"{_flops(made.flops_per_position)}, forward and backward"),
        (
            "assumed MFU",
            f"{made.mfu:.0%}, with {made.bubble:.1%} of the time lost to filling and draining the pipeline",
        ),
        ("expert exchange", f"{_time(made.exchange_s)} against {_time(made.layer_s)} per layer"),
        ("speed", f"{_big(made.positions_per_s)} positions/s, {made.hours_per_hour:,.0f} h of talk per hour"),
        ("step", _time(made.step_s)),
        ("steps", f"{made.steps:,.0f} ({_big(made.steps * made.rows * made.length)} positions)"),
        ("total", _time(86_400 * made.days)),
        *(("note", note) for note in made.notes),
    ]


def _big(value: float) -> str:
    return _in(value, (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)), "", 2)


def _flops(value: float) -> str:
    return _in(value, (("TFLOP", 1e12), ("GFLOP", 1e9), ("MFLOP", 1e6)), " FLOP", 2)


def _bytes(value: float) -> str:
    return _in(value, (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)), " B", 1)


def _time(seconds: float) -> str:
    units = (("days", 86_400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3))
    return _in(seconds * 1e6, [(unit, size * 1e6) for unit, size in units], " \u00b5s", 2)


def _in(value: float, units: Sequence[tuple[str, float]], least: str, places: int) -> str:
    """The value in the largest unit it reaches (units run from large to small); else in whole `least`."""
    for unit, size in units:
        if value >= size:
            return f"{value / size:,.{places}f} {unit}"
    return f"{value:.0f}{least}"
