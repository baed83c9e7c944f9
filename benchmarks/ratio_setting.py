"""Shared parts of the trainer's ratio table: sizes by device, and a model in training."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from ratio_clips import dataset
from ratio_report import Row

from corpus.schemas.errors import SettingsError
from corpus.trainer.config import ModelConfig, RunConfig
from corpus.trainer.data.loader import Loader
from corpus.trainer.data.sequence import Batch
from corpus.trainer.model.loss_sums import Denominators
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.parallel.prepare import prepare
from corpus.trainer.parallel.ranks import Ranks
from corpus.trainer.presets import MODELS, preset
from corpus.trainer.train.meter import Meter
from corpus.trainer.train.step import Learner

SMALL = replace(
    MODELS["tiny"],
    width=128,
    experts=8,
    expert_width=128,
    shared_width=128,
    dense_width=384,
    picture_columns=8,
)
"""For a CPU: large enough that products outweigh calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The device and the sizes."""

    device: torch.device
    quick: bool
    clips: Path
    """Where made-up datasets lie."""

    @property
    def gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.gpu else torch.float32

    @property
    def model(self) -> ModelConfig:
        """`base` on a GPU."""
        if self.gpu:
            return MODELS["base"]
        return replace(MODELS["tiny"], picture_columns=8) if self.quick else SMALL

    @property
    def positions(self) -> int:
        """Positions of a micro-batch: 8 rows of 4096 on a GPU."""
        return 32_768 if self.gpu else 256 if self.quick else 1024

    @property
    def rounds(self) -> int:
        return 2 if self.quick else 7

    def run(
        self, *, layers: int | None = None, rows: int | None = None, accumulate: int | None = None
    ) -> RunConfig:
        """The preset's run: `base` on a GPU, with fewer layers or rows if asked; a small one elsewhere."""
        run = preset("base" if self.gpu else "tiny")
        data = replace(run.data, hears="max", pictures=False, workers=run.data.workers)
        if not self.gpu:
            data = replace(data, length=128 if self.quick else 256, rows=4)
        model = replace(self.model, layers=min(layers or self.model.layers, self.model.layers))
        run = replace(run, model=model, data=data, device=self.device.type)
        accumulate = accumulate or (run.accumulate if self.gpu else 2)
        data = replace(run.data, rows=(rows or run.data.rows // accumulate) * accumulate)
        return replace(run, data=data, accumulate=accumulate)

    def with_clips(self, run: RunConfig, *, pictures: bool = False, hears: str = "max") -> RunConfig:
        """A run over synthetic clips that fill a batch of `base`."""
        clips = (12 if pictures else 60) if self.gpu else 1 if self.quick else 4
        path = dataset(self.clips, clips=clips, pictures=pictures)
        data = replace(run.data, data=str(path), pictures=pictures)
        return replace(run, data=dataclasses.replace(data, **{"hears": hears}))


Section = Callable[[Setting], Iterator[Row]]


class Trainee:
    """A model in training with the parts of `corpus train`, step by step, with given batches."""

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        self.device, self.steps = device, 0
        self.model = InteractionModel.unset(config.model).train()
        ranks = Ranks(device=device)
        prepare(self.model, config, ranks)
        self.model.to_empty(device=device)
        self.model.initialise(config.data.seed)
        # Between lines of its log.
        config = replace(config, steps=1 << 30, log_every=1 << 30)
        meter = Meter(config.loss, first_layer=config.model.dense_layers, top_k=config.model.top_k)
        self.learner = Learner(self.model, config, ranks, meter)

    def step(self, micro: Sequence[Batch]) -> None:
        weights = torch.stack([torch.stack(Denominators.of(batch)) for batch in micro]).sum(0)
        denominators = Denominators(*weights.to(self.device).unbind())
        self.learner.learn(self.steps, micro, denominators, lambda: False)
        self.steps += 1


@contextmanager
def deterministic(on: bool) -> Iterator[None]:
    """Determinism, set like in `corpus train`."""
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(on, warn_only=torch.cuda.is_available())
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        memory.fill_uninitialized_memory = filled


def micro_batches(config: RunConfig, device: torch.device | None = None) -> list[Batch]:
    """The micro-batches of the first step; kept on a device if one is named."""
    stream = iter(Loader(config))
    batches = [next(stream)[0] for _ in range(config.accumulate)]
    stream.close()
    return batches if device is None else [batch.to(device) for batch in batches]


def fitting(config: RunConfig, measure: Callable[[RunConfig], Iterator[Row]]) -> Iterator[Row]:
    """Measure; if memory does not suffice, again with twice as many micro-batches of half the size."""
    while True:
        try:
            yield from measure(config)
            return
        except torch.OutOfMemoryError:
            config = halved(config)
        except SettingsError as error:
            if error.where != "memory":
                raise
            config = halved(config)
        release()


def halved(config: RunConfig) -> RunConfig:
    each = config.data.rows // config.accumulate
    if each < 2:
        raise MemoryError("not even micro-batches of one row fit")
    return replace(config, accumulate=2 * config.accumulate)


def release() -> None:
    """Release memory and compiled code (whose number is limited) of a section."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch._dynamo.reset()


def shape_of(config: RunConfig) -> str:
    each = config.data.rows // config.accumulate
    return f"{config.accumulate} micro-batches of {each} x {config.data.length}"
