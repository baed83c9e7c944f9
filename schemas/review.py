"""One annotator's decision on one cue, word, turn or speaker: the form `corpus.review/2`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from corpus.schemas.conversation import Cue, Turn, Word

_REVIEW_FORM = "corpus.review/2"

About = Literal["cue", "word", "turn", "speaker"]
Verdict = Literal["accept", "reject", "correct", "add", "unsure", "undo"]
Role = Literal["annotation", "adjudication"]
Draw = Literal["uncertain", "random", "label", "disagreement", "gold", "grid", "chosen", "imported"]

LONGEST_NAME = 64
_LONGEST_NOTE = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A cue, a word, a turn or a speaker's name: exactly one of them."""

    cue: Cue | None = None
    word: Word | None = None
    turn: Turn | None = None
    speaker: str | None = None

    def __post_init__(self) -> None:
        there = [name for name in ("cue", "word", "turn", "speaker") if getattr(self, name) is not None]
        if len(there) != 1:
            raise ValueError(f"exactly one of cue, word, turn and speaker is needed, got {there or 'none'}")

    @property
    def about(self) -> About:
        if self.cue is not None:
            return "cue"
        if self.word is not None:
            return "word"
        return "turn" if self.turn is not None else "speaker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A decision, including the whole item it judged. Rows are added, never changed."""

    schema: str = _REVIEW_FORM
    id: str
    """Made by the annotator's side, so that a decision sent twice counts once."""
    sequence: int = 0
    """Its number in the store, from 1; an annotator's latest decision on an item counts."""
    recording: str
    item: str
    """Id of the judged item; an addition has an id of its own."""
    verdict: Verdict
    """`unsure` abstains. `undo` takes back the same annotator's review named in `undoes`."""
    judged: Judged | None
    """The item as it was when judged; None for an addition and an undo."""
    becomes: tuple[Judged, ...] = ()
    """For `correct` and `add`: the item as it should be. A turn may become several; a speaker that
    becomes another one's name is merged with that one."""
    around: tuple[Turn, ...] = ()
    """Who talked nearby when it was judged; finds the speakers again after diarization changed."""
    annotator: str
    role: Role = "annotation"
    """An adjudication beats every annotation of the same item."""
    draw: Draw = "chosen"
    """How the item was chosen for the annotator; only `random` ones give an unbiased precision."""
    note: str = ""
    client_at_us: int = 0
    """Microseconds since 1970-01-01 UTC by the annotator's clock; nothing depends on it."""
    decided_at_us: int
    """The same by the server's clock; stored only here, never in a dataset."""
    spent_ms: int = 0
    """From the item's appearance to the decision."""
    undoes: str = ""

    def __post_init__(self) -> None:
        name = self.annotator
        if not name or len(name) > LONGEST_NAME or not name.isprintable() or name != name.strip():
            raise ValueError(f"an annotator's name has 1 to {LONGEST_NAME} printable characters: {name!r}")
        if not self.id or not self.item:
            raise ValueError("a review has an id and names an item")
        if len(self.note) > _LONGEST_NOTE:
            raise ValueError(f"a note has at most {_LONGEST_NOTE} characters, got {len(self.note)}")
        if (self.verdict == "undo") != bool(self.undoes):
            raise ValueError("an undo, and nothing else, names the review it takes back")
        if (self.verdict in ("add", "undo")) != (self.judged is None):
            raise ValueError(f"{self.verdict}: only an addition and an undo judge nothing that is there")
        if (self.verdict in ("add", "correct")) != bool(self.becomes):
            raise ValueError(
                f"{self.verdict}: a correction and an addition, and nothing else, say what it becomes"
            )
        kinds = {part.about for part in (self.judged, *self.becomes) if part is not None}
        if len(kinds) > 1:
            raise ValueError(f"a {' and a '.join(sorted(kinds))} in one review")
        if len(self.becomes) > 1 and kinds != {"turn"}:
            raise ValueError("only a turn may become several")

    @property
    def about(self) -> About | None:
        """None for an undo."""
        parts = (self.judged, *self.becomes)
        return next((part.about for part in parts if part is not None), None)
