"""`corpus score` on conversations whose figures are known by hand, and on real ones against themselves."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from random import Random

import numpy as np
import pytest
from typer.testing import CliRunner

from corpus.align.score import Said, compare, figures
from corpus.cli.main import app
from corpus.schemas.conversation import Turn, Word
from corpus.schemas.span import union

SECOND = 1_000_000


def turn(speaker: str, start_s: float, stop_s: float) -> Turn:
    return Turn(speaker=speaker, start_us=int(start_s * SECOND), stop_us=int(stop_s * SECOND))


def word(speaker: str, start_s: float, text: str) -> Word:
    start_us = int(start_s * SECOND)
    return Word(speaker=speaker, start_us=start_us, stop_us=start_us + 200_000, text=text)


def test_figures_by_hand() -> None:
    truth = Said(
        (turn("A", 0, 4), turn("B", 6, 10), turn("A", 7, 7.5)),
        (word("A", 1, "one"), word("A", 2, "um"), word("B", 7.1, "three"), word("B", 8, "four")),
        20 * SECOND,
    )
    found = Said(
        (turn("x", 0, 4), turn("y", 6, 10), turn("y", 14, 15)),
        (word("x", 1.03, "One"), word("x", 2.1, "um,"), word("y", 8, "four"), word("x", 0.2, "uh")),
    )
    told = figures(compare(truth, found))
    # Collars leave 3.5 + 3.5 s of single talk less those around A's short turn (6.75-7.75), and nothing of it
    # itself: 6 s of speech; the false second at 14 is no reference speech and has no collar.
    assert told["der"] == pytest.approx(1 / 6, abs=1e-6)
    assert (told["miss"], told["confusion"]) == (0, 0)
    assert told["false_alarm"] == told["der"]
    assert told["der_short_turns"] == 1.0
    assert told["speaker_count_error"] == 0
    assert told["wer"] == told["cpwer"] == 2 / 4  # "three" lost, "uh" invented
    assert (told["words_lost_overlap"], told["words_lost_alone"]) == (1.0, 0.0)
    assert (told["fillers"], told["fillers_heard"], told["fillers_false"]) == (1, 1, 1)
    assert told["word_start_median_ms"] == 30.0


def test_cpwer_is_the_best_permutation() -> None:
    chance = Random(5)
    for _ in range(20):
        truth = [word(chance.choice("ABC"), i, chance.choice("uvw")) for i in range(8)]
        found = [word(chance.choice("xyz"), i, chance.choice("uvw")) for i in range(8)]
        got = compare(Said((), tuple(truth)), Said((), tuple(found)))
        said = [[w.text for w in truth if w.speaker == name] for name in "ABC"]
        heard = [[w.text for w in found if w.speaker == name] for name in "xyz"]
        best = min(
            sum(edits(a, b) for a, b in zip(said, order, strict=True)) for order in permutations(heard)
        )
        assert got.over["cpwer"] == best


def tenths(speaker: str, start: int, length: int) -> Turn:
    return Turn(speaker=speaker, start_us=start * 100_000, stop_us=(start + length) * 100_000)


def frames(turns: list[Turn], names: str) -> np.ndarray:
    """[speakers, frames of 10 ms]: who talks."""
    talks = np.zeros((len(names), 1000), bool)
    for each in turns:
        talks[names.index(each.speaker), each.start_us // 10_000 : each.stop_us // 10_000] = True
    return talks


def test_errors_of_turns_are_those_counted_frame_by_frame() -> None:
    """Turns of one speaker overlap and touch, too: a voice is missed once in a moment."""
    chance = Random(7)
    for _ in range(40):
        truth, found = (
            [
                tenths(chance.choice(names), chance.randint(0, 70), chance.randint(1, 30))
                for _ in range(chance.randint(0, 7))
            ]
            for names in ("AB", "xyz")
        )
        counted = compare(Said(tuple(truth), (), 10 * SECOND), Said(tuple(found), (), 10 * SECOND))
        said, heard = frames(truth, "AB"), frames(found, "xyz")
        scored = np.ones(1000, bool)
        for name, spans in ((name, union(t.span for t in truth if t.speaker == name)) for name in "AB"):
            own = [t for t in truth if t.speaker == name]
            touching = {t.start_us for t in own} & {t.stop_us for t in own}
            inside = {e for e in touching if not any(t.start_us < e < t.stop_us for t in own)}
            for edge in {e for span in spans for e in (span.start_us, span.stop_us)} | inside:
                scored[max(0, edge // 10_000 - 25) : edge // 10_000 + 25] = False
        said, heard = said[:, scored], heard[:, scored]
        many, told = said.sum(axis=0), heard.sum(axis=0)
        right = max(
            int(sum((said[n] & heard[other]).sum() for n, other in enumerate(order)))
            for order in permutations(range(3), 2)
        )
        expected = {
            "miss": np.maximum(many - told, 0).sum(),
            "false_alarm": np.maximum(told - many, 0).sum(),
            "confusion": np.minimum(many, told).sum() - right,
        }
        for name, count in expected.items():
            assert counted.over[name] == pytest.approx(count / 100, abs=0.001), name
            assert counted.under[name] == pytest.approx(many.sum() / 100, abs=0.001)


def edits(a: list[str], b: list[str]) -> int:
    """Levenshtein's distance, by the book."""
    if not a or not b:
        return len(a) + len(b)
    return min(edits(a[1:], b) + 1, edits(a, b[1:]) + 1, edits(a[1:], b[1:]) + (a[0] != b[0]))


