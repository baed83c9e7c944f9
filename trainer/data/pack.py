"""Documents cut into rows of exactly L positions, and rows into a batch of fixed shapes.

A row takes micro-turns of the current document as long as they fit, then of the next one. A micro-turn is
never split: a document that does not fit continues in the next row as a segment of its own. Every segment
begins with BOS and counts its micro-turns and time from 0, like a shorter document, so attention sinks are at
its start; it does not see what was said before it. Where early notes matter, rows should be several times as
long as documents, or `data.whole` should be set: then only documents longer than a row are cut, and the
others begin a new row. The rest of a row is padding: half a micro-turn on average (under 1 % of a row of
1024 or more positions without pictures, 2 to 4 % of 256), or half a document with `data.whole`.

Shape suffixes: B rows, L positions, A positions of sound, P patches, T positions that predict sound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from corpus.schemas.arrays import Int64Array
from corpus.schemas.errors import SettingsError
from corpus.trainer.config import RunConfig
from corpus.trainer.data.in_a_row import in_a_row
from corpus.trainer.data.layout import largest_turn
from corpus.trainer.data.sequence import CUE_TARGETS, NO_TARGET, PAD, Batch, Positions, Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Micro-turns `[start, stop)` of the document at place `document` of the endless order."""

    document: int
    start: int
    stop: int
    positions: int
    """BOS included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """The packer's position: the next micro-turn to place."""

    document: int = 0
    turn: int = 0


Row = tuple[Piece, ...]


def check_rows(config: RunConfig, world: int) -> None:
    """Require the same number of rows in each rank's micro-batches."""
    rows, parts = config.data.rows, world * config.accumulate
    if rows < 1 or rows % parts:
        raise SettingsError(
            f"{rows} rows do not divide among {world} ranks times {config.accumulate} accumulation steps",
            where="data.rows",
            todo=f"make it a multiple of {parts}",
        )


def next_row(
    cursor: Cursor,
    length: int,
    sizes_of: Callable[[int], Int64Array],
    *,
    end: int | None = None,
    whole: bool = False,
) -> tuple[Row, Cursor]:
    """The row that begins at a cursor, and where the next one begins.

    `sizes_of` gives the positions of each micro-turn of a document; the last document is `end` - 1.
    Documents without a micro-turn are skipped. With `whole` a document that would fit in a row of its own is
    not cut. The row is empty when nothing is left.
    """
    pieces: list[Piece] = []
    room = length
    while end is None or cursor.document < end:
        sizes = sizes_of(cursor.document)[cursor.turn :]
        # The 1 is BOS, which every segment starts with.
        ends = 1 + np.cumsum(sizes)
        if whole and len(sizes) and room < ends[-1] <= length:
            return tuple(pieces), cursor
        # How many micro-turns fit: sizes are positive, so their running sum rises.
        count = int(np.searchsorted(ends, room, side="right"))
        if count:
            stop = cursor.turn + count
            taken = int(ends[count - 1])
            pieces.append(Piece(document=cursor.document, start=cursor.turn, stop=stop, positions=taken))
            room -= taken
        if count < len(sizes):
            return tuple(pieces), Cursor(document=cursor.document, turn=cursor.turn + count)
        cursor = Cursor(document=cursor.document + 1)
    return tuple(pieces), cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Capacity:
    """The most entries that one row can need in the lists of sound, patches and targets.

    With a = positions of a window's sound and p = patches of a picture, every micro-turn holds its heard
    sound and a control slot: a + 1 positions. Speech adds a positions of own sound, so 2 a of at least
    2 a + 1 positions are sound, the densest case (2 a / (2 a + 1) > a / (a + 1)). A micro-turn with a picture
    has p patches in at least p + a + 1 positions. BOS takes one position of every row that holds anything.
    So of L positions at most floor(2 a (L - 1) / (2 a + 1)) are sound, a floor((L - 1) / (2 a + 1)) predict
    it, and p floor((L - 1) / (p + a + 1)) are patches. tests/trainer/data/test_pack.py packs rows that reach
    these bounds.
    """

    sound: int
    patches: int
    targets: int


