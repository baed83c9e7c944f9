"""Begins a run with the weights of another run, an exported model or a language model: `init=RUN|FOLDER`.

Weights only: the optimiser, the step and the position in the data start over. Weights that both models have
must have the same shape; those that the source lacks (a new head) keep their random values and are reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from corpus.schemas.clip import MelForm
from corpus.schemas.codec import to_plain
from corpus.schemas.errors import DatasetError, FormatError, SettingsError
from corpus.shards.mel import MEL_FORM
from corpus.trainer.config import ModelConfig, RunConfig
from corpus.trainer.data.tokenizer_file import TOKENIZER_NAME
from corpus.trainer.data.tokenizer_named import tokenizer_named
from corpus.trainer.model.initial_values import held
from corpus.trainer.model.low_rank import is_trained
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.train.checkpoint import Meta, Talk, check_text, choose, load_tensors
from corpus.trainer.train.decoder_folder import decoder_model, decoder_weights, is_decoder
from corpus.trainer.train.exported import (
    check_shapes,
    is_exported,
    read_head,
    read_weights,
    weights_digest,
)
from corpus.trainer.train.run_file import read_run

_MEANING = (
    "audio_levels",
    "audio_low",
    "audio_high",
    "frames_per_position",
    "response_delay",
    "rope_theta",
    "attention_window_s",
    "picture_every",
    "text_slots",
)
"""Settings that change the meaning of weights but not their shapes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """The source of the weights."""

    path: Path
    model: ModelConfig
    tokenizer: str
    """The source's `data.tokenizer`."""
    digest: str = ""
    """sha256 of an exported model's weights, if a LoRA run will be based on them."""
    checkpoint: Meta | None
    """The checkpoint of a run; None for an exported model."""
    decoder: bool = False
    """Whether it is a language model's folder, which holds only a trunk."""


def origin_of(config: RunConfig, talk: Talk) -> _Origin:
    """The source that `init` names, checked to fit the new run.

    Raises:
        UsageError: neither a run nor a model.
        FormatError: no intact checkpoint, or weights of other shapes, listed one per line.
        SettingsError: another tokenizer or vocabulary.
        DatasetError: another definition of mel bytes.
    """
    source = Path(config.init)
    if is_decoder(source):
        return _decoder_origin(source, config, talk)
    if is_exported(source):
        head = read_head(source)
        tokenizer = "bytes" if head.tokenizer == "bytes" else str(source / TOKENIZER_NAME)
        digest = weights_digest(source) if config.model.lora_rank else ""
        origin = _Origin(path=source, model=head.model, tokenizer=tokenizer, digest=digest, checkpoint=None)
        mel: MelForm = head.mel
    else:
        began = read_run(source).config
        chosen = choose(source, talk=talk)
        if chosen is None:
            raise FormatError("holds no checkpoint to begin with", where=str(source), todo="train it first")
        path, meta = chosen
        check_text(meta, began, source)
        # A LoRA checkpoint holds only the small matrices: without its base it is no model.
        if meta.model.lora_rank or config.model.lora_rank:
            todo = f"corpus export --run {source} --out FOLDER, then init=FOLDER"
            raise FormatError(
                "LoRA runs begin from, and continue as, exported models: export first",
                where=str(source),
                todo=todo,
            )
        origin = _Origin(path=path, model=meta.model, tokenizer=began.data.tokenizer, checkpoint=meta)
        mel = meta.mel
    if mel != MEL_FORM:
        raise DatasetError(f"trained on {mel}, this version has {MEL_FORM}", where=str(source))
    _check_text(origin, config)
    _check_shapes(origin, config.model)
    _report(origin, config.model, talk)
    return origin


