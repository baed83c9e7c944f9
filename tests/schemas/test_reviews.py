from __future__ import annotations

import random
from dataclasses import replace

import pytest

from corpus.schemas.codec import from_json, to_json
from corpus.schemas.conversation import Conversation, Cue, Turn, Word
from corpus.schemas.errors import FormatError
from corpus.schemas.ids import with_ids
from corpus.schemas.review import Judged, Review, Role, Verdict
from corpus.schemas.reviews import apply_to_cues, apply_to_talk
from corpus.schemas.votes import groups, speakers_now, standing


def ms_cue(start: int, stop: int, speaker: str = "S1", label: str = "backchannel", kind: str = "") -> Cue:
    return Cue(
        label=label, kind=kind, speaker=speaker, start_us=start * 1000, stop_us=stop * 1000,
        confidence=0.5, origin="machine/1",
    )  # fmt: skip


def ms_turn(speaker: str, start: int, stop: int) -> Turn:
    return Turn(speaker=speaker, start_us=start * 1000, stop_us=stop * 1000)


def ms_word(speaker: str, start: int, stop: int, text: str) -> Word:
    return Word(speaker=speaker, start_us=start * 1000, stop_us=stop * 1000, text=text)


def talk(*cues: Cue, turns: tuple[Turn, ...] = (), words: tuple[Word, ...] = ()) -> Conversation:
    return Conversation(
        recording="r", duration_us=60_000_000, speakers=("S1", "S2"), cues=cues, words=words,
        turns=turns or (ms_turn("S1", 0, 9000), ms_turn("S2", 9000, 30_000)),
    )  # fmt: skip


class Book:
    """Reviews in the order they are written."""

    def __init__(self) -> None:
        self.rows: list[Review] = []

    def say(
        self, verdict: Verdict, judged: Judged | None = None, *becomes: Judged, who: str = "ann",
        item: str = "c1", role: Role = "annotation", around: tuple[Turn, ...] = (), undoes: str = "",
    ) -> str:  # fmt: skip
        number = len(self.rows) + 1
        self.rows.append(
            Review(
                id=f"r{number}", sequence=number, recording="r", item=item, verdict=verdict, judged=judged,
                becomes=becomes, annotator=who, role=role, decided_at_us=number, around=around,
                undoes=undoes,
            )
        )  # fmt: skip
        return f"r{number}"

    def cue(self, verdict: Verdict, cue: Cue, *becomes: Cue, who: str = "ann", item: str = "") -> str:
        name = item or f"{cue.label}{cue.start_us}"
        return self.say(verdict, Judged(cue=cue), *(Judged(cue=c) for c in becomes), who=who, item=name)


