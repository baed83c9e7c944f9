"""What happens in a recording: turns, words, cues and events on one clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from corpus.schemas.span import Span

CONVERSATION_FORM = "corpus.conversation/2"

CUE_KINDS: dict[str, tuple[str, ...]] = {
    "hesitation": ("filled_pause", "silent_pause", "prolongation", "stall"),
    "self_correction": ("repetition", "substitution", "insertion", "deletion"),
    "yield": ("turn_end", "overlap"),
    "hold": ("pause",),
    "invitation": ("question", "tag", "suggestion"),
    "backchannel": ("geometric", "lexical"),
    "interruption": ("floor_taking", "butting_in"),
    "thinking": ("pause", "filler"),
    "overlap": ("simultaneous",),
    "visual": (
        "scene_cut",
        "motion_start",
        "motion_stop",
        "repetition",
        "face_enter",
        "face_leave",
        "nod",
        "shake",
        "gaze_away",
        "posture",
    ),
}
"""The labels and their kinds (docs/cues.md); "" means no kind."""

WordTiming = Literal["measured", "aligned", "recognised", "interpolated", "unknown"]
"""Where a word's times come from: a person or a file (`measured`), forced alignment (`aligned`), the
recogniser (`recognised`); `interpolated` inside a longer known span; `unknown` without times."""
AnswerAction = Literal["answer", "wait"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One speaker talking. Turns of different speakers may overlap."""

    speaker: str
    start_us: int
    stop_us: int
    id: str = ""
    """Unique in the recording, made from content; "" until `ids.with_ids` gives one."""

    def __post_init__(self) -> None:
        Span(self.start_us, self.stop_us)

    @property
    def span(self) -> Span:
        return Span(self.start_us, self.stop_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """Text with a speaker and a span, which may be unknown."""

    speaker: str
    start_us: int | None
    stop_us: int | None
    text: str
    after: str = ""
    """Punctuation after the word, if the source stores it separately."""
    timing: WordTiming = "measured"
    confidence: float | None = None
    """In [0, 1], if the source gives one."""
    id: str = ""

    def __post_init__(self) -> None:
        if (self.start_us is None) != (self.stop_us is None):
            raise ValueError(f"word {self.text!r} has only one of its two times")
        if (self.start_us is None) != (self.timing == "unknown"):
            raise ValueError(f"word {self.text!r}: timing {self.timing!r} contradicts its times")
        if self.start_us is not None and self.stop_us is not None:
            Span(self.start_us, self.stop_us)

    @property
    def span(self) -> Span | None:
        if self.start_us is None or self.stop_us is None:
            return None
        return Span(self.start_us, self.stop_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class CueSpan:
    """A named part of a cue, such as the reparandum of a self-correction."""

    role: str
    start_us: int
    stop_us: int

    def __post_init__(self) -> None:
        Span(self.start_us, self.stop_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """A labelled span: what happens in the conversation, who does it, and where the label comes from."""

    label: str
    """A key of `CUE_KINDS`."""
    kind: str
    """One of the label's kinds, or "" if the source names none."""
    speaker: str | None
    """None for a cue of the picture without a speaker."""
    start_us: int
    stop_us: int
    confidence: float
    """In [0, 1]."""
    origin: str
    """The source: labeler and version (`overlap/1`), annotator (`human:NAME`) or file."""
    partner: str | None = None
    """The other person involved: who takes the floor, is interrupted or talks at the same time."""
    thresholds: str = "{}"
    """JSON text of an object: the settings the label was made with."""
    evidence: str = "{}"
    """JSON text of an object: the measurements behind the label."""
    spans: tuple[CueSpan, ...] = ()
    id: str = ""

    def __post_init__(self) -> None:
        Span(self.start_us, self.stop_us)
        if self.label not in CUE_KINDS:
            raise ValueError(f"unknown cue label {self.label!r}; one of {', '.join(CUE_KINDS)}")
        if self.kind and self.kind not in CUE_KINDS[self.label]:
            raise ValueError(f"{self.kind!r} is not a kind of {self.label}; one of {CUE_KINDS[self.label]}")
        if not 0.0 <= self.confidence <= 1.0:
            raise ValueError(f"confidence must lie in [0, 1], got {self.confidence!r}")

    @property
    def span(self) -> Span:
        return Span(self.start_us, self.stop_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Anything else on the clock: visual event, sound, tool call, tool result, timer, note."""

    label: str
    kind: str
    speaker: str | None
    start_us: int
    stop_us: int
    origin: str
    payload: str = "{}"
    """JSON text of an object."""
    id: str = ""

    def __post_init__(self) -> None:
        Span(self.start_us, self.stop_us)

    @property
    def span(self) -> Span:
        return Span(self.start_us, self.stop_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """When an answer to a cue or event is timely, or when keeping silent is right."""

    speaker: str | None
    """Who may answer or should wait; None, if nobody else is recorded, for someone who is not."""
    start_us: int
    stop_us: int
    action: AnswerAction
    why: str
    """Label and kind of what is answered, such as `invitation/question`."""
    to: str
    """Id of the cue or event that is answered."""
    id: str = ""

    def __post_init__(self) -> None:
        Span(self.start_us, self.stop_us)

    @property
    def span(self) -> Span:
        return Span(self.start_us, self.stop_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelMade:
    """Whether a label was looked for in a recording, so that its absence means something."""

    label: str
    """A key of `CUE_KINDS`."""
    made: bool
    reason: str = ""
    """Why the label was not made, or its source if no labeler made it; "" if a labeler did."""

    def __post_init__(self) -> None:
        if self.label not in CUE_KINDS:
            raise ValueError(f"unknown cue label {self.label!r}; one of {', '.join(CUE_KINDS)}")


def _from_1(plain: dict[str, Any]) -> dict[str, Any]:
    from corpus.schemas.older import items_from_1

    return items_from_1(plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A recording's turns, words, cues, answers and events. The file form `corpus.conversation/2`."""

    older: ClassVar[dict[str, Any]] = {"corpus.conversation/1": _from_1}
    """Older forms that can still be read, and the function that converts each to this one."""

    schema: str = CONVERSATION_FORM
    recording: str
    """Content hash of the recording (64 hex digits), or the name given in a foreign file."""
    duration_us: int
    speakers: tuple[str, ...]
    """In order of first speech; includes every speaker named below."""
    turns: tuple[Turn, ...] = ()
    words: tuple[Word, ...] = ()
    cues: tuple[Cue, ...] = ()
    answers: tuple[Answer, ...] = ()
    events: tuple[Event, ...] = ()
    labels_made: tuple[LabelMade, ...] = ()
    """At most one entry per label; a label that is not listed was not looked for."""
    named_speakers: tuple[str, ...] = ()
    """The `speakers` whose labels are names valid beyond this recording; only these bind a split."""

    def __post_init__(self) -> None:
        known = set(self.speakers)
        if len(known) != len(self.speakers):
            raise ValueError(f"a speaker is listed twice: {self.speakers}")
        if not known.issuperset(self.named_speakers):
            raise ValueError(
                f"{self.named_speakers} are named speakers, but not all are among {self.speakers}"
            )
        if len({each.label for each in self.labels_made}) != len(self.labels_made):
            raise ValueError("a label is listed twice in labels_made")
        items: tuple[Turn | Word | Cue | Answer | Event, ...] = (
            *self.turns,
            *self.words,
            *self.cues,
            *self.answers,
            *self.events,
        )
        for item in items:
            if item.speaker is not None and item.speaker not in known:
                raise ValueError(f"{item.speaker!r} speaks but is not among {self.speakers}")
