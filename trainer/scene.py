"""What a document asks of whoever plays its speaker: who speaks when, and the cues that call for something.

Shape suffixes: W windows, C channels, F frames a window.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from corpus.schemas.artifacts import SPEECH
from corpus.schemas.clip import ClipHead
from corpus.schemas.clock import WINDOW_US
from corpus.schemas.conversation import Cue
from corpus.trainer.documents import Documents
from corpus.trainer.timing import Counts, Flags
from corpus.trainer.views import View


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A document as timing sees it: who speaks when, and what is asked of the model."""

    id: str
    human_W: Flags
    words_W: Counts
    other_WF: Flags
    ends: tuple[int, ...]
    """Windows in which another's turn ended and this speaker was next."""
    pauses: tuple[tuple[int, int], ...]
    """Windows in which another only paused."""
    backchannels: tuple[int, ...]
    """Windows in which this speaker's labelled backchannels begin."""
    interrupted: tuple[int, ...]
    """Windows in which another began to talk into this speaker's turn."""

    @property
    def other_W(self) -> Flags:
        return np.asarray(self.other_WF.any(1), bool)


def scene_of(documents: Documents, document: int) -> Scene:
    """Flags and cues of a document's whole clip."""
    view = documents.view(document)
    clip = documents.clips[view.place]
    head, delay = clip.json, documents.config.model.response_delay
    activity_CWF = (clip.activity() & SPEECH) > 0
    human_W = activity_CWF[view.channel].any(1)
    human_W[delay : delay + len(view)] = view.speak_N
    others = [channel for channel in range(len(head.speakers)) if channel != view.channel]
    words_W = np.zeros(head.windows, np.int64)
    for word in head.words:
        if word.speaker == view.speaker and word.start_us is not None:
            window = word.start_us // WINDOW_US - head.first_window
            if 0 <= window < head.windows:
                words_W[window] += 1
    return Scene(
        id=view.id,
        human_W=human_W,
        words_W=words_W,
        other_WF=np.asarray(activity_CWF[others].any(0), bool),
        ends=tuple(a for a, _ in _cases(head, view, "yield", "turn_end", own=False)),
        pauses=tuple(_cases(head, view, "hold", "pause", own=False)),
        backchannels=tuple(a for a, _ in _cases(head, view, "backchannel", None, own=True)),
        interrupted=tuple(a for a, _ in _cases(head, view, "interruption", None, own=False)),
    )


def _cases(
    head: ClipHead, view: View, label: str, kind: str | None, *, own: bool
) -> Iterator[tuple[int, int]]:
    """Windows of the label's cues that begin in the clip: the speaker's own, or others' towards them."""
    for cue in head.cues:
        if cue.label != label or kind not in (None, cue.kind) or cue.speaker is None:
            continue
        if (cue.speaker == view.speaker) != own or not (own or _concerns(cue, view.speaker)):
            continue
        first, stop = cue_windows(cue, head)
        if 0 <= first < head.windows:
            yield first, min(stop, head.windows)


def _concerns(cue: Cue, speaker: str) -> bool:
    """Whether a cue that names whom it is about names this speaker."""
    evidence = json.loads(cue.evidence)
    named = [evidence[key] for key in ("to", "of", "with") if isinstance(evidence.get(key), str)]
    return not named or speaker in named


def cue_windows(cue: Cue, head: ClipHead) -> tuple[int, int]:
    """Windows of the clip a cue touches, half-open; at least one."""
    first = cue.start_us // WINDOW_US - head.first_window
    stop = -(-cue.stop_us // WINDOW_US) - head.first_window
    return first, max(stop, first + 1)
