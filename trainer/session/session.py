"""A running conversation: 200 ms in, 200 ms out, over one append-only sequence.

    step(turn i)   prefill   the rest of out_{i-1} | in_i        -> speak?
                   decode    <spk> t_1 … <eow> sound … sound     -> text and mel bytes

The last position of out_i predicts nothing, so it waits and is read together with in_{i+1}: a silent
window is one forward pass. Hidden vectors equal those of the full pass over the same sequence
(tests/trainer/session/test_session.py). Steps run one at a time; a failed step leaves no trace.

Shape suffixes: F frames, M mel bins, R frames a position.
"""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from corpus.schemas.arrays import Int16Array, UInt8Array
from corpus.schemas.clock import US, WINDOW_US
from corpus.schemas.errors import FormatError, UsageError
from corpus.shards.mel import mel_bytes, mel_shape
from corpus.trainer.config import ModelConfig
from corpus.trainer.data.layout import beginning, concat, input_block, largest_turn, sound_slot, text_slot
from corpus.trainer.data.micro_turn import (
    Answer,
    CueBelief,
    MicroTurn,
    MicroTurnOut,
    beliefs,
    check_answer,
    check_picture,
    check_tokens,
)
from corpus.trainer.data.sequence import EOW, SIL, SPK, TOOL, Positions
from corpus.trainer.data.views import patches_of
from corpus.trainer.model.attention_mask import Sight
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.session.incremental import Reader
from corpus.trainer.session.sampling import Choices, Sampling, decide, sound_seed, text_bits
from corpus.trainer.session.vocoder import Voice, sound_of_window

__all__ = ["Answer", "MicroTurn", "MicroTurnOut", "Session", "capacity"]

STATE = "corpus.session/3"
OLD_STATE = "corpus.session/2"
"""A state without a voice; it continues from silence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """Everything that a session knows besides its keys; a step makes a new one and never changes it."""

    turn: int = 0
    length: int = 0
    """Positions in the cache."""
    pending: Positions
    """Positions that are decided but that the model has not yet read."""
    speaking: bool = False
    context: Int16Array
    """The last samples heard, which the next window's first frame covers."""
    waiting: tuple[int, ...] = ()
    """Text tokens that did not fit into the window."""
    unread: bytes = b""
    """Bytes of an unfinished letter that the model has written."""
    voice: Voice | None = None
    """The state from which the next window's sound continues, if the session makes sound."""


