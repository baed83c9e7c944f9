"""Micro-turns as positions: the one layout of training and of streaming.

    in_i   patches… | heard sound x a | given text…        the last one predicts <sil> or <spk>
    out_i  <sil>                                    predicts nothing
           <spk> | own sound x a                    <spk> predicts <eow> and the first sound
           <spk> t_1 … t_n <eow> | own sound x a    <spk> predicts t_1, t_n <eow>, <eow> the first sound

`<spk>` without text predicts `<eow>` too, although none is written: a running model then always knows from
the text head whether text goes on, and takes the sound from its current position.
a = frames_per_window / frames_per_position. The last sound of out_i predicts nothing.

Rotary time is 8 i + frame (8 i for patches, 8 i + slot for text but at most 8 i + 7, so that no token gets
a later window's time). Rows and columns are a patch's own; elsewhere they are the slot: the number of the
sound position, of the token of given text, or of the token of out_i.

Weights apply within a stream: 1 for a token of text and for sound that can be learnt from, the configured
ones for control and `<eow>`. The weights of text and sound against each other (`loss.text`, `loss.audio`) are
applied where the two sums meet, in the model.

Shape suffixes: N micro-turns, F frames a window, M mel bins, R frames a position, P patches, HWC a
patch's pixels, L positions, A positions of sound, T positions that predict sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpus.schemas.arrays import BoolArray, Int64Array, UInt8Array
from corpus.trainer.config import LossConfig, ModelConfig
from corpus.trainer.data.control import control_weights
from corpus.trainer.data.sequence import (
    BOS,
    CUE_TARGETS,
    EOW,
    LISTS,
    SIL,
    SPK,
    Positions,
    Stream,
)
from corpus.trainer.data.sheet import Sheet, flat, lengths

ANSWER, WAIT = 1, 2
"""What the model's speaker should do in a window, according to the dataset's answers."""

_LISTED = {name for at, others in LISTS for name in (at, *others)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """Everything heard, seen, read, said and written in N consecutive micro-turns."""

    heard_NFM: UInt8Array
    heard_known_NF: BoolArray
    """Frames of heard sound that can be learnt from; positions with any other frame carry no loss for it."""
    pictures: Sequence[UInt8Array | None]
    """Each `[P, H, W, C]`; None where a window has none."""
    given: Sequence[Sequence[int]]
    """Text tokens in the input, at most `text_slots` a window."""
    speak_N: BoolArray
    written: Sequence[Sequence[int]]
    """The model's own text tokens, without `<eow>`; only where it speaks."""
    sound_NFM: UInt8Array
    """Its own sound; used only where it speaks."""
    audible_NF: BoolArray
    """Frames of its sound that can be learnt from; a position with any other frame carries no audio loss."""
    known_N: BoolArray
    """Whether it is known if the speaker spoke; elsewhere control and text carry no loss."""
    spoke_before: bool
    """Whether the speaker spoke in the window before the first."""
    cues_NK: UInt8Array | None = None
    """Which cues begin and hold in each window, from cues.py; None if the run does not use them."""
    due_N: UInt8Array | None = None
    """`ANSWER` or `WAIT` where the speaker should answer or keep silent; None: as the speaker did."""

    def __len__(self) -> int:
        return len(self.speak_N)


def turn_sizes(
    pictures_N: BoolArray, given_N: Int64Array, speak_N: BoolArray, written_N: Int64Array, model: ModelConfig
) -> Int64Array:
    """Positions of each micro-turn, from its pictures, its tokens and whether the model speaks."""
    sizes = model.patches * pictures_N + model.audio_positions + given_N
    sizes += 1 + written_N + (written_N > 0) + model.audio_positions * speak_N
    return sizes.astype(np.int64)


def largest_turn(model: ModelConfig, *, pictures: bool) -> int:
    """Positions of a micro-turn in which everything happens at once."""
    patches = model.patches if pictures else 0
    return patches + 2 * model.audio_positions + 2 * model.text_slots + 2


def lay_out(turns: Turns, model: ModelConfig, loss: LossConfig, *, first: int = 0) -> Positions:
    """All positions of consecutive micro-turns, numbered from `first`."""
    patches_N = np.array([0 if p is None else len(p) for p in turns.pictures], np.int64)
    given_N, written_N = lengths(turns.given), lengths(turns.written)
    _check(turns, patches_N, given_N, written_N, model)
    has_text_N = written_N > 0
    in_N = patches_N + model.audio_positions + given_N
    slots_N = 1 + written_N + has_text_N
    out_N = slots_N + model.audio_positions * turns.speak_N
    start_N = np.cumsum(in_N + out_N) - (in_N + out_N)
    control_N = start_N + in_N
    number_N = first + np.arange(len(turns))

    sheet = Sheet(int((in_N + out_N).sum()), model)
    sheet.patches(start_N, number_N, turns.pictures)
    listened_NF = turns.heard_known_NF & model.user_audio
    sheet.sound(start_N + patches_N, number_N, Stream.HEARD, turns.heard_NFM, listened_NF)
    sheet.text(control_N - given_N, number_N, Stream.GIVEN_TEXT, turns.given)
    control = np.where(turns.speak_N, SPK, SIL)
    wanted_N, counts_N = _wanted(turns, loss)
    sheet.token(control_N, number_N, 0, Stream.CONTROL, control)
    own_at = sheet.text(control_N + 1, number_N, Stream.OWN_TEXT, turns.written, slot=1)
    end_N = control_N + 1 + written_N
    sheet.token(end_N[has_text_N], number_N[has_text_N], 1 + written_N[has_text_N], Stream.CONTROL, EOW)
    spoken = turns.speak_N
    sound_at = sheet.sound(
        (control_N + slots_N)[spoken], number_N[spoken], Stream.OWN_SOUND, turns.sound_NFM[spoken]
    )

    weight_N = _control_weights(turns, wanted_N, loss) * counts_N
    sheet.predict(control_N - 1, np.where(wanted_N, SPK, SIL), weight_N.astype(np.float32))
    if turns.cues_NK is not None:
        sheet.cues = (control_N - 1, turns.cues_NK)
    known = turns.known_N.astype(np.float32)
    sheet.predict(own_at - 1, flat(turns.written), np.repeat(known, written_N))
    sheet.predict((end_N - 1)[spoken], EOW, loss.end_of_window * known[spoken])
    audible_TR = turns.audible_NF[spoken].reshape(-1, model.frames_per_position)
    sheet.predict_sound(sound_at - 1, turns.sound_NFM[spoken], audible_TR.min(1, initial=True))
    return sheet.positions()


