"""How a running model makes choices from its probabilities.

Randomness is a function of the session's seed, the micro-turn and the place of the choice in it
(noise.py), so the same seed and input give the same answer whatever was rolled back in between. Work on a
whole vocabulary and drawing sound are done on the model's device; only a few numbers go to the host.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from corpus.schemas.errors import CorpusError, SettingsError
from corpus.trainer.data import noise
from corpus.trainer.data.sequence import BYTE_0, EOW, SIL, SPK
from corpus.trainer.model.layers import wide
from corpus.trainer.session.cuda_graph import Replay

if TYPE_CHECKING:
    from corpus.trainer.session.incremental import Reader

CONTROL, TEXT, SOUND = 0, 1, 2
"""Kinds of choices, each with noise of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Settings of a session's choices. Loss weights are undone in the probabilities to speak and to end text.

    `threshold` does what is likelier. It is for cases with a right answer: it is right more often, but stays
    silent where a beginning is spread over many windows, each of them unlikely. `sampled` draws at random. It
    is for conversations in which the model should begin as often as a person, if it is calibrated. Measured
    in benchmarks/RESULTS.md, "When to speak".
    """

    control: Literal["threshold", "sampled"] = "threshold"
    speak_above: float = 0.5
    """While silent, start speaking at this probability or above."""
    stay_above: float = 0.4
    """While speaking, continue down to this probability; a value below `speak_above` bridges brief doubt."""
    text_temperature: float = 0.7
    """0 takes the likeliest."""
    text_top_p: float = 0.95
    """Draw from the likeliest tokens that together reach this probability."""
    text_min_p: float = 0.0
    """Leave out tokens less likely than this share of the likeliest."""
    audio_temperature: float = 0.8
    audio_top_k: int = 4
    """Number of levels that a bin is drawn from; 0 for all."""
    flow_guidance: float = 1.0
    """Strength of a flow's classifier-free guidance. 1 is the model itself, and the nearest to known
    distributions; about 1.5 helps a model that has learnt little."""

    def __post_init__(self) -> None:
        ranges = {
            "speak_above": (0.0, self.speak_above, 1.0),
            "stay_above": (0.0, self.stay_above, 1.0),
            "text_top_p": (1e-9, self.text_top_p, 1.0),
            "text_min_p": (0.0, self.text_min_p, 1.0),
            "text_temperature": (0.0, self.text_temperature, 100.0),
            "audio_temperature": (0.0, self.audio_temperature, 100.0),
            "audio_top_k": (0, self.audio_top_k, 256),
            "flow_guidance": (0.0, self.flow_guidance, 100.0),
        }
        for name, (low, value, high) in ranges.items():
            if not low <= value <= high:
                raise SettingsError(f"{name} = {value}", where="sampling", todo=f"take [{low}, {high}]")


def decide(p: float, *, speaking: bool, sampling: Sampling, seed: int, turn: int) -> bool:
    """Whether to speak in this window; loss weights are undone in `p` (control.py)."""
    if sampling.control == "sampled":
        return float(noise.uniform(noise.mix(seed, turn, CONTROL, 0))) < p
    return p >= (sampling.stay_above if speaking else sampling.speak_above)


def next_token(
    logit_V: torch.Tensor,
    sampling: Sampling,
    drawn: torch.Tensor,
    end_of_window: float = 1.0,
    text_tokens: int = 256,
) -> torch.Tensor:
    """`<eow>` or a token of text, the only tokens that can follow in a window's text; `drawn` lies in (0, 1).

    The odds of `<eow>` are divided by `end_of_window`, by which training multiplied them.
    """
    end_1 = logit_V[EOW : EOW + 1] - math.log(end_of_window)
    logit = wide(torch.cat((end_1, logit_V[BYTE_0 : BYTE_0 + text_tokens])))
    if sampling.text_temperature == 0:
        return _allowed(logit.argmax())
    share, order = (logit / sampling.text_temperature).softmax(0).sort(descending=True, stable=True)
    before = share.cumsum(0) - share
    kept = (before < sampling.text_top_p) & (share >= sampling.text_min_p * share[0])
    reached = (share * kept).cumsum(0)
    place = torch.searchsorted(reached, drawn.to(reached) * reached[-1:], right=True)
    # Rounding can put the draw on the very end.
    last = (kept * torch.arange(len(kept), device=kept.device)).amax()
    return _allowed(order.gather(0, torch.minimum(place, last))[0])


def _allowed(choice: torch.Tensor) -> torch.Tensor:
    """The token of a choice among `<eow>` and the tokens of text."""
    return torch.where(choice == 0, EOW, BYTE_0 - 1 + choice)


def text_bits(seed: int, turn: int, slot: int) -> int:
    """32 random bits for a token of text."""
    return int(noise.mix(seed, turn, TEXT, slot))


def sound_seed(seed: int, turn: int, place: int) -> int:
    """The audio head's seed, one for every position of sound."""
    return int(noise.mix(seed, turn, SOUND, place))


