from __future__ import annotations

import itertools
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from corpus.report.pages.line_chart import POINTS
from corpus.trainer.train.run_report import draw_report, page, panels, read_lines

SVG = "{http://www.w3.org/2000/svg}"


def line(step: int, **values: Any) -> dict[str, Any]:
    layers = [{"layer": n, "load": 1.0 + n, "load_speaking": None, "margin": 0.1} for n in (1, 2)]
    return {"step": step, "nats_control": 1 / step, "audio": 2.0, "lr": 1e-3, "layers": layers, **values}


def figures(text: str) -> dict[str, ElementTree.Element]:
    """The page's drawings by title; each must be well-formed."""
    parts = ["<svg" + part.split("</svg>")[0] + "</svg>" for part in text.split("<svg")[1:]]
    drawn = [ElementTree.fromstring(part) for part in parts]
    return {svg.findtext("title", ""): svg for svg in drawn}


def ends(path: ElementTree.Element) -> list[tuple[float, float]]:
    points = path.attrib["d"].replace("h.1", "").replace("M", "L").split("L")[1:]
    return [(float(x), float(y)) for x, y in (point.split() for point in points)]


def test_what_no_line_tells_is_not_drawn() -> None:
    titles = [panel.title for panel in panels([line(1), line(2)])]
    assert titles == ["Text", "Sound", "Expert load", "Router margin", "Learning rate"]
    assert panels([]) == [] and "Nothing logged yet" in page("run", 10, [])


def test_losses_stand_on_a_logarithmic_scale_and_loads_on_a_plain_one() -> None:
    """Equal ratios are equal heights; a load's scale begins at 1, which is even."""
    lines = [line(1, audio=8.0), line(2, audio=4.0), line(3, audio=2.0)]
    drawn = figures(page("run", 3, lines))
    path = drawn["Sound"].find("path")
    assert path is not None
    (_, high), (_, middle), (_, low) = ends(path)
    assert high < middle < low and middle - high == pytest.approx(low - middle, abs=0.15)
    ys = [ends(path)[0][1] for path in drawn["Expert load"].findall("path")]
    lowest = max(float(grid.attrib["y1"]) for grid in drawn["Expert load"].findall("line"))
    assert lowest - ys[1] == pytest.approx(2 * (lowest - ys[0]), abs=0.15)


def test_many_lines_become_means() -> None:
    lines = [line(step, audio=1.0 + step % 2) for step in range(1, 10 * POINTS + 1)]
    path = figures(page("run", 10 * POINTS, lines))["Sound"].find("path")
    assert path is not None
    points = ends(path)
    assert len(points) == POINTS and len({y for _, y in points}) == 1


def test_gaps_lonely_points_and_numbers_a_scale_has_no_place_for() -> None:
    values = [1.0, None, 3.0, 2.0, 0.0, 1.0]
    lines = [line(step + 1, audio=value) for step, value in enumerate(values)]
    path = figures(page("run", 6, lines))["Sound"].find("path")
    assert path is not None and path.attrib["d"].count("M") == 3 and path.attrib["d"].count("h.1") == 2


def test_labels_do_not_overlap_and_lie_on_the_page() -> None:
    layers = [{"layer": n, "load": 1.5, "load_speaking": 1.5, "margin": 0.0} for n in range(40)]
    svg = figures(page("run", 2, [line(1, layers=layers), line(2, layers=layers)]))["Expert load"]
    ys = sorted(float(text.attrib["y"]) for text in svg.findall("text") if text.text and "layer" in text.text)
    assert len(ys) > 8 and ys[0] > 0 and ys[-1] < 230
    assert min(b - a for a, b in itertools.pairwise(ys)) >= 14.9


def test_a_run_of_any_name_and_a_log_of_any_state(tmp_path: Path) -> None:
    run = tmp_path / "<b>&"
    run.mkdir()
    log = run / "log.jsonl"
    log.write_text(json.dumps(line(1)) + "\n[]\n{}\n" + json.dumps(line(2)) + '\n{"step": 3, "au')
    assert [each["step"] for each in read_lines(log)] == [1, 2]
    with log.open("ab") as file:
        file.write(b'\n{"step": \xff\n')
    assert [each["step"] for each in read_lines(log)] == [1, 2]
    text = draw_report(log, 5).read_text()
    assert "<b>&" not in text and "&lt;b&gt;&amp;" in text and "step 2 of 5" in text
    assert "http" not in text.replace("http-equiv", "")
    log.write_text(json.dumps({"step": 1, "text": 1.0, "lr": 0.1, "expert_load": 2.0}) + "\n")
    assert list(figures(draw_report(log, 5).read_text())) == ["Learning rate"]


def test_every_scale_has_ticks() -> None:
    """Also a logarithmic one over less than a decade, in which no power of ten lies."""
    for low, high in ((1.16, 4.0), (0.97, 1.03), (2e-5, 7.0), (1e-9, 1e9)):
        values = [low, (low * high) ** 0.5, high]
        svg = figures(page("run", 3, [line(n + 1, audio=value) for n, value in enumerate(values)]))["Sound"]
        assert 3 <= len(svg.findall("line")) <= 20
        texts = [text.text or "" for text in svg.findall("text")]
        assert any(text.startswith("audio: ") for text in texts) and not any("e-0" in text for text in texts)