class Session:
    """One conversation with a model. Not thread-safe: two steps at the same time are an error."""

    def __init__(
        self,
        model: InteractionModel,
        *,
        sampling: Sampling | None = None,
        seed: int = 0,
        max_seconds: float = 600.0,
        history_turns: int = 25,
        sample_rate_hz: int = 16_000,
        pictures: bool = True,
        sound: bool = False,
    ) -> None:
        """A session sees as far back as the model (`InteractionModel.see`); a trained model, as far as its
        training showed at once. With `sound` its speech comes as samples, too. `max_seconds` bounds a session
        without an attention window; with one it has no end, and its memory is that of the window. `rollback`
        reaches `history_turns` back. On a GPU everything is recorded now, so the model's weights must not
        move afterwards.

        Raises:
            UsageError: a negative length, or neither an end nor an attention window.
        """
        self.model = model
        self.config: ModelConfig = model.config
        self.sampling = sampling or Sampling()
        self.seed = seed
        self._shape = mel_shape(sample_rate_hz, self.config.frames_per_window)
        self._rate = sample_rate_hz
        self._pictures = pictures and self.config.patches > 0
        self._sounds = sound
        self._reader = Reader.of(
            model,
            capacity_positions=capacity(
                self.config,
                model.sight,
                max_seconds=max_seconds,
                history_turns=history_turns,
                pictures=self._pictures,
            ),
        )
        self._choices = Choices(self._reader, self.sampling)
        self._reader.prepare()
        self._choices.prepare()
        self._lock = threading.Lock()
        start = _State(
            pending=beginning(self.config), context=np.zeros(self._shape.context_samples, np.int16)
        )
        self._state = start
        self._history: deque[_State] = deque([start], maxlen=history_turns + 1)

    @property
    def turn(self) -> int:
        """Micro-turns done."""
        return self._state.turn

    @property
    def positions(self) -> int:
        """Positions in the cache."""
        return self._reader.length

    @property
    def waiting(self) -> tuple[int, ...]:
        """Text tokens that were given but not yet read."""
        return self._state.waiting

    @property
    def cache_bytes(self) -> int:
        return self._reader.bytes

    def step(self, given: MicroTurn, *, force: Answer | None = None) -> MicroTurnOut:
        """One micro-turn.

        Raises:
            UsageError: another step is in flight, or the input does not fit the model.
            CorpusError: the session is longer than it was opened for, or the model gives no numbers.
        """
        if not self._lock.acquire(blocking=False):
            raise UsageError("a step is in flight", where="session", todo="wait for it, or fork the session")
        began = time.perf_counter()
        try:
            out, state = self._step(given, force)
        except BaseException:
            self._reader.rollback(self._state.length)
            raise
        else:
            self._state = state
            self._history.append(state)
        finally:
            self._lock.release()
        return dataclasses.replace(out, ms=(time.perf_counter() - began) * 1000)

    def rollback(self, turn: int) -> None:
        """Return to the state before micro-turn `turn`.

        Raises:
            UsageError: it has not been reached, or lies further back than the session remembers.
        """
        with self._lock:
            kept = [state for state in self._history if state.turn <= turn]
            if not kept or kept[-1].turn != turn:
                first = self._history[0].turn
                todo = f"[{first}, {self.turn}] can be reached; open the session with more history_turns"
                raise UsageError(f"cannot go back to micro-turn {turn}", where="session", todo=todo)
            self._reader.rollback(kept[-1].length)
            self._state = kept[-1]
            self._history = deque(kept, maxlen=self._history.maxlen)

    def fork(self, *, seed: int | None = None) -> Session:
        """An independent session with the same history."""
        with self._lock:
            twin = object.__new__(Session)
            twin.__dict__.update(self.__dict__)
            twin._reader, twin._lock = self._reader.fork(), threading.Lock()
            twin._choices = Choices(twin._reader, self.sampling)
            twin._history = deque(self._history, maxlen=self._history.maxlen)
        twin.seed = self.seed if seed is None else seed
        return twin

    def state_dict(self) -> dict[str, Any]:
        """A copy of the session as tensors, numbers and bytes, from which a new session of the same model and
        settings continues exactly. The new one cannot be rolled back to before this moment."""
        with self._lock:
            state = self._state
            return {
                "schema": STATE,
                "seed": self.seed,
                "cache": self._reader.state_dict(),
                "voice": None if state.voice is None else dataclasses.asdict(state.voice),
                "pending": {name: getattr(state.pending, name) for name in _PENDING},
                **{name: getattr(state, name) for name in _PLAIN},
            }

    def load_state_dict(self, plain: Mapping[str, Any]) -> None:
        """Continue from the result of `state_dict`.

        Raises:
            FormatError: it is not a session's state.
            CorpusError: it is of a session of another size.
        """
        if plain.get("schema") not in (STATE, OLD_STATE):
            raise FormatError(f"not a session's state: {plain.get('schema')!r}, expected {STATE}")
        with self._lock:
            self._reader.load_state_dict(plain["cache"])
            pending = dataclasses.replace(beginning(self.config), **plain["pending"])
            voice = None if plain.get("voice") is None else Voice(**plain["voice"])
            self._state = _State(pending=pending, voice=voice, **{name: plain[name] for name in _PLAIN})
            self._history = deque([self._state], maxlen=self._history.maxlen)
            self.seed = plain["seed"]

    @torch.no_grad()
    def _step(self, given: MicroTurn, force: Answer | None) -> tuple[MicroTurnOut, _State]:
        state, turn = self._state, self._state.turn
        if force is not None:
            check_answer(force, self.config)
        read, context, waiting = self._read(given)
        self._reader.read(concat([state.pending, read]))
        odds = self._choices.odds()
        cues = self._beliefs()
        p = self.model.weighting.undone(odds.p_speak, state.speaking)
        speak = (
            force.speak
            if force is not None
            else decide(p, speaking=state.speaking, sampling=self.sampling, seed=self.seed, turn=turn)
        )
        logprobs = [odds.speak_logprob if speak else odds.silent_logprob]
        tokens: tuple[int, ...] = ()
        sound_FM: UInt8Array | None = None
        if speak:
            tokens = self._write(turn, logprobs, force)
            pending, sound_FM = self._sound(turn, force)
        else:
            pending = text_slot(turn, 0, SIL, self.config)
        text, unread = self.model.tokenizer.readable(state.unread, tokens)
        audio, voice = self._voiced(sound_FM)
        out = MicroTurnOut(
            turn=turn,
            speak=speak,
            p_speak=p,
            text=text,
            tokens=tokens,
            mel=sound_FM,
            audio=audio,
            logprobs=tuple(logprobs),
            ms=0.0,
            cues=cues,
        )
        after = _State(
            turn=turn + 1,
            length=self._reader.length,
            pending=pending,
            speaking=speak,
            context=context,
            waiting=waiting,
            unread=unread,
            voice=voice,
        )
        return out, after

    def _voiced(self, sound_FM: UInt8Array | None) -> tuple[Int16Array | None, Voice | None]:
        """Samples of the window, and the state for the next one; None while nothing sounds."""
        before = self._state.voice
        if not self._sounds or (sound_FM is None and before is None):
            return None, None
        frames = self.config.frames_per_window
        return sound_of_window(sound_FM, before, sample_rate_hz=self._rate, frames_per_window=frames)

    def _beliefs(self) -> tuple[CueBelief, ...]:
        """The cue head's output at the position read last, the last one of in_i."""
        head = self.model.cue_head
        return () if head is None else beliefs(head(self._reader.last_D).double().sigmoid().tolist())

    def _read(self, given: MicroTurn) -> tuple[Positions, Int16Array, tuple[int, ...]]:
        """in_i, and the samples and tokens that the next window will need."""
        state = self._state
        heard_FM, context = self._hear(given.audio)
        picture = None
        if given.frame is not None:
            if not self._pictures:
                raise UsageError("got a picture, but the model does not see", where="session")
            check_picture(given.frame, self.config)
            if state.turn % self.config.picture_every == 0:
                picture = patches_of(given.frame, self.config)
        check_tokens([token for token in given.tokens if token != TOOL], self.config, "MicroTurn.tokens")
        event = self.model.tokenizer.event(given.text) if given.text else ()
        waiting = state.waiting + given.tokens + event
        slots = self.config.text_slots
        now, later = waiting[:slots], waiting[slots:]
        block = input_block(state.turn, heard_FM, self.config, given=now, picture_PHWC=picture)
        return block, context, later

    def _hear(self, audio: UInt8Array | Int16Array) -> tuple[UInt8Array, Int16Array]:
        """Mel bytes of a window, and the samples that the next window's first frame covers."""
        shape = (self.config.frames_per_window, self.config.mel_bins)
        if audio.dtype == np.uint8 and audio.shape == shape:
            return audio.astype(np.uint8), np.zeros(self._shape.context_samples, np.int16)
        if audio.dtype != np.int16 or audio.shape != (self._shape.samples_per_window,):
            raise UsageError(
                f"sound of {audio.dtype} {audio.shape}",
                where="session",
                todo=f"give uint8 {shape} mel bytes or int16 ({self._shape.samples_per_window},) samples",
            )
        heard = np.concatenate([self._state.context, audio.astype(np.int16)])
        mel_FM = mel_bytes(heard[None], self._rate, self.config.frames_per_window)[0, 0]
        return mel_FM, heard[-self._shape.context_samples :].copy()

    def _write(self, turn: int, logprobs: list[float], force: Answer | None) -> tuple[int, ...]:
        """Read `<spk>` and write text up to `<eow>`; sound follows from the position read last."""
        self._reader.read(text_slot(turn, 0, SPK, self.config))
        tokens: list[int] = []
        while True:
            token, logprob = self._next(turn, len(tokens), force)
            logprobs.append(logprob)
            if token != EOW or tokens:
                self._reader.read(text_slot(turn, len(tokens) + 1, token, self.config))
            if token == EOW:
                return tuple(tokens)
            tokens.append(token)

    def _next(self, turn: int, slot: int, force: Answer | None) -> tuple[int, float]:
        """A token of text or `<eow>`, and its log probability under the model."""
        if force is None and slot < self.config.text_slots:
            odds = self._choices.odds(bits=text_bits(self.seed, turn, slot))
            return odds.token, odds.token_logprob
        token = force.written[slot] if force is not None and slot < len(force.written) else EOW
        return token, self._choices.odds(asked=token).asked_logprob

    def _sound(self, turn: int, force: Answer | None) -> tuple[Positions, UInt8Array]:
        """The window's sound; its last position, which predicts nothing, is not yet read."""
        config, frames = self.config, []
        for place in range(config.audio_positions):
            if force is None:
                frames_RM = self._choices.frames(sound_seed(self.seed, turn, place))
            else:
                assert force.sound_FM is not None
                first = place * config.frames_per_position
                frames_RM = force.sound_FM[first : first + config.frames_per_position]
            frames.append(frames_RM)
            slot = sound_slot(turn, place, frames_RM, config)
            if place + 1 < config.audio_positions:
                self._reader.read(slot)
        return slot, np.concatenate(frames)


_PENDING = tuple(name for name in Positions.__slots__ if not name.startswith("cue_"))
"""Columns of pending positions: they have no targets, so those of cues are left out."""
_PLAIN = tuple(field.name for field in dataclasses.fields(_State) if field.name not in ("pending", "voice"))


def capacity(
    config: ModelConfig, sight: Sight, *, max_seconds: float, history_turns: int, pictures: bool
) -> int:
    """Positions to hold: all of a session's, or with an attention window those that can still be needed."""
    if not max_seconds >= 0 or history_turns < 0:
        what = f"max_seconds={max_seconds}, history_turns={history_turns}"
        raise UsageError(what, where="session", todo="give no less than 0")
    turns: list[int] = []
    if math.isfinite(max_seconds):
        turns.append(-(-round(max_seconds * US) // WINDOW_US))
    if sight.window_turns is not None:
        # One more for the current turn, and one because its last position is read with the next.
        turns.append(sight.sink_turns + sight.window_turns + history_turns + 2)
    if not turns:
        todo = "give max_seconds, or train with attention_window_s"
        raise UsageError("a session without an end needs unlimited memory", where="session", todo=todo)
    return 1 + min(turns) * largest_turn(config, pictures=pictures)
