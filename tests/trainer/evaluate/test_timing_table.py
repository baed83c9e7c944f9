"""Rows of the timing tables on scenes drawn by hand, and on real datasets cut through the middle of talk."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from corpus.align.label import label_cues
from corpus.schemas.clock import WINDOW_US
from corpus.schemas.conversation import Conversation, Cue
from corpus.schemas.settings import CueSettings
from corpus.trainer.config import DataConfig
from corpus.trainer.data.documents import Documents
from corpus.trainer.evaluate.baselines import copy, timer
from corpus.trainer.evaluate.confidence import draws
from corpus.trainer.evaluate.timing_cases import Scene, Silence, scene_of
from corpus.trainer.evaluate.timing_table import Tally, TimingRow
from corpus.trainer.presets import MODELS, preset


def flags(drawn: str) -> np.ndarray:
    return np.array([letter == "#" for letter in drawn])


def made(human: str, other: str, **cases: tuple) -> Scene:
    human_W, other_W = flags(human), flags(other)
    silences = {
        name: tuple(Silence(start_us=a * WINDOW_US, stop_us=b * WINDOW_US) for a, b in cases.get(name, ()))
        for name in ("ends", "pauses")
    }
    return Scene(
        id="x",
        human_W=human_W,
        known_W=np.ones(len(human_W), bool),
        words_W=np.zeros(len(human_W), np.int64),
        other_WF=np.repeat(other_W[:, None], 8, 1),
        backchannels=cases.get("backchannels", ()),
        interrupted=cases.get("interrupted", ()),
        **silences,
    )


def row(scene: Scene, speaks: str | np.ndarray, words: np.ndarray | None = None) -> TimingRow:
    speaks_W = flags(speaks) if isinstance(speaks, str) else speaks
    tally = Tally("x", False)
    tally.add(scene, speaks_W, np.zeros(len(speaks_W), np.int64) if words is None else words)
    return tally.row(draws(1))


#        0         1         2         3         4
#        0123456789012345678901234567890123456789012345
OTHER = "..######...#######........................####"
HUMAN = "....................########...##............."
TURNS = made(HUMAN, OTHER, ends=((18, 20),), pauses=((8, 11),))


def test_a_conversation_by_hand() -> None:
    human = row(TURNS, HUMAN)
    assert (human.right.value, human.off_by_windows.value) == (1.0, 0.0)
    assert (human.pause_taken.value, human.turn_taken.value, human.latency_ms.value) == (0.0, 1.0, 400.0)
    assert human.latency_counts == (0, 0, 1)
    assert (human.overlap.value, human.false_starts_per_minute.value) == (0.0, 0.0)
    late = row(TURNS, copy(flags(HUMAN)))
    assert (late.right.value, late.off_by_windows.value, late.latency_ms.value) == (1.0, 1.0, 600.0)


def test_what_a_pause_made_it_say_is_heard_in_the_window_after() -> None:
    """Decided in window 10, the last of the pause, and heard in 11, when the other goes on."""
    assert row(TURNS, "...........#####" + "." * 30).pause_taken.value == 1.0
    assert row(TURNS, "............#####" + "." * 29).pause_taken.value == 0.0


def test_timer_at_a_pause_of_700_ms_and_more() -> None:
    """0.8 s of silence on whole windows: it fires at the end of the last, and stops with the next."""
    #                       0123456789012345678
    other = flags("..######....####..." + "." * 20)
    assert np.flatnonzero(timer(np.repeat(other[:, None], 8, 1)))[0] == 12
    scene = made("." * 39, "..######....####..." + "." * 20, pauses=((8, 12),))
    assert row(scene, timer(scene.other_WF)).pause_taken.value == 0.0  # one window is no take-over


def test_overlap_and_false_starts_by_hand() -> None:
    #      0         1         2         3         4
    #      0123456789012345678901234567890123456789012345
    done = "...#.#........#####...........................#"
    found = row(TURNS, done[:46])
    assert found.overlap.value == pytest.approx(6 / 7)  # window 18 alone is hers
    assert found.false_starts_per_minute.value == pytest.approx(2 / (45 / 300))
    assert found.false_starts_per_minute.cases == 2
    assert found.backchannels_per_minute.value == 0.0


def test_interruptions_by_hand() -> None:
    #        0         1         2         3
    #        0123456789012345678901234567890123456789
    other = "..........######........................"
    scene = made("." * 40, other, interrupted=(10,))
    quick = row(scene, "....##########....######................")
    assert (quick.stopped.value, quick.stop_ms.value, quick.answered.value) == (1.0, 800.0, 1.0)
    stubborn = row(scene, "....####################................")
    assert (stubborn.stopped.value, stubborn.stop_ms.value, stubborn.answered.value) == (0.0, 2800.0, 1.0)
    never = row(scene, "....####################################")
    assert (never.stopped.value, never.stop_ms.value) == (0.0, None)
    elsewhere = row(scene, "....####................................")
    assert elsewhere.stopped.value is None and elsewhere.answered.value is None
    gone = row(scene, "....##########..........................")
    assert gone.answered.value == 0.0


def test_distance_is_that_of_the_labelled() -> None:
    #                             0         1         2
    #                             0123456789012345678901234567890123456789
    scene = made("." * 40, "#" * 40, backchannels=((10, 12),))
    assert row(scene, "..........##............................").backchannel_distance.value == 0.0
    assert row(scene, "." * 40).backchannel_distance.value == 1.0
    assert row(dataclasses.replace(scene, backchannels=()), "." * 40).backchannel_distance.value is None


def cue(label: str, kind: str, speaker: str, first: float, stop: float, **evidence: str) -> Cue:
    start_us, stop_us = round(first * WINDOW_US), round(stop * WINDOW_US)
    return Cue(
        label=label,
        kind=kind,
        speaker=speaker,
        start_us=start_us,
        stop_us=stop_us,
        confidence=1.0,
        origin="x",
        evidence=json.dumps(evidence),
    )


def documents_of(path: Path) -> Documents:
    data = DataConfig(data=str(path), split="validation", length=700, rows=1, pictures=False)
    model = dataclasses.replace(MODELS["tiny"], picture_rows=0)
    return Documents(dataclasses.replace(preset("tiny"), model=model, data=data))


def scenes(path: Path) -> dict[tuple[str, str], Scene]:
    documents = documents_of(path)
    return {
        (documents.view(d).speaker, documents.view(d).key[-7:]): scene_of(documents, d)
        for d in range(len(documents))
    }


def test_cases_that_cannot_be_seen_whole_are_none(rules: ModuleType, tmp_path: Path) -> None:
    """Two clips of 40 windows: what lies too near their edges asks nothing of anybody."""
    draft = rules.Draft(name="edges", windows=80, speakers=("Ann", "Bo"), split="validation")
    draft.cues += [
        cue("yield", "turn_end", "Ann", 3, 5, to="Bo"),  # less than a second of the turn
        cue("yield", "turn_end", "Ann", 5, 7, to="Bo"),
        cue("yield", "turn_end", "Ann", 8, 35, to="Bo"),  # answered after 5.4 s
        cue("yield", "turn_end", "Ann", 33, 35, to="Bo"),  # a second of the answer, just
        cue("yield", "turn_end", "Ann", 34, 36, to="Bo"),  # less
        cue("hold", "pause", "Ann", 36, 40),
        cue("hold", "pause", "Ann", 38, 42),  # goes on in the next clip
        cue("interruption", "butting_in", "Ann", 32, 36, of="Bo"),
        cue("interruption", "butting_in", "Ann", 33, 36, of="Bo"),  # 1.4 s later is outside
        cue("backchannel", "lexical", "Bo", 39, 43),
        cue("hold", "pause", "Ann", 47.5, 49.5),
    ]
    found = scenes(rules.store(tmp_path, [draft], windows_per_clip=40))
    first, second = found["Bo", "0000000"], found["Bo", "0000040"]
    assert [(end.first, end.stop) for end in first.ends] == [(5, 7), (33, 35)]
    assert [(pause.first, pause.stop) for pause in first.pauses] == [(36, 40)]
    assert first.interrupted == (32,) and first.backchannels == ((39, 40),)
    assert [(pause.first, pause.stop) for pause in second.pauses] == [(7, 10)]
    assert (second.ends, second.interrupted, second.backchannels) == ((), (), ())


def test_three_speakers_and_one_who_never_speaks(rules: ModuleType, tmp_path: Path) -> None:
    """What Ann yields to Bo asks nothing of Cy; everybody else must bear her pauses."""
    draft = rules.Draft(name="three", windows=60, speakers=("Ann", "Bo", "Cy"), split="validation")
    for who, start, stop in ((0, 2, 10), (0, 12, 20), (1, 22, 30), (0, 32, 40)):
        draft.speak(who, start * WINDOW_US, stop * WINDOW_US, "a few words")
    draft.flags[1, 50:] |= 16  # the source says nothing of Bo there
    conversation = Conversation(
        recording=draft.hash, duration_us=60 * WINDOW_US, speakers=draft.speakers, turns=tuple(draft.turns)
    )
    draft.cues = label_cues(conversation, CueSettings())
    found = {
        who: scene for (who, _), scene in scenes(rules.store(tmp_path, [draft], windows_per_clip=60)).items()
    }
    assert [(end.first, end.stop) for end in found["Bo"].ends] == [(20, 22)]
    assert [(end.first, end.stop) for end in found["Ann"].ends] == [(30, 32)]
    assert found["Cy"].ends == ()
    assert [[pause.first for pause in found[who].pauses] for who in ("Ann", "Bo", "Cy")] == [[], [10], [10]]
    assert not found["Cy"].human_W.any()
    assert np.array_equal(found["Cy"].other_W, found["Ann"].human_W | found["Bo"].human_W)
    assert found["Bo"].known_W.tolist() == [True] * 50 + [False] * 10
    for scene in found.values():
        human = row(scene, scene.human_W, scene.words_W)
        assert human.right.value == 1.0 and human.off_by_windows.value in (0.0, None)
        assert human.turn_taken.value in (1.0, None) and human.pause_taken.value in (0.0, None)
    quiet = row(found["Cy"], found["Cy"].human_W)
    assert (quiet.right.cases, quiet.off_by_windows.cases) == (1, 0)


@pytest.mark.parametrize("seed", range(6))
def test_a_person_does_what_a_person_should(rules: ModuleType, tmp_path: Path, seed: int) -> None:
    """Random talk of three, labelled by the corpus's own labelers and cut through: the person takes every
    turn that was theirs and no pause, whatever the clip's edges are."""
    rng = np.random.default_rng(seed)
    draft = rules.Draft(name=f"random-{seed}", windows=400, speakers=("Ann", "Bo", "Cy"), split="validation")
    at_us, who = 300_000, 0
    while at_us < 75_000_000:
        stop_us = at_us + int(rng.integers(40, 160)) * 25_000
        draft.speak(who, at_us, stop_us)
        if rng.random() < 0.2:
            draft.speak((who + 1) % 3, stop_us - 600_000, stop_us - 100_000)
        at_us = stop_us + int(rng.integers(-10, 50)) * 25_000
        who = who if rng.random() < 0.4 else int(rng.integers(3))
    conversation = Conversation(
        recording=draft.hash, duration_us=400 * WINDOW_US, speakers=draft.speakers, turns=tuple(draft.turns)
    )
    draft.cues = label_cues(conversation, CueSettings())
    turns = pauses = 0
    for scene in scenes(rules.store(tmp_path, [draft], windows_per_clip=67)).values():
        human = row(scene, scene.human_W, scene.words_W)
        assert human.right.value in (1.0, None) and human.off_by_windows.value in (0.0, None)
        assert human.pause_taken.value in (0.0, None) and human.turn_taken.value in (1.0, None)
        turns, pauses = turns + human.turn_taken.cases, pauses + human.pause_taken.cases
    assert turns >= 2 and pauses >= 2
