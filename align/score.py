"""Errors of a conversation against the truth: who spoke when, what was said, when words begin.

Every figure is a ratio of sums, so that recordings can be pooled. Words are compared in lower case, without
punctuation and in order of time; a reference word is lost if the alignment gives it no equal word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from corpus.schemas.conversation import Turn, Word
from corpus.schemas.span import Span, intersect, union

COLLAR_S = 0.25
"""On both sides of every boundary, for DER; JER has none."""
SHORT_TURN_US = 1_000_000
MEASURED = (
    *("der", "miss", "false_alarm", "confusion", "jer", "der_short_turns", "speaker_count_error"),
    *("wer", "cpwer", "words_lost_alone", "words_lost_overlap", "fillers_heard", "fillers_false"),
)
"""All figures that are a ratio of sums."""
FILLERS = frozenset("uh um mm hmm er erm eh ah mmhmm mhm uhhuh yeah yep yes no okay ok right".split())
"""Hesitations and short answers."""
FILLER_MARGIN_US = 500_000


@dataclass(frozen=True, slots=True)
class Said:
    """Who speaks when and what is said in one recording."""

    turns: tuple[Turn, ...] | None = ()
    """None if the reference has none; figures of turns are then not measured."""
    words: tuple[Word, ...] | None = ()
    """None likewise."""
    duration_us: int = 0


@dataclass(slots=True)
class Counts:
    """Sums over recordings: numerators and denominators by name, and each word's distance."""

    over: Counter[str] = field(default_factory=Counter)
    under: Counter[str] = field(default_factory=Counter)
    word_starts_ms: list[float] = field(default_factory=list)

    def put(self, name: str, over: float, under: float) -> None:
        self.over[name] += over  # type: ignore[assignment]
        self.under[name] += under  # type: ignore[assignment]


def pooled(parts: Iterable[Counts]) -> Counts:
    total = Counts()
    for part in parts:
        for name in part.under:
            total.put(name, part.over[name], part.under[name])
        total.word_starts_ms += part.word_starts_ms
    return total


