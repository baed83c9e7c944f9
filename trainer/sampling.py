"""How a running model's choices are made from its probabilities.

Randomness is a function of the session's seed, the micro-turn and the place of the choice in it
(noise.py), so the same seed and the same input give the same answer whatever was undone in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from corpus.schemas.errors import SettingsError
from corpus.trainer import noise
from corpus.trainer.layers import wide
from corpus.trainer.sequence import BYTE_0, EOW, SIL, SMALLEST_VOCAB, SPK

CONTROL, TEXT, SOUND = 0, 1, 2
"""Kinds of choices, told apart in the noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Settings of a session's choices."""

    control: Literal["threshold", "sampled"] = "threshold"
    speak_above: float = 0.5
    """Silent: speak from this probability of `<spk>` on."""
    stay_above: float = 0.4
    """Speaking: go on down to this probability."""
    text_temperature: float = 0.7
    """0 takes the likeliest."""
    text_top_p: float = 0.95
    """Draw from the likeliest tokens that together reach this probability."""
    text_min_p: float = 0.0
    """Leave out tokens less likely than this share of the likeliest."""
    audio_temperature: float = 0.8
    audio_top_k: int = 4
    """Levels a bin is drawn from; 0 for all."""
    flow_guidance: float = 1.0
    """Of a flow: how far to go from what is likely anyway to what follows here. 1 is the model itself, and
    the nearest to distributions that are known; about 1.5 helps where a model has learnt little."""

    def __post_init__(self) -> None:
        ranges = {
            "speak_above": (0.0, self.speak_above, 1.0),
            "stay_above": (0.0, self.stay_above, self.speak_above),
            "text_top_p": (1e-9, self.text_top_p, 1.0),
            "text_min_p": (0.0, self.text_min_p, 1.0),
            "text_temperature": (0.0, self.text_temperature, 100.0),
            "audio_temperature": (0.0, self.audio_temperature, 100.0),
            "flow_guidance": (0.0, self.flow_guidance, 100.0),
        }
        for name, (low, value, high) in ranges.items():
            if not low <= value <= high:
                raise SettingsError(f"{name} = {value}", where="sampling", todo=f"take [{low}, {high}]")


def p_speak(logit_V: torch.Tensor) -> float:
    """Probability of `<spk>` among the two control tokens."""
    pair = torch.stack((logit_V[SIL], logit_V[SPK])).double()
    return float(pair.softmax(0)[1])


def decide(p: float, *, speaking: bool, sampling: Sampling, seed: int, turn: int) -> bool:
    """Whether to speak in this window."""
    if sampling.control == "sampled":
        return float(noise.uniform(noise.mix(seed, turn, CONTROL, 0))) < p
    return p >= (sampling.stay_above if speaking else sampling.speak_above)


def next_token(logit_V: torch.Tensor, sampling: Sampling, *, seed: int, turn: int, slot: int) -> int:
    """`<eow>` or a byte of text; nothing else can follow inside a window's text."""
    allowed = torch.tensor([EOW, *range(BYTE_0, SMALLEST_VOCAB)], device=logit_V.device)
    logit = wide(logit_V[allowed])
    if sampling.text_temperature == 0:
        return int(allowed[logit.argmax()])
    share, order = (logit / sampling.text_temperature).softmax(0).sort(descending=True, stable=True)
    before = share.cumsum(0) - share
    kept = (before < sampling.text_top_p) & (share >= sampling.text_min_p * share[0])
    reached = (share * kept).cumsum(0)
    drawn = noise.uniform(noise.mix(seed, turn, TEXT, slot)).to(reached)
    place = int(torch.searchsorted(reached, drawn * reached[-1], right=True))
    # Rounding can put the draw on the very end.
    return int(allowed[order[min(place, int(kept.nonzero()[-1]))]])


def sound_seed(seed: int, turn: int, place: int) -> int:
    """For the audio head, one for every position of sound."""
    return int(noise.mix(seed, turn, SOUND, place))