class _Odds(NamedTuple):
    """The text head's output at a position. Natural logarithms, under the model."""

    p_speak: float
    """Probability of `<spk>` among the two control tokens, with the effect of the loss weights."""
    silent_logprob: float
    speak_logprob: float
    asked_logprob: float
    """Log probability of the token asked about."""
    token: int
    """The token drawn for the text at the configured temperature, with the weight of `<eow>` undone."""
    token_logprob: float


class Choices:
    """Both heads at the position that a reader has read last."""

    def __init__(self, reader: Reader, sampling: Sampling) -> None:
        model, hidden_D, device = reader.model, reader.last_D, reader.cache.device
        # The token asked about, and random bits for the text and for the sound.
        asked_3 = self._asked_3 = torch.zeros(3, dtype=torch.int64, device=device)
        odds_6 = self._odds_6 = torch.zeros(6, dtype=torch.float64, device=device)
        shape = (model.config.frames_per_position, model.config.mel_bins)
        frames_RM = self._frames_RM = torch.zeros(shape, dtype=torch.uint8, device=device)

        def text() -> None:
            logit_V = model.text_logits(hidden_D)
            factor, tokens = model.weighting.end_of_window, model.config.text_tokens
            odds_6.copy_(odds_of(logit_V, sampling, asked_3, factor, tokens))

        def sound() -> None:
            frames_RM.copy_(
                model.audio_head.sample(
                    hidden_D,
                    seed=asked_3[2],
                    temperature=sampling.audio_temperature,
                    top_k=sampling.audio_top_k,
                    guidance=sampling.flow_guidance,
                )
            )

        self._text = Replay(text, device, reader.pool)
        self._sound = Replay(sound, device, reader.pool)

    def prepare(self) -> None:
        """As `Reader.prepare`."""
        if self._asked_3.device.type == "cuda":
            self._text()
            self._sound()

    def odds(self, *, asked: int = EOW, bits: int = 0) -> _Odds:
        """The odds of the next text token, and the token drawn with these bits.

        Raises: CorpusError if the probabilities are NaN, which would read as silence for ever.
        """
        self._asked_3.copy_(torch.tensor((asked, bits, 0)))
        self._text()
        p, silent, speak, asked_logprob, token, token_logprob = self._odds_6.tolist()
        if not math.isfinite(p):
            todo = "its weights are damaged, or too large for their precision"
            raise CorpusError("the model's output is NaN", where="session", todo=todo)
        return _Odds(p, silent, speak, asked_logprob, int(token), token_logprob)

    def frames(self, seed: int) -> npt.NDArray[np.uint8]:
        """The next (R, M) mel bytes."""
        self._asked_3.copy_(torch.tensor((0, 0, seed)))
        self._sound()
        frames_RM: npt.NDArray[np.uint8] = self._frames_RM.cpu().numpy().copy()
        return frames_RM


def odds_of(
    logit_V: torch.Tensor,
    sampling: Sampling,
    asked_3: torch.Tensor,
    end_of_window: float = 1.0,
    text_tokens: int = 256,
) -> torch.Tensor:
    """The six numbers of `_Odds` in fp64, which holds the integers of a vocabulary exactly."""
    p_2 = logit_V[SIL : SPK + 1].double().softmax(0)
    drawn_1 = noise.uniform(asked_3[1:2])
    token_1 = next_token(logit_V, sampling, drawn_1, end_of_window, text_tokens).view(1)
    logprob_V = logit_V.double().log_softmax(0)
    asked_1, own_1 = logprob_V.gather(0, asked_3[:1]), logprob_V.gather(0, token_1)
    return torch.cat((p_2[1:], logprob_V[SIL : SPK + 1], asked_1, token_1.double(), own_1))
