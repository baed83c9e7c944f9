"""Hostile values cost their line alone; files are read as the tools of the trade write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from corpus.align.sidecars import Annotation, read_sidecars
from corpus.schemas.drops import Drop

SECOND = 1_000_000
HUGE = 10**4000


def read(folder: Path, name: str, text: str) -> tuple[Annotation, list[Drop]]:
    path = folder / name
    path.write_text(text)
    return read_sidecars([path], 60 * SECOND)


def cue(**change: object) -> dict[str, object]:
    times = {"start_us": 0, "stop_us": SECOND, "confidence": 1.0, "origin": "people"}
    return {"label": "hesitation", "kind": "filled_pause", "speaker": "A", **times, **change}


def event(**change: object) -> dict[str, object]:
    return {
        "label": "note",
        "kind": "",
        "speaker": None,
        "start_us": 0,
        "stop_us": 1,
        "origin": "o",
        **change,
    }


@pytest.mark.parametrize(
    "bad",
    [
        {"cues": cue(evidence="not json")},
        {"cues": cue(evidence={"x": float("nan")})},
        {"cues": cue(evidence="[1,2]")},
        {"cues": cue(evidence={"x": "\ud800"})},
        {"cues": cue(evidence="[" * 5000 + "]" * 5000)},
        {"cues": cue(evidence='{"to":"A","x":NaN}')},
        {"cues": cue(origin="\0")},
        {"cues": cue(confidence=HUGE)},
        {"cues": cue(confidence=1e308)},
        {"cues": cue(kind={"a": 1})},
        {"cues": cue(spans=[{"role": "r", "start_us": 0, "stop_us": 2**63}])},
        {"events": event(payload="")},
        {"events": event(payload={"x": float("inf")})},
        {"events": event(label="\ud800")},
        {"turns": {"speaker": "A", "start_us": HUGE, "stop_us": HUGE + 1}},
        {"turns": {"speaker": "A", "start_us": 2**63, "stop_us": 2**63 + 1}},
        {"turns": {"speaker": "A", "start_us": 0, "stop_us": 1, "\ud800": 1}},
        {"words": {"speaker": "A", "start_us": 0, "stop_us": 1, "text": "\ud800x"}},
    ],
)
def test_one_bad_value_costs_its_line_alone(tmp_path: Path, bad: dict[str, object]) -> None:
    turn = {"speaker": "A", "start_us": 0, "stop_us": SECOND}
    word = {**turn, "text": "hello"}
    plain = {"turns": [turn], "words": [word], "cues": [cue()], "events": [event()]}
    for name, item in bad.items():
        plain[name] = [*plain[name], item]
    head = {"schema": "corpus.conversation/1", "speakers": ["A"]}
    annotation, drops = read(tmp_path, "x.json", json.dumps({**head, **plain}))
    (name,) = bad
    assert [(drop.kind, drop.item) for drop in drops] == [("fault", f"x.json:{name}[1]")]
    found = (annotation.turns, annotation.words, annotation.cues, annotation.events)
    assert [len(items or ()) for items in found] == [1, 1, 1, 1]
    for drop in drops:
        drop.reason.encode()


def test_names_that_no_speaker_may_have_are_left_out(tmp_path: Path) -> None:
    turns = [{"speaker": name, "start_us": 0, "stop_us": SECOND} for name in ("\ud800", "room", "B")]
    head = {"schema": "corpus.conversation/2", "speakers": ["\ud800", "room", "B"], "named_speakers": ["Q"]}
    annotation, drops = read(tmp_path, "x.json", json.dumps({**head, "turns": turns}))
    assert annotation.speakers == ("B",)
    assert [turn.speaker for turn in annotation.turns or ()] == ["B"]
    assert {drop.code for drop in drops} == {"bad_text", "reserved_name", "unknown_speaker"}


def test_a_file_far_larger_than_its_recording_can_need_is_refused(tmp_path: Path) -> None:
    many = ",".join(["{}"] * 7_000_000)
    _, (drop,) = read(tmp_path, "x.json", f'{{"schema":"corpus.conversation/2","words":[{many}]}}')
    assert (drop.kind, drop.code) == ("fault", "sidecar_unreadable")
    turn = '{"speaker":"A","start_us":0,"stop_us":1}'
    text = f'{{"schema":"corpus.conversation/2","turns":[{",".join([turn] * 22_005)}]}}'
    annotation, (drop,) = read(tmp_path, "x.json", text)
    assert (len(annotation.turns or ()), drop.code, drop.count) == (22_000, "too_many_items", 5)


@pytest.mark.parametrize(
    ("plain", "tool"),
    [
        ({"monologues": [{"speaker": 0, "elements": []}]}, "Rev"),
        ({"utterances": [{"speaker": "A", "text": "hi"}]}, "AssemblyAI"),
    ],
)
def test_json_of_other_tools_is_refused_by_name(tmp_path: Path, plain: object, tool: str) -> None:
    annotation, (drop,) = read(tmp_path, "x.json", json.dumps(plain))
    assert annotation == Annotation()
    assert drop.kind == "fault" and tool in drop.reason


def test_cues_of_a_file_stand_for_their_labels(tmp_path: Path) -> None:
    made = [
        {"label": "overlap", "made": True, "reason": ""},
        {"label": "visual", "made": False, "reason": "x"},
    ]
    head = {"schema": "corpus.conversation/2", "speakers": ["A"], "labels_made": made}
    annotation, drops = read(tmp_path, "x.json", json.dumps({**head, "cues": [cue()]}))
    assert drops == []
    assert {each.label for each in annotation.labels_made} == {"overlap", "hesitation"}


def test_ctm_of_eight_columns_and_of_another_recording_name(tmp_path: Path) -> None:
    text = (
        "x 1 1.0 0.3 hello <NA> lex Ann\nx 1 2.0 0.3 yes <NA> lex Bob\nx 1 3.0 0.3 laugh <NA> non-lex Bob\n"
    )
    annotation, (drop,) = read(tmp_path, "x.ctm", text)
    said = [(word.speaker, word.text, word.confidence) for word in annotation.words or ()]
    assert said == [("Ann", "hello", None), ("Bob", "yes", None)]
    assert (drop.code, drop.kind) == ("no_word", "trim")
    annotation, drops = read(tmp_path, "x.ctm", "ep_12 1 1.0 0.3 hello\nep_12 1 2.0 0.3 (uh)\n")
    assert [(word.speaker, word.text) for word in annotation.words or ()] == [("", "hello"), ("", "uh")]
    assert drops == []


def test_of_alternatives_the_first_is_read(tmp_path: Path) -> None:
    marks = ("x 1 * * <ALT_BEGIN>", "x 1 1 1 i'll", "x 1 * * <ALT>", "x 1 1 1 i", "x 1 * * <ALT_END>")
    annotation, (drop,) = read(tmp_path, "x.ctm", "\n".join((*marks, "x 1 3 1 go")))
    assert [word.text for word in annotation.words or ()] == ["i'll", "go"]
    assert (drop.code, drop.kind) == ("alternative", "trim")
    annotation, drops = read(tmp_path, "x.stm", "x 1 A 1 2 <o> { no / know } [laugh] (uh) yes\n")
    assert [word.text for word in annotation.words or ()] == ["no", "uh", "yes"]
    assert [(drop.code, drop.kind) for drop in drops] == [("no_word", "trim")]


@pytest.mark.parametrize(
    ("line", "speaker"),
    [
        ("SPEAKER my talk 1 1.0 2.0 <NA> <NA> Ann Smith <NA> <NA>", "Ann Smith"),
        ("SPEAKER x 1   1.000   2.000 <NA> <NA> speaker_0 <NA> <NA>", "speaker_0"),
        ("SPEAKER x 0 1.0 2.0 <NA> <NA> spk1 <NA>", "spk1"),
        ("SPEAKER x 1 1.0 2.0 <NA> <NA> Ann B Smith <NA> <NA>", "Ann B Smith"),
    ],
)
def test_rttm_as_different_tools_write_it(tmp_path: Path, line: str, speaker: str) -> None:
    annotation, drops = read(tmp_path, "x.rttm", f";; a comment\n{line}\n")
    turns = [(turn.speaker, turn.start_us, turn.stop_us) for turn in annotation.turns or ()]
    assert (turns, drops) == ([(speaker, SECOND, 3 * SECOND)], [])


@pytest.mark.parametrize(
    "strange", [{"gold_labels": [[1]]}, {"gold_labels": {"a": 1}}, {"named_speakers": [[1]]}]
)
def test_strange_lists_of_a_file_are_faults_and_the_rest_is_read(
    tmp_path: Path, strange: dict[str, object]
) -> None:
    turn = {"speaker": "A", "start_us": 0, "stop_us": SECOND}
    head = {"schema": "corpus.conversation/2", "speakers": ["A"], "turns": [turn]}
    annotation, (drop,) = read(tmp_path, "x.json", json.dumps({**head, **strange}))
    assert (len(annotation.turns or ()), annotation.events, drop.kind) == (1, (), "fault")


@pytest.mark.parametrize("part", ["turns", "words"])
def test_a_part_that_is_no_list_is_the_files_fault(tmp_path: Path, part: str) -> None:
    _, (drop,) = read(tmp_path, "x.json", json.dumps({"schema": "corpus.conversation/2", part: 5}))
    assert (drop.kind, drop.code) == ("fault", "sidecar_unreadable")
