"""Rows: whole micro-turns, each once, never more than fits; and from rows back to what was packed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.schemas.arrays import Int64Array
from corpus.schemas.errors import SettingsError
from corpus.trainer.config import LossConfig, RunConfig
from corpus.trainer.data.layout import Turns, beginning, concat, largest_turn, lay_out
from corpus.trainer.data.pack import Cursor, Piece, Row, capacity, check_length, collate, next_row
from corpus.trainer.data.sequence import EOW, NO_TARGET, PAD, SPK, Batch, Positions, Stream
from corpus.trainer.presets import MODELS, preset


def rows_from(
    cursor: Cursor, length: int, sizes_of: Callable[[int], Int64Array], *, end: int
) -> Iterator[tuple[Row, Cursor]]:
    """All rows up to the document `end`."""
    while True:
        row, cursor = next_row(cursor, length, sizes_of, end=end)
        if not row:
            return
        yield row, cursor


def run(length: int, *, patches: int = 2, r: int = 2, slots: int = 4) -> RunConfig:
    base = preset("tiny")
    model = dataclasses.replace(
        MODELS["tiny"],
        picture_rows=min(1, patches),
        picture_columns=patches,
        patch_pixels=4,
        frames_per_position=r,
        text_slots=slots,
    )
    return dataclasses.replace(base, model=model, data=dataclasses.replace(base.data, length=length, rows=4))


def turns_of(config: RunConfig, count: int, seed: int, *, full: bool = False, text: bool = True) -> Turns:
    """Random micro-turns; `full`: each speaks and has a picture."""
    model, rng = config.model, np.random.default_rng(seed)
    speak = np.ones(count, bool) if full else rng.random(count) < 0.5
    shape = (count, model.frames_per_window, model.mel_bins)
    pixels = (model.patches, model.patch_pixels, model.patch_pixels, 3)

    def tokens() -> tuple[int, ...]:
        some = int(rng.integers(0, model.text_slots + 1)) if text else 0
        return tuple(rng.integers(16, 272, some).tolist())

    return Turns(
        heard_NFM=rng.integers(0, 256, shape, np.uint8),
        pictures=[
            rng.integers(0, 256, pixels, np.uint8) if model.patches and (full or rng.random() < 0.5) else None
            for _ in range(count)
        ],
        given=[tokens() for _ in range(count)],
        speak_N=speak,
        written=[tokens() if s else () for s in speak],
        sound_NFM=rng.integers(0, 256, shape, np.uint8),
        heard_known_NF=np.ones(shape[:2], bool),
        audible_NF=np.ones(shape[:2], bool),
        known_N=np.ones(count, bool),
        spoke_before=False,
    )


def sliced(turns: Turns, start: int, stop: int) -> Turns:
    columns = {f.name: getattr(turns, f.name) for f in dataclasses.fields(Turns)}
    cut = {n: v if n == "spoke_before" or v is None else v[start:stop] for n, v in columns.items()}
    return Turns(
        **cut | {"spoke_before": turns.spoke_before if start == 0 else bool(turns.speak_N[start - 1])}
    )


def packed(config: RunConfig, documents: list[Turns]) -> tuple[list[list[Positions]], list[list[int]]]:
    """Rows of segments, and the document of each segment."""
    laid = [lay_out(turns, config.model, config.loss) for turns in documents]
    sizes = [np.bincount(p.turn_L, minlength=len(t)) for p, t in zip(laid, documents, strict=True)]
    rows, owners = [], []
    for row, _ in rows_from(Cursor(), config.data.length, sizes.__getitem__, end=len(sizes)):
        rows.append(
            [
                concat(
                    [
                        beginning(config.model),
                        lay_out(sliced(documents[p.document], p.start, p.stop), config.model, config.loss),
                    ]
                )
                for p in row
            ]
        )
        assert [len(segment) for segment in rows[-1]] == [p.positions for p in row]
        owners.append([p.document for p in row])
    return rows, owners


@given(
    documents=st.lists(st.lists(st.integers(1, 20), max_size=30), min_size=1, max_size=12),
    length=st.integers(21, 90),
)
@settings(max_examples=150)
def test_rows_hold_every_micro_turn_once_in_order_and_break_off_only_when_the_next_does_not_fit(
    documents: list[list[int]], length: int
) -> None:
    sizes = [np.array(document, np.int64) for document in documents]
    rows = list(rows_from(Cursor(), length, sizes.__getitem__, end=len(sizes)))
    placed = [(p.document, t) for row, _ in rows for p in row for t in range(p.start, p.stop)]
    assert placed == [(d, t) for d, document in enumerate(documents) for t in range(len(document))]
    for number, (row, after) in enumerate(rows):
        used = sum(p.positions for p in row)
        assert used == sum(1 + int(sizes[p.document][p.start : p.stop].sum()) for p in row) <= length
        rest = [(d, t) for d, t in placed if (d, t) > (row[-1].document, row[-1].stop - 1)]
        if rest:
            document, turn = rest[0]
            goes_on = document == row[-1].document
            assert used + (0 if goes_on else 1) + documents[document][turn] > length
            again, _ = next_row(after, length, sizes.__getitem__, end=len(sizes))
            assert again == rows[number + 1][0]
        else:
            assert number == len(rows) - 1


@given(
    documents=st.lists(st.lists(st.integers(1, 20), max_size=30), min_size=1, max_size=12),
    length=st.integers(21, 150),
)
@settings(max_examples=150)
def test_whole_documents_are_cut_only_where_no_row_holds_them(
    documents: list[list[int]], length: int
) -> None:
    sizes = [np.array(document, np.int64) for document in documents]
    cursor, rows = Cursor(), 0
    pieces: list[Piece] = []
    while True:
        row, cursor = next_row(cursor, length, sizes.__getitem__, end=len(sizes), whole=True)
        if not row:
            break
        assert sum(piece.positions for piece in row) <= length
        pieces += row
        rows += 1
    assert [(p.document, t) for p in pieces for t in range(p.start, p.stop)] == [
        (d, t) for d, document in enumerate(documents) for t in range(len(document))
    ]
    for number, document in enumerate(documents):
        parts = [piece for piece in pieces if piece.document == number]
        assert len(parts) == bool(document) or 1 + sum(document) > length
    assert rows >= len(list(rows_from(Cursor(), length, sizes.__getitem__, end=len(sizes))))


@given(
    patches=st.integers(0, 5),
    r=st.sampled_from([1, 2, 4, 8]),
    slots=st.integers(1, 12),
    extra=st.integers(0, 120),
    seed=st.integers(0, 2**31),
    full=st.booleans(),
    text=st.booleans(),
)
@settings(max_examples=60)
def test_lists_never_overflow(
    patches: int, r: int, slots: int, extra: int, seed: int, full: bool, text: bool
) -> None:
    config = run(100, patches=patches, r=r, slots=slots)
    length = 1 + largest_turn(config.model, pictures=True) + extra
    config = run(length, patches=patches, r=r, slots=slots)
    most = capacity(config)
    rows, _ = packed(config, [turns_of(config, 12, seed + k, full=full, text=text) for k in range(3)])
    for row in rows:
        assert sum(len(segment.audio_at_A) for segment in row) <= most.sound
        assert sum(len(segment.patch_at_P) for segment in row) <= most.patches
        assert sum(len(segment.audio_target_at_T) for segment in row) <= most.targets


def test_capacities_are_reached() -> None:
    """A row of micro-turns that all speak without text, with pictures and without, fills them."""
    for patches in (0, 3):
        config = run(1 + 5 * (9 + patches), patches=patches)
        rows, _ = packed(config, [turns_of(config, 5, 0, full=True, text=False)])
        most = capacity(config)
        assert len(rows[0][0]) == config.data.length
        assert len(rows[0][0].audio_target_at_T) == 20
        if patches == 0:
            assert (most.sound, most.targets) == (40, 20)
            assert len(rows[0][0].audio_at_A) == 40
    quiet = run(1 + 5 * (5 + 3), patches=3)
    turns = dataclasses.replace(turns_of(quiet, 5, 0, full=True, text=False), speak_N=np.zeros(5, bool))
    assert len(lay_out(turns, quiet.model, quiet.loss).patch_at_P) == capacity(quiet).patches == 15


def test_a_row_too_short_for_a_micro_turn_is_refused() -> None:
    needed = 1 + largest_turn(run(100).model, pictures=True)
    check_length(run(needed))
    with pytest.raises(SettingsError, match=f"data.length.*at least {needed}"):
        check_length(run(needed - 1))


def test_padding_is_small() -> None:
    """Half a micro-turn a row: the share the module's docstring names."""
    for length, most in ((256, 0.03), (2048, 0.005)):
        config = run(length, patches=0)
        documents = [turns_of(config, 150, seed) for seed in range(6)]
        rows, _ = packed(config, documents)
        filled = [sum(len(segment) for segment in row) for row in rows[:-1]]
        assert 1 - sum(filled) / (length * len(filled)) < most


