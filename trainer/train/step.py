"""One optimiser step, the same on all ranks.

    micro-batches -> forward, backward -> norm over all ranks -> clip, update, average, router bias

It is a function of its number, its micro-batches and the state before it: nothing else decides a bit of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from corpus.trainer.config import RunConfig
from corpus.trainer.data.noise import NoiseKey
from corpus.trainer.data.sequence import Batch
from corpus.trainer.model.loss_sums import Denominators
from corpus.trainer.model.low_rank import is_trained
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.parallel.collectives import summed
from corpus.trainer.parallel.compute_copies import ComputeCopies
from corpus.trainer.parallel.ranks import Ranks
from corpus.trainer.train.gradient_norms import Movement, gradient_squares, scale_gradients, squares
from corpus.trainer.train.meter import Meter
from corpus.trainer.train.optim import Average, Optimizer
from corpus.trainer.train.schedule import share


class Learnt(NamedTuple):
    """What a step leaves for the run and its log line."""

    good: bool
    """The gradient was a number; else nothing was learnt."""
    stopped: bool
    """Any rank was asked to stop."""
    logged: bool
    lr_share: float
    norm: float
    """Of the gradient, before clipping."""
    gradients: torch.Tensor | None
    """Where it is logged, `gradient_squares` …"""
    moved: torch.Tensor | None
    """… and `Movement.squares`."""


class Learner:
    """A model placed for training, with its optimiser and, where one is kept, the average of its weights."""

    def __init__(self, model: InteractionModel, config: RunConfig, ranks: Ranks, meter: Meter) -> None:
        self.model, self.config, self.ranks, self.meter = model, config, ranks, meter
        named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
        self.optimizer = Optimizer(named, config.optim)
        decay = config.optim.ema_decay
        self.average = None if decay is None else Average(named, decay)
        self.copies = ComputeCopies(model)
        self._fixed = config.compile or ranks.device.type != "cpu"

    def learn(
        self, number: int, micro: Sequence[Batch], denominators: Denominators, stop: Callable[[], bool]
    ) -> Learnt:
        """Step `number`, counted from 0. Figures of one step are measured only where a line is logged."""
        config, model = self.config, self.model
        key = NoiseKey(seed=config.data.seed, step=number)
        with self.copies.in_place():
            for place, batch in enumerate(micro):
                rows = self._global_rows(place, batch.shape[0])
                # Fixed shapes are for what is compiled or recorded: elsewhere padding is only work.
                batch = batch if self._fixed else batch.trimmed()
                sums = model(batch.to(self.ranks.device), config.loss, key, rows)
                sums.total(denominators).backward()
                self.meter.add(sums)

        square = squares(model.parameters())
        # Read in one go: each look at a tensor of a GPU waits for all it has under way.
        of_all, stops = summed(torch.stack([square, square.new_full((), float(stop()))])).tolist()
        norm, stopped = math.sqrt(of_all), bool(stops)
        good = math.isfinite(norm)
        self.meter.step(counts=good)

        logged = (number + 1) % config.log_every == 0 or number + 1 == config.steps or stopped
        gradients = gradient_squares(list(model.named_parameters())) if logged else None
        movement = Movement(model.named_parameters()) if logged and good else None
        lr_share = share(config.optim, number, config.steps)
        if good:
            if norm > config.optim.clip:
                scale_gradients(model.parameters(), config.optim.clip / norm)
            self.optimizer.step(lr_share)
            if self.average is not None:
                self.average.update()
            summed(model.load_NE)
            if config.model.lora_rank:
                model.load_NE.zero_()  # routers are frozen like all else
            else:
                model.update_router_bias()
        else:
            model.load_NE.zero_()
        self.optimizer.zero_grad()
        moved = None if movement is None else movement.squares()
        return Learnt(good, stopped, logged, lr_share, norm, gradients, moved)

    def _global_rows(self, place: int, rows: int) -> torch.Tensor:
        """Where a micro-batch's rows stand in the global batch: all noise depends on it.

        Made where it is used: to send it there would wait for all that a GPU has under way.
        """
        own = torch.arange(rows, device=self.ranks.device) + place * rows
        return own * self.ranks.world + self.ranks.rank

    def state_dict(self) -> dict[str, Any]:
        """All tensors of a checkpoint, sharing memory with what they are of: loading into them loads it."""
        tensors: dict[str, Any] = {
            "model": {n: v for n, v in self.model.state_dict().items() if is_trained(n, self.config.model)},
            "optimizer": self.optimizer.state_dict(),
        }
        if self.average is not None:
            tensors["average"] = self.average.state_dict()
        return tensors

    def loaded(self) -> None:
        """Call after `state_dict()` was loaded into."""
        self.optimizer.loaded()
