"""Scores of cues, counted by hand."""

from __future__ import annotations

import json

import pytest

from corpus.align.cues.score import Marked, Scores, calibration_error, score
from corpus.schemas.conversation import Cue, CueSpan, Event, Word

MS = 1000


def cue(label: str, kind: str, start: int, stop: int, speaker: str = "A", confidence: float = 1.0) -> Cue:
    return Cue(
        label=label,
        kind=kind,
        speaker=speaker,
        start_us=start * MS,
        stop_us=stop * MS,
        confidence=confidence,
        origin="o",
    )


def note(labels: list[str], kinds: dict[str, list[str]]) -> Event:
    return Event(
        label="note",
        kind="gold_labels",
        speaker=None,
        start_us=0,
        stop_us=1,
        origin="o",
        payload=json.dumps({"gold_labels": labels, "gold_kinds": kinds}),
    )


def unscored(label: str, start: int, stop: int) -> Event:
    return Event(
        label="unscored", kind=label, speaker="A", start_us=start * MS, stop_us=stop * MS, origin="o"
    )


def test_matches_are_one_to_one_and_open_stretches_count_neither_way() -> None:
    gold = Marked(
        cues=(cue("backchannel", "", 1000, 1500), cue("backchannel", "", 5000, 5500)),
        events=(note(["backchannel"], {}), unscored("backchannel", 8000, 9000)),
    )
    mine = Marked(
        cues=(
            cue("backchannel", "", 900, 1100),
            cue("backchannel", "", 1100, 1500),
            cue("backchannel", "", 8100, 8200),
            cue("backchannel", "", 5000, 5500, "B"),
            cue("yield", "", 0, 100),
        )
    )
    scores = Scores()
    score(mine, gold, scores, tolerance_us=0)
    told = scores.plain()["labels"]
    assert told.keys() == {"backchannel"}
    assert (told["backchannel"]["found"], told["backchannel"]["wrong"], told["backchannel"]["missed"]) == (
        1,
        2,
        1,
    )
    assert told["backchannel"]["f1"] == pytest.approx(2 / 5)
    # the first two share time with the same mark; B's shares none with A's
    assert told["backchannel"]["any_overlap"]["precision"] == pytest.approx(1 / 2)


def test_the_tolerance_reaches_over_a_gap() -> None:
    gold = Marked(cues=(cue("hold", "pause", 1000, 1500),))
    mine = Marked(cues=(cue("hold", "pause", 1600, 1700),))
    for tolerance, found in ((0, 0), (100 * MS, 1), (99 * MS, 0)):
        scores = Scores()
        score(mine, gold, scores, tolerance_us=tolerance)
        assert scores.labels["hold"].found == found


def test_kinds_nobody_marked_are_not_scored_and_confusions_are_told() -> None:
    gold = Marked(
        cues=(cue("hesitation", "stall", 0, 300), cue("backchannel", "", 1000, 1300)),
        events=(note(["hesitation", "backchannel"], {"hesitation": ["filled_pause", "stall"]}),),
    )
    mine = Marked(cues=(cue("backchannel", "lexical", 0, 300), cue("hesitation", "silent_pause", 0, 300)))
    scores = Scores()
    score(mine, gold, scores)
    told = scores.plain()
    assert told["labels"]["hesitation"]["wrong"] == 0 and told["labels"]["hesitation"]["missed"] == 1
    assert told["labels"]["hesitation"]["kinds"]["stall"]["n"] == 1
    assert {"mark": "hesitation", "found": "backchannel", "n": 1} in told["confusion"]


def test_reparanda_are_scored_by_their_words() -> None:
    def repair(first: int, stop: int) -> Cue:
        part = CueSpan(role="reparandum", start_us=first * 100 * MS, stop_us=stop * 100 * MS)
        return Cue(
            label="self_correction",
            kind="",
            speaker="A",
            start_us=part.start_us,
            stop_us=part.stop_us + 100 * MS,
            confidence=1.0,
            origin="o",
            spans=(part,),
        )

    words = tuple(
        Word(speaker="A", start_us=i * 100 * MS, stop_us=(i + 1) * 100 * MS, text="w") for i in range(10)
    )
    scores = Scores()
    score(Marked(cues=(repair(3, 6),)), Marked(cues=(repair(2, 5),), words=words), scores)
    assert scores.reparandum == {"found": 2, "wrong": 1, "missed": 1}


def test_calibration_is_the_weighted_distance_of_confidence_and_precision() -> None:
    assert calibration_error([]) is None
    assert calibration_error([(0.75, True), (0.75, False), (0.35, False)]) == pytest.approx((0.5 + 0.35) / 3)
