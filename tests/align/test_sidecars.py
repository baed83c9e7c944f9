"""Importers: what is sound is used exactly, what is not is a Drop that says where and why."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.align.sidecar_files import ENDINGS, Listing, find_sidecars
from corpus.align.sidecars import Annotation, read_sidecars
from corpus.schemas.codec import to_json
from corpus.schemas.conversation import Conversation, Cue, CueSpan, Event, Turn, Word
from corpus.schemas.drops import Drop

SECOND = 1_000_000


def read(
    folder: Path, name: str, text: str | bytes, duration_us: int = 60 * SECOND
) -> tuple[Annotation, list[Drop]]:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_sidecars([path], duration_us)


def speaker_line(start: str, length: str, name: str = "A", file: str = "x") -> str:
    return f"SPEAKER {file} 1 {start} {length} <NA> <NA> {name} <NA> <NA>\n"


def test_rttm_times_are_exact(tmp_path: Path) -> None:
    annotation, drops = read(
        tmp_path, "x.rttm", speaker_line("0.29", "1.1") + speaker_line("0.1", "0.2", "B")
    )
    assert annotation.turns == (
        Turn(speaker="B", start_us=100_000, stop_us=300_000),
        Turn(speaker="A", start_us=290_000, stop_us=1_390_000),
    )
    assert annotation.speakers == ("B", "A")
    assert annotation.words is None
    assert annotation.used == ("x.rttm",)
    assert drops == []


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (speaker_line("-1", "2"), "negative_time"),
        (speaker_line("1", "-0.5"), "unordered_times"),
        (speaker_line("nan", "1"), "not_a_number"),
        (speaker_line("1", "inf"), "not_a_number"),
        (speaker_line("1e999999999", "1"), "not_a_number"),
        (speaker_line("1_0", "1"), "not_a_number"),
        (speaker_line("61", "1"), "past_the_end"),
        (speaker_line("1", "0"), "empty_turn"),
        (speaker_line("1", "1", "<NA>"), "unknown_speaker"),
        ("SPEAKER x 1 1.0\n", "wrong_fields"),
        ("hello world\n", "not_rttm"),
        (b"SPEAKER x 1 1.0 1.0 <NA> <NA> \xff <NA> <NA>\n", "not_utf8"),
    ],
)
def test_a_malformed_line_is_a_fault_and_the_others_are_used(
    tmp_path: Path, line: str | bytes, code: str
) -> None:
    good = speaker_line("3", "1").encode()
    bad = line if isinstance(line, bytes) else line.encode()
    annotation, drops = read(tmp_path, "x.rttm", good + bad)
    assert annotation.turns == (Turn(speaker="A", start_us=3 * SECOND, stop_us=4 * SECOND),)
    (drop,) = drops
    assert (drop.code, drop.kind, drop.item) == (code, "fault", "x.rttm:2")
    assert drop.reason.startswith("x.rttm:2: ")


def test_a_turn_past_the_end_is_cut_and_flagged(tmp_path: Path) -> None:
    annotation, (drop,) = read(tmp_path, "x.rttm", speaker_line("59", "2"))
    assert annotation.turns == (Turn(speaker="A", start_us=59 * SECOND, stop_us=60 * SECOND),)
    assert (drop.code, drop.kind, drop.start_us, drop.stop_us) == (
        "clipped_at_end",
        "trim",
        60 * SECOND,
        61 * SECOND,
    )


def test_only_the_own_recording_of_a_file_with_several_is_used(tmp_path: Path) -> None:
    text = speaker_line("1", "1", "A", "x") + speaker_line("1", "1", "B", "y")
    annotation, (drop,) = read(tmp_path, "x.rttm", text)
    assert annotation.speakers == ("A",)
    assert (drop.code, drop.kind, drop.count) == ("other_recording", "trim", 1)


def test_many_like_drops_are_told_ten_times_and_then_counted(tmp_path: Path) -> None:
    _, drops = read(tmp_path, "x.rttm", speaker_line("-1", "1") * 1000)
    assert len(drops) == 11
    assert sum(drop.count for drop in drops) == 1000
    assert drops[-1].count == 990


def test_a_file_without_a_line_says_nothing(tmp_path: Path) -> None:
    annotation, (drop,) = read(tmp_path, "x.rttm", ";; nothing\n\n")
    assert annotation.turns is None
    assert (drop.code, drop.kind) == ("sidecar_unused", "trim")


def test_stm_words_are_spread_by_letters(tmp_path: Path) -> None:
    annotation, drops = read(tmp_path, "x.stm", "x 1 Ann 1.0 2.0 <o,f0> ab? cdefgh\n")
    assert drops == []
    assert annotation.turns == (Turn(speaker="Ann", start_us=SECOND, stop_us=2 * SECOND),)
    assert annotation.words is not None
    first, second = annotation.words
    assert (first.text, first.after, first.timing) == ("ab", "?", "interpolated")
    # 3 of 9 characters: a third of the second
    assert (first.start_us, first.stop_us) == (1_000_000, 1_333_333)
    assert (second.start_us, second.stop_us) == (1_333_333, 2_000_000)


def test_stm_marks_of_unscored_stretches_are_trims(tmp_path: Path) -> None:
    text = "x 1 Ann 1.0 2.0 IGNORE_TIME_SEGMENT_IN_SCORING\nx 1 Ann 2.0 3.0 hi\nx 1 Ann 3 2 no\n"
    annotation, drops = read(tmp_path, "x.stm", text)
    assert len(annotation.turns or ()) == 1
    assert {(drop.code, drop.kind) for drop in drops} == {("unscored", "trim"), ("unordered_times", "fault")}


def test_ctm_speakers_come_from_the_first_column_or_the_channel(tmp_path: Path) -> None:
    named, _ = read(tmp_path, "x.ctm", "Ann_0001_audio 1 1.0 0.5 Hi, 0.9\nBo_0002_audio 1 2.0 0.5 you -1\n")
    assert [(word.speaker, word.text, word.after) for word in named.words or ()] == [
        ("Ann", "Hi", ","),
        ("Bo", "you", ""),
    ]
    assert [word.confidence for word in named.words or ()] == [0.9, None]
    by_channel, _ = read(tmp_path, "x.ctm", "x A 1.0 0.5 hi\nx B 2.0 0.5 you\n")
    assert by_channel.speakers == ("A", "B")
    assert [turn.start_us for turn in by_channel.turns or ()] == [SECOND, 2 * SECOND]


def test_ctm_words_without_a_speaker_wait_for_turns(tmp_path: Path) -> None:
    alone, _ = read(tmp_path, "x.ctm", "x 1 1.0 0.5 hi\n")
    assert alone.turns is None
    assert [word.speaker for word in alone.words or ()] == [""]
    (tmp_path / "x.rttm").write_text(speaker_line("0.5", "2", "Ann"))
    both, drops = read_sidecars([tmp_path / "x.ctm", tmp_path / "x.rttm"], 60 * SECOND)
    assert [word.speaker for word in both.words or ()] == ["Ann"]
    assert drops == []


def test_speakers_named_differently_are_matched_by_talking_time(tmp_path: Path) -> None:
    (tmp_path / "x.rttm").write_text(speaker_line("0", "2", "s1") + speaker_line("2", "2", "s2"))
    (tmp_path / "x.stm").write_text("x 1 Ann 0.1 1.9 one two\nx 1 Bo 1.9 4.0 three four\n")
    annotation, (drop,) = read_sidecars(find_sidecars(tmp_path / "x.mp4"), 60 * SECOND)
    assert [word.speaker for word in annotation.words or ()] == ["s1", "s1", "s2", "s2"]
    assert drop.code == "speakers_renamed"
    assert "Ann is s1, Bo is s2" in drop.reason


def test_the_conversation_wins_over_rttm_and_ctm_over_stm(tmp_path: Path) -> None:
    head = {"schema": "corpus.conversation/1", "speakers": ["A"], "duration_us": 60 * SECOND}
    turns = [{"speaker": "A", "start_us": 0, "stop_us": 5 * SECOND}]
    (tmp_path / "x.json").write_text(json.dumps({**head, "turns": turns}))
    (tmp_path / "x.rttm").write_text(speaker_line("10", "1", "B"))
    (tmp_path / "x.ctm").write_text("x 1 1.0 0.5 measured\n")
    (tmp_path / "x.stm").write_text("x 1 A 1.0 2.0 spread\n")
    annotation, drops = read_sidecars(find_sidecars(tmp_path / "x.mp4"), 60 * SECOND)
    assert [turn.stop_us for turn in annotation.turns or ()] == [5 * SECOND]
    assert [word.text for word in annotation.words or ()] == ["measured"]
    assert annotation.used == ("x.json", "x.ctm")
    assert {(drop.item, drop.code, drop.kind) for drop in drops} == {
        ("x.rttm", "sidecar_unused", "trim"),
        ("x.stm", "sidecar_unused", "trim"),
    }


def test_sidecars_are_found_by_either_name(tmp_path: Path) -> None:
    media = tmp_path / "a b.c.mp4"
    for name in ("a b.c.rttm", "a b.c.mp4.stm", "a b.c.JSON", "a b.rttm", "other.ctm"):
        (tmp_path / name).touch()
    (tmp_path / "a b.c.ctm").mkdir()
    assert [path.name for path in find_sidecars(media)] == ["a b.c.mp4.stm", "a b.c.JSON", "a b.c.rttm"]


@given(
    st.sets(st.sampled_from(["x", "X", "x.mp4", "ä ß", "other"]), min_size=1),
    st.sets(
        st.sampled_from([*ENDINGS, *(e.upper() for e in ENDINGS), *(e.lower() for e in ENDINGS), ".Rttm"])
    ),
)
@settings(max_examples=40, deadline=None)
def test_a_listing_finds_what_asking_for_each_file_finds(stems: set[str], endings: set[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for stem in stems:
            for ending in endings:
                (folder / (stem + ending)).touch()
        for media in (folder / "x.mp4", folder / "X.wav", folder / "ä ß.mkv"):
            assert find_sidecars(media, Listing()) == find_sidecars(media)


def test_a_folder_that_cannot_be_listed_is_asked_for_each_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.rttm").touch()

    def refuse(_: object) -> list[str]:
        raise PermissionError

    monkeypatch.setattr("corpus.align.sidecar_files.os.listdir", refuse)
    assert find_sidecars(tmp_path / "x.mp4", Listing()) == [tmp_path / "x.rttm"]


def test_an_unrelated_json_is_told_and_a_lookalike_is_a_fault(tmp_path: Path) -> None:
    for unrelated in ('{"title": "holiday", "turns": 3}', "[1, 2]"):
        annotation, (told,) = read(tmp_path, "x.json", unrelated)
        assert (annotation, told.code, told.kind) == (Annotation(), "sidecar_unused", "trim")
    annotation, drops = read(tmp_path, "x.json", "not json at all")
    assert annotation == Annotation()
    assert [(d.kind, d.code) for d in drops] == [("fault", "sidecar_unreadable")]
    _, (lookalike,) = read(tmp_path, "x.json", '{"turns": [], "speakers": []}')
    assert (lookalike.code, "not a conversation file" in lookalike.reason) == ("sidecar_unreadable", True)
    _, (newer,) = read(tmp_path, "x.json", '{"schema": "corpus.conversation/3"}')
    assert "corpus.conversation/3" in newer.reason and newer.kind == "fault"
    _, (broken,) = read(tmp_path, "x.json", '{"schema": "corpus.conversation/1", "turns": [')
    assert broken.code == "sidecar_unreadable"
    _, (short,) = read(tmp_path, "x.json.gz", gzip.compress(b'{"schema": "corpus.conversation/1"}' * 99)[:40])
    assert short.code == "sidecar_unreadable"


def test_unsound_items_of_a_conversation_are_faults(tmp_path: Path) -> None:
    def turn(start: object, stop: object, speaker: str = "A") -> dict[str, object]:
        return {"speaker": speaker, "start_us": start, "stop_us": stop}

    bad = [turn(-1, 5), turn(5, 1), turn(0.5, 1), turn(float("nan"), 1), turn(None, 1), turn(0, 1, "Z"), 7]
    bad += [turn(61 * SECOND, 62 * SECOND), turn(None, None), turn(True, 2)]
    plain = {"schema": "corpus.conversation/1", "speakers": ["A"], "turns": [turn(1, 2), *bad]}
    annotation, drops = read(tmp_path, "x.json", json.dumps(plain))
    assert annotation.turns == (Turn(speaker="A", start_us=1, stop_us=2),)
    assert len(drops) == len(bad)
    assert {drop.kind for drop in drops} == {"fault"}
    assert drops[0].item == "x.json:turns[1]"


def test_what_people_write_into_a_conversation_is_read(tmp_path: Path) -> None:
    words = [
        {"speaker": "A", "start_us": 0, "stop_us": 10, "text": "so", "after": ","},
        {"speaker": "A", "start_us": None, "stop_us": None, "text": "what"},
    ]
    cue = {
        "label": "self_correction",
        "kind": None,
        "speaker": "A",
        "start_us": 0,
        "stop_us": 10,
        "confidence": 1,
        "origin": "people",
        "spans": {"reparandum": [0, 5], "interregnum": None, "repair": [5, 10], "repair_words": [0, 2]},
        "evidence": {"source": "repeat", "words": [0, 2]},
    }
    plain = {
        "schema": "corpus.conversation/1",
        "speakers": ["A"],
        "source": "somebody",
        "words": words,
        "cues": [cue],
        "sounds": [{"speaker": "Z", "kind": "laugh", "start_us": 3, "stop_us": 4}],
        "unscored": [
            {
                "label": "hesitation",
                "speaker": "A",
                "start_us": 0,
                "stop_us": 9,
                "words": [0, 1],
                "source": "dm",
            }
        ],
        "gold_labels": ["self_correction"],
    }
    annotation, drops = read(tmp_path, "x.json.gz", gzip.compress(json.dumps(plain).encode()))
    assert drops == []
    assert annotation.words == (
        Word(speaker="A", start_us=0, stop_us=10, text="so", after=","),
        Word(speaker="A", start_us=None, stop_us=None, text="what", timing="unknown"),
    )
    (found,) = annotation.cues
    assert found.spans == (
        CueSpan(role="reparandum", start_us=0, stop_us=5),
        CueSpan(role="repair", start_us=5, stop_us=10),
    )
    assert json.loads(found.evidence) == {"source": "repeat", "text": "so what"}
    laugh, open_, note = annotation.events
    assert (laugh.label, laugh.kind, laugh.speaker, json.loads(laugh.payload)) == (
        "sound",
        "laugh",
        None,
        {"speaker": "Z"},
    )
    assert (open_.label, open_.kind, json.loads(open_.payload)) == (
        "unscored",
        "hesitation",
        {"source": "dm", "text": "so"},
    )
    assert json.loads(note.payload) == {"gold_kinds": {}, "gold_labels": ["self_correction"]}


times = st.integers(0, 60 * SECOND)
spans = st.tuples(times, times).map(sorted).filter(lambda pair: pair[0] < pair[1])
names = st.sampled_from(["A", "B b", "Ö"])
texts = st.text("abÖ'漢 ?\"\\", min_size=1, max_size=8)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    def span() -> dict[str, int]:
        start_us, stop_us = draw(spans)
        return {"start_us": start_us, "stop_us": stop_us}

    turns = [Turn(speaker=draw(names), **span(), id=draw(texts)) for _ in range(draw(st.integers(0, 4)))]
    words = [
        Word(
            speaker=draw(names),
            **span(),
            text=draw(texts),
            after=draw(texts),
            confidence=draw(st.floats(0, 1)),
        )
        for _ in range(draw(st.integers(0, 4)))
    ]
    words += [Word(speaker="A", start_us=None, stop_us=None, text="w", timing="unknown")]
    cues = [
        Cue(
            label="overlap",
            kind="",
            speaker=None,
            confidence=0.5,
            origin="x/1",
            evidence='{"b":1,"a":2}',
            **span(),
        )
    ]
    events = [Event(label="note", kind="", speaker=draw(names), origin="x", payload='{"z":[]}', **span())]
    return Conversation(
        recording="r",
        duration_us=60 * SECOND,
        speakers=("Ö", "A", "B b"),
        turns=tuple(turns),
        words=tuple(words),
        cues=tuple(cues),
        events=tuple(events),
        named_speakers=("Ö",),
    )


@settings(max_examples=60)
@given(conversations())
def test_our_own_form_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, ours: Conversation
) -> None:
    folder = tmp_path_factory.mktemp("form")
    annotation, drops = read(folder, "x.json", to_json(ours))
    assert drops == []
    assert annotation.turns == ours.turns
    assert annotation.words == ours.words
    assert annotation.cues == ours.cues
    assert annotation.events == ours.events
    assert annotation.speakers == ours.speakers
    assert annotation.named_speakers == ours.named_speakers


@settings(max_examples=200)
@given(st.binary(max_size=200), st.sampled_from(["x.rttm", "x.stm", "x.ctm", "x.json", "x.json.gz"]))
def test_no_bytes_take_the_reader_down(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    prefix = b'{"schema": "corpus.conversation/1", "turns": ' if name == "x.json" else b"SPEAKER x 1 1 1 "
    for content in (data, prefix + data):
        annotation, _ = read(tmp_path_factory.mktemp("bytes"), name, content)
        for turn in annotation.turns or ():
            assert 0 <= turn.start_us < turn.stop_us <= 60 * SECOND


def test_a_path_that_is_no_file_is_told_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.rttm")
    (tmp_path / "x.stm").mkdir()
    paths = [tmp_path / "x.rttm", tmp_path / "x.stm", tmp_path / "gone.ctm", tmp_path / "x.txt"]
    annotation, drops = read_sidecars(paths, SECOND)
    assert annotation == Annotation()
    assert [drop.code for drop in drops] == ["sidecar_unreadable"] * 3 + ["sidecar_unused"]


def test_a_file_of_another_length_is_flagged(tmp_path: Path) -> None:
    told = {"schema": "corpus.conversation/1", "speakers": [], "duration_us": 90 * SECOND}
    _, (drop,) = read(tmp_path, "x.json", json.dumps(told))
    assert (drop.code, drop.kind) == ("duration_differs", "trim")


def test_real_conversations_are_read_whole(shared_data: Path) -> None:
    files = sorted((shared_data / "cues").glob("*.json.gz"))
    words = 0
    for path in files:
        annotation, drops = read_sidecars([path], 10**12)
        assert {drop.code for drop in drops} == {"duration_differs"}
        words += len(annotation.words or ())
    assert (len(files), words) == (20, 96_728)
    gecko, _ = read_sidecars([shared_data / "gecko" / "demo1.ctm"], 568_800_000)
    counts = [sum(word.speaker == name for word in gecko.words or ()) for name in ("Roger", "Virgil")]
    assert abs(counts[0] - 1093) < 6 and abs(counts[1] - 404) < 6