def _decoder_origin(source: Path, config: RunConfig, talk: Talk) -> _Origin:
    """A language model's folder. Its text weights are used if the run's tokenizer is the one beside it."""
    if config.model.lora_rank:
        todo = "train it without model.lora_rank first, and export it"
        raise SettingsError(
            "a language model cannot hear, and LoRA would freeze it", where="model.lora_rank", todo=todo
        )
    kept = source / TOKENIZER_NAME
    ours = tokenizer_named(config.data.tokenizer).identity
    # Its tokens mean the same only if this run uses that very file.
    reads = ours != "bytes" and kept.exists() and tokenizer_named(str(kept)).identity == ours
    tokenizer = config.data.tokenizer if reads else ""
    model = decoder_model(source, config.model)
    origin = _Origin(path=source, model=model, tokenizer=tokenizer, checkpoint=None, decoder=True)
    _check_shapes(origin, config.model)
    settings = (*_MEANING, "rope", "norm_eps", "route_scale", "head_norms", "tied")
    differ = {
        name: getattr(model, name) for name in settings if getattr(model, name) != getattr(config.model, name)
    }
    if differ:
        todo = f"set {' '.join(f'model.{name}={value}' for name, value in differ.items())}"
        raise SettingsError(
            "its weights mean something else with these settings", where=str(source), todo=todo
        )
    talk(f"begins with the trunk of {source}; the parts that hear, see and speak start at random")
    if not reads:
        talk(f"  text starts at random, too: data.tokenizer is not its {TOKENIZER_NAME}")
    return origin


def begin_from(origin: _Origin, model: InteractionModel, group: dist.ProcessGroup | None) -> None:
    """Fill the weights that both models have, each rank its own part. All ranks call it together."""
    theirs = _shapes(origin.model)
    shared = {name: value for name, value in model.state_dict().items() if name in theirs}
    # A checkpoint knows how to cut itself over ranks.
    if origin.checkpoint is not None:
        load_tensors(origin.path, origin.checkpoint, {"model": shared}, group)
        return
    if origin.decoder:
        sizes = {name: value.shape for name, value in shared.items()}
        weights = decoder_weights(origin.path, origin.model, sizes, text=bool(origin.tokenizer))
        shared = {name: value for name, value in shared.items() if name in weights}
    else:
        weights = read_weights(origin.path)
        check_shapes(weights, {name: theirs[name] for name in shared}, origin.path)
    for name, value in shared.items():
        part, shape, offset = held(value)
        # Only this rank's slice: the whole weight is in the file's memory map.
        part.copy_(weights[name][tuple(slice(at, at + n) for at, n in zip(offset, shape, strict=True))])


def _check_text(origin: _Origin, config: RunConfig) -> None:
    ours, theirs = config.data.tokenizer, origin.tokenizer
    if tokenizer_named(ours).identity != tokenizer_named(theirs).identity:
        what, todo = f"its tokenizer is {theirs}, this run's {ours}", f"set data.tokenizer={theirs}"
        raise SettingsError(what, where=f"init={config.init}", todo=todo)
    if origin.model.vocab != config.model.vocab:
        raise SettingsError(
            f"its vocabulary has {origin.model.vocab} tokens, this run's {config.model.vocab}",
            where=f"init={config.init}",
            todo=f"set model.vocab={origin.model.vocab}",
        )


def _shapes(config: ModelConfig) -> dict[str, Sequence[int]]:
    state: Mapping[str, torch.Tensor] = InteractionModel.unset(config).state_dict()
    return {name: tuple(value.shape) for name, value in state.items()}


def _check_shapes(origin: _Origin, model: ModelConfig) -> None:
    theirs, ours = _shapes(origin.model), _shapes(model)
    differ = [name for name in ours if name in theirs and ours[name] != theirs[name]]
    if differ:
        lines = [f"  {name} is {list(theirs[name])} there, {list(ours[name])} here" for name in differ]
        there, here = to_plain(origin.model), to_plain(model)
        settings = [f"model.{name}={there[name]}" for name in here if here[name] != there[name]]
        raise FormatError(
            "\n".join([f"{len(differ)} weights are of other shapes:", *lines]),
            where=str(origin.path),
            todo=f"its settings that differ: {' '.join(settings)}",
        )


def _report(origin: _Origin, model: ModelConfig, talk: Talk) -> None:
    """Report differences that are not errors."""
    theirs, ours = _shapes(origin.model), _shapes(model)
    new = {name for name in ours.keys() - theirs.keys() if not (model.lora_rank and is_trained(name, model))}
    talk(f"begins with the weights of {origin.path}")
    for what, names in (
        ("starts at random, as it has none", new),
        ("left out", theirs.keys() - ours.keys()),
    ):
        for name in sorted(names):
            talk(f"  {name}: {what}")
    for name in _MEANING:
        there, here = getattr(origin.model, name), getattr(model, name)
        if there != here:
            talk(f"  model.{name} was {there} there, {here} here")