def beginning(model: ModelConfig) -> Positions:
    """The position before the first micro-turn of every document."""
    sheet = Sheet(1, model)
    sheet.token(np.zeros(1, np.int64), np.full(1, -1), 0, Stream.SYSTEM, BOS)
    sheet.time_L[:] = 0
    return sheet.positions()


def input_block(
    turn: int,
    heard_FM: UInt8Array,
    model: ModelConfig,
    *,
    given: Sequence[int] = (),
    picture_PHWC: UInt8Array | None = None,
) -> Positions:
    """in_i alone, without targets: the input that a running model reads before it answers."""
    number = np.array([turn])
    patches = 0 if picture_PHWC is None else len(picture_PHWC)
    sheet = Sheet(patches + model.audio_positions + len(given), model)
    sheet.patches(np.zeros(1, np.int64), number, [picture_PHWC])
    sheet.sound(np.array([patches]), number, Stream.HEARD, heard_FM[None])
    sheet.text(np.array([patches + model.audio_positions]), number, Stream.GIVEN_TEXT, [given])
    return sheet.positions()


def text_slot(turn: int, slot: int, token: int, model: ModelConfig) -> Positions:
    """One token of out_i: slot 0 is `<sil>` or `<spk>`, then text, then `<eow>`."""
    sheet = Sheet(1, model)
    stream = Stream.CONTROL if token in (SIL, SPK, EOW) else Stream.OWN_TEXT
    sheet.token(np.zeros(1, np.int64), np.array([turn]), slot, stream, token)
    return sheet.positions()


def sound_slot(turn: int, place: int, frames_RM: UInt8Array, model: ModelConfig) -> Positions:
    """Position `place` of the model's own sound in out_i."""
    sheet = Sheet(1, model)
    sheet.sound_at(
        np.zeros(1, np.int64), np.array([turn]), np.array([place]), Stream.OWN_SOUND, frames_RM[None]
    )
    return sheet.positions()


def concat(parts: Sequence[Positions]) -> Positions:
    """Parts one after another."""
    before = np.cumsum([0, *(len(part) for part in parts)])[:-1]
    columns = {}
    for name in Positions.__slots__:
        arrays = [getattr(part, name) for part in parts]
        if name in {at for at, _ in LISTS}:
            arrays = [(array + shift).astype(np.int32) for array, shift in zip(arrays, before, strict=True)]
        holding = [array for array in arrays if len(array)] or arrays[:1]
        # A single part is not copied: pictures are most of a document's bytes.
        columns[name] = holding[0] if len(holding) == 1 else np.concatenate(holding)
    return Positions(**columns)


def part(positions: Positions, start: int, stop: int) -> Positions:
    """Positions `[start, stop)`."""
    columns = {
        name: getattr(positions, name)[start:stop] for name in Positions.__slots__ if name not in _LISTED
    }
    for at, others in LISTS:
        places = getattr(positions, at)
        low, high = np.searchsorted(places, (start, stop))
        columns[at] = (places[low:high] - start).astype(np.int32)
        columns |= {name: getattr(positions, name)[low:high] for name in others}
    return Positions(**columns)


def _check(
    turns: Turns, patches_N: Int64Array, given_N: Int64Array, written_N: Int64Array, model: ModelConfig
) -> None:
    """Check what the shapes do not show. Raises: ValueError."""
    if given_N.max(initial=0) > model.text_slots or written_N.max(initial=0) > model.text_slots:
        raise ValueError(f"more than {model.text_slots} tokens in a window")
    if written_N[~turns.speak_N].any():
        raise ValueError("text in a window in which the model does not speak")
    if turns.cues_NK is not None and turns.cues_NK.shape != (len(turns), CUE_TARGETS):
        raise ValueError(f"cue targets of {turns.cues_NK.shape}, not {(len(turns), CUE_TARGETS)}")
    if not np.isin(patches_N, (0, model.patches)).all():
        raise ValueError(f"a picture of {patches_N.max()} patches, not {model.patches}")


def _wanted(turns: Turns, loss: LossConfig) -> tuple[BoolArray, npt.NDArray[np.float32]]:
    """Whether the model should speak in each window, and the factor on that target's weight: as the speaker
    did, except where the speaker is silent though an answer is due, or speaks though waiting is right."""
    if turns.due_N is None or loss.answers == 0:
        return turns.speak_N, np.ones(len(turns), np.float32)
    wanted_N = np.where(turns.due_N == 0, turns.speak_N, turns.due_N == ANSWER)
    return wanted_N, np.where(wanted_N == turns.speak_N, 1.0, loss.answers).astype(np.float32)


def _control_weights(turns: Turns, wanted_N: BoolArray, loss: LossConfig) -> npt.NDArray[np.float32]:
    before_N = np.concatenate(([turns.spoke_before], turns.speak_N[:-1])).astype(bool)
    return (control_weights(before_N, wanted_N, loss) * turns.known_N).astype(np.float32)
