"""Cues from words: self-corrections, stalls, invitations, thinking; which labels are made, and why not."""

from __future__ import annotations

import cProfile
import json
import random
import time
from dataclasses import replace

import numpy as np
import pytest

from corpus.align.cues.linear import Linear, read_models, released_models, write_models
from corpus.align.cues.repair_features import features
from corpus.align.cues.repair_words import said_by
from corpus.align.cues.self_correction import _tagger, kind_of
from corpus.align.cues.tagger import read_tagger, write_tagger
from corpus.align.cues.trees import FIRST_TREES, UNLIKELY, Trees
from corpus.align.label import label_cues, labelled
from corpus.schemas.conversation import CUE_KINDS, Conversation, Cue, LabelMade, Turn, Word
from corpus.schemas.settings import CueSettings

MS = 1000
WORD_MS = 300


def spoken(text: str, *, gap_before: int | None = None, gap_ms: int = 0, other: bool = True) -> Conversation:
    """A says the text, a word each 300 ms, a silence before one of the words; B says hello at the end."""
    words, at = [], 1000
    for place, token in enumerate(text.split()):
        at += gap_ms if place == gap_before else 0
        bare = token.rstrip(".,?")
        words.append(
            Word(
                speaker="A",
                start_us=at * MS,
                stop_us=(at + WORD_MS) * MS,
                text=bare,
                after=token[len(bare) :],
            )
        )
        at += WORD_MS
    turns = [Turn(speaker="A", start_us=w.start_us or 0, stop_us=w.stop_us or 0) for w in words]
    if other:
        turns.append(Turn(speaker="B", start_us=(at + 400) * MS, stop_us=(at + 900) * MS))
        hello = Word(speaker="B", start_us=(at + 400) * MS, stop_us=(at + 900) * MS, text="hello")
        words.append(hello)
    return Conversation(
        recording="r",
        duration_us=(at + 60_000) * MS,
        speakers=("A", "B") if other else ("A",),
        turns=tuple(turns),
        words=tuple(words),
    )


def of(told: Conversation, name: str, **settings: object) -> list[Cue]:
    return [cue for cue in label_cues(told, CueSettings(**settings)) if cue.label == name]  # type: ignore[arg-type]


