"""Batches of a run: the same for any number of ranks, and exactly resumable.

    documents in their endless order -> rows (pack.py) -> global batch g = rows [g R, (g + 1) R)
    rank r of W takes rows r::W of it, in `accumulate` micro-batches

Every rank plans all rows, which needs neither sound nor pixels, and reads only its own. A state is a few
integers and travels with its batch, because the thread that reads ahead is always further on. Resuming reads
only the current document again.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from corpus.schemas.codec import digest, from_plain, to_plain
from corpus.schemas.errors import DatasetError, SettingsError
from corpus.trainer.config import RunConfig
from corpus.trainer.data.documents import Documents
from corpus.trainer.data.layout import beginning, concat, lay_out
from corpus.trainer.data.pack import Cursor, Piece, Row, check_length, check_rows, collate, next_row
from corpus.trainer.data.read_ahead import Ahead
from corpus.trainer.data.sequence import Batch, Positions
from corpus.trainer.data.tokenizer_file import tokenizer_named


def _state_from_1(plain: Any) -> dict[str, Any]:
    """The older form does not count how long the trained contexts were."""
    return {**plain, "schema": "corpus.loader/2", "longest": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderState:
    """A run's position in its data, and counts of what it has seen. Equal on all ranks."""

    older: ClassVar[dict[str, Any]] = {"corpus.loader/1": _state_from_1}

    schema: str = "corpus.loader/2"
    dataset: str
    """sha256 of the dataset's manifest; for a mixture or chosen clips, a digest of everything that
    decides."""
    settings: str
    """Digest of all settings that decide the content of batches."""
    seed: int
    batches: int = 0
    """Whole global batches taken."""
    epoch: int = 0
    document: int = 0
    """Position of the current document in the epoch."""
    turn: int = 0
    """Its first micro-turn not yet taken."""
    chain: str = "0" * 16
    """64-bit hash chain over the pieces of documents taken, 16 hex digits."""
    positions: int = 0
    """Filled positions taken."""
    padding: int = 0
    longest: int = 0
    """The most micro-turns of a document taken in one row."""
    documents: int = 0
    """Documents begun."""
    text: int = 0
    """Text tokens of documents begun."""
    text_spilled: int = 0
    """Of these, written in a later window than their word starts in."""
    text_later: int = 0
    """Of the spilled, written after a silence: in a later stretch of speech."""
    text_left: int = 0
    """Still waiting at their document's end, and so not written."""
    text_before: int = 0
    """Of words before the first window the model speaks in, and so not written."""


_SAMPLED_DOCUMENTS = 200


