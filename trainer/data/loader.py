"""Batches of a run: the same for any number of ranks, and exactly resumable.

    documents in their endless order -> rows (pack.py) -> global batch g = rows [g R, (g + 1) R)
    rank r of W takes rows r::W of it, in `accumulate` micro-batches

Every rank plans all rows, which needs no sound and no pixels, and reads only its own. A state is a few
integers and travels with its batch, because the thread that reads ahead is always further on. Resuming reads
again only the document that was being read.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from corpus.schemas.arrays import UInt8Array
from corpus.schemas.codec import digest, from_plain, to_plain
from corpus.schemas.errors import DatasetError, SettingsError
from corpus.trainer.config import RunConfig
from corpus.trainer.data.documents import Documents
from corpus.trainer.data.layout import beginning, concat, lay_out
from corpus.trainer.data.pack import Cursor, Piece, Row, capacity, check_length, check_rows, collate, next_row
from corpus.trainer.data.read_ahead import Ahead
from corpus.trainer.data.sequence import Batch, Positions
from corpus.trainer.data.tokenizer_named import tokenizer_named


def _state_from_1(plain: Any) -> dict[str, Any]:
    """States of form 1 did not count the length of the trained contexts."""
    return {**plain, "schema": "corpus.loader/2", "longest": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderState:
    """Where a run stands in its data, and what it has seen. Equal on all ranks."""

    older: ClassVar[dict[str, Any]] = {"corpus.loader/1": _state_from_1}

    schema: str = "corpus.loader/2"
    dataset: str
    """sha256 of the dataset's manifest; for a mixture or selected clips, a digest of what selects them."""
    settings: str
    """Digest of all settings that decide the content of batches."""
    seed: int
    batches: int = 0
    """Whole global batches taken."""
    epoch: int = 0
    document: int = 0
    """Place of the current document in the epoch."""
    turn: int = 0
    """The current document's first micro-turn not yet taken."""
    chain: str = "0" * 16
    """64-bit hash chain over the pieces of documents taken, 16 hex digits."""
    positions: int = 0
    """Filled positions taken."""
    padding: int = 0
    longest: int = 0
    """The most micro-turns of one document in one row so far."""
    documents: int = 0
    """Documents begun. The counts below are of their text, in tokens (`TextCounts`)."""
    text: int = 0
    text_spilled: int = 0
    """Written in a later window than their word starts in."""
    text_later: int = 0
    """Spilled past a silent window, into a later stretch of speech."""
    text_left: int = 0
    """Still waiting at the end of their document."""
    text_before: int = 0
    """Of words that start before the first window the model speaks in."""


_LOOKED_AT = 200
_RARE = ("whole", "together")
"""Settings that a state names only where they are on, so that states of older runs stay valid."""


