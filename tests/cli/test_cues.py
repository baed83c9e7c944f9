"""`corpus label` and `corpus score-cues` on conversation files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from corpus.cli.main import app
from corpus.schemas.codec import from_json
from corpus.schemas.conversation import Conversation
from corpus.schemas.errors import UsageError

WORDS = "so we need the button the red button um what do you think ?"


def talk() -> dict[str, Any]:
    words = []
    for place, text in enumerate(WORDS.split()[:-1]):
        start = 1_000_000 + 300_000 * place
        word = {"speaker": "A", "start_us": start, "stop_us": start + 300_000, "text": text}
        words.append({**word, "after": "?" if text == "think" else ""})
    stop = words[-1]["stop_us"]
    return {
        "schema": "corpus.conversation/1",
        "recording": "talk",
        "duration_us": 20_000_000,
        "speakers": ["A", "B"],
        "gold_labels": ["hesitation"],
        "gold_kinds": {"hesitation": ["filled_pause"]},
        "turns": [
            {"speaker": "A", "start_us": 1_000_000, "stop_us": stop},
            {"speaker": "B", "start_us": stop + 400_000, "stop_us": stop + 2_000_000},
        ],
        "words": words,
        "cues": [
            {
                "label": "hesitation",
                "kind": "filled_pause",
                "speaker": "A",
                "start_us": 1_000_000 + 300_000 * 8,
                "stop_us": 1_000_000 + 300_000 * 9,
                "confidence": 1.0,
                "origin": "human",
            }
        ],
    }


def test_files_are_labelled_and_scored(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    (marks / "talk.json.gz").write_bytes(gzip.compress(json.dumps(talk()).encode()))
    out = tmp_path / "out"
    run = CliRunner().invoke(app, ["label", str(marks), "--out", str(out)], catch_exceptions=False)
    assert run.exit_code == 0, run.output
    made = from_json(Conversation, (out / "talk.json").read_bytes())
    assert made.schema == "corpus.conversation/2"
    assert {"hesitation", "self_correction", "invitation", "yield"} <= {cue.label for cue in made.cues}
    assert all(not cue.origin.startswith("human") for cue in made.cues)
    assert {answer.why for answer in made.answers} >= {"invitation/question", "yield/turn_end"}
    again = tmp_path / "again"
    CliRunner().invoke(app, ["label", str(out), "--out", str(again)], catch_exceptions=False)
    assert (again / "talk.json").read_bytes() == (out / "talk.json").read_bytes()
    told = CliRunner().invoke(app, ["score-cues", str(marks), str(out), "--json"], catch_exceptions=False)
    scored = json.loads(told.stdout)["labels"]
    assert scored.keys() == {"hesitation"}
    assert scored["hesitation"]["recall"] == 1.0 and scored["hesitation"]["n"] == 1
    table = CliRunner().invoke(app, ["score-cues", str(marks), str(out)], catch_exceptions=False)
    assert "hesitation" in table.stdout


@pytest.mark.parametrize(
    ("names", "recall"),
    [
        ({"A": "S1", "B": "S0"}, 1.0),
        ({"A": "B", "B": "A"}, 0.0),  # they share names: B is B
        ({"A": "S1", "B": "A"}, 0.0),
    ],
)
def test_speakers_named_otherwise_are_matched_by_the_time_they_talk(
    tmp_path: Path, names: dict[str, str], recall: float
) -> None:
    plain = talk()
    (tmp_path / "talk.json").write_text(json.dumps(plain))
    renamed = plain | {"speakers": sorted(names.values())}
    for kind in ("turns", "words", "cues"):
        renamed[kind] = [item | {"speaker": names[item["speaker"]]} for item in plain[kind]]
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "talk.json").write_text(json.dumps(renamed))
    run = CliRunner().invoke(
        app,
        ["score-cues", str(tmp_path / "talk.json"), str(tmp_path / "found"), "--json"],
        catch_exceptions=False,
    )
    assert json.loads(run.stdout)["labels"]["hesitation"]["recall"] == recall


def test_what_is_no_conversation_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    for given in ("x.json", "y.json"):
        with pytest.raises(UsageError):
            CliRunner().invoke(
                app, ["label", str(tmp_path / given), "--out", str(tmp_path / "o")], catch_exceptions=False
            )


def test_a_file_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    marks, out = tmp_path / "marks", tmp_path / "out"
    marks.mkdir()
    (marks / "a.json").write_text("{")
    (marks / "b.json.gz").write_bytes(gzip.compress(json.dumps(talk()).encode())[:40])
    (marks / "C.JSON").write_text(json.dumps(talk()))
    run = CliRunner().invoke(app, ["label", str(marks), "--out", str(out)], catch_exceptions=False)
    assert run.exit_code == 1
    assert "a.json" in run.stderr and "cut short" in run.stderr and "2 of 3 files" in run.stderr
    assert [path.name for path in out.iterdir()] == ["C.json"]


def test_peoples_marks_are_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    path.write_text(json.dumps(talk()))
    before = path.read_bytes()
    with pytest.raises(UsageError, match="overwritten"):
        CliRunner().invoke(app, ["label", str(path), "--out", str(tmp_path)], catch_exceptions=False)
    assert path.read_bytes() == before


def test_a_file_without_a_length_ends_with_its_last_turn(tmp_path: Path) -> None:
    path, out = tmp_path / "talk.json", tmp_path / "out"
    plain = talk()
    del plain["duration_us"]
    path.write_text(json.dumps(plain))
    run = CliRunner().invoke(app, ["label", str(path), "--out", str(out)], catch_exceptions=False)
    assert "no duration_us" in run.stderr
    made = from_json(Conversation, (out / "talk.json").read_bytes())
    assert made.duration_us == plain["turns"][-1]["stop_us"] == max(turn.stop_us for turn in made.turns)


def test_without_marks_nothing_is_scored_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    path.write_text(json.dumps({**talk(), "cues": [], "gold_labels": []}))
    run = CliRunner().invoke(app, ["score-cues", str(path), str(path)], catch_exceptions=False)
    assert "nothing to score" in run.stderr