class Loader:
    """Micro-batches of one rank with the state after each.

    The state advances with the last micro-batch of a global batch; before that it is the one the global batch
    began with, so resuming repeats whole optimiser steps. With `epochs` it ends after so many, and the last
    global batch is padded with empty rows, so that every rank gets the same number of batches. It can then be
    iterated again.

    Raises:
        DatasetError: no dataset, another form, or too few clips for a batch.
        SettingsError: rows, ranks and accumulation steps, or row length and micro-turns, do not fit.
    """

    def __init__(
        self,
        config: RunConfig,
        rank: int = 0,
        world_size: int = 1,
        *,
        epochs: int | None = None,
        ahead: int | None = None,
    ) -> None:
        _check(config, rank, world_size)
        check_length(config)
        self.config, self.rank, self.world_size = config, rank, world_size
        # A step takes all of its micro-batches at once, so prepare as many during the previous one.
        self._ahead = max(2, config.accumulate) if ahead is None else ahead
        self._pin = config.device != "cpu" and torch.cuda.is_available()
        self._documents = Documents(config)
        self._end = None if epochs is None else epochs * len(self._documents)
        self.state = LoaderState(
            dataset=self._documents.digest, settings=digest(_settings(config)), seed=config.data.seed
        )
        self._check_enough()

    @property
    def documents(self) -> int:
        """Documents in an epoch: clips times speakers."""
        return len(self._documents)

    def listeners(self) -> tuple[int, int]:
        """How many documents have a speaker who says nothing in the clip, and how many documents were
        checked: all, or the first ones."""
        checked = min(len(self._documents), _SAMPLED_DOCUMENTS)
        return sum(not self._documents.view(place).speak_N.any() for place in range(checked)), checked

    @property
    def positions_per_batch(self) -> int:
        """Of a global batch, padding included."""
        return self.config.data.rows * self.config.data.length

    def __iter__(self) -> Iterator[tuple[Batch, LoaderState]]:
        # Threads, not processes: decoding and numpy release the GIL, and batches need not be copied.
        with ThreadPoolExecutor(self.config.data.workers, thread_name_prefix="rows") as pool:
            batches = self._batches(self._start(), pool)
            if self._ahead == 0:
                yield from self._noted(batches)
                return
            with Ahead(batches, self._ahead) as ahead:
                yield from self._noted(ahead)

    def _start(self) -> LoaderState:
        """Where an iterator begins: at the state, or at the start if all epochs are done."""
        place = self.state.epoch * len(self._documents) + self.state.document
        if self._end is None or place < self._end:
            return self.state
        return LoaderState(dataset=self.state.dataset, settings=self.state.settings, seed=self.state.seed)

    def state_dict(self) -> dict[str, int | str]:
        """The state after the last batch returned."""
        return dataclasses.asdict(self.state)

    def load_state_dict(self, plain: Mapping[str, object], began: RunConfig | None = None) -> None:
        """Continue from a state; existing iterators are not affected. `began` names the settings that differ.

        Raises:
            DatasetError: the state is of another dataset.
            SettingsError: batches would have other content now.
        """
        state = from_plain(LoaderState, dict(plain), where="the loader's state")
        if (state.settings, state.seed) != (self.state.settings, self.state.seed):
            now = _settings(self.config)
            old = {} if began is None else _settings(began)
            if began is not None:
                old = {**dict.fromkeys(now, ""), **old}
            differ = [f"{name}={to_plain(old[name])}" for name in old if old[name] != now.get(name)]
            raise SettingsError(
                "settings that decide the content of batches differ from those the run began with",
                where="data",
                todo=f"set {', '.join(differ or now)} as it was, or start a new run",
            )
        if state.dataset != self.state.dataset:
            raise DatasetError(
                "this is not the dataset the run was trained on",
                where=self.config.data.data,
                todo="resume with the datasets and weights the run began with, or start a new run",
            )
        self.state = state

    def names(self, state: LoaderState) -> list[list[str]]:
        """The pieces in each row of the global batch after a state, as `KEY/channel:start:stop`."""
        rows, _ = self._plan(state)
        view = self._documents.view
        return [[f"{view(p.document).id}:{p.start}:{p.stop}" for p in row] for row in rows]

    def _noted(self, batches: Iterator[tuple[Batch, LoaderState]]) -> Iterator[tuple[Batch, LoaderState]]:
        for batch, state in batches:
            self.state = state  # only when a batch is taken: the thread that reads ahead is further on
            yield batch, state

    def _batches(self, state: LoaderState, pool: ThreadPoolExecutor) -> Iterator[tuple[Batch, LoaderState]]:
        while True:
            rows, after = self._plan(state)
            if not any(rows):
                return
            # Row r of the global batch is the same for any number of ranks; each rank fills every W-th.
            # Interleaved, so that every rank gets long and short rows alike.
            own = rows[self.rank :: self.world_size]
            each = len(own) // self.config.accumulate
            filled = pool.map(self._fill, own)
            for step in range(self.config.accumulate):
                micro = [next(filled) for _ in range(each)]
                # The state advances with a step's last micro-batch: resuming repeats whole steps.
                last = step == self.config.accumulate - 1
                batch = collate(micro, self._documents.config)
                yield _pinned(batch) if self._pin else batch, after if last else state
            state = after

    def _plan(self, state: LoaderState) -> tuple[list[Row], LoaderState]:
        """The rows of the next global batch, on all ranks, and the state after it."""
        count = len(self._documents)
        cursor = Cursor(document=state.epoch * count + state.document, turn=state.turn)
        rows = []
        for _ in range(self.config.data.rows):
            # Sizes alone: planning the rows of all ranks mixes no sound and decodes no picture.
            row, cursor = next_row(cursor, self.config.data.length, self._documents.sizes, end=self._end)
            rows.append(row)
        epoch, document = divmod(cursor.document, count)
        counted = self._counted(state, [piece for row in rows for piece in row])
        batches = state.batches + 1
        return rows, dataclasses.replace(
            counted, batches=batches, epoch=epoch, document=document, turn=cursor.turn
        )

    def _counted(self, state: LoaderState, pieces: Sequence[Piece]) -> LoaderState:
        # A hash over all pieces so far: two runs that saw the same data in the same order have equal chains.
        chain = bytes.fromhex(state.chain)
        begun = [self._documents.view(piece.document) for piece in pieces if piece.start == 0]
        for piece in pieces:
            name = f"{self._documents.view(piece.document).id}:{piece.start}:{piece.stop}"
            chain = hashlib.blake2b(chain + name.encode(), digest_size=8).digest()
        filled = sum(piece.positions for piece in pieces)
        return dataclasses.replace(
            state,
            chain=chain.hex(),
            positions=state.positions + filled,
            longest=max([state.longest, *(piece.stop - piece.start for piece in pieces)]),
            padding=state.padding + self.positions_per_batch - filled,
            documents=state.documents + len(begun),
            text=state.text + sum(view.text.written for view in begun),
            text_spilled=state.text_spilled + sum(view.text.spilled for view in begun),
            text_later=state.text_later + sum(view.text.later for view in begun),
            text_left=state.text_left + sum(view.text.left for view in begun),
            text_before=state.text_before + sum(view.text.before for view in begun),
        )

    def _fill(self, row: Row) -> list[Positions]:
        model, loss = self.config.model, self.config.loss
        begin = beginning(model)
        turns = [self._documents.turns(piece.document, piece.start, piece.stop) for piece in row]
        # Every segment starts with BOS, also one that continues a document from the row before.
        return [concat([begin, lay_out(part, model, loss)]) for part in turns]

    def _check_enough(self) -> None:
        """Require documents for every row of a batch."""
        sizes = self._documents.sizes
        cursor, rows = Cursor(), 1 if self._end is not None else self.config.data.rows
        for done in range(rows):
            row, cursor = next_row(cursor, self.config.data.length, sizes, end=len(self._documents))
            if not row:
                raise DatasetError(
                    f"too few clips: the {len(self._documents)} documents of split "
                    f"{self.config.data.split!r} fill {done} of {rows} rows of {self.config.data.length}",
                    where=self.config.data.data,
                    todo="build more recordings, or make data.rows or data.length smaller",
                )


