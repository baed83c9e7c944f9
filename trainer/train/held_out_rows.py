"""Losses on a few held-out rows during a run, for the curve that shows where training begins to overfit.

All ranks evaluate together, as they train together, because no rank holds a whole sharded model. The run's
state is not touched, so a run ends with the same bits with or without evaluations.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass

import torch

from corpus.schemas.errors import CorpusError
from corpus.trainer.config import RunConfig
from corpus.trainer.data.loader import Loader
from corpus.trainer.data.noise import NoiseKey
from corpus.trainer.model.batch_stats import TEXT_SUMS, sums_by_window
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.parallel.collectives import summed, together
from corpus.trainer.parallel.ranks import Ranks
from corpus.trainer.train.log_line import WindowsLine

_BINS = 6
"""The most points of the curve by window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutLosses:
    """The unweighted losses of a log line."""

    control: float | None
    words: float | None
    audio: float | None
    by_window: tuple[WindowsLine, ...]


class HeldOutRows:
    """The first rows of the validation split, the same ones each time."""

    def __init__(self, config: RunConfig, ranks: Ranks) -> None:
        """Raises: DatasetError on all ranks if the split is empty."""
        # As many for each rank: a rank without a row would not meet the others in forward.
        rows = -(-config.held_out_rows // ranks.world) * ranks.world
        data = dataclasses.replace(config.data, split="validation", rows=rows)
        loss = dataclasses.replace(config.loss, answers=0.0)
        own = dataclasses.replace(config, data=data, loss=loss, accumulate=1)
        self._config, self._ranks = own, ranks
        place = (ranks.rank, ranks.world)
        self._loader = together(ranks.host, lambda: Loader(own, *place, epochs=1, ahead=0, weighed=False))
        self._batch, state = together(ranks.host, lambda: next(iter(self._loader)))
        # The state is all ranks' plan, so all have the same bins.
        step = max(1, -(-state.longest // _BINS))
        self._edges = list(range(0, max(1, state.longest) + step, step))
        # A compiled or recorded forward has one shape; elsewhere padding is not worth computing.
        self._fixed = config.compile or ranks.device.type != "cpu"

    @torch.no_grad()
    def losses(self, model: InteractionModel) -> HeldOutLosses:
        """The losses now. A collective: all ranks must call it."""
        batch = self._batch if self._fixed else self._batch.trimmed()
        was_training = model.training
        model.eval()
        try:
            sums = model(batch.to(self._ranks.device), self._config.loss, NoiseKey())
        finally:
            model.train(was_training)
        of_audio = torch.stack([sums.audio_sum.double(), sums.audio_weight.double()])
        windows_4B = sums_by_window(batch.to(self._ranks.device), sums.nats_N, self._edges)
        # One exchange for all sums.
        counted = summed(torch.cat([sums.text_S.double(), of_audio, windows_4B.flatten()])).cpu()
        *text, audio, weight = counted[: -windows_4B.numel()].tolist()
        sum_of = dict(zip(TEXT_SUMS, text, strict=True))
        by_window = counted[-windows_4B.numel() :].view(windows_4B.shape).T.tolist()

        def mean(total: float, count: float) -> float | None:
            return total / count if count else None

        return HeldOutLosses(
            control=mean(sum_of["nats_control"], sum_of["control"]),
            words=mean(sum_of["nats_words"], sum_of["words"]),
            audio=mean(audio, weight),
            by_window=tuple(
                WindowsLine(start=start, stop=stop, control=mean(a, n), words=mean(b, m))
                for (start, stop), (a, b, n, m) in zip(
                    itertools.pairwise(self._edges), by_window, strict=True
                )
            ),
        )


def held_out_rows(config: RunConfig, ranks: Ranks) -> tuple[HeldOutRows | None, str]:
    """The rows that a run evaluates, or None and the reason."""
    if not config.held_out_every:
        return None, ""
    try:
        return HeldOutRows(config, ranks), ""
    except CorpusError as error:
        return None, f"no held-out curve: {error.what}"