def said(conversation: Conversation) -> list[tuple[str, int, int, str]]:
    return sorted((c.label, c.start_us // 1000, c.stop_us // 1000, c.origin) for c in conversation.cues)


def test_an_accepted_cue_is_the_annotators_and_is_there_once() -> None:
    book, cue = Book(), ms_cue(1000, 1400)
    book.cue("accept", cue)
    made, tally = apply_to_cues(talk(cue), book.rows)
    assert said(made) == [("backchannel", 1000, 1400, "human:ann")]
    assert (tally.items, tally.applied, tally.unmatched) == (1, 1, 0)


def test_a_rejected_cue_is_gone_and_others_stay() -> None:
    book, cue, other = Book(), ms_cue(1000, 1400), ms_cue(5000, 5400)
    book.cue("reject", cue)
    made, _ = apply_to_cues(talk(cue, other), book.rows)
    assert made.cues == (other,)


@pytest.mark.parametrize(
    ("start", "stop", "found"), [(1000, 1399, True), (1200, 1400, True), (1201, 1400, False)]
)
def test_half_of_the_union_supersedes_a_cue_that_moved(start: int, stop: int, found: bool) -> None:
    book = Book()
    book.cue("reject", ms_cue(1000, 1400))
    made, tally = apply_to_cues(talk(ms_cue(start, stop)), book.rows)
    assert (len(made.cues) == 0, tally.unmatched) == (found, 0 if found else 1)


def test_a_correction_supersedes_what_it_judged_and_what_stands_where_it_goes() -> None:
    book, cue = Book(), ms_cue(1000, 1400)
    book.cue("correct", cue, ms_cue(3000, 3500, label="hesitation", kind="filled_pause"))
    there = ms_cue(3100, 3500, label="hesitation")
    made, _ = apply_to_cues(talk(cue, there), book.rows)
    assert said(made) == [("hesitation", 3000, 3500, "human:ann")]


def test_a_cue_that_no_machine_finds_any_more_stays_a_persons() -> None:
    book = Book()
    book.cue("accept", ms_cue(1000, 1400))
    made, tally = apply_to_cues(talk(), book.rows)
    assert said(made) == [("backchannel", 1000, 1400, "human:ann")]
    assert tally.unmatched == 1


def test_the_most_votes_win_and_a_tie_leaves_the_machines() -> None:
    book, cue = Book(), ms_cue(1000, 1400)
    book.cue("reject", cue, who="ann")
    book.cue("accept", cue, who="bob")
    made, tally = apply_to_cues(talk(cue), book.rows)
    assert made.cues == (cue,) and tally.ties == 1
    book.cue("accept", cue, who="carl")
    made, tally = apply_to_cues(talk(cue), book.rows)
    assert said(made) == [("backchannel", 1000, 1400, "human:bob,carl")]
    assert made.cues[0].confidence == pytest.approx(2 / 3)


def test_times_are_the_medians_of_the_votes_that_won() -> None:
    book, cue = Book(), ms_cue(1000, 1400)
    for who, start in (("ann", 900), ("bob", 1000), ("carl", 1500)):
        book.cue("correct", cue, ms_cue(start, 1600), who=who)
    made, _ = apply_to_cues(talk(cue), book.rows)
    assert said(made) == [("backchannel", 1000, 1600, "human:ann,bob,carl")]


def test_an_adjudication_beats_every_annotation() -> None:
    book, cue = Book(), ms_cue(1000, 1400)
    book.say("reject", Judged(cue=cue), who="judge", role="adjudication")
    for who in ("ann", "bob"):
        book.say("accept", Judged(cue=cue), who=who)
    made, _ = apply_to_cues(talk(cue), book.rows)
    assert made.cues == ()


def test_the_latest_of_one_annotator_counts_and_unsure_abstains() -> None:
    book, cue = Book(), ms_cue(1000, 1400)
    book.cue("accept", cue)
    book.cue("unsure", cue)
    made, tally = apply_to_cues(talk(cue), book.rows)
    assert made.cues == (cue,) and tally.unsure == 1


def test_an_undone_decision_never_was_and_only_its_own_annotator_can_undo() -> None:
    book, cue = Book(), ms_cue(1000, 1400)
    first = book.cue("accept", cue)
    second = book.cue("reject", cue)
    book.say("undo", who="bob", undoes=second)
    assert [r.id for r in standing(book.rows)] == [first, second]
    book.say("undo", who="ann", undoes=second)
    assert [r.id for r in standing(book.rows)] == [first]


def test_the_order_of_the_rows_does_not_matter() -> None:
    book = Book()
    for number in range(40):
        cue = ms_cue(1000 * number, 1000 * number + 700)
        book.cue("correct", cue, ms_cue(1000 * number + 10, 1000 * number + 700), who="ann")
        book.cue("reject" if number % 3 else "accept", cue, who="bob")
    there = talk(*(ms_cue(1000 * n, 1000 * n + 700) for n in range(40)))
    shuffled = random.Random(1).sample(book.rows, len(book.rows))
    assert apply_to_cues(there, shuffled) == apply_to_cues(there, book.rows)


def test_a_person_who_reviews_what_people_made_votes_on_the_same_item() -> None:
    book, cue = Book(), ms_cue(1000, 1400)
    book.cue("correct", cue, ms_cue(2000, 2400))
    made, _ = apply_to_cues(talk(cue), book.rows)
    book.cue("accept", made.cues[0], who="bob", item="another id")
    made, tally = apply_to_cues(talk(cue), book.rows)
    assert said(made) == [("backchannel", 2000, 2400, "human:ann,bob")]
    assert tally.items == 1


def test_two_cues_that_stand_side_by_side_are_two_items() -> None:
    book, one, two = Book(), ms_cue(1000, 1400, kind="lexical"), ms_cue(1000, 1500, kind="geometric")
    book.cue("accept", one, item="a")
    book.cue("reject", two, item="b")
    made, tally = apply_to_cues(talk(one, two), book.rows)
    assert said(made) == [("backchannel", 1000, 1400, "human:ann")]
    assert tally.items == 2


def test_speakers_are_matched_by_shared_talking_time() -> None:
    around = (ms_turn("S1", 0, 9000), ms_turn("S2", 9000, 12_000))
    swapped = (ms_turn("S2", 100, 9000), ms_turn("S1", 9100, 30_000))
    book, cue = Book(), ms_cue(1000, 1400)
    book.say("reject", Judged(cue=cue), around=around)
    now = replace(cue, speaker="S2")
    made, _ = apply_to_cues(talk(now, turns=swapped), book.rows)
    assert made.cues == ()
    talked = {"S2": [swapped[0].span], "S1": [swapped[1].span]}
    assert speakers_now(around, talked) == {"S1": "S2", "S2": "S1"}


def test_a_cue_whose_speaker_is_nowhere_is_refused_and_counted() -> None:
    book = Book()
    book.say("accept", Judged(cue=ms_cue(50_000, 50_400, "S9")), around=(ms_turn("S9", 50_000, 51_000),))
    made, tally = apply_to_cues(talk(), book.rows)
    assert made.cues == () and tally.refused == 1


def test_two_speakers_are_merged_everywhere() -> None:
    book = Book()
    turns = (ms_turn("S1", 0, 2000), ms_turn("S2", 1000, 3000))
    book.say("correct", Judged(speaker="S2"), Judged(speaker="S1"), item="S2", around=turns)
    partnered = replace(ms_cue(100, 900, "S1"), partner="S2")
    before = talk(
        ms_cue(2000, 2500, "S2"), partnered, turns=turns, words=(ms_word("S2", 2000, 2400, "yeah"),)
    )
    made, tally = apply_to_talk(before, book.rows)
    assert made.speakers == ("S1",) and made.turns == (ms_turn("S1", 0, 3000),)
    assert made.words[0].speaker == made.cues[0].speaker == made.cues[1].partner == "S1"
    assert tally.applied == 1


def test_a_merge_and_a_name_given_to_its_target_both_hold_and_a_swap_swaps() -> None:
    book = Book()
    book.say("correct", Judged(speaker="S2"), Judged(speaker="S1"), item="S2")
    book.say("correct", Judged(speaker="S1"), Judged(speaker="Ann"), item="S1")
    made, _ = apply_to_talk(talk(), book.rows)
    assert made.speakers == ("Ann",)
    book = Book()
    book.say("correct", Judged(speaker="S2"), Judged(speaker="S1"), item="S2")
    book.say("correct", Judged(speaker="S1"), Judged(speaker="S2"), item="S1")
    made, _ = apply_to_talk(talk(), book.rows)
    assert [(t.speaker, t.start_us) for t in made.turns] == [("S2", 0), ("S1", 9_000_000)]


def test_words_follow_a_turn_that_is_split() -> None:
    book, turn = Book(), ms_turn("S1", 0, 9000)
    words = (ms_word("S1", 1000, 1500, "mine"), ms_word("S1", 6000, 6500, "theirs"))
    parts = (ms_turn("S1", 0, 5000), ms_turn("S2", 5000, 9000))
    book.say("correct", Judged(turn=turn), *(Judged(turn=t) for t in parts), item="t1")
    made, _ = apply_to_talk(talk(words=words), book.rows)
    assert [(w.text, w.speaker) for w in made.words] == [("mine", "S1"), ("theirs", "S2")]
    assert made.turns[:2] == parts


def test_a_rejected_turn_takes_its_words_along() -> None:
    book = Book()
    book.say("reject", Judged(turn=ms_turn("S1", 0, 9000)), item="t1")
    made, _ = apply_to_talk(talk(words=(ms_word("S1", 1000, 1500, "noise"),)), book.rows)
    assert made.words == () and len(made.turns) == 1


def test_a_words_text_is_corrected_also_where_it_moved() -> None:
    book, word = Book(), ms_word("S1", 1000, 1500, "hat")
    book.say("correct", Judged(word=word), Judged(word=replace(word, text="that")), item="w1")
    made, _ = apply_to_talk(talk(words=(ms_word("S1", 1050, 1500, "hat"),)), book.rows)
    assert [(w.text, w.start_us) for w in made.words] == [("that", 1_000_000)]


def test_an_eighth_voice_is_refused_and_counted() -> None:
    book = Book()
    turns = tuple(ms_turn(f"S{n}", 1000 * n, 1000 * n + 900) for n in range(1, 8))
    book.say("add", None, Judged(turn=ms_turn("Zoe", 20_000, 21_000)), item="new")
    before = Conversation(
        recording="r", duration_us=60_000_000, speakers=tuple(t.speaker for t in turns), turns=turns
    )
    made, tally = apply_to_talk(before, book.rows)
    assert made.speakers == before.speakers and tally.refused == 1


def test_with_no_reviews_nothing_changes() -> None:
    before = with_ids(talk(ms_cue(1000, 1400), words=(ms_word("S1", 1000, 1500, "a"),)))
    assert apply_to_talk(before, []) == (before, apply_to_talk(before, [])[1])
    assert apply_to_cues(before, [])[0] == before


def test_a_review_reads_back_as_it_was_written() -> None:
    book = Book()
    book.cue("correct", ms_cue(1000, 1400), ms_cue(1000, 1500))
    assert from_json(Review, to_json(book.rows[0])) == book.rows[0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("verdict", "add"), ("verdict", "undo"), ("verdict", "correct"), ("annotator", ""),
        ("annotator", "a\nb"), ("undoes", "r0"), ("note", "x" * 2001), ("judged", None),
    ],
)  # fmt: skip
def test_a_review_that_says_two_things_is_refused(field: str, value: object) -> None:
    book = Book()
    book.cue("accept", ms_cue(1000, 1400))
    text = to_json(book.rows[0]).replace('"note":""', '"note":""')
    with pytest.raises((ValueError, FormatError)):
        replace(from_json(Review, text), **{field: value})  # type: ignore[arg-type]


def test_grouping_ten_thousand_reviews_of_one_recording_is_quick() -> None:
    """Linear: with every pair compared this would take minutes."""
    book = Book()
    for number in range(10_000):
        book.cue("accept", ms_cue(100 * number, 100 * number + 90))
    assert len(groups(book.rows, ())) == 10_000
