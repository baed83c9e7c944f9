"""What `corpus eval` shows: tables of 100 columns, and a page a browser draws, whatever is missing."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from corpus.cli.eval_page import page_of
from corpus.cli.eval_tables import print_recordings, print_timing, worst
from corpus.cli.eval_words import FEWEST, in_plain_words, verdict
from corpus.schemas.codec import to_json
from corpus.trainer.evaluate.by_window import WindowLoss
from corpus.trainer.evaluate.calibration import Told
from corpus.trainer.evaluate.confidence import draws
from corpus.trainer.evaluate.evaluate import EvalReport
from corpus.trainer.evaluate.held_out import LossRow, RecordingLosses, StreamLoss
from corpus.trainer.evaluate.timing_cases import Scene, Silence
from corpus.trainer.evaluate.timing_table import Tally


@pytest.fixture(scope="module")
def report() -> EvalReport:
    rng = np.random.default_rng(0)
    tallies = {(name, told): Tally(name, told) for told in (False, True) for name in ("model", "human")}
    made = Told()
    for number in range(12):
        human_W = rng.random(400) < 0.4
        human_W[100:150] = [False] * 30 + [True] * 20
        scene = Scene(
            id=f"{number}",
            human_W=human_W,
            known_W=np.ones(400, bool),
            words_W=np.zeros(400, np.int64),
            other_WF=np.repeat(rng.random((400, 1)) < 0.3, 8, 1),
            ends=(Silence(start_us=25_100_000, stop_us=26_000_000),),
            pauses=(Silence(start_us=20_100_000, stop_us=20_900_000),),
            backchannels=((30, 32),),
            interrupted=tuple(range(10, 390, 12)),
        )
        for (name, _), tally in tallies.items():
            speaks_W = human_W if name == "human" else rng.random(400) < 0.5
            tally.add(scene, speaks_W, np.zeros(400, np.int64))
        made.add(scene, rng.random(399), 1)
    return EvalReport(
        data="a <b> & c",
        split="validation",
        documents=12,
        free_documents=12,
        losses=(LossRow(cue="all", stream="audio", count=7, model=1.25, unigram=None),),
        recordings=tuple(recording(number) for number in range(9)),
        attention_windows=50,
        by_window=tuple(
            WindowLoss(window=window, documents=12, control=0.5, text=None, sound=1.0) for window in range(9)
        ),
        cues=(),
        dlogp=None,
        timing=tuple(tally.row(draws(12)) for tally in tallies.values()),
        calibration=made.result(draws(12)),
    )


STREAMS = ("control", "text", "end", "audio", "user_audio")


def key_of(number: int) -> str:
    return f"{number:020x}"


def recording(number: int) -> RecordingLosses:
    """Number 2 has nothing to score; by their losses the others stand 5, 7, 4, 1, 6, 3, then 0 and 8."""
    count = 0 if number == 2 else 10 + number
    loss = None if number == 2 else 3 * number % 8 + 0.25
    streams = tuple(StreamLoss(stream=stream, count=count, model=loss) for stream in STREAMS)
    return RecordingLosses(recording=key_of(number), documents=int(count > 0), streams=streams)


def test_the_worst_recordings_are_named(report: EvalReport, capsys: pytest.CaptureFixture[str]) -> None:
    losses = [(7.25, 5), (5.25, 7), (4.25, 4), (3.25, 1), (2.25, 6), (1.25, 3), (0.25, 0), (0.25, 8)]
    found = worst(report.recordings, 5)
    assert [one.stream for one in found] == [stream for stream in STREAMS for _ in range(5)]
    assert [(one.loss, one.recording, one.scored) for one in found[:5]] == [
        (loss, key_of(number), 10 + number) for loss, number in losses[:5]
    ]
    page = page_of(report)
    assert "9 recordings in the split, 1 of them with nothing scored" in page
    shown = page[page.index("Recordings with the highest losses") :]
    for loss, number in losses[:5]:
        assert shown.count(f'<td class="name">{key_of(number)}</td>') == 5 and f"{loss:.3f}" in shown
    assert not any(key_of(number) in shown for _, number in losses[5:])
    print_recordings(report.recordings)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and max(map(len, lines)) <= 100
    assert lines[0] == f"highest of a recording: control 7.250 {key_of(5)}, text 7.250 {key_of(5)}"
    assert lines[1].split(", ")[1] == f"user_audio 7.250 {key_of(5)}"
    print_recordings(report.recordings[:1])
    print_recordings(())
    assert capsys.readouterr().out == ""


def test_tables_are_readable_in_100_columns(report: EvalReport, capsys: pytest.CaptureFixture[str]) -> None:
    print_timing(report)
    out, err = capsys.readouterr()
    assert max(map(len, [*out.splitlines(), *err.splitlines()])) <= 100
    reference = (Path(__file__).parents[2] / "docs" / "trainer-reference.md").read_text(encoding="utf-8")
    for head in re.findall(r"^ {3,}(\S.*)$", out, re.M):
        for title in re.split(r" {2,}", head):
            assert re.split(r" p10| \(|,", title)[0] in reference, title
    assert len(re.findall(r"^human +0\.\d\d +1\.00 \[0\.74 1\.00\] +0 ", out, re.M)) == 2


def test_report_is_plain_json(report: EvalReport) -> None:
    assert '"schema":"corpus.eval/6"' in to_json(report)


def test_page_is_well_formed_and_complete(report: EvalReport) -> None:
    few = page_of(report)
    assert few.count("<svg") == 2 and few.count("Fewer than 10 turns were taken") == 2
    many = tuple(dataclasses.replace(row, latency_counts=(4, 8, 3)) for row in report.timing)
    page = page_of(dataclasses.replace(report, timing=many))
    assert "a &lt;b&gt; &amp; c" in page and "http" not in page.replace("http-equiv", "")
    drawings = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(drawings) == 4
    for said in ("1.250", "bc dist", "answers", "false starts/min"):
        assert said in page
    for drawn in drawings:
        inside = ElementTree.fromstring(drawn)
        width, height = (float(side) for side in inside.attrib["viewBox"].split()[2:])
        for shape in inside.iter("rect"):
            x, y, w, h = (float(shape.attrib[name]) for name in ("x", "y", "width", "height"))
            assert 0 <= x <= x + w <= width + 1 and 0 <= y <= y + h <= height
        for dot in inside.iter("circle"):
            assert 0 <= float(dot.attrib["cx"]) <= width and 0 <= float(dot.attrib["cy"]) <= height


def test_page_without_a_single_case(report: EvalReport) -> None:
    nothing = Told()
    empty = dataclasses.replace(report, recordings=(), timing=(), calibration=nothing.result(draws(0)))
    assert page_of(empty).count("<svg") == 2


def test_worse_than_a_constant_is_the_first_thing_said(report: EvalReport) -> None:
    losses = (
        LossRow(cue="all", stream="control", count=700, model=0.5, unigram=0.4),
        LossRow(cue="all", stream="text", count=FEWEST - 1, model=9.0, unigram=0.4),
        LossRow(cue="all", stream="audio", count=700, model=0.3, unigram=0.4),
    )
    worse = dataclasses.replace(report, losses=losses, timing=())
    (first,) = verdict(worse)
    assert first == "Worse than a constant: when to speak 0.500 nats, the best constant guess 0.400."
    assert in_plain_words(worse).startswith(first) and first in page_of(worse)
    better = dataclasses.replace(worse, losses=losses[1:])
    assert verdict(better)[0].startswith("No figure with enough cases is worse")


def test_a_model_that_hardly_speaks_is_told_how_it_would(report: EvalReport) -> None:
    rows = {row.name: row for row in report.timing if not row.told}
    quiet = dataclasses.replace(rows["model"].speaks, value=0.01)
    shy = dataclasses.replace(rows["model"], speaks=quiet)
    said = verdict(dataclasses.replace(report, timing=(shy, rows["human"])))
    assert "--sampled" in said[-1] and "1% of windows" in said[-1]
    assert not any("--sampled" in line for line in verdict(report))


def test_the_curve_by_window_is_drawn_of_enough_windows(report: EvalReport) -> None:
    many = tuple(
        WindowLoss(window=window, documents=3, control=0.5 + window / 100, text=None, sound=None)
        for window in range(40)
    )
    page = page_of(dataclasses.replace(report, by_window=many))
    assert "Losses by window" in page and page.count("<svg") == page_of(report).count("<svg") + 1
    assert "control 0.865 at the end, 0.525 at the beginning" in page
    assert "Losses by window" not in page_of(report)


def test_recordings_have_their_names(report: EvalReport, capsys: pytest.CaptureFixture[str]) -> None:
    named = tuple(dataclasses.replace(one, name=f"talk-{one.recording[-1]}.mp4") for one in report.recordings)
    print_recordings(named)
    assert "control 7.250 talk-5.mp4" in capsys.readouterr().out
    assert "talk-5.mp4" in page_of(dataclasses.replace(report, recordings=named))
