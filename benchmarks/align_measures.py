"""What is counted of turns and words against a truth; `align_quality.py` says of what.

DER: overlap scored, collar 0 unless said, the whole file evaluated. Words are compared in lower case without
punctuation. A reference word is found where the least-edit alignment of all words by time has it in the
recognised text. cpWER: each reference speaker's words against those of one found speaker, paired so that the
sum of edits is least; the words of speakers left over count whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate, JaccardErrorRate
from rapidfuzz.distance import Levenshtein
from scipy.optimize import linear_sum_assignment

from corpus.schemas.conversation import Turn, Word
from corpus.schemas.span import Span

HESITATIONS = frozenset(("uh", "um", "mm", "hmm"))
FILLERS = HESITATIONS | frozenset(("mm-hmm", "yeah", "okay"))
"""Fillers and short answers; what is written otherwise is brought to these."""
SPELLED = {
    "'kay": "okay", "kay": "okay", "ok": "okay", "mmhmm": "mm-hmm", "uh-huh": "mm-hmm", "mhm": "mm-hmm",
    "hm": "hmm", "mmm": "mm", "umm": "um", "uhm": "um", "erm": "um", "er": "uh", "ah": "uh", "eh": "uh",
}  # fmt: skip
NEAR_US = 500_000
"""A filler is heard where the same one is recognised at most so far away; it is said by somebody there."""


def text_of(words: Sequence[Word]) -> str:
    """Words as they are compared: by time, lower case, letters and digits only, spelled letters apart."""
    said = " ".join(word.text for word in sorted(words, key=lambda word: word.start_us or 0))
    return " ".join(re.sub(r"[^a-z0-9' ]", " ", said.lower().replace("’", "'")).split())


def parts_of(word: Word) -> list[str]:
    return text_of([word]).split()


def filler_of(word: Word) -> str | None:
    text = word.text.lower().strip(".,?!;:…-")
    text = SPELLED.get(text, text)
    return text if text in FILLERS else None


def annotation(turns: Sequence[Turn]) -> Annotation:
    made = Annotation()
    for number, turn in enumerate(turns):
        made[Segment(turn.start_us / 1e6, turn.stop_us / 1e6), number] = turn.speaker
    return made


@dataclass(slots=True)
class Speakers:
    """Diarization over files; add them one by one."""

    collar_s: float = 0.0
    total: float = 0.0
    missed: float = 0.0
    false: float = 0.0
    confused: float = 0.0
    jaccard: list[float] = field(default_factory=list)
    count_errors: list[int] = field(default_factory=list)
    """Found speakers minus true ones, a file each."""
    each: list[tuple[float, float]] = field(default_factory=list)
    """(errors, total) a file."""

    def add(self, truth: Sequence[Turn], found: Sequence[Turn], length_s: float) -> None:
        metric = DiarizationErrorRate(collar=2 * self.collar_s, skip_overlap=False)
        whole = Timeline([Segment(0, length_s)])
        parts = metric(annotation(truth), annotation(found), uem=whole, detailed=True)
        self.total += parts["total"]
        self.missed += parts["missed detection"]
        self.false += parts["false alarm"]
        self.confused += parts["confusion"]
        errors = parts["missed detection"] + parts["false alarm"] + parts["confusion"]
        self.each.append((errors, parts["total"]))
        self.jaccard.append(JaccardErrorRate(collar=0.0)(annotation(truth), annotation(found), uem=whole))
        self.count_errors.append(len({t.speaker for t in found}) - len({t.speaker for t in truth}))

    @property
    def der(self) -> float:
        return (self.missed + self.false + self.confused) / self.total

    @property
    def too_few(self) -> float:
        """Speakers that are missing, mean over files."""
        return -float(np.mean(self.count_errors))


@dataclass(slots=True)
class Said:
    """Words over files; add them one by one."""

    words: int = 0
    substituted: int = 0
    deleted: int = 0
    inserted: int = 0
    per_speaker_errors: int = 0
    fillers: int = 0
    fillers_heard: int = 0
    fillers_false: int = 0
    hesitations: int = 0
    hesitations_heard: int = 0
    hesitations_false: int = 0
    overlapped: int = 0
    overlapped_lost: int = 0
    alone: int = 0
    alone_lost: int = 0
    start_errors_us: list[int] = field(default_factory=list)
    each: list[tuple[int, int]] = field(default_factory=list)

    def add(self, truth: Sequence[Word], found: Sequence[Word]) -> None:
        truth, found = _by_time(truth), _by_time(found)
        self._edits(truth, found)
        self.per_speaker_errors += per_speaker_errors(truth, found)
        self._fillers(truth, found)

    def _edits(self, truth: Sequence[Word], found: Sequence[Word]) -> None:
        wanted = [(part, word) for word in truth for part in parts_of(word)]
        said = [(part, word) for word in found for part in parts_of(word)]
        others = {id(word): _overlapped(word, truth) for word in truth}
        lost = {id(word): False for word in truth}
        left, right = [part for part, _ in wanted], [part for part, _ in said]
        starts: dict[int, int] = {}
        for op in Levenshtein.opcodes(left, right):
            if op.tag == "equal":
                for i, j in zip(
                    range(op.src_start, op.src_end), range(op.dest_start, op.dest_end), strict=True
                ):
                    a, b = wanted[i][1], said[j][1]
                    if a.start_us is not None and b.start_us is not None:
                        starts.setdefault(id(a), b.start_us - a.start_us)
                continue
            for i in range(op.src_start, op.src_end):
                lost[id(wanted[i][1])] = True
        changes = Levenshtein.editops(left, right)
        kinds = [op.tag for op in changes]
        self.words += len(left)
        self.substituted += kinds.count("replace")
        self.deleted += kinds.count("delete")
        self.inserted += kinds.count("insert")
        self.each.append((len(kinds), len(left)))
        self.start_errors_us += [abs(value) for value in starts.values()]
        for word in truth:
            if not parts_of(word):
                continue
            if others[id(word)]:
                self.overlapped += 1
                self.overlapped_lost += lost[id(word)]
            else:
                self.alone += 1
                self.alone_lost += lost[id(word)]

    def _fillers(self, truth: Sequence[Word], found: Sequence[Word]) -> None:
        self.fillers, heard, false = _counted(self.fillers, truth, found, FILLERS)
        self.fillers_heard += heard
        self.fillers_false += false
        self.hesitations, heard, false = _counted(self.hesitations, truth, found, HESITATIONS)
        self.hesitations_heard += heard
        self.hesitations_false += false

    @property
    def wer(self) -> float:
        return (self.substituted + self.deleted + self.inserted) / self.words

    @property
    def cpwer(self) -> float:
        return self.per_speaker_errors / self.words

    def start_ms(self, quantile: float) -> float:
        return float(np.quantile(self.start_errors_us, quantile)) / 1000 if self.start_errors_us else 0.0


def _by_time(words: Sequence[Word]) -> list[Word]:
    return sorted(words, key=lambda word: (word.start_us or 0, word.stop_us or 0))


def _overlapped(word: Word, words: Sequence[Word]) -> bool:
    """Somebody else says a word at the same time."""
    span = word.span
    return span is not None and any(
        other.speaker != word.speaker and other.span is not None and span.overlaps(other.span)
        for other in words
    )


def _counted(
    before: int, truth: Sequence[Word], found: Sequence[Word], which: frozenset[str]
) -> tuple[int, int, int]:
    """(all so far, heard, false): one to one, the nearest first."""
    wanted = [(name, w) for w in truth if (name := filler_of(w)) in which]
    said = [(name, w) for w in found if (name := filler_of(w)) in which]
    pairs = sorted(
        (_apart_us(a.span, b.span), i, j)
        for i, (name, a) in enumerate(wanted)
        for j, (other, b) in enumerate(said)
        if _alike(name, other) and a.span is not None and b.span is not None
    )
    used_left: set[int] = set()
    used_right: set[int] = set()
    for apart_us, i, j in pairs:
        if apart_us <= NEAR_US and i not in used_left and j not in used_right:
            used_left.add(i)
            used_right.add(j)
    return before + len(wanted), len(used_left), len(said) - len(used_right)


def _alike(left: str | None, right: str | None) -> bool:
    """The same filler; what is hummed is one."""
    groups = ({"uh", "um"}, {"mm", "hmm"}, {"mm-hmm"}, {"yeah"}, {"okay"})
    return any(left in group and right in group for group in groups)


def _apart_us(left: Span | None, right: Span | None) -> int:
    assert left is not None and right is not None
    return max(left.start_us - right.stop_us, right.start_us - left.stop_us, 0)


def per_speaker_errors(truth: Sequence[Word], found: Sequence[Word]) -> int:
    """Edits of the best pairing of speakers."""
    texts = [_texts(truth), _texts(found)]
    count = max(len(texts[0]), len(texts[1]))
    for side in texts:
        side += [[] for _ in range(count - len(side))]
    cost = np.array([[Levenshtein.distance(a, b) for b in texts[1]] for a in texts[0]]).reshape(count, count)
    rows, columns = linear_sum_assignment(cost)
    return int(cost[rows, columns].sum())


def _texts(words: Sequence[Word]) -> list[list[str]]:
    return [
        text_of([word for word in words if word.speaker == name]).split()
        for name in sorted({word.speaker for word in words})
    ]