class Loader:
    """Micro-batches of one rank with the state after each.

    The state changes with the last micro-batch of a global batch, so a resumed run takes whole optimiser
    steps. With `epochs` the loader ends after that many epochs and fills the last global batch up with empty
    rows, so every rank gets the same number of batches. It can then be iterated again.

    Raises:
        DatasetError: no dataset, one of another form, or too few clips for a batch.
        SettingsError: rows do not divide among ranks and accumulation steps, or a micro-turn does not fit
            into a row.
    """

    def __init__(
        self,
        config: RunConfig,
        rank: int = 0,
        world_size: int = 1,
        *,
        epochs: int | None = None,
        ahead: int | None = None,
        weighed: bool = True,
        documents: Documents | None = None,
    ) -> None:
        _check(config, rank, world_size)
        check_length(config)
        self.config, self.rank, self.world_size = config, rank, world_size
        # A step takes all of its micro-batches before it begins, so that many are made during the last one.
        self._ahead = max(2, config.accumulate) if ahead is None else ahead
        self._pin = config.device != "cpu" and torch.cuda.is_available()
        self._documents = Documents(config, weighed=weighed) if documents is None else documents
        self._end = None if epochs is None else epochs * len(self._documents)
        self.state = LoaderState(
            dataset=self._documents.digest, settings=settings_digest(config), seed=config.data.seed
        )
        self._check_enough()

    @property
    def documents(self) -> int:
        """Documents in an epoch: one for each speaker of each clip, several times with wanted cues."""
        return len(self._documents)

    def listeners(self) -> tuple[int, int]:
        """The number of documents whose speaker says nothing, and the number of documents examined: all, or
        the first ones."""
        among = min(len(self._documents), _LOOKED_AT)
        return sum(not self._documents.view(place).speak_N.any() for place in range(among)), among

    @property
    def positions_per_batch(self) -> int:
        """Positions in a global batch, padding included."""
        return self.config.data.rows * self.config.data.length

    def __iter__(self) -> Iterator[tuple[Batch, LoaderState]]:
        with ThreadPoolExecutor(self.config.data.workers, thread_name_prefix="rows") as pool:
            batches = self._batches(self._start(), pool)
            if self._ahead == 0:
                yield from self._noted(batches)
                return
            with Ahead(batches, self._ahead) as ahead:
                yield from self._noted(ahead)

    def _start(self) -> LoaderState:
        """Where an iterator begins: at the current state, or at the start if all epochs are done."""
        place = self.state.epoch * len(self._documents) + self.state.document
        if self._end is None or place < self._end:
            return self.state
        return LoaderState(dataset=self.state.dataset, settings=self.state.settings, seed=self.state.seed)

    def state_dict(self) -> dict[str, int | str]:
        """The state after the last batch handed out."""
        return dataclasses.asdict(self.state)

    def load_state_dict(self, plain: Mapping[str, object], began: RunConfig | None = None) -> None:
        """Continue from a state; existing iterators are not affected. `began`, the configuration the run
        began with, lets the error name the settings that differ.

        Raises:
            DatasetError: the state belongs to another dataset.
            SettingsError: batches would be cut differently now.
        """
        state = from_plain(LoaderState, dict(plain), where="the loader's state")
        if (state.settings, state.seed) != (self.state.settings, self.state.seed):
            now = _settings(self.config)
            old = {} if began is None else _settings(began)
            if began is not None:
                old = {
                    **dict.fromkeys(now, ""),
                    **dict.fromkeys(map("data.{}".format, _RARE), "false"),
                    **({"data.reader": "map"} if "data.reader" in now else {}),
                    **old,
                }
            differ = [f"{name}={to_plain(old[name])}" for name in old if old[name] != now.get(name, "false")]
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
        """The pieces in each row of the global batch that follows a state, as `KEY/channel:start:stop`."""
        rows, _ = self._plan(state)
        view = self._documents.view
        return [[f"{view(p.document).id}:{p.start}:{p.stop}" for p in row] for row in rows]

    def _noted(self, batches: Iterator[tuple[Batch, LoaderState]]) -> Iterator[tuple[Batch, LoaderState]]:
        for batch, state in batches:
            self.state = state
            yield batch, state

    def _batches(self, state: LoaderState, pool: ThreadPoolExecutor) -> Iterator[tuple[Batch, LoaderState]]:
        while True:
            rows, after = self._plan(state)
            if not any(rows):
                return
            # Row r of the global batch is the same for any number of ranks; each fills every W-th.
            own = self._own(rows)
            each = len(own) // self.config.accumulate
            rooms = [room for k in range(0, len(own), each) for room in self._rooms(own[k : k + each])]
            filled = pool.map(self._fill, own, rooms)
            for step in range(self.config.accumulate):
                micro = [next(filled) for _ in range(each)]
                # The state changes with a step's last micro-batch, so a resumed run takes whole steps.
                last = step == self.config.accumulate - 1
                batch = collate(micro, self._documents.config)
                yield _pinned(batch) if self._pin else batch, after if last else state
            state = after

    def _own(self, rows: list[Row]) -> list[Row]:
        """The planned rows that this rank reads."""
        return rows[self.rank :: self.world_size]

    def _plan(self, state: LoaderState) -> tuple[list[Row], LoaderState]:
        """The rows of the next global batch, on all ranks, and the state after it."""
        count = len(self._documents)
        cursor = Cursor(document=state.epoch * count + state.document, turn=state.turn)
        rows = []
        for _ in range(self.config.data.rows):
            # Sizes suffice: planning the rows of all ranks reads no sound and decodes no pictures.
            row, cursor = self._next_row(cursor, self._end)
            rows.append(row)
        epoch, document = divmod(cursor.document, count)
        counted = self._counted(state, [piece for row in rows for piece in row])
        batches = state.batches + 1
        return rows, dataclasses.replace(
            counted, batches=batches, epoch=epoch, document=document, turn=cursor.turn
        )

    def _next_row(self, cursor: Cursor, end: int | None) -> tuple[Row, Cursor]:
        data = self.config.data
        return next_row(cursor, data.length, self._documents.sizes, end=end, whole=data.whole)

    def _counted(self, state: LoaderState, pieces: Sequence[Piece]) -> LoaderState:
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

    def _rooms(self, rows: Sequence[Row]) -> list[list[UInt8Array]]:
        """Memory of the batch for the pixels of each piece, so that they are decoded in place."""
        config = self._documents.config
        side, at = config.model.patch_pixels, 0
        whole = np.empty(len(rows) * capacity(config).patches * side * side * 3, np.uint8)
        rooms: list[list[UInt8Array]] = []
        for row in rows:
            rooms.append([])
            for piece in row:
                pictures = self._documents.pictures(piece.document, piece.start, piece.stop)
                size = pictures * config.model.patches * side * side * 3
                rooms[-1].append(whole[at : at + size])
                at += size
        return rooms

    def _fill(self, row: Row, rooms: Sequence[UInt8Array]) -> list[Positions]:
        model, loss, read = self.config.model, self.config.loss, self._documents.turns
        begin = beginning(model)
        turns = [read(p.document, p.start, p.stop, room) for p, room in zip(row, rooms, strict=True)]
        return [concat([begin, lay_out(part, model, loss)]) for part in turns]

    def _check_enough(self) -> None:
        """Require an epoch to fill every row of a batch. Raises: DatasetError."""
        cursor, wanted = Cursor(), 1 if self._end is not None else self.config.data.rows
        for done in range(wanted):
            row, cursor = self._next_row(cursor, len(self._documents))
            if not row:
                raise DatasetError(
                    f"too few clips: the {len(self._documents)} documents of split "
                    f"{self.config.data.split!r} fill {done} of {wanted} rows of {self.config.data.length}",
                    where=self.config.data.data,
                    todo="build more recordings, or make data.rows or data.length smaller",
                )


