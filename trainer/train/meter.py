"""Figures of a log line: sums over steps on the device, then over all ranks, divided once.

# N mixture layers, E experts

The sums of a micro-batch are joined in one fp64 vector, which is added up over the step, the steps of a line
and the ranks. So a line is the same for one micro-batch of eight rows and for two of four.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from corpus.schemas.clock import US, WINDOW_US
from corpus.trainer.config import LossConfig
from corpus.trainer.data.loader import LoaderState
from corpus.trainer.model.batch_stats import STREAMS, TEXT_SUMS
from corpus.trainer.model.loss_sums import LossSums
from corpus.trainer.parallel.collectives import summed
from corpus.trainer.train.gradient_norms import GROUPS
from corpus.trainer.train.log_line import LayerLine, LogLine

if TYPE_CHECKING:
    from corpus.trainer.train.held_out_rows import HeldOutLosses


@dataclass(frozen=True, slots=True, kw_only=True)
class LastStep:
    """What the last step before a line leaves."""

    step: int
    lr: float
    grad_norm: float
    skipped: int
    """Steps skipped so far."""
    gradients: torch.Tensor | None = None
    """This rank's sums of squares, as in gradient_norms.py."""
    movement: torch.Tensor | None = None
    """The same of the weights' movement."""


class Meter:
    """Sums over the steps of a log line; nothing goes to the host before a line is requested."""

    _NAMES = (
        *("text_sum", "text_weight", "audio_sum", "audio_weight", "user_audio_sum", "user_audio_weight"),
        *("cues_sum", "cues_weight"),
        *("balance", "router_z", "positions"),
    )

    def __init__(
        self,
        weights: LossConfig,
        *,
        first_layer: int = 0,
        top_k: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`first_layer` is the first with experts; a token visits `top_k` of them."""
        self._weights, self._first_layer, self._top_k, self._clock = weights, first_layer, top_k, clock
        self._step: torch.Tensor | None = None
        self._shape = (0, 0)
        self.reset()

    def reset(self) -> None:
        self._sums: torch.Tensor | None = None
        self.windows = torch.zeros((), dtype=torch.int64)
        self.waited_s, self.flops, self.steps = 0.0, 0.0, 0
        self._started = self._clock()

    @torch.no_grad()
    def add(self, sums: LossSums) -> None:
        """Add a micro-batch of the current step."""
        self._shape = (sums.load_NE.shape[0], sums.load_NE.shape[1])
        losses = torch.stack([getattr(sums, name).double() for name in self._NAMES])
        parts = (losses, sums.text_S, sums.load_NE.flatten(), sums.spoken_NE.flatten(), sums.margin_N)
        # One fp64 vector: one addition a micro-batch and one all-reduce a line, exact for counts.
        vector = torch.cat([part.double() for part in parts])
        self._step = vector if self._step is None else self._step + vector

    def step(self, *, counts: bool) -> None:
        """End a step; a skipped one (`counts` is False) does not count in the losses."""
        self.steps += 1
        if counts and self._step is not None:
            self._sums = self._step if self._sums is None else self._sums + self._step
        self._step = None

    def line(
        self,
        before: LoaderState,
        after: LoaderState,
        last: LastStep,
        *,
        peak_flops: float | None = None,
        gpu_peak_bytes: int | None = None,
        held_out: HeldOutLosses | None = None,
    ) -> LogLine:
        """The line of everything since the last reset, over all ranks. A collective: all ranks must call it.

        `held_out` are the losses from held_out_rows.py.
        """
        # Wall time of everything since the last line, waits and saves included.
        seconds = max(self._clock() - self._started, 1e-9)
        windows, flops = _over_ranks([float(self.windows), self.flops])
        positions = after.positions - before.positions
        padding = after.padding - before.padding
        text, spilled = after.text - before.text, after.text_spilled - before.text_spilled
        later = after.text_later - before.text_later
        lost = after.text_left + after.text_before - before.text_left - before.text_before
        layers, losses = self._summed()
        return LogLine(
            **losses,
            **_norms(last.gradients, last.movement),
            held_out_control=None if held_out is None else held_out.control,
            held_out_words=None if held_out is None else held_out.words,
            held_out_audio=None if held_out is None else held_out.audio,
            held_out_by_window=() if held_out is None else held_out.by_window,
            step=last.step,
            lr=last.lr,
            grad_norm=last.grad_norm,
            skipped=last.skipped,
            positions=after.positions,
            positions_per_s=round(positions / seconds, 1),
            audio_hours_per_hour=round(windows * WINDOW_US / US / seconds, 2),
            data_wait_ms=round(1e3 * self.waited_s / max(1, self.steps), 2),
            mfu=round(flops / seconds / peak_flops, 4) if peak_flops and flops else None,
            gpu_peak_bytes=gpu_peak_bytes,
            expert_load=max((layer.load for layer in layers), default=None),
            padding=round(padding / max(1, padding + positions), 4),
            text_spilled=round(spilled / max(1, text), 4),
            text_later=round(later / max(1, text), 4),
            text_lost=round(lost / max(1, text + lost), 4),
            layers=layers,
        )

    def _summed(self) -> tuple[tuple[LayerLine, ...], dict[str, Any]]:
        """Layers and losses over all ranks, which have all counted the same steps."""
        if self._sums is None:
            return (), self._losses([0.0] * len(self._NAMES), [0.0] * len(TEXT_SUMS))
        layers, experts = self._shape
        sizes = [len(self._NAMES), len(TEXT_SUMS), layers * experts, layers * experts, layers]
        # The vector taken apart in the order in which `add` joined it.
        losses, text, load, spoken, margin = torch.split(summed(self._sums.clone()).cpu(), sizes)
        rows = zip(load.view(layers, experts), spoken.view(layers, experts), margin.tolist(), strict=True)
        lines = tuple(self._layer(self._first_layer + n, *row) for n, row in enumerate(rows))
        return lines, self._losses(losses.tolist(), text.tolist())

    def _layer(self, layer: int, load_E: torch.Tensor, spoken_E: torch.Tensor, margin: float) -> LayerLine:
        # A token is counted once for every expert that it visits.
        tokens = float(load_E.sum()) / self._top_k
        return LayerLine(
            layer=layer,
            load=_most_to_mean(load_E) or 0.0,
            load_speaking=_most_to_mean(spoken_E),
            entropy=_evenness(load_E),
            dead=int((load_E == 0).sum()),
            margin=round(margin / max(1.0, tokens), 5),
        )

    def _losses(self, sums: list[float], text: list[float]) -> dict[str, float | None]:
        of = dict(zip((*self._NAMES, *TEXT_SUMS), (*sums, *text), strict=True))
        weights = self._weights
        parts = {
            "text": _part(of["text_sum"], of["text_weight"]),
            "audio": _part(of["audio_sum"], of["audio_weight"]),
            "user_audio": _part(of["user_audio_sum"], of["user_audio_weight"]),
            "cues": _part(of["cues_sum"], of["cues_weight"]),
            "balance": _part(of["balance"], of["positions"]),
            "router_z": _part(of["router_z"], of["positions"]),
        }
        loss = sum(getattr(weights, name) * (value or 0.0) for name, value in parts.items())
        return {
            "loss": loss if of["positions"] else None,
            **parts,
            **{f"nats_{name}": _part(of[f"nats_{name}"], of[name]) for name in STREAMS},
            "speaking": _part(of["speaks"], of["control"]),
        }


def _over_ranks(values: list[float]) -> list[float]:
    totals: list[float] = summed(torch.tensor(values, dtype=torch.float64)).tolist()
    return totals


def _norms(gradients: torch.Tensor | None, movement: torch.Tensor | None) -> dict[str, Any]:
    """Norms and ratios from sums of squares of this rank; a group without parameters has none."""
    names = ("", *(f"_{group}" for group in GROUPS))
    norms: dict[str, float | None] = dict.fromkeys(f"grad_norm{name}" for name in names[1:])
    norms |= dict.fromkeys(f"update{name}" for name in names)
    if gradients is not None:
        squares = summed(gradients.clone()).tolist()
        roots = (math.sqrt(square) if square else None for square in squares)
        norms |= dict(zip((f"grad_norm{name}" for name in names[1:]), roots, strict=True))
    if movement is not None:
        steps, sizes = summed(movement.clone()).tolist()
        ratios = [math.sqrt(step / size) if size else None for step, size in zip(steps, sizes, strict=True)]
        norms |= dict(zip((f"update{name}" for name in names), ratios, strict=True))
    return norms


def _part(total: float, weight: float) -> float | None:
    return total / weight if weight else None


def _most_to_mean(load_E: torch.Tensor) -> float | None:
    return round(float(load_E.max() / load_E.mean()), 3) if load_E.any() else None


def _evenness(load_E: torch.Tensor) -> float:
    share_E = load_E / load_E.sum().clamp_min(1)
    most = math.log(len(load_E))
    return round(float(torch.special.entr(share_E).sum()) / most, 4) if most else 1.0