def test_a_batch_is_its_rows(seed: int = 5) -> None:
    """Every entry of the batch, looked up one by one."""
    config = run(64)
    rows, _ = packed(config, [turns_of(config, 9, seed + k) for k in range(4)])
    batch = collate(rows, config)
    most, trash = capacity(config), len(rows) * 64
    assert batch.shape == (len(rows), 64)
    names = {
        "token": PAD,
        "stream": int(Stream.PAD),
        "time": 0,
        "row": 0,
        "column": 0,
        "turn": -1,
        "text_target": NO_TARGET,
        "text_weight": 0.0,
    }
    for b, row in enumerate(rows):
        flat = [(n, segment, k) for n, segment in enumerate(row) for k in range(len(segment))]
        for at in range(64):
            number, segment, k = flat[at] if at < len(flat) else (-1, None, 0)
            assert batch.segment_BL[b, at] == number
            for name, padding in names.items():
                expected = padding if segment is None else getattr(segment, f"{name}_L")[k]
                assert getattr(batch, f"{name}_BL")[b, at] == expected, (name, b, at)
    lists = (
        ("audio_at_A", ("audio_ARM", "heard_known_A"), most.sound),
        ("patch_at_P", ("patch_PHWC",), most.patches),
        ("audio_target_at_T", ("audio_target_TRM", "audio_weight_T"), most.targets),
    )
    for at_name, others, each in lists:
        expected_at, values = [], {name: [] for name in others}
        for b, row in enumerate(rows):
            start = b * 64
            for segment in row:
                expected_at += (getattr(segment, at_name) + start).tolist()
                for name in others:
                    values[name] += list(getattr(segment, name))
                start += len(segment)
        found = getattr(batch, at_name)
        assert found.tolist() == expected_at + [trash] * (each * len(rows) - len(expected_at))
        for name in others:
            assert len(getattr(batch, name)) == len(found)
            for mine, theirs in zip(getattr(batch, name), values[name], strict=False):
                assert np.array_equal(mine.numpy(), theirs)
    assert batch.token_BL.dtype == torch.int64 and batch.audio_ARM.dtype == torch.uint8


