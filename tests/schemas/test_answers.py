"""When an answer is timely: by example, and against benchmarks/answer_check.py, which asks tick by tick."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from corpus.schemas.answers import with_answers
from corpus.schemas.conversation import Conversation, Cue, Turn
from corpus.schemas.settings import CueSettings

MS = 1000


def told(*cues: Cue, turns: tuple[tuple[str, int, int], ...], speakers: str = "AB") -> list[str]:
    made = with_answers(
        Conversation(
            recording="r",
            duration_us=20_000 * MS,
            speakers=tuple(speakers),
            turns=tuple(Turn(speaker=s, start_us=a * MS, stop_us=b * MS) for s, a, b in turns),
            cues=cues,
        ),
        CueSettings(),
    )
    known = {cue.id for cue in made.cues}
    assert all(a.id and a.to in known for a in made.answers)
    return [f"{a.speaker} {a.action} {a.start_us // MS}-{a.stop_us // MS} {a.why}" for a in made.answers]


def cue(label: str, kind: str, speaker: str | None, start: int, stop: int, partner: str | None = None) -> Cue:
    return Cue(
        label=label,
        kind=kind,
        speaker=speaker,
        partner=partner,
        start_us=start * MS,
        stop_us=stop * MS,
        confidence=1.0,
        origin="made up",
    )


def test_a_question_opens_the_floor_when_who_asks_falls_silent() -> None:
    asked = cue("invitation", "question", "A", 1700, 2000)
    assert told(asked, turns=(("A", 0, 2000),)) == ["B answer 2000-3500 invitation/question"]
    assert told(asked, turns=(("A", 0, 2300),)) == ["B answer 2300-3800 invitation/question"]
    assert told(asked, turns=(("A", 0, 9000),)) == []
    assert told(asked, turns=(("A", 0, 2000), ("A", 2600, 4000))) == [
        "B answer 2000-2600 invitation/question"
    ]
    assert told(asked, turns=(("A", 0, 2000),), speakers="ABC") == [
        "B answer 2000-3500 invitation/question",
        "C answer 2000-3500 invitation/question",
    ]
    assert told(asked, turns=(("A", 0, 2000),), speakers="A") == ["None answer 2000-3500 invitation/question"]


def test_a_pause_is_waited_out_unless_the_speaker_has_asked() -> None:
    turns = (("A", 0, 2000), ("A", 4000, 5000))
    hold = cue("hold", "pause", "A", 2000, 4000)
    assert told(hold, turns=turns) == ["B wait 2000-4000 hold/pause"]
    asked = cue("invitation", "question", "A", 1700, 2000)
    assert told(hold, asked, turns=turns) == [
        "B answer 2000-3500 invitation/question",
        "B wait 3500-4000 hold/pause",
    ]


def test_a_yield_is_answered_by_who_takes_the_floor() -> None:
    given = cue("yield", "turn_end", "A", 2000, 2400, "B")
    turns = (("A", 0, 2000), ("B", 2400, 4000))
    assert told(given, turns=turns, speakers="ABC") == ["B answer 2000-3500 yield/turn_end"]


def test_what_is_seen_is_answered_by_anybody() -> None:
    assert told(cue("visual", "motion_stop", None, 3000, 3000), turns=()) == [
        "A answer 3000-4500 visual/motion_stop",
        "B answer 3000-4500 visual/motion_stop",
    ]


def test_random_conversations_against_the_definition_tick_by_tick(repository: Path) -> None:
    spec = importlib.util.spec_from_file_location("answer_check", repository / "benchmarks/answer_check.py")
    assert spec and spec.loader
    checker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(checker)
    counts = [checker.check(seed) for seed in range(600)]
    assert sum(answers for answers, _ in counts) > 4_000
    assert [seed for seed, (_, wrong) in enumerate(counts) if wrong] == []
