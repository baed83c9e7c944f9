"""Readable names of losses."""

from __future__ import annotations

from corpus.report.funnel import Loss


def loss_name(loss: Loss) -> str:
    """`filter min_snr_db`, `decode: last partial window`."""
    if loss.stage == "filter":
        return f"filters.{loss.code}"
    return f"{loss.stage}: {loss.code.replace('_', ' ')}"
