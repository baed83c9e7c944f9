"""Losses of a few held-out rows during a run: the curve that shows overfitting.

All ranks evaluate together, as they train together: no rank has the whole of a sharded model. The run's state
is not touched, so a run that evaluates ends with the same bits as one that does not.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch

from corpus.schemas.errors import CorpusError
from corpus.trainer.config import RunConfig
from corpus.trainer.data.loader import Loader
from corpus.trainer.data.noise import NoiseKey
from corpus.trainer.model.batch_stats import TEXT_SUMS
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.parallel.collectives import summed, together
from corpus.trainer.parallel.ranks import Ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutLosses:
    """As in a log line, without weights."""

    control: float | None
    words: float | None
    audio: float | None


class HeldOutRows:
    """The first rows of the validation split, the same each time."""

    def __init__(self, config: RunConfig, ranks: Ranks) -> None:
        """Raises: DatasetError if the split is empty, on all ranks."""
        # Every rank needs the same number of rows, or one would wait in a collective for ever.
        rows = -(-config.held_out_rows // ranks.world) * ranks.world
        data = dataclasses.replace(config.data, split="validation", rows=rows)
        # Without the answers' weighting the curve compares runs that set it differently.
        loss = dataclasses.replace(config.loss, answers=0.0)
        own = dataclasses.replace(config, data=data, loss=loss, accumulate=1)
        self._config, self._ranks = own, ranks
        self._loader = together(ranks.host, lambda: Loader(own, ranks.rank, ranks.world, epochs=1, ahead=0))
        self._batch = together(ranks.host, lambda: next(iter(self._loader))[0])
        self._fixed = config.compile or ranks.device.type != "cpu"

    @torch.no_grad()
    def losses(self, model: InteractionModel) -> HeldOutLosses:
        """Losses over all ranks; a collective, so all ranks must call it."""
        batch = self._batch if self._fixed else self._batch.trimmed()
        # Evaluation switches off drawn times, masked sound and expert counts; put the mode back whatever
        # happens.
        was_training = model.training
        model.eval()
        try:
            sums = model(batch.to(self._ranks.device), self._config.loss, NoiseKey())
        finally:
            model.train(was_training)
        of_audio = torch.stack([sums.audio_sum.double(), sums.audio_weight.double()])
        *text, audio, weight = summed(torch.cat([sums.text_S.double(), of_audio])).tolist()
        sum_of = dict(zip(TEXT_SUMS, text, strict=True))

        def mean(total: float, count: float) -> float | None:
            return total / count if count else None

        return HeldOutLosses(
            control=mean(sum_of["nats_control"], sum_of["control"]),
            words=mean(sum_of["nats_words"], sum_of["words"]),
            audio=mean(audio, weight),
        )


def held_out_rows(config: RunConfig, ranks: Ranks) -> tuple[HeldOutRows | None, str]:
    """The rows a run evaluates, or None and the reason."""
    if not config.held_out_every:
        return None, ""
    try:
        return HeldOutRows(config, ranks), ""
    except CorpusError as error:
        return None, f"no held-out curve: {error.what}"