def parts(cue: Cue) -> dict[str, tuple[int, int]]:
    return {part.role: (part.start_us // MS, part.stop_us // MS) for part in cue.spans}


@pytest.mark.parametrize("how", ["learned", "rule"])
def test_a_repetition_has_its_reparandum_and_repair(how: str) -> None:
    (cue,) = of(spoken("we made it just for just for four buttons"), "self_correction", self_correction=how)
    assert cue.kind == "repetition"
    assert parts(cue) == {"reparandum": (1900, 2500), "repair": (2500, 3100)}
    assert (cue.start_us, cue.stop_us) == (1900 * MS, 3100 * MS)


def test_a_filler_between_is_the_interregnum() -> None:
    (cue,) = of(spoken("and then I think uh I think we should stop"), "self_correction")
    assert parts(cue) == {"reparandum": (1600, 2200), "interregnum": (2200, 2500), "repair": (2500, 3100)}


def test_fluent_talk_has_no_self_correction() -> None:
    for how in ("learned", "rule"):
        told = spoken("we will show you the new remote control and its buttons", gap_before=5, gap_ms=500)
        assert of(told, "self_correction", self_correction=how) == []
    # said again after a long silence is no repair
    assert of(spoken("the dog the dog", gap_before=2, gap_ms=5000), "self_correction") == []


@pytest.mark.parametrize("count", range(1, 12))
def test_talk_of_a_few_words_has_as_many_rows(count: int) -> None:
    texts = "the the button so um I think I think we go".split()[:count]
    for gap in (None, count - 1):
        told = spoken(" ".join(texts), gap_before=gap, gap_ms=5000, other=False)
        (said,) = said_by(told) or (None,)
        if said is not None:
            rows = features(said, _tagger().statistics)
            assert len(rows) == len(said) and np.isfinite(rows).all()


def test_what_is_put_in_belongs_to_the_repair() -> None:
    cues = of(spoken("we need the button the red button on it"), "self_correction")
    assert [(cue.kind, parts(cue)) for cue in cues] == [
        ("insertion", {"reparandum": (1600, 2200), "repair": (2200, 3100)})
    ]


def test_kinds_after_shriberg() -> None:
    assert kind_of(["just", "for"], ["just", "for"]) == "repetition"
    assert kind_of(["the", "dog"], ["the", "big", "dog"]) == "insertion"
    assert kind_of(["both", "factors"], ["both", "points"]) == "substitution"
    assert kind_of(["we", "just"], ["one"]) == "deletion"


def test_a_question_mark_is_an_invitation_at_its_word() -> None:
    told = spoken("so what do you think about that?")
    (cue,) = of(told, "invitation")
    assert (cue.speaker, cue.start_us, cue.kind) == ("A", 2800 * MS, "question")
    assert parts(cue) == {"act": (1000, 3100)}
    assert json.loads(cue.evidence)["question_mark"] is True
    bare = replace(told, words=tuple(replace(word, after="") for word in told.words))
    assert [cue.start_us for cue in of(bare, "invitation")] == [2800 * MS]
    assert of(spoken("we put the battery in the base of it."), "invitation") == []


def test_thinking_is_a_pause_in_an_open_sentence_that_goes_on() -> None:
    (cue,) = of(spoken("we put it in the box over there", gap_before=5, gap_ms=700), "thinking")
    assert (cue.kind, cue.start_us, cue.stop_us) == ("pause", 2500 * MS, 3200 * MS)
    told = json.loads(cue.evidence)
    assert told["before"] == {"fillers": [], "word": "the"}
    assert told["then"] == {"goes_on_after_us": 700 * MS}
    (filler,) = of(spoken("we put it in the um box"), "thinking")
    assert filler.kind == "filler"
    assert of(spoken("we put it there. Now the box", gap_before=4, gap_ms=700), "thinking") == []
    assert of(spoken("we put it in the box", gap_before=5, gap_ms=200), "thinking") == []


def test_labels_say_why_they_were_not_made() -> None:
    def reasons(told: Conversation) -> dict[str, str]:
        made = labelled(told, CueSettings()).labels_made
        assert [each.label for each in made] == list(CUE_KINDS)
        assert all(bool(each.reason) != each.made for each in made)
        return {each.label: each.reason for each in made if not each.made}

    told = spoken("well I think we should do it " * 6)
    assert reasons(told).keys() == {"visual"}
    assert reasons(spoken("hello there", other=False)).keys() == {
        *("visual", "yield", "invitation", "backchannel", "interruption", "overlap"),
    }
    timeless = tuple(replace(w, start_us=None, stop_us=None, timing="unknown") for w in told.words)
    assert "no times" in reasons(replace(told, words=timeless))["self_correction"]
    assert "no words" in reasons(replace(told, words=()))["hesitation"]
    assert "no turns" in reasons(replace(told, turns=()))["hold"]
    german = spoken("wir haben das gestern schon einmal gemacht und es war gar nicht schlecht " * 3)
    assert "English" in reasons(german)["self_correction"]
    cues = label_cues(german, CueSettings())
    assert all(cue.kind != "lexical" for cue in cues)
    assert {cue.label for cue in cues} <= {"yield", "hold", "overlap", "interruption", "backchannel"}


def test_what_a_file_says_of_a_label_stands() -> None:
    told = spoken("we put it in the um box what do you think?")
    mine = Cue(
        label="thinking", kind="", speaker="B", start_us=0, stop_us=1, confidence=1.0, origin="human:x"
    )
    made = labelled(replace(told, cues=(mine,)), CueSettings())
    assert [cue.origin for cue in made.cues if cue.label == "thinking"] == ["human:x"]
    assert any(cue.label == "invitation" for cue in made.cues)
    looked = labelled(replace(told, labels_made=(LabelMade(label="thinking", made=True),)), CueSettings())
    assert not [cue for cue in looked.cues if cue.label == "thinking"]


def test_trees_are_as_walked_one_row_at_a_time() -> None:
    numbers = np.random.default_rng(5)
    feature: list[int] = []
    left: list[int] = []
    roots: list[int] = []
    threshold: list[float] = []
    value: list[float] = []
    for _ in range(FIRST_TREES + 7):
        root = len(feature)
        roots.append(root)
        feature += [0, 1, -1, -1, 2, -1, -1][:7]
        left += [root + 1, root + 3, 0, 0, 0, 0, 0]
        threshold += numbers.normal(size=7).tolist()
        value += numbers.normal(size=7).tolist()
        # 0 -> (1, 2); 1 -> (3, 4); 4 -> (5, 6)
        left[root + 4] = root + 5
    trees = Trees(
        -3.5,
        np.array(roots, np.int32),
        np.array(feature, np.int16),
        np.array(threshold, np.float32),
        np.array(left, np.int32),
        np.array(value, np.float32),
    )
    rows = numbers.normal(size=(50, 3)).astype(np.float32)
    left_early = 0
    for row, likely in zip(rows, trees.probability(rows), strict=True):
        odds = -3.5
        for number, root in enumerate(roots):
            if number == FIRST_TREES and odds < UNLIKELY:
                left_early += 1
                break
            at = root
            while feature[at] >= 0:
                at = left[at] + int(row[feature[at]] > np.float32(threshold[at]))
            odds += float(np.float32(value[at]))
        assert likely == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-12)
    assert 0 < left_early < len(rows)


def test_weights_come_back_from_their_bytes() -> None:
    tagger = _tagger()
    data = write_tagger(tagger)
    assert write_tagger(read_tagger(data)) == data and len(data) < 3_000_000
    models = released_models()
    assert write_models(models) == write_models(read_models(write_models(models)))
    one = Linear(("no", "yes"), np.array([0.0, 1.0]), {"a": 0}, np.array([[0.0, -1.0]], np.float32))
    assert one.probability(["a", "a", "b"]) == {"no": 0.5, "yes": 0.5}


def test_words_only_labelling_is_quick_and_linear() -> None:
    numbers = random.Random(1)
    vocabulary = "the a we you think so well um I it is button remote yeah okay to of what do".split()

    def minutes(count: int) -> Conversation:
        words: list[Word] = []
        for place in range(count * 160):
            start = place * 375 * MS
            who = "AB"[(place // 12) % 2]
            text = numbers.choice(vocabulary)
            words.append(Word(speaker=who, start_us=start, stop_us=start + 300 * MS, text=text))
        turns = tuple(
            Turn(speaker=w.speaker, start_us=w.start_us or 0, stop_us=w.stop_us or 0) for w in words
        )
        return Conversation(
            recording="r",
            duration_us=count * 60_000 * MS,
            speakers=("A", "B"),
            turns=turns,
            words=tuple(words),
        )

    def cost(told: Conversation) -> tuple[int, float]:
        """Calls, which other processes cannot change, and seconds for what is inside one call."""
        profile = cProfile.Profile()
        began = time.process_time()
        profile.runcall(label_cues, told, CueSettings())
        return sum(entry.callcount for entry in profile.getstats()), time.process_time() - began

    cost(minutes(1))
    (short_calls, short_s), (long_calls, long_s) = cost(minutes(6)), cost(minutes(60))
    assert long_calls <= 11 * short_calls, (short_calls, long_calls)  # linear is 10, quadratic 100
    assert long_s <= 30 * short_s, (short_s, long_s)  # caches and a busy machine cost up to twice as much
    assert len(said_by(minutes(1))) == 2
