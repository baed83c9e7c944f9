"""The reference interaction model and its trainer. Needs torch, numpy, pyarrow, safetensors, tqdm, typer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corpus.schemas.lazy import loaded

if TYPE_CHECKING:
    from corpus.trainer.config import RunConfig
    from corpus.trainer.evaluate.evaluate import evaluate_model
    from corpus.trainer.model.model import InteractionModel
    from corpus.trainer.presets import preset
    from corpus.trainer.session.session import MicroTurn, Session
    from corpus.trainer.train.load_model import load_model
    from corpus.trainer.train.loop import train_model

__all__ = [
    "InteractionModel",
    "MicroTurn",
    "RunConfig",
    "Session",
    "evaluate_model",
    "load_model",
    "preset",
    "train_model",
]
_HOMES = {
    "InteractionModel": "model.model",
    "MicroTurn": "session.session",
    "RunConfig": "config",
    "Session": "session.session",
    "evaluate_model": "evaluate.evaluate",
    "load_model": "train.load_model",
    "preset": "presets",
    "train_model": "train.loop",
}

if not TYPE_CHECKING:  # else every misspelt name would pass the type checker

    def __getattr__(name: str) -> object:
        return loaded(__name__, _HOMES, name)
