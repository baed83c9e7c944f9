"""A plan as `corpus train plan` prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corpus.trainer.plan import Plan


def lines(made: Plan) -> list[tuple[str, str]]:
    """The plan as a table of two columns."""
    memory, counts = made.memory, made.counts
    gb = 1e9
    return [
        ("preset", f"{made.preset}, {made.mesh.gpus} x {made.gpu.upper()}"),
        ("parameters", f"{_big(counts.total)} in all, {_big(counts.active)} active a position"),
        ("of them experts", _big(counts.experts)),
        ("mesh", str(made.mesh)),
        (
            "batch",
            f"{made.rows} rows of {made.length} positions, {made.micro_batches} micro-batches of "
            f"{made.micro_rows} a rank",
        ),
        ("memory a GPU", f"{memory.total / gb:.1f} of {made.memory_limit / gb:.0f} GB usable"),
        ("  weights, bf16", f"{memory.weights / gb:.1f} GB"),
        ("  gradients", f"{memory.gradients / gb:.1f} GB"),
        ("  optimiser, fp32", f"{memory.optimizer / gb:.1f} GB"),
        ("  activations", f"{memory.activations / gb:.1f} GB, recomputed: {made.recompute}"),
        ("  working", f"{memory.working / gb:.1f} GB"),
        ("work a position", f"{made.flops_per_position / 1e9:.2f} GFLOP, forward and backward"),
        ("assumed MFU", f"{made.mfu:.0%}, and {made.bubble:.1%} of the time the pipeline fills or drains"),
        ("expert exchange", f"{made.exchange_s * 1e3:.2f} ms beside {made.layer_s * 1e3:.2f} ms a layer"),
        ("speed", f"{_big(made.positions_per_s)} positions/s, {made.hours_per_hour:,.0f} h of talk an hour"),
        ("step", f"{made.step_s:.2f} s"),
        ("steps", f"{made.steps:,.0f} ({_big(made.steps * made.rows * made.length)} positions)"),
        ("days", f"{made.days:.1f}"),
        *(("note", note) for note in made.notes),
    ]


def _big(value: float) -> str:
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.2f} {unit}"
    return f"{value:.0f}"
