"""Micro-turns as positions, against a reference that writes one position after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.schemas.arrays import UInt8Array
from corpus.trainer.config import LossConfig, ModelConfig
from corpus.trainer.data.layout import (
    Turns,
    beginning,
    concat,
    input_block,
    largest_turn,
    lay_out,
    part,
    sound_slot,
    text_slot,
    turn_sizes,
)
from corpus.trainer.data.sequence import BOS, EOW, NO_TARGET, SIL, SPK, Positions, Stream
from corpus.trainer.presets import MODELS

LOSS = LossConfig(text=1.5, silence=0.2, onset=3, offset=1.1, end_of_window=0.5, audio=0.7)


def output_block(
    turn: int,
    model: ModelConfig,
    *,
    speak: bool,
    written: Sequence[int] = (),
    sound_FM: UInt8Array | None = None,
) -> Positions:
    """out_i alone, without targets: what a running model has answered."""
    if not speak:
        return text_slot(turn, 0, SIL, model)
    tokens = (SPK, *written, EOW) if written else (SPK,)
    slots = [text_slot(turn, slot, token, model) for slot, token in enumerate(tokens)]
    if sound_FM is None:
        return concat(slots)
    frames_ARM = sound_FM.reshape(model.audio_positions, model.frames_per_position, model.mel_bins)
    return concat([*slots, *(sound_slot(turn, a, frames, model) for a, frames in enumerate(frames_ARM))])


def model_of(r: int, rows: int, columns: int, slots: int) -> ModelConfig:
    return replace(
        MODELS["tiny"],
        frames_per_position=r,
        picture_rows=rows,
        picture_columns=columns,
        patch_pixels=4,
        text_slots=slots,
        user_audio=True,
    )


def random_turns(model: ModelConfig, count: int, seed: int) -> Turns:
    rng = np.random.default_rng(seed)
    speak = rng.random(count) < 0.5

    def tokens() -> tuple[int, ...]:
        return tuple(rng.integers(16, 272, rng.integers(0, model.text_slots + 1)).tolist())

    def sound() -> np.ndarray:
        return rng.integers(0, 256, (count, model.frames_per_window, model.mel_bins), np.uint8)

    def picture() -> np.ndarray | None:
        side = model.patch_pixels
        seen = model.patches and rng.random() < 0.6
        return rng.integers(0, 256, (model.patches, side, side, 3), np.uint8) if seen else None

    return Turns(
        heard_NFM=sound(),
        pictures=[picture() for _ in range(count)],
        given=[tokens() for _ in range(count)],
        speak_N=speak,
        written=[tokens() if speaks else () for speaks in speak],
        sound_NFM=sound(),
        heard_known_NF=rng.random((count, model.frames_per_window)) < 0.9,
        audible_NF=rng.random((count, model.frames_per_window)) < 0.9,
        known_N=rng.random(count) < 0.8,
        spoke_before=bool(rng.random() < 0.5),
    )


def reference(turns: Turns, model: ModelConfig, first: int) -> list[dict[str, object]]:
    """One dict for each position, by the words of sequence.py and notes on the loss."""
    made: list[dict[str, object]] = []
    r, spoke = model.frames_per_position, turns.spoke_before

    def put(turn: int, stream: Stream, offset: int, row: int, column: int, **more: object) -> None:
        made.append(
            {
                "token": -1,
                "stream": int(stream),
                "time": model.frames_per_window * turn + offset,
                "row": row,
                "column": column,
                "turn": turn,
                "target": NO_TARGET,
                "weight": 0.0,
                **more,
            }
        )

    for n in range(len(turns)):
        turn, known = first + n, float(turns.known_N[n])
        picture = turns.pictures[n]
        for k in range(0 if picture is None else len(picture)):
            row, column = k // model.picture_columns, k % model.picture_columns
            put(turn, Stream.PICTURE, 0, row, column, patch=picture[k])
        for a in range(model.audio_positions):
            known_a = all(turns.heard_known_NF[n, a * r + frame] for frame in range(r))
            put(turn, Stream.HEARD, a * r, a, a, sound=turns.heard_NFM[n, a * r : (a + 1) * r], told=known_a)
        for k, token in enumerate(turns.given[n]):
            put(turn, Stream.GIVEN_TEXT, min(k, 7), k, k, token=token)
        speaks = bool(turns.speak_N[n])
        made[-1]["target"] = SPK if speaks else SIL
        kinds = {(0, 0): "silence", (0, 1): "onset", (1, 0): "offset", (1, 1): "offset"}
        made[-1]["weight"] = known * getattr(LOSS, kinds[int(spoke), int(speaks)])
        spoke = speaks
        if not speaks:
            put(turn, Stream.CONTROL, 0, 0, 0, token=SIL)
            continue
        slots = [SPK, *turns.written[n]] + ([EOW] if turns.written[n] else [])
        for slot, token in enumerate(slots):
            follows = slots[slot + 1] if slot + 1 < len(slots) else (EOW if token == SPK else NO_TARGET)
            weight = {EOW: LOSS.end_of_window, NO_TARGET: 0.0}.get(follows, 1.0) * known
            stream = Stream.CONTROL if token in (SPK, EOW) else Stream.OWN_TEXT
            put(turn, stream, min(slot, 7), slot, slot, token=token, target=follows, weight=weight)
        for a in range(model.audio_positions):
            frames = turns.sound_NFM[n, a * r : (a + 1) * r]
            heard_well = all(turns.audible_NF[n, a * r : (a + 1) * r])
            made[-1] |= {"next": frames, "next_weight": 1.0 if heard_well else 0.0}
            put(turn, Stream.OWN_SOUND, a * r, a, a, sound=frames)
    return made


def assert_equal(found: Positions, expected: Positions) -> None:
    for name in Positions.__slots__:
        a, b = getattr(found, name), getattr(expected, name)
        assert a.dtype == b.dtype and np.array_equal(a, b), name


cases = given(
    r=st.sampled_from([1, 2, 4, 8]),
    grid=st.sampled_from([(0, 0), (1, 2), (2, 3)]),
    slots=st.integers(1, 12),
    count=st.integers(1, 6),
    first=st.integers(0, 9),
    seed=st.integers(0, 2**31),
)


@cases
@settings(max_examples=60)
def test_every_position_and_target_is_the_references(
    r: int, grid: tuple[int, int], slots: int, count: int, first: int, seed: int
) -> None:
    model = model_of(r, *grid, slots)
    turns = random_turns(model, count, seed)
    found, expected = lay_out(turns, model, LOSS, first=first), reference(turns, model, first)
    columns = {
        "token": found.token_L,
        "stream": found.stream_L,
        "time": found.time_L,
        "row": found.row_L,
        "column": found.column_L,
        "turn": found.turn_L,
        "target": found.text_target_L,
    }
    for name, column in columns.items():
        assert column.tolist() == [position[name] for position in expected], name
    assert found.text_weight_L.tolist() == pytest.approx([p["weight"] for p in expected])
    for at, values, name in (
        (found.audio_at_A, found.audio_ARM, "sound"),
        (found.patch_at_P, found.patch_PHWC, "patch"),
        (found.audio_target_at_T, found.audio_target_TRM, "next"),
    ):
        places = [k for k, position in enumerate(expected) if name in position]
        assert at.tolist() == places
        assert all(np.array_equal(v, expected[k][name]) for v, k in zip(values, places, strict=True))
    told = [position.get("told", False) for position in expected if "sound" in position]
    assert found.heard_known_A.tolist() == told
    assert not lay_out(turns, replace(model, user_audio=False), LOSS, first=first).heard_known_A.any()
    weights = [p["next_weight"] for p in expected if "next" in p]
    assert found.audio_weight_T.tolist() == pytest.approx(weights)
    sizes = turn_sizes(
        np.array([p is not None for p in turns.pictures]),
        np.array([len(t) for t in turns.given]),
        turns.speak_N,
        np.array([len(t) for t in turns.written]),
        model,
    )
    assert sizes.tolist() == np.bincount(found.turn_L - first, minlength=count).tolist()
    assert sizes.max() <= largest_turn(model, pictures=bool(model.patches))


@cases
@settings(max_examples=40)
def test_streaming_blocks_are_the_training_positions(
    r: int, grid: tuple[int, int], slots: int, count: int, first: int, seed: int
) -> None:
    """Block by block as a running model sees it; only targets are training's own."""
    model = model_of(r, *grid, slots)
    turns = random_turns(model, count, seed)
    blocks = []
    for n in range(count):
        picture, heard = turns.pictures[n], turns.heard_NFM[n]
        blocks.append(input_block(first + n, heard, model, given=turns.given[n], picture_PHWC=picture))
        speak, sound = bool(turns.speak_N[n]), turns.sound_NFM[n]
        blocks.append(output_block(first + n, model, speak=speak, written=turns.written[n], sound_FM=sound))
    whole = lay_out(turns, model, LOSS, first=first)
    nothing = part(whole, 0, 0)
    without_targets = replace(
        whole,
        text_target_L=np.full_like(whole.text_target_L, NO_TARGET),
        text_weight_L=np.zeros_like(whole.text_weight_L),
        audio_target_at_T=nothing.audio_target_at_T,
        audio_target_TRM=nothing.audio_target_TRM,
        audio_weight_T=nothing.audio_weight_T,
        heard_known_A=np.zeros_like(whole.heard_known_A),
    )
    assert_equal(concat(blocks), without_targets)