def read_back(batch: Batch, config: RunConfig) -> list[Turns]:
    """The micro-turns of every segment of a batch, from its tensors alone."""
    rows, length = batch.shape
    sound = dict(zip(batch.audio_at_A.tolist(), batch.audio_ARM.numpy(), strict=True))
    pixels = dict(zip(batch.patch_at_P.tolist(), batch.patch_PHWC.numpy(), strict=True))
    made = []
    for b in range(rows):
        for number in range(int(batch.segment_BL[b].max()) + 1):
            here = (batch.segment_BL[b] == number).nonzero().flatten().tolist()
            assert here == list(range(here[0], here[0] + len(here)))
            count = int(batch.turn_BL[b, here].max()) + 1
            assert batch.turn_BL[b, here[0]] == -1 and batch.time_BL[b, here[0]] == 0
            kept: dict[tuple[int, int], list[object]] = {}
            for at in here[1:]:
                key = (int(batch.turn_BL[b, at]), int(batch.stream_BL[b, at]))
                flat = b * length + at
                value = sound.get(flat, pixels.get(flat, int(batch.token_BL[b, at])))
                kept.setdefault(key, []).append(value)
            made.append(_turns(kept, count, config))
    return made


def _turns(kept: dict[tuple[int, int], list[object]], count: int, config: RunConfig) -> Turns:
    model = config.model
    shape = (model.frames_per_window, model.mel_bins)

    def of(turn: int, stream: Stream) -> list[object]:
        return kept.get((turn, int(stream)), [])

    def windows(stream: Stream) -> np.ndarray:
        found = [np.array(of(t, stream) or np.zeros(shape, np.uint8)).reshape(shape) for t in range(count)]
        return np.stack(found).astype(np.uint8)

    controls = [of(t, Stream.CONTROL) for t in range(count)]
    written = [tuple(of(t, Stream.OWN_TEXT)) for t in range(count)]
    for tokens, control in zip(written, controls, strict=True):
        assert (EOW in control) == bool(tokens)
    return Turns(
        heard_NFM=windows(Stream.HEARD),
        pictures=[np.stack(of(t, Stream.PICTURE)) if of(t, Stream.PICTURE) else None for t in range(count)],
        given=[tuple(of(t, Stream.GIVEN_TEXT)) for t in range(count)],
        speak_N=np.array([control[0] == SPK for control in controls]),
        written=written,
        sound_NFM=windows(Stream.OWN_SOUND),
        heard_known_NF=np.ones((count, model.frames_per_window), bool),
        audible_NF=np.ones((count, model.frames_per_window), bool),
        known_N=np.ones(count, bool),
        spoke_before=False,
    )