def settings_digest(config: RunConfig) -> str:
    """Digest of all settings that decide the content of batches, including the tokenizer's bytes."""
    return digest(_settings(config))


def _pinned(batch: Batch) -> Batch:
    """The batch in pinned memory, from which a GPU copies while the host goes on."""
    return Batch(**{name: getattr(batch, name).pin_memory() for name in Batch.__slots__})


def _check(config: RunConfig, rank: int, world_size: int) -> None:
    if not 0 <= rank < world_size:
        raise SettingsError(f"rank {rank} of {world_size}", where="data", todo="start it with torchrun")
    check_rows(config, world_size)
    if config.data.workers < 1:
        raise SettingsError(
            "there are no threads to read with", where="data.workers", todo="make it at least 1"
        )


def _settings(config: RunConfig) -> dict[str, object]:
    """All settings that decide the content of batches."""
    model, data = config.model, config.data
    names = ("split", "length", "rows", "seed", "pictures", "hears")
    settings: dict[str, object] = {f"data.{name}": getattr(data, name) for name in names}
    settings["data.tokenizer"] = tokenizer_named(data.tokenizer).identity
    settings |= {f"data.cue_weight.{label}": n for label, n in data.cue_weight.items() if n != 1}
    if data.reader != "map":
        settings |= {"data.reader": data.reader, "data.stream_buffer": data.stream_buffer}
    if data.where:  # absent if empty, so that states of older runs stay valid
        settings["data.where"] = data.where
    settings |= {f"data.{name}": True for name in _RARE if getattr(data, name)}
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