def capacity(config: RunConfig) -> _Capacity:
    model, room = config.model, config.data.length - 1
    a, p = model.audio_positions, model.patches if config.data.pictures else 0
    return _Capacity(
        sound=2 * a * room // (2 * a + 1),
        patches=p * (room // (p + a + 1)),
        targets=a * (room // (2 * a + 1)),
    )


def check_length(config: RunConfig) -> None:
    """Require that any micro-turn fits into a row."""
    needed = 1 + largest_turn(config.model, pictures=config.data.pictures)
    if config.data.length < needed:
        raise SettingsError(
            f"a row of {config.data.length} positions cannot hold a micro-turn of {needed - 1}",
            where="data.length",
            todo=f"make it at least {needed}, better ten times that",
        )


_PADDING: dict[str, int] = {
    "token": PAD,
    "stream": Stream.PAD,
    "time": 0,
    "row": 0,
    "column": 0,
    "turn": -1,
    "text_target": NO_TARGET,
    "text_weight": 0,
}
"""Columns of single positions, and their values in padding."""


def collate(rows: Sequence[Sequence[Positions]], config: RunConfig) -> Batch:
    """Rows of segments as a batch; integers are int64, mel and pixels uint8, weights float32."""
    length = config.data.length
    most = capacity(config)
    sheet = {
        name: np.full((len(rows), length), value, np.float32 if name == "text_weight" else np.int64)
        for name, value in _PADDING.items()
    }
    # -1 marks padding for attention, routing and losses alike.
    segment_BL = np.full((len(rows), length), -1, np.int64)
    placed: list[tuple[int, Positions]] = []
    for b, row in enumerate(rows):
        at = 0
        for number, positions in enumerate(row):
            stop = at + len(positions)
            if stop > length:
                raise ValueError(f"segments of {stop} positions or more in a row of {length}")
            for name in sheet:
                sheet[name][b, at:stop] = getattr(positions, f"{name}_L")
            segment_BL[b, at:stop] = number
            placed.append((b * length + at, positions))
            at = stop
    # Padding of the lists points one past the batch, to a trash row that the model cuts off.
    model, trash = config.model, len(rows) * length
    frames = (model.frames_per_position, model.mel_bins)
    pixels = (model.patch_pixels, model.patch_pixels, 3)
    cues = sum(len(positions.cue_at_C) for _, positions in placed)
    text_at = np.flatnonzero(sheet["text_target"] != NO_TARGET)
    return Batch(
        **{f"{name}_BL": torch.from_numpy(values) for name, values in sheet.items()},
        segment_BL=torch.from_numpy(segment_BL),
        audio_at_A=_places(placed, "audio_at_A", len(rows) * most.sound, trash),
        audio_ARM=_values(placed, "audio_ARM", (len(rows) * most.sound, *frames)),
        heard_known_A=_values(placed, "heard_known_A", (len(rows) * most.sound,), bool),
        patch_at_P=_places(placed, "patch_at_P", len(rows) * most.patches, trash),
        patch_PHWC=_pixels(placed, (len(rows) * most.patches, *pixels)),
        audio_target_at_T=_places(placed, "audio_target_at_T", len(rows) * most.targets, trash),
        audio_target_TRM=_values(placed, "audio_target_TRM", (len(rows) * most.targets, *frames)),
        audio_weight_T=_values(placed, "audio_weight_T", (len(rows) * most.targets,), np.float32),
        cue_at_C=_places(placed, "cue_at_C", cues, trash),
        cue_CK=_values(placed, "cue_CK", (cues, CUE_TARGETS)),
        text_at_S=torch.from_numpy(text_at),
    )


def _places(placed: Sequence[tuple[int, Positions]], name: str, most: int, trash: int) -> torch.Tensor:
    filled = torch.full((most,), trash, dtype=torch.int64)
    at = 0
    for start, positions in placed:
        places = getattr(positions, name)
        filled[at : at + len(places)] = torch.from_numpy(places.astype(np.int64) + start)
        at += len(places)
    return filled


def _pixels(placed: Sequence[tuple[int, Positions]], shape: tuple[int, ...]) -> torch.Tensor:
    """All patches; not copied if the rows were filled in the batch's memory. Most of a batch is pixels."""
    run = in_a_row([positions.patch_PHWC for _, positions in placed if len(positions.patch_PHWC)])
    if run is None or run.start or run.whole.size != np.prod(shape):
        return _values(placed, "patch_PHWC", shape)
    run.whole[run.stop :] = 0
    return torch.from_numpy(run.whole.reshape(shape))


def _values(
    placed: Sequence[tuple[int, Positions]],
    name: str,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike = np.uint8,
) -> torch.Tensor:
    # numpy allocates megabytes of pixels in huge pages, three times faster than torch.
    filled = np.empty(shape, dtype)
    at = 0
    for _, positions in placed:
        values = getattr(positions, name)
        filled[at : at + len(values)] = values
        at += len(values)
    filled[at:] = 0  # only the padding: the rest is already written
    return torch.from_numpy(filled)
