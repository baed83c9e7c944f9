"""Loads a run's model from one of its checkpoints, ready for sessions, evaluation and export."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from corpus.schemas.errors import FormatError
from corpus.trainer.config import RunConfig
from corpus.trainer.data.control import Weighting
from corpus.trainer.data.tokenizer_named import tokenizer_named
from corpus.trainer.model.low_rank import is_trained, merged
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.parallel.device import device_named
from corpus.trainer.train.checkpoint import (
    FOLDER,
    Tensors,
    check_model,
    check_text,
    choose,
    finished,
    load_tensors,
    name_of,
    read_meta,
)
from corpus.trainer.train.exported import check_shapes, read_weights, weights_digest
from corpus.trainer.train.run_file import read_run


def load_model(
    run: Path, *, step: int | None = None, ema: bool = False, device: torch.device | str = "cpu"
) -> tuple[InteractionModel, RunConfig]:
    """A run's model from its newest intact checkpoint, or from that of `step`; with `ema` the moving average.

    Raises:
        UsageError: no such run or device.
        FormatError: no such checkpoint, none that is intact, or one of another model.
    """
    config = read_run(run).config
    on_device = device_named(device)
    if step is None:
        chosen = choose(run, talk=lambda _: None)
    else:
        path = run / FOLDER / name_of(step)
        if not path.is_dir():
            kept = ", ".join(str(int(each.name[5:])) for each in reversed(finished(run / FOLDER)))
            todo = f"it has {kept or 'none'}"
            raise FormatError(f"no checkpoint of step {step}", where=str(run), todo=todo)
        chosen = (path, read_meta(path))
    if chosen is None:
        todo = "train it first: corpus train"
        raise FormatError("holds no checkpoint", where=str(run), todo=todo)
    path, meta = chosen
    check_model(meta, config.model, str(path))
    check_text(meta, config, run)
    if ema and not meta.average:
        todo = "train with optim.ema_decay=0.999, or leave --ema out"
        raise FormatError("the run kept no average of its weights", where=str(path), todo=todo)
    # No initial values: every weight comes from a file, or the load fails.
    model = InteractionModel.unset(config.model, on_device)
    if config.model.lora_rank:
        _read_base(model, config, meta.base)
    # A LoRA checkpoint holds only what was trained; everything else came from the base.
    own = {name: value for name, value in model.state_dict().items() if is_trained(name, config.model)}
    state, average = own, {n: p for n, p in model.named_parameters() if n in own}
    wanted: Tensors = {"model": state}
    if ema:
        # An average exists of parameters only: buffers (router biases) come from the model itself.
        wanted = {"model": {n: v for n, v in state.items() if n not in average}, "average": average}
    load_tensors(path, meta, wanted)
    if config.model.lora_rank:
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, lora_rank=0))
        # Merge, so that sessions and exports need not know of LoRA.
        whole = InteractionModel.unset(config.model, on_device)
        whole.load_state_dict(merged(model.state_dict()))
        model = whole
    model.tokenizer = tokenizer_named(config.data.tokenizer)
    model.weighting = Weighting.of(config.loss)
    model.keep_to(meta.trained_windows or _most_windows(config))
    return model.eval(), config


def _read_base(model: InteractionModel, config: RunConfig, digest: str) -> None:
    """Load the frozen weights of a LoRA run from the exported model it is based on."""
    folder = Path(config.init)
    if weights_digest(folder) != digest:
        todo = f"{folder} must hold the exported model the run began with"
        raise FormatError("these are not the run's base weights", where=config.init, todo=todo)
    weights = read_weights(folder)
    own = model.state_dict().items()
    check_shapes(weights, {n: v.shape for n, v in own if not is_trained(n, config.model)}, folder)
    model.load_state_dict(weights, strict=False)


def _most_windows(config: RunConfig) -> int:
    """The most windows that a row can hold; an upper bound for checkpoints that do not record it."""
    return (config.data.length - 1) // (config.model.audio_positions + 1)