def test_from_a_batch_back_to_what_happened_and_again_to_the_same_batch() -> None:
    config = dataclasses.replace(run(64), loss=LossConfig(onset=1, silence=1, offset=1))
    rows, owners = packed(config, [turns_of(config, 9, 40 + k) for k in range(5)])
    batch = collate(rows, config)
    segments = iter(read_back(batch, config))
    again = [
        [concat([beginning(config.model), lay_out(next(segments), config.model, config.loss)]) for _ in row]
        for row in owners
    ]
    second = collate(again, config)
    for name in Batch.__slots__:
        assert torch.equal(getattr(batch, name), getattr(second, name)), name


def test_a_segment_knows_nothing_of_its_neighbours() -> None:
    """Another document before, behind, or the same one cut elsewhere: its entries stay as they are."""
    config = run(64)
    documents = [turns_of(config, 9, 70 + k) for k in range(3)]
    other = [turns_of(config, 9, 90), documents[1], turns_of(config, 9, 91)]
    for one, two in zip(*(collated(config, d) for d in (documents, other)), strict=True):
        assert np.array_equal(one, two)


def collated(config: RunConfig, documents: list[Turns]) -> list[np.ndarray]:
    """What the batch holds of the middle document when it stands in a row alone with its neighbours."""
    laid = [
        concat([beginning(config.model), lay_out(sliced(t, 0, 2), config.model, config.loss)])
        for t in documents
    ]
    batch = collate([laid], run(400))
    here = (batch.segment_BL[0] == 1).numpy()
    return [
        getattr(batch, f"{name}_BL")[0].numpy()[here]
        for name in ("token", "stream", "time", "row", "column", "turn", "text_target", "text_weight")
    ]
