"""`corpus annotations convert` on files that cannot be read, and what it says of those that can."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from corpus.cli.main import app


def convert(folder: Path, out: Path) -> Result:
    asked = ["annotations", "convert", str(folder), "--to", "conversation", "--out", str(out)]
    return CliRunner().invoke(app, asked, catch_exceptions=False)


def test_a_file_that_cannot_be_read_gives_no_empty_one(tmp_path: Path) -> None:
    talks, out = tmp_path / "talks", tmp_path / "out"
    talks.mkdir()
    (talks / "good.rttm").write_text("SPEAKER good 1 0 1 <NA> <NA> Ann <NA> <NA>\n")
    (talks / "latin.srt").write_bytes(b"1\n00:00:01,000 --> 00:00:02,000\nCaf\xe9\n")
    (talks / "cut.json").write_text('{"schema": "corpus.conv')
    done = convert(talks, out)
    assert done.exit_code == 3
    assert [path.name for path in out.iterdir()] == ["good.json"]
    assert "latin: is not written" in done.output and "cut: is not written" in done.output


def test_the_length_that_a_conversation_states_is_its_own(tmp_path: Path) -> None:
    talks, out = tmp_path / "talks", tmp_path / "out"
    talks.mkdir()
    turns = [{"speaker": "A", "start_us": 0, "stop_us": 9}]
    told = {
        "schema": "corpus.conversation/1",
        "recording": "x",
        "duration_us": 30_000_000,
        "speakers": ["A"],
        "turns": turns,
        "words": [],
        "cues": [],
    }
    (talks / "x.json").write_text(json.dumps(told))
    done = convert(talks, out)
    assert (done.exit_code, done.output.count("duration_differs")) == (0, 0), done.output
    assert json.loads((out / "x.json").read_text())["duration_us"] == 30_000_000
