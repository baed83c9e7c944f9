"""Input and output of a session, one micro-turn at a time, and checks of the input.

Shape suffixes: F frames, M mel bins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from corpus.schemas.arrays import Int16Array, UInt8Array
from corpus.schemas.errors import UsageError
from corpus.trainer.config import ModelConfig
from corpus.trainer.data.cues import BEGINS, CUE_LABELS, CUE_SHAPE, HOLDS, OTHERS, OWN
from corpus.trainer.data.sequence import BYTE_0


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroTurn:
    """The input of one window. There is always sound; silence is zeros."""

    audio: UInt8Array | Int16Array
    """uint8 mel bytes `[F, M]`, or int16 samples of the window."""
    frame: UInt8Array | None = None
    """uint8 `[height, width, 3]`; used in every `picture_every`-th window only."""
    text: str | None = None
    """An event's text, as a tool's result or a note. Tokens beyond a window's slots wait for the next one."""
    tokens: tuple[int, ...] = ()
    """The same as tokens, if they are known already; read before `text`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A forced output instead of a sampled one: teacher forcing."""

    speak: bool
    written: tuple[int, ...] = ()
    sound_FM: UInt8Array | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CueBelief:
    """The model's belief about one label in a window, for its own speaker or for others."""

    label: str
    own: bool
    """Whether the cue is the model's own speaker's; if not, anybody else's (or nobody's, as a scene cut)."""
    p_begins: float
    p_holds: float
    """Probability that such a cue overlaps the window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroTurnOut:
    """The model's output for a window; its sound can be played during the next."""

    turn: int
    speak: bool
    p_speak: float
    """Probability that the speaker speaks, given everything so far, with the effect of the loss weights
    undone."""
    text: str
    """The text completed in this window; a letter of several bytes may take two windows."""
    tokens: tuple[int, ...]
    mel: UInt8Array | None
    """uint8 mel bytes `[F, M]`; None when silent."""
    audio: Int16Array | None = None
    """int16 samples of the window, 25 ms late, if the session was opened with `sound`. The first silent
    window after speech holds the end of the speech; None while nothing sounds."""
    logprobs: tuple[float, ...]
    """Natural log probabilities of the control token and of each text token including `<eow>`, under the
    model as trained, with the effect of the loss weights."""
    ms: float
    cues: tuple[CueBelief, ...] = ()
    """For the window just heard; empty for a model trained without `loss.cues`."""


def beliefs(p_K: Sequence[float]) -> tuple[CueBelief, ...]:
    """K probabilities as beliefs, one for each label and whose cue it is."""
    p = np.asarray(p_K).reshape(CUE_SHAPE)
    return tuple(
        CueBelief(
            label=label,
            own=who == OWN,
            p_begins=float(p[BEGINS, row, who]),
            p_holds=float(p[HOLDS, row, who]),
        )
        for row, label in enumerate(CUE_LABELS)
        for who in (OWN, OTHERS)
    )


def check_tokens(tokens: Iterable[int], config: ModelConfig, where: str) -> None:
    """Raises: UsageError if a token is not text. On a GPU a token beyond the table would end the process."""
    for token in tokens:
        if not BYTE_0 <= token < config.vocab:
            todo = f"text is tokens of [{BYTE_0}, {config.vocab})"
            raise UsageError(f"token {token} is not text", where=where, todo=todo)


def check_picture(frame: UInt8Array, config: ModelConfig) -> None:
    """Raises: UsageError if the size or type is wrong."""
    side = config.patch_pixels
    wanted = (config.picture_rows * side, config.picture_columns * side, 3)
    if frame.dtype != np.uint8 or frame.shape != wanted:
        todo = f"scale it to uint8 {wanted}"
        raise UsageError(f"a picture of {frame.dtype} {frame.shape}", where="session", todo=todo)


def check_answer(answer: Answer, config: ModelConfig) -> None:
    """Raises: UsageError if the model could not give this output."""
    check_tokens(answer.written, config, "Answer.written")
    slots = config.text_slots if answer.speak else 0
    if len(answer.written) > slots:
        raise UsageError(f"{len(answer.written)} tokens of text where {slots} can be", where="Answer.written")
    shape, sound_FM = (config.frames_per_window, config.mel_bins), answer.sound_FM
    if answer.speak and (sound_FM is None or sound_FM.dtype != np.uint8 or sound_FM.shape != shape):
        given = "none" if sound_FM is None else f"{sound_FM.dtype} {sound_FM.shape}"
        raise UsageError(f"sound of {given}", where="Answer.sound_FM", todo=f"give uint8 {shape}")
