"""Training targets from a clip's cues and answers, window by window.

    cue targets     [windows, K]: does a cue of a label begin here, does it hold here; the model's own
                    speaker's, or anybody else's. Predicted once the window has been heard: for window i
                    at the last position of in_i.
    answers         [windows]: an answer of the model's speaker is timely, or keeping silent is right.

A label that was not made for a recording is unknown there: its absence is not a negative example.

Shape suffixes: W windows, N micro-turns, K cue targets.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from corpus.schemas.arrays import UInt8Array
from corpus.schemas.conversation import CUE_KINDS
from corpus.shards.read import Clip
from corpus.trainer.config import RunConfig
from corpus.trainer.data.layout import ANSWER, WAIT, Turns
from corpus.trainer.data.sequence import CUE_TARGETS, CUE_UNKNOWN

CUE_LABELS = tuple(CUE_KINDS)
"""In the order of `cues_by_window`."""
CUE_SHAPE: Final = (2, len(CUE_LABELS), 2)
"""The axes of the K targets: begins or holds, label, own or others'."""
BEGINS, HOLDS = 0, 1
OWN, OTHERS = 0, 1
assert CUE_SHAPE[0] * CUE_SHAPE[1] * CUE_SHAPE[2] == CUE_TARGETS


def _cue_targets(clip: Clip, channel: int) -> UInt8Array:
    """`[W, K]` of the speaker on a channel: 0 no, 1 yes, `CUE_UNKNOWN` where the label was not made."""
    cues, is_made = clip.cues_by_window(), {each.label: each.made for each in clip.json.labels_made}
    flags = np.stack([cues.onset, cues.inside], axis=1)
    # Cues without a speaker are in the last column, and so count as others'.
    own, others = flags[..., channel], np.delete(flags, channel, axis=3).any(3)
    target_WK = np.stack([own, others], axis=3).astype(np.uint8)
    unknown = [not is_made.get(label, False) for label in cues.labels]
    target_WK[:, :, unknown] = CUE_UNKNOWN
    return target_WK.reshape(len(target_WK), CUE_TARGETS)


def _answers_due(clip: Clip, channel: int) -> UInt8Array:
    """`[W]`: `ANSWER` where the speaker on a channel should answer, `WAIT` where silence is right, else 0.

    Where both occur in one window the answer wins: the floor is open by the end of the window.
    """
    answers = clip.answers()
    due_W = np.where(answers.wait[:, channel], WAIT, 0)
    return np.where(answers.answer[:, channel], ANSWER, due_W).astype(np.uint8)


def with_cues(turns: Turns, clip: Clip, channel: int, start: int, stop: int, config: RunConfig) -> Turns:
    """Micro-turns `[start, stop)` with targets from the clip's cues and answers, if the run uses them."""
    delay = config.model.response_delay
    if config.model.cues:
        turns = dataclasses.replace(turns, cues_NK=_cue_targets(clip, channel)[start:stop])
    if config.loss.answers > 0:
        # What is due is asked of the output, which is `delay` windows later than the input.
        due_N = _answers_due(clip, channel)[start + delay : stop + delay]
        turns = dataclasses.replace(turns, due_N=due_N)
    return turns