@cases
@settings(max_examples=40)
def test_parts_join_to_the_whole_and_later_turns_change_nothing_before(
    r: int, grid: tuple[int, int], slots: int, count: int, first: int, seed: int
) -> None:
    model = model_of(r, *grid, slots)
    turns = random_turns(model, count, seed)
    whole = lay_out(turns, model, LOSS, first=first)
    assert_equal(concat([part(whole, 0, len(whole) // 3), part(whole, len(whole) // 3, len(whole))]), whole)
    other = random_turns(model, count, seed + 1)
    keep = count // 2
    mixed = Turns(
        **{
            name: (list(getattr(turns, name))[:keep] + list(getattr(other, name))[keep:])
            for name in ("pictures", "given", "written")
        },
        **{
            name: np.concatenate([getattr(turns, name)[:keep], getattr(other, name)[keep:]])
            for name in ("heard_NFM", "heard_known_NF", "speak_N", "sound_NFM", "audible_NF", "known_N")
        },
        spoke_before=turns.spoke_before,
    )
    changed = lay_out(mixed, model, LOSS, first=first)
    length = int((whole.turn_L < first + keep).sum())
    assert_equal(part(changed, 0, length), part(whole, 0, length))


def test_a_document_begins_with_bos() -> None:
    found = beginning(MODELS["tiny"])
    assert (found.token_L.tolist(), found.stream_L.tolist()) == ([BOS], [Stream.SYSTEM])
    assert (found.turn_L.tolist(), found.time_L.tolist()) == ([-1], [0])
    assert found.text_target_L.tolist() == [NO_TARGET]


def test_what_does_not_fit_is_refused() -> None:
    model = model_of(2, 1, 2, 2)
    turns = random_turns(model, 3, 0)
    with pytest.raises(ValueError, match="more than 2 tokens"):
        lay_out(replace(turns, given=[(16,) * 3] * 3), model, LOSS)
    with pytest.raises(ValueError, match="does not speak"):
        lay_out(replace(turns, speak_N=np.zeros(3, bool), written=[(16,)] * 3), model, LOSS)
    with pytest.raises(ValueError, match="patches"):
        lay_out(replace(turns, pictures=[np.zeros((1, 4, 4, 3), np.uint8)] * 3), model, LOSS)
