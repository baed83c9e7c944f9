"""How far a session's log probabilities are from those of training's pass.

The same tokens of the same document are forced through a session window by window, and run as a whole. Both
should give the same numbers, up to the last digits where a processor adds up in another order. A larger
difference means that the model in the session is not the one that was trained and scored.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch

from corpus.trainer.data.documents import Documents
from corpus.trainer.data.layout import beginning, concat, lay_out
from corpus.trainer.data.micro_turn import Answer, MicroTurn
from corpus.trainer.data.pack import collate
from corpus.trainer.data.sequence import NO_TARGET
from corpus.trainer.evaluate import timing
from corpus.trainer.model.layers import wide
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.session.session import Session

WINDOWS = 60
"""The most windows of a document; a session has to step through each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogpDifference:
    """Absolute differences in nats per token, of control and text."""

    tokens: int
    mean: float
    most: float


@torch.no_grad()
def logp_difference(model: InteractionModel, documents: Documents, document: int) -> LogpDifference:
    """The difference over a document's first windows."""
    config, view = documents.config, documents.view(document)
    count = min(len(view), WINDOWS)
    turns = documents.turns(document, 0, count)
    positions = concat([beginning(config.model), lay_out(turns, config.model, config.loss)])
    row = dataclasses.replace(config, data=dataclasses.replace(config.data, length=len(positions)))
    device = model.embed.stream.device
    hidden_LD = model.hidden(collate([[positions]], row).trimmed().to(device))[0]
    at = np.flatnonzero(positions.text_target_L != NO_TARGET)
    target = torch.from_numpy(positions.text_target_L[at].astype(np.int64)).to(device)
    logit_NV = wide(model.text_logits(hidden_LD[torch.from_numpy(at).to(device)])).double()
    whole = logit_NV.log_softmax(-1).gather(1, target[:, None])[:, 0].cpu().numpy()

    session = Session(
        model, max_seconds=count / timing.SECOND, history_turns=0, pictures=config.data.pictures
    )
    lived: list[float] = []
    clip = documents.clips[view.place]
    for turn in range(count):
        frame = clip.picture(turn) if view.pictures_N[turn] else None
        given = MicroTurn(audio=turns.heard_NFM[turn], frame=frame, tokens=view.given[turn])
        speak = bool(turns.speak_N[turn])
        sound_FM = turns.sound_NFM[turn] if speak else None
        lived += session.step(
            given, force=Answer(speak=speak, written=tuple(turns.written[turn]), sound_FM=sound_FM)
        ).logprobs
    off = np.abs(whole - np.array(lived))
    return LogpDifference(
        tokens=len(off), mean=float(off.mean()) if len(off) else 0.0, most=float(off.max(initial=0.0))
    )
