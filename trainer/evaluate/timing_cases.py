"""A document as a test of whoever plays its speaker: who speaks when, and the cues that call for action.

Shape suffixes: W windows, C channels, F frames a window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from corpus.schemas.activity import PADDED, SPEECH
from corpus.schemas.arrays import BoolArray, Int64Array
from corpus.schemas.clip import ClipHead
from corpus.schemas.clock import WINDOW_US
from corpus.schemas.conversation import Cue
from corpus.trainer.data.documents import Documents
from corpus.trainer.data.runs import Run
from corpus.trainer.data.views import View
from corpus.trainer.evaluate.timing import ANSWER_WINDOWS, SECOND, STOP_WINDOWS


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A time in which nobody speaks, after somebody else's speech. Times count from the clip's start."""

    start_us: int
    stop_us: int

    @property
    def first(self) -> int:
        """The window in which the silence begins."""
        return self.start_us // WINDOW_US

    @property
    def stop(self) -> int:
        """The window after the last one that the silence touches."""
        return max(-(-self.stop_us // WINDOW_US), self.first + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A document as timing sees it: who speaks when, and what the model should do.

    A silence is a case only if the clip contains all of it and the second before it. The end of a turn also
    needs a second of the person's answer, begun within the time in which answers are looked for.
    """

    id: str
    human_W: BoolArray
    known_W: BoolArray
    """Whether the source says anything about the person."""
    words_W: Int64Array
    other_WF: BoolArray
    ends: tuple[Silence, ...]
    """Silences after somebody else's turn, after which this speaker spoke next."""
    pauses: tuple[Silence, ...]
    """Silences in which somebody else only paused."""
    backchannels: tuple[Run, ...]
    """Windows of this speaker's labelled backchannels."""
    interrupted: tuple[int, ...]
    """Windows in which somebody began to interrupt this speaker, if the clip contains the time to stop."""

    @property
    def other_W(self) -> BoolArray:
        return np.asarray(self.other_WF.any(1), bool)


def scene_of(documents: Documents, document: int) -> Scene:
    """Flags and cues of a document's whole clip."""
    view = documents.view(document)
    clip = documents.clips[view.place]
    head = clip.json
    activity_CWF = clip.activity()
    speech_CWF = (activity_CWF & SPEECH) > 0
    human_W = speech_CWF[view.channel].any(1)
    others = [channel for channel in range(len(head.speakers)) if channel != view.channel]
    words_W = np.zeros(head.windows, np.int64)
    for word in head.words:
        if word.speaker == view.speaker and word.start_us is not None:
            window = word.start_us // WINDOW_US - head.first_window
            if 0 <= window < head.windows:
                words_W[window] += 1
    own = [cue_windows(cue, head) for cue in _cues(head, view, "backchannel", None, own=True)]
    into = [cue_windows(cue, head)[0] for cue in _cues(head, view, "interruption", None, own=False)]
    return Scene(
        id=view.id,
        human_W=human_W,
        known_W=~((activity_CWF[view.channel] & PADDED) > 0).all(1),
        words_W=words_W,
        other_WF=np.asarray(speech_CWF[others].any(0), bool),
        ends=tuple(
            silence
            for silence in _silences(head, view, "yield", "turn_end")
            if silence.stop - silence.first < ANSWER_WINDOWS and silence.stop + SECOND <= head.windows
        ),
        pauses=tuple(_silences(head, view, "hold", "pause")),
        backchannels=tuple((first, min(stop, head.windows)) for first, stop in own if first >= 0),
        interrupted=tuple(window for window in into if 0 <= window < head.windows - STOP_WINDOWS),
    )


def _cues(head: ClipHead, view: View, label: str, kind: str | None, *, own: bool) -> Iterator[Cue]:
    """The label's cues that begin before the end of the clip: the speaker's own, or others' towards them."""
    for cue in head.cues:
        if cue.label != label or kind not in (None, cue.kind) or cue.speaker is None:
            continue
        if (cue.speaker == view.speaker) != own or not (own or _concerns(cue, view.speaker)):
            continue
        if cue.start_us < head.stop_us:
            yield cue


def _silences(head: ClipHead, view: View, label: str, kind: str) -> Iterator[Silence]:
    """Others' silences that the clip contains together with the second before them."""
    for cue in _cues(head, view, label, kind, own=False):
        start_us, stop_us = (
            time_us - head.first_window * WINDOW_US for time_us in (cue.start_us, cue.stop_us)
        )
        silence = Silence(start_us=start_us, stop_us=stop_us)
        if silence.first >= SECOND and silence.stop <= head.windows:
            yield silence


def _concerns(cue: Cue, speaker: str) -> bool:
    """Whether a cue is about this speaker, if it names whom it is about."""
    return cue.partner in (None, speaker)


def cue_windows(cue: Cue, head: ClipHead) -> tuple[int, int]:
    """Windows of the clip that a cue touches, half-open; at least one."""
    first = cue.start_us // WINDOW_US - head.first_window
    stop = -(-cue.stop_us // WINDOW_US) - head.first_window
    return first, max(stop, first + 1)
