"""Opens the loader that a run's settings name."""

from __future__ import annotations

from corpus.trainer.config import RunConfig
from corpus.trainer.data.loader import Loader


def open_loader(config: RunConfig, rank: int = 0, world_size: int = 1) -> Loader:
    """The loader that `data.reader` names. Raises what the loader raises."""
    if config.data.reader == "map":
        return Loader(config, rank, world_size)
    from corpus.trainer.data.stream_loader import StreamLoader

    return StreamLoader(config, rank, world_size)