def _pinned(batch: Batch) -> Batch:
    """The batch in pinned memory, from which a GPU copies asynchronously."""
    return Batch(**{name: getattr(batch, name).pin_memory() for name in Batch.__slots__})


def _check(config: RunConfig, rank: int, world_size: int) -> None:
    if not 0 <= rank < world_size:
        raise SettingsError(f"rank {rank} of {world_size}", where="data", todo="start it with torchrun")
    check_rows(config, world_size)
    if config.data.workers < 1:
        raise SettingsError("no thread to read with", where="data.workers", todo="make it at least 1")


def _settings(config: RunConfig) -> dict[str, object]:
    """All settings that decide the content of batches."""
    model, data = config.model, config.data
    names = ("split", "length", "rows", "seed", "pictures", "hears")
    settings: dict[str, object] = {f"data.{name}": getattr(data, name) for name in names}
    settings["data.tokenizer"] = tokenizer_named(data.tokenizer).identity
    if data.where:  # absent if empty, so that states of runs from before this setting stay valid
        settings["data.where"] = data.where
    for name in (
        "mel_bins",
        "frames_per_window",
        "frames_per_position",
        "picture_rows",
        "picture_columns",
        "patch_pixels",
        "picture_every",
        "text_slots",
        "response_delay",
    ):
        settings[f"model.{name}"] = getattr(model, name)
    return settings