def test_the_command_on_real_meetings_against_themselves(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "ami30"
    if not source.is_dir():
        pytest.skip("no AMI clips here")
    for path in source.glob("EN200[56]a*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    done = CliRunner().invoke(app, ["score", str(tmp_path), str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert sorted(told["recordings"]) == ["EN2005a_000-030", "EN2006a_000-030"]
    for figure in ("der", "miss", "false_alarm", "confusion", "jer", "cpwer", "wer", "word_start_median_ms"):
        assert told["pooled"][figure] == 0, figure
    assert told["pooled"]["fillers"] == told["pooled"]["fillers_heard"] > 0
    assert told["pooled"]["intervals"]["wer"] == [0.0, 0.0]


def test_a_recording_that_was_not_found_is_all_missed_and_told(tmp_path: Path) -> None:
    (tmp_path / "ref").mkdir()
    (tmp_path / "hyp").mkdir()
    (tmp_path / "ref" / "x.rttm").write_text("SPEAKER x 1 0 5 <NA> <NA> A <NA> <NA>\n")
    done = CliRunner().invoke(app, ["score", str(tmp_path / "ref"), str(tmp_path / "hyp"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["recordings"]["x"]["miss"] == 1.0
    assert "missing from HYP" in done.stderr


def scored(
    tmp_path: Path, refs: dict[str, str], hyps: dict[str, str]
) -> tuple[dict[str, dict[str, float]], str]:
    for folder, files in (("ref", refs), ("hyp", hyps)):
        (tmp_path / folder).mkdir()
        for name, text in files.items():
            (tmp_path / folder / name).write_text(text)
    done = CliRunner().invoke(app, ["score", str(tmp_path / "ref"), str(tmp_path / "hyp"), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    return {**told["recordings"], "pooled": told["pooled"]}, done.stderr


def conversation(name: str) -> str:
    turns = [("A", 0.8, 3.0), ("B", 4.8, 6.0)]
    words = [("A", 1.0, "hello"), ("A", 2.0, "um"), ("B", 5.0, "yes")]
    return json.dumps(
        {
            "schema": "corpus.conversation/2",
            "recording": name,
            "duration_us": 20 * SECOND,
            "speakers": ["A", "B"],
            "turns": [
                {"speaker": s, "start_us": int(a * SECOND), "stop_us": int(b * SECOND)} for s, a, b in turns
            ],
            "words": [
                {"speaker": s, "start_us": int(a * SECOND), "stop_us": int(a * SECOND) + 200_000, "text": t}
                for s, a, t in words
            ],
        }
    )


STM = ";; people wrote this\nx 1 A 0.8 3.0 <o> hello um\nx 1 B 4.8 6.0 <o> yes\n"
CTM = "x A 1.0 0.2 hello\nx A 2.0 0.2 um\nx B 5.0 0.2 yes\n"
RTTM = "SPEAKER x 1 0.8 2.2 <NA> <NA> P <NA> <NA>\nSPEAKER x 1 4.8 1.2 <NA> <NA> Q <NA> <NA>\n"


@pytest.mark.parametrize(
    ("refs", "told", "untold"),
    [
        ({"x.stm": STM}, ("der", "jer", "wer", "cpwer"), ("word_start_median_ms",)),
        ({"x.ctm": CTM}, ("wer", "cpwer", "word_start_median_ms"), ("der", "jer", "words_lost_alone")),
        ({"x.rttm": RTTM}, ("der", "jer", "miss"), ("wer", "cpwer")),
        ({"x.rttm": RTTM, "x.json": conversation("x")}, ("der", "wer", "word_start_median_ms"), ()),
    ],
)
def test_a_reference_is_held_to_what_it_tells(
    refs: dict[str, str], told: tuple[str, ...], untold: tuple[str, ...], tmp_path: Path
) -> None:
    """A file of words says nothing of turns, and the other way round: neither costs anything."""
    found, _ = scored(tmp_path, refs, {"x.json": conversation("x")})
    for place in ("x", "pooled"):
        assert {found[place][figure] for figure in told} == {0}
        assert {found[place][figure] for figure in untold} <= {None}


def test_what_a_reference_does_not_tell_does_not_pool(tmp_path: Path) -> None:
    refs = {"x.stm": STM, "y.rttm": RTTM.replace("x", "y"), "z.ctm": CTM.replace("x", "z")}
    found, _ = scored(tmp_path, refs, {f"{name}.json": conversation(name) for name in "xyz"})
    assert found["pooled"]["der"] == found["pooled"]["wer"] == found["pooled"]["false_alarm"] == 0
    assert found["pooled"]["fillers"] == found["pooled"]["fillers_heard"] == 4


def test_a_reference_in_which_nobody_talks_counts_what_was_found(tmp_path: Path) -> None:
    found, _ = scored(
        tmp_path, {"x.stm": STM, "y.rttm": ""}, {f"{name}.json": conversation(name) for name in "xy"}
    )
    assert found["y"]["der"] is None and found["y"]["wer"] is None  # nothing to divide by
    assert found["pooled"]["false_alarm"] == pytest.approx(3.4 / (1.7 + 0.7), rel=1e-6)
    assert found["pooled"]["wer"] == 0


def test_names_that_do_not_match_are_told(tmp_path: Path) -> None:
    found, said = scored(tmp_path, {"x.stm": STM}, {"y.json": conversation("y")})
    assert found["x"]["miss"] == found["x"]["wer"] == 1.0
    assert "x: missing from HYP" in said and "y: missing from REF" in said


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [("x.json", "{broken", "x.json: is not JSON"), ("x.txt", "", "contains no annotation files")],
)
def test_a_reference_that_cannot_be_read_is_no_empty_one(
    name: str, text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    done = CliRunner().invoke(app, ["score", str(tmp_path), str(tmp_path)])
    assert done.exit_code != 0 and message in str(done.exception or done.output)