def figures(counts: Counts) -> dict[str, float | int | None]:
    """The figures by name; None if there is nothing to measure."""
    figure_of: dict[str, float | int | None] = {}
    for name, under in counts.under.items():
        figure_of[name] = round(counts.over[name] / under, 6) if under else None
    for name in ("fillers_heard", "fillers_false", "speaker_count_error"):
        figure_of[name] = int(counts.over[name])
    figure_of["fillers"] = int(counts.under["fillers_heard"])
    starts = sorted(counts.word_starts_ms)
    figure_of["word_start_median_ms"] = starts[len(starts) // 2] if starts else None
    figure_of["word_start_p90_ms"] = starts[len(starts) * 9 // 10] if starts else None
    return figure_of


def compared(pair: tuple[Said, Said]) -> Counts:
    """`compare` for a pair, as one job."""
    return compare(*pair)


def compare(truth: Said, found: Said) -> Counts:
    """The counts of one recording."""
    counts = Counts()
    for name in MEASURED:
        counts.put(name, 0, 0)
    turns, words = found.turns or (), found.words or ()
    if truth.turns is not None:
        _turns(truth.turns, turns, truth.duration_us, counts)
    if truth.words is not None:
        _words(truth.words, truth.turns, words, counts)
        _fillers(truth.words, words, counts)
    return counts


def _turns(truth: Sequence[Turn], found: Sequence[Turn], duration_us: int, counts: Counts) -> None:
    from pyannote.core import Segment, Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate, JaccardErrorRate

    ends = [turn.stop_us for turn in (*truth, *found)]
    whole = Timeline([Segment(0, max([duration_us, *ends, 1]) / 1e6)])
    reference, hypothesis = _annotation(truth), _annotation(found)
    # pyannote's collar is the whole width, NIST's is half of it on either side.
    der = DiarizationErrorRate(collar=2 * COLLAR_S, skip_overlap=False)
    parts = der(reference, hypothesis, uem=whole, detailed=True)
    errors = {
        "miss": parts["missed detection"],
        "false_alarm": parts["false alarm"],
        "confusion": parts["confusion"],
    }
    for name, seconds in errors.items():
        counts.put(name, seconds, parts["total"])
    counts.put("der", sum(errors.values()), parts["total"])
    rate: Any = JaccardErrorRate
    jaccard = rate()(reference, hypothesis, uem=whole, detailed=True)
    counts.put("jer", jaccard["speaker error"], jaccard["speaker count"])
    _short_turns(truth, found, der.optimal_mapping(reference, hypothesis, uem=whole), counts)
    names = ({turn.speaker for turn in truth}, {turn.speaker for turn in found})
    counts.put("speaker_count_error", abs(len(names[0]) - len(names[1])), 1)


def _short_turns(
    truth: Sequence[Turn], found: Sequence[Turn], mapping: dict[str, str], counts: Counts
) -> None:
    """Share of short turns whose speaker was not found there, under the mapping for the whole recording."""
    for turn in truth:
        if 0 < turn.stop_us - turn.start_us < SHORT_TURN_US:
            theirs = (t.span for t in found if mapping.get(t.speaker) == turn.speaker)
            shared = sum(span.duration_us for span in intersect([turn.span], union(theirs)))
            counts.put("der_short_turns", turn.span.duration_us - shared, turn.span.duration_us)


def _annotation(turns: Sequence[Turn]) -> Any:
    from pyannote.core import Annotation, Segment

    annotation = Annotation()
    for number, (speaker, span) in enumerate(_apart(turns)):
        annotation[Segment(span.start_us / 1e6, span.stop_us / 1e6), number] = speaker
    return annotation


def _apart(turns: Sequence[Turn]) -> Iterator[tuple[str, Span]]:
    """Speaker and span of each turn; overlapping turns of a speaker are joined, so no second counts twice."""
    last: dict[str, Span] = {}
    for turn in sorted(turns, key=lambda turn: (turn.start_us, turn.stop_us)):
        before = last.get(turn.speaker)
        if before is None or turn.start_us >= before.stop_us:
            if before is not None:
                yield turn.speaker, before
            last[turn.speaker] = turn.span
        else:
            last[turn.speaker] = Span(before.start_us, max(before.stop_us, turn.stop_us))
    yield from last.items()


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    speaker: str
    span: Span | None
    timed: bool


def _tokens(words: Sequence[Word]) -> list[_Token]:
    """Words in the form in which they are compared; a word without times follows the previous one."""
    keyed: list[tuple[int, int, Word]] = []
    last: dict[str, int] = {}
    for place, word in enumerate(words):
        if word.start_us is not None:
            last[word.speaker] = word.start_us
        keyed.append((last.get(word.speaker, 0), place, word))
    tokens: list[_Token] = []
    for _, _, word in sorted(keyed, key=lambda each: each[:2]):
        parts = re.sub(r"[^\w' ]|_", " ", word.text.lower()).split()
        timed = word.timing not in ("interpolated", "unknown")
        tokens += [_Token(p, word.speaker, word.span, timed and i == 0) for i, p in enumerate(parts)]
    return tokens


def _words(
    truth: Sequence[Word], turns: Sequence[Turn] | None, found: Sequence[Word], counts: Counts
) -> None:
    import jiwer

    reference, hypothesis = _tokens(truth), _tokens(found)
    if not reference:
        counts.put("wer", len(hypothesis), 0)
        counts.put("cpwer", len(hypothesis), 0)
        return
    done = jiwer.process_words(" ".join(t.text for t in reference), " ".join(t.text for t in hypothesis))
    counts.put("wer", done.substitutions + done.deletions + done.insertions, len(reference))
    equal = {
        chunk.ref_start_idx + i: chunk.hyp_start_idx + i
        for chunk in done.alignments[0]
        if chunk.type == "equal"
        for i in range(chunk.ref_end_idx - chunk.ref_start_idx)
    }
    for place, token in enumerate(reference):
        heard = hypothesis[equal[place]] if place in equal else None
        if token.span is not None and turns is not None:
            crowded = any(t.speaker != token.speaker and t.span.overlaps(token.span) for t in turns)
            counts.put("words_lost_overlap" if crowded else "words_lost_alone", heard is None, 1)
        if heard and token.timed and heard.timed and token.span and heard.span:
            counts.word_starts_ms.append(abs(token.span.start_us - heard.span.start_us) / 1e3)
    counts.put("cpwer", _cp_errors(reference, hypothesis), len(reference))


def _cp_errors(reference: Sequence[_Token], hypothesis: Sequence[_Token]) -> int:
    """Word errors with each speaker's words concatenated, under the best assignment of speakers.

    The errors add up over pairs of speakers, so the best permutation is a linear assignment; a speaker
    without a partner costs all of their words.
    """
    from scipy.optimize import linear_sum_assignment

    said, heard = _by_speaker(reference), _by_speaker(hypothesis)
    size = max(len(said), len(heard))
    rows, columns = said + [""] * (size - len(said)), heard + [""] * (size - len(heard))
    costs = [[_edits(row, column) for column in columns] for row in rows]
    places = zip(*linear_sum_assignment(costs), strict=True) if size else ()
    return sum(costs[row][column] for row, column in places)


def _edits(reference: str, hypothesis: str) -> int:
    import jiwer

    if not reference:
        return len(hypothesis.split())
    done = jiwer.process_words(reference, hypothesis)
    return int(done.substitutions + done.deletions + done.insertions)


def _by_speaker(tokens: Sequence[_Token]) -> list[str]:
    rows: dict[str, list[str]] = {}
    for token in tokens:
        rows.setdefault(token.speaker, []).append(token.text)
    return [" ".join(texts) for _, texts in sorted(rows.items())]


def _fillers(truth: Sequence[Word], found: Sequence[Word], counts: Counts) -> None:
    """Fillers that were found: the same one within half a second, by any speaker, each used once."""
    said, heard = _filler_times(truth), _filler_times(found)
    left = list(heard)
    hits = 0
    for text, at_us in said:
        near = [(abs(at - at_us), at) for name, at in left if name == text]
        if near and min(near)[0] <= FILLER_MARGIN_US:
            left.remove((text, min(near)[1]))
            hits += 1
    counts.put("fillers_heard", hits, len(said))
    counts.put("fillers_false", len(left), 1)


def _filler_times(words: Sequence[Word]) -> list[tuple[str, int]]:
    timed = [(re.sub(r"[^a-z]", "", word.text.lower()), word.start_us) for word in words]
    return sorted((text, at) for text, at in timed if text in FILLERS and at is not None)
