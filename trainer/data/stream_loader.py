"""Batches from a stream: each rank packs rows of what it reads itself, shard after shard.

    this rank's documents (stream_documents.py) -> R / W rows -> its part of a global batch of R

Nothing is planned for other ranks, so nothing of theirs is read. The price: batches depend on the number of
ranks, and the position in the stream is not saved. A resumed run keeps its counts but begins a new pass in
a new order, so clips of the unfinished pass may come again before those not yet read. Counts of positions and
text are this rank's counts times the number of ranks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from corpus.trainer.config import RunConfig
from corpus.trainer.data.loader import Loader, LoaderState
from corpus.trainer.data.pack import Cursor, Piece, Row
from corpus.trainer.data.stream_documents import StreamDocuments

_KEPT_NAMES = 64
"""Number of recent batches whose contents can still be named."""
_SUMMED = ("positions", "documents", "text", "text_spilled", "text_later", "text_left", "text_before")


class StreamLoader(Loader):
    """Micro-batches from one rank's stream, with the state after each."""

    def __init__(
        self, config: RunConfig, rank: int = 0, world_size: int = 1, *, ahead: int | None = None
    ) -> None:
        self._stream = StreamDocuments(config, rank, world_size)
        self._names: dict[int, list[list[str]]] = {}
        super().__init__(config, rank, world_size, ahead=ahead, documents=self._stream)

    def listeners(self) -> tuple[int, int]:
        """No document is examined: a stream is read once."""
        return 0, 0

    def names(self, state: LoaderState) -> list[list[str]]:
        """The pieces in this rank's rows of the batch after a state, if it was read recently."""
        return self._names.get(state.batches, [])

    def _start(self) -> LoaderState:
        self._stream.begin(self.state.batches)
        return dataclasses.replace(self.state, epoch=0, document=0, turn=0)

    def _own(self, rows: list[Row]) -> list[Row]:
        return rows

    def _plan(self, state: LoaderState) -> tuple[list[Row], LoaderState]:
        """This rank's rows of the next global batch, and the state after it."""
        self._stream.release(state.document)
        cursor = Cursor(document=state.document, turn=state.turn)
        rows = []
        for _ in range(self.config.data.rows // self.world_size):
            row, cursor = self._next_row(cursor, None)
            rows.append(row)
        counted = self._counted(state, [piece for row in rows for piece in row])
        view = self._stream.view
        self._names[state.batches] = [
            [f"{view(p.document).id}:{p.start}:{p.stop}" for p in row] for row in rows
        ]
        self._names.pop(state.batches - _KEPT_NAMES, None)
        batches = state.batches + 1
        return rows, dataclasses.replace(counted, batches=batches, document=cursor.document, turn=cursor.turn)

    def _counted(self, state: LoaderState, pieces: Sequence[Piece]) -> LoaderState:
        own = super()._counted(state, pieces)
        sums = {
            name: getattr(state, name) + self.world_size * (getattr(own, name) - getattr(state, name))
            for name in _SUMMED
        }
        padding = state.padding + self.positions_per_batch - (sums["positions"] - state.positions)
        return dataclasses.replace(own, **sums, padding=padding)

    def _check_enough(self) -> None:
        """A stream has no end, and `StreamDocuments` has checked that each rank has shards."""
