"""One optimiser step, the same on all ranks.

    micro-batches -> forward, backward -> norm over all ranks -> clip, update, average, router bias

Its result depends on its number, its micro-batches and the state before it, and on nothing else.
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
    """A step's results for the run and its log line."""

    good: bool
    """Whether the gradient was finite; if not, the step was skipped."""
    stopped: bool
    """Whether any rank was asked to stop."""
    logged: bool
    lr_share: float
    norm: float
    """Norm of the gradient, before clipping."""
    gradients: torch.Tensor | None
    """`gradient_squares`; None unless a line is logged."""
    moved: torch.Tensor | None
    """`Movement.squares`; None unless a line is logged."""


class Learner:
    """A model on its devices, with its optimiser and, if configured, the average of its weights."""

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
        """Do step `number`, counted from 0. Figures of single steps are measured only if a line is logged."""
        config, model = self.config, self.model
        key = NoiseKey(seed=config.data.seed, step=number)
        with self.copies.in_place():
            for index, batch in enumerate(micro):
                rows = self._global_rows(index, batch.shape[0])
                # Only compiled or recorded code needs fixed shapes; elsewhere padding is useless work.
                batch = batch if self._fixed else batch.trimmed()
                sums = model(batch.to(self.ranks.device), config.loss, key, rows)
                # Backward at once, so that only one micro-batch's activations live at a time.
                sums.total(denominators).backward()
                self.meter.add(sums)

        square = squares(model.parameters())
        # Read both at once: every read of a GPU's tensor waits for all its queued work.
        of_all, stops = summed(torch.stack([square, square.new_full((), float(stop()))])).tolist()
        norm, stopped = math.sqrt(of_all), bool(stops)
        # All ranks have the same sum, so all skip the same steps.
        good = math.isfinite(norm)
        self.meter.step(counts=good)

        logged = (number + 1) % config.log_every == 0 or number + 1 == config.steps or stopped
        gradients = gradient_squares(list(model.named_parameters())) if logged else None
        # A copy from before the update, for comparison after it.
        movement = Movement(model.named_parameters()) if logged and good else None
        lr_share = share(config.optim, number, config.steps)
        if good:
            # The norm is known before anything moves, so clipping is one multiplication.
            if norm > config.optim.clip:
                scale_gradients(model.parameters(), config.optim.clip / norm)
            self.optimizer.step(lr_share)
            if self.average is not None:
                self.average.update()
            # Only in good steps: router biases must not learn from a batch that nothing else learnt from.
            summed(model.load_NE)
            if config.model.lora_rank:
                model.load_NE.zero_()  # the routers are frozen with the base
            else:
                model.update_router_bias()
        else:
            model.load_NE.zero_()
        self.optimizer.zero_grad()
        moved = None if movement is None else movement.squares()
        return Learnt(good, stopped, logged, lr_share, norm, gradients, moved)

    def _global_rows(self, micro: int, rows: int) -> torch.Tensor:
        """Numbers of a micro-batch's rows in the global batch, which decide all noise.

        Created on the device, because a copy to a GPU would wait for all its queued work.
        """
        own = torch.arange(rows, device=self.ranks.device) + micro * rows
        return own * self.ranks.world + self.ranks.rank

    def state_dict(self) -> dict[str, Any]:
        """All tensors of a checkpoint. They share memory with model and optimiser, so loading fills those."""
        tensors: dict[str, Any] = {
            "model": {n: v for n, v in self.model.state_dict().items() if is_trained(n, self.config.model)},
            "optimizer": self.optimizer.state_dict(),
        }
        if self.average is not None:
            tensors["average"] = self.average.state_dict()
        return tensors

    def loaded(self) -> None:
        """Call after loading into `state_dict()`."""
        self.optimizer.loaded()
