from __future__ import annotations

import json
from pathlib import Path

import pytest

from corpus.pipeline.catalog import CatalogEntry, RunFacts, query, write_catalog
from corpus.schemas.conversation import CUE_KINDS, Conversation, Cue, CueSpan, Event, Turn, Word
from corpus.schemas.drops import Drop
from corpus.schemas.errors import DatasetError, UsageError
from corpus.schemas.ids import with_ids
from corpus.schemas.recording import Oddity, Recording, SourceFile, Stream

RUN = RunFacts(version="0.1.0", config="c" * 64, settings='{"sidecars":true}', started_at_us=5, num_workers=2)
HOSTILE = "O'Neill \"); DROP TABLE turns; --<script>\n"


def entry(number: int) -> CatalogEntry:
    name = f"{number:064x}"
    odd = Oddity(code="hole", detail="2 s without sound", start_us=1, stop_us=2_000_001)
    stream = Stream(
        kind="audio", index=1, file=0, codec="aac", rate="16000", offset_us=0, duration_us=9, oddities=(odd,)
    )
    recording = Recording(
        hash=name,
        uri=HOSTILE,
        files=(SourceFile(uri="a.mp4", sha256=name, bytes=10),),
        streams=(stream,),
        duration_us=10_000_000,
    )
    conversation = Conversation(
        recording=name,
        duration_us=10_000_000,
        speakers=("A", "B"),
        turns=(
            Turn(speaker="A", start_us=0, stop_us=4_000_000),
            Turn(speaker="A", start_us=3_000_000, stop_us=5_000_000),
            Turn(speaker="B", start_us=4_500_000, stop_us=6_000_000),
        ),
        words=(
            Word(speaker="A", start_us=0, stop_us=400_000, text="hello", after=","),
            Word(speaker="A", start_us=500_000, stop_us=900_000, text="there"),
            Word(speaker="B", start_us=None, stop_us=None, text="mm", timing="unknown"),
        ),
        cues=(
            Cue(
                label="self_correction",
                kind="repetition",
                speaker="A",
                start_us=0,
                stop_us=9,
                confidence=0.5,
                origin="x/1",
                spans=(CueSpan(role="repair", start_us=4, stop_us=9),),
            ),
            Cue(label="visual", kind="", speaker=None, start_us=0, stop_us=9, confidence=1.0, origin="x/1"),
        ),
        events=(Event(label="note", kind="", speaker=None, start_us=1, stop_us=1, origin="me"),),
    )
    return CatalogEntry(
        recording=recording, conversation=with_ids(conversation), split="train", sidecars=("a.rttm",)
    )


DROPS = [Drop(item=HOSTILE, stage="probe", kind="fault", code="unusable", reason="no media")]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write_catalog(tmp_path, [entry(1), entry(2)], DROPS, RUN)
    return tmp_path


def one(out: Path, sql: str) -> object:
    _, rows = query(out, sql)
    (row,) = rows
    return row[0] if len(row) == 1 else row


def test_everything_comes_back(out: Path) -> None:
    counts = {
        name: one(out, f"SELECT count(*) FROM {name}")
        for name in (
            "recordings",
            "streams",
            "oddities",
            "turns",
            "words",
            "cues",
            "events",
            "drops",
            "clips",
        )
    }
    assert counts == {
        "recordings": 2,
        "streams": 2,
        "oddities": 2,
        "turns": 6,
        "words": 6,
        "cues": 4,
        "events": 2,
        "drops": 1,
        "clips": 0,
    }
    assert one(out, "SELECT uri, sidecars FROM recordings LIMIT 1") == (HOSTILE, ["a.rttm"])
    assert one(out, "SELECT spans[1].role FROM cues WHERE len(spans) > 0 LIMIT 1") == "repair"
    assert one(out, "SELECT count(*) FROM words WHERE start_us IS NULL AND timing = 'unknown'") == 2


def test_views_follow_the_definitions(out: Path) -> None:
    _, overlaps = query(out, "SELECT speaker, other, start_us, stop_us FROM overlapping_turns LIMIT 1")
    assert list(overlaps) == [("A", "B", 4_500_000, 5_000_000)]
    _, speech = query(out, "SELECT speaker, turns, speech_us FROM speech_by_speaker LIMIT 2")
    assert list(speech) == [("A", 2, 5_000_000), ("B", 1, 1_500_000)]
    assert one(out, "SELECT text FROM transcripts WHERE start_us = 0 LIMIT 1") == "hello, there"


def test_labels_of_the_type_are_those_of_the_schema(out: Path) -> None:
    _, rows = query(out, "SELECT unnest(enum_range(NULL::cue_label))::VARCHAR")
    assert [row[0] for row in rows] == list(CUE_KINDS)


def test_every_table_says_what_it_is(out: Path) -> None:
    _, rows = query(out, "SELECT table_name FROM duckdb_tables() WHERE comment IS NULL")
    assert list(rows) == []


def test_runs_are_kept_and_all_else_is_new(out: Path) -> None:
    write_catalog(out, [entry(3)], [], RUN)
    assert one(out, "SELECT count(*) FROM recordings") == 1
    _, rows = query(out, "SELECT run_id, version, num_workers FROM runs ORDER BY run_id")
    assert list(rows) == [(0, "0.1.0", 2), (1, "0.1.0", 2)]
    assert [p.name for p in out.iterdir()] == ["catalog.duckdb"]


def test_a_broken_catalog_is_replaced(out: Path) -> None:
    (out / "catalog.duckdb").write_bytes(b"junk" * 5000)
    with pytest.raises(DatasetError, match="cannot be read"):
        query(out, "SELECT 1")
    write_catalog(out, [entry(1)], [], RUN)
    assert one(out, "SELECT count(*) FROM runs") == 1


@pytest.mark.parametrize(
    "sql",
    [
        "SELEKT 1",
        "SELECT nothing FROM recordings",
        "DELETE FROM turns",
        "CREATE TABLE mine (a INT)",
        "SELECT 1; SELECT 2",
        "",
        "COPY turns TO '{out}/stolen.csv'",
        "SELECT * FROM read_text('{out}/secret.txt')",
        "ATTACH '{out}/other.duckdb'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "SELECT 1 / (position - position), error('late') FROM words",
    ],
)
def test_what_is_wrong_or_not_allowed_is_one_clear_error(out: Path, sql: str) -> None:
    (out / "secret.txt").write_text("secret")
    before = (out / "catalog.duckdb").read_bytes()
    with pytest.raises(UsageError):
        list(query(out, sql.replace("{out}", str(out)))[1])
    assert (out / "catalog.duckdb").read_bytes() == before
    assert sorted(p.name for p in out.iterdir()) == ["catalog.duckdb", "secret.txt"]


def test_no_catalog_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="run corpus build"):
        query(tmp_path, "SELECT 1")


def test_settings_are_json(out: Path) -> None:
    assert json.loads(str(one(out, "SELECT settings FROM runs"))) == {"sidecars": True}
