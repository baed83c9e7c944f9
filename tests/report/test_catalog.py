from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from corpus.cli.main import app
from corpus.report.catalog import RunFacts, create_tables, query_catalog, write_catalog
from corpus.report.catalog_piece import PIECE_FILE, catalog_tables, read_piece, write_piece
from corpus.report.catalog_rows import CatalogEntry
from corpus.schemas.conversation import CUE_KINDS, Cue, CueSpan, Event, Word
from corpus.schemas.drops import Drop
from corpus.schemas.errors import CorpusError, DatasetError, FormatError, NewerSchemaError, UsageError
from corpus.schemas.settings import Settings

Made = Callable[..., CatalogEntry]
Written = Callable[..., Path]

TABLES = (
    "answers clips cues drops events labels_made oddities recordings runs schema_version "
    "speakers streams transitions turns units words"
).split()
VIEWS = "cue_counts drop_counts floor_transfers overlapping_turns speech_by_speaker".split()


def ask(out: Path, sql: str) -> list[tuple[Any, ...]]:
    with query_catalog(out, sql) as answer:
        return list(answer.rows)


@pytest.fixture
def entries(make_entry: Made) -> list[CatalogEntry]:
    words = (
        Word(speaker="A", start_us=0, stop_us=300_000, text="it's"),
        Word(speaker="A", start_us=None, stop_us=None, text='"odd"', after=".", timing="unknown"),
    )
    cue = Cue(
        label="self_correction", kind="substitution", speaker="A", start_us=0, stop_us=900_000,
        confidence=0.5, origin="human:x", evidence='{"why":"heard"}',
        spans=(CueSpan(role="reparandum", start_us=0, stop_us=400_000),),
    )  # fmt: skip
    event = Event(label="note", kind="", speaker=None, start_us=1, stop_us=1, origin="x", payload='{"n":1}')
    return [
        make_entry("talk", words=words, cues=[cue], events=[event], sidecars=("talk.rttm",), named=("A",)),
        make_entry("it's two", split="test"),
    ]


@pytest.fixture
def built(entries: list[CatalogEntry], write_built: Written) -> Path:
    drops = [
        Drop(item="bad.mp4", stage="probe", kind="fault", code="unusable", reason="is no media"),
        Drop(item="talk.mp4", stage="cut", kind="trim", code="last", reason="short", start_us=5, stop_us=9),
    ]
    return write_built(entries, drops)


def test_pieces_hold_the_rows_that_their_entries_have(
    entries: list[CatalogEntry], built: Path, tmp_path: Path
) -> None:
    settings = Settings()
    wanted = {table: ask(built, f"FROM {table}") for table in TABLES if table not in ("runs", "drops")}
    folders = [tmp_path / str(number) for number in range(len(entries))]
    for folder, entry in zip(folders, entries, strict=True):
        folder.mkdir()
        write_piece(folder, entry, bridge_us=settings.cues.ipu_bridge_us)
    run = RunFacts(
        config="", settings=settings, settings_json="{}", versions_json="{}", recordings=2, clips=2, windows=0
    )
    write_catalog(built, folders, [], run)
    assert {table: ask(built, f"FROM {table}") for table in wanted} == wanted
    assert len(wanted["words"]) == 2 and len(wanted["cues"]) == 1  # not nothing on both sides


@pytest.mark.parametrize("left", [0, 100, 0.5, 0.99])
def test_a_piece_that_is_cut_off_is_refused(entries: list[CatalogEntry], tmp_path: Path, left: float) -> None:
    write_piece(tmp_path, entries[0], bridge_us=200_000)
    path = tmp_path / PIECE_FILE
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content)) if left < 1 else int(left)])
    with pytest.raises(FormatError, match="build again"):
        list(read_piece(tmp_path))


def test_every_table_and_view_is_there_and_says_what_it_is(built: Path) -> None:
    assert [name for (name,) in ask(built, "SHOW TABLES")] == sorted([*TABLES, *VIEWS])
    sql = "SELECT table_name FROM duckdb_tables() WHERE comment IS NULL UNION ALL "
    sql += "SELECT view_name FROM duckdb_views() WHERE NOT internal AND comment IS NULL"
    assert ask(built, sql) == []
    for view in VIEWS:
        ask(built, f"FROM {view}")


def test_what_goes_in_comes_out(built: Path) -> None:
    assert ask(built, "SELECT uri, split, sidecars, speech_us, overlap_us, bytes FROM recordings") == [
        ("talk.mp4", "train", ["talk.rttm"], 3_700_000, 400_000, 1234),
        ("it's two.mp4", "test", [], 3_700_000, 400_000, 1234),
    ]
    assert ask(built, "SELECT speaker, start_us, text, after, timing FROM words ORDER BY start_us") == [
        ("A", 0, "it's", "", "measured"),
        ("A", None, '"odd"', ".", "unknown"),
    ]
    assert ask(built, "SELECT label, evidence->>'why', spans FROM cues") == [
        ("self_correction", "heard", [{"role": "reparandum", "start_us": 0, "stop_us": 400_000}])
    ]
    assert ask(built, "SELECT label, speaker, payload->'n' FROM events") == [("note", None, "1")]
    assert ask(built, "SELECT kind, item, start_us FROM drops ORDER BY ALL") == [
        ("trim", "talk.mp4", 5),
        ("fault", "bad.mp4", None),
    ]
    assert ask(built, "SELECT code, file, stream_id, count(*) FROM oddities GROUP BY ALL") == [
        ("variable_frame_rate", 0, 0, 2)
    ]
    assert ask(built, "SELECT kind, rate, chosen FROM streams WHERE stream_id = 0 LIMIT 1") == [
        ("video", "30000/1001", True)
    ]
    assert ask(built, "SELECT speaker, speech_us, words, named FROM speakers LIMIT 2") == [
        ("A", 2_400_000, 2, True),
        ("B", 1_700_000, 0, False),
    ]
    assert ask(built, "SELECT settings->'clips'->>'windows_per_clip', recordings FROM runs") == [("150", 2)]
    assert ask(built, "SELECT count(*), sum(windows), count(DISTINCT recording_id) FROM clips") == [
        (2, 50, 2)
    ]


def test_overlapping_turns_are_listed_once(built: Path) -> None:
    sql = "SELECT speaker, other_speaker, start_us, stop_us FROM overlapping_turns JOIN recordings "
    assert ask(built, sql + "USING (recording_id) WHERE split = 'train' ORDER BY start_us") == [
        ("A", "B", 3_100_000, 3_300_000),
        ("A", "B", 3_550_000, 3_750_000),
    ]


def test_cue_labels_are_those_of_the_schemas(built: Path) -> None:
    assert ask(built, "SELECT enum_range(NULL::cue_label)") == [(list(CUE_KINDS),)]


def test_many_rows_go_in_by_batches(make_entry: Made, write_built: Written) -> None:
    words = [Word(speaker="A", start_us=n, stop_us=n + 1, text=str(n)) for n in range(41_000)]
    out = write_built([make_entry(words=words)])
    assert ask(out, "SELECT count(*), sum(text::INT) FROM words") == [(41_000, 41_000 * 40_999 // 2)]


REFUSED = (
    "SELEKT 1",
    "SELECT nothing FROM words",
    "",
    "SELECT 1; SELECT 2",
    "DROP TABLE words",
    "DELETE FROM words",
    "SELECT * FROM read_csv('/etc/hostname')",
    "SELECT * FROM '/etc/hostname'",
    "ATTACH '/etc/hostname' AS other",
    "COPY words TO '/dev/null'",
    "SET enable_external_access = true",
    "SELECT CAST(text AS INT) FROM words",
    "INSTALL httpfs",
)


def test_what_cannot_be_asked_is_a_usage_error(built: Path) -> None:
    for sql in REFUSED:
        with pytest.raises(UsageError) as caught:
            ask(built, sql)
        assert "\n" not in str(caught.value), sql


def test_no_catalog_or_none_of_ours(tmp_path: Path, built: Path) -> None:
    with pytest.raises(DatasetError, match="no catalog"):
        ask(tmp_path, "SELECT 1")
    (tmp_path / "catalog.duckdb").write_bytes(b"not a database")
    with pytest.raises(DatasetError, match="cannot be read"):
        ask(tmp_path, "SELECT 1")
    with duckdb.connect(str(built / "catalog.duckdb")) as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(NewerSchemaError):
        ask(built, "SELECT 1")


def test_a_build_that_fails_leaves_the_old_catalog(built: Path, make_entry: Made) -> None:
    before = (built / "catalog.duckdb").read_bytes()

    def entries() -> Iterator[CatalogEntry]:
        yield make_entry("new")
        raise CorpusError("the cache is gone")

    run = RunFacts(
        config="",
        settings=Settings(),
        settings_json="{}",
        versions_json="{}",
        recordings=0,
        clips=0,
        windows=0,
    )
    with pytest.raises(CorpusError, match="gone"):
        write_catalog(built, entries(), [], run)
    assert (built / "catalog.duckdb").read_bytes() == before
    assert sorted(path.name for path in built.iterdir()) == ["catalog.duckdb", "clips.parquet"]


def test_a_reader_keeps_what_it_opened_while_the_catalog_is_rewritten(
    built: Path, make_entry: Made, write_built: Written
) -> None:
    with query_catalog(built, "SELECT uri FROM recordings ORDER BY uri") as answer:
        write_built([make_entry("new")])
        assert [uri for (uri,) in answer.rows] == ["it's two.mp4", "talk.mp4"]
    assert ask(built, "SELECT uri FROM recordings") == [("new.mp4",)]


def test_command_prints_a_table_or_json_lines(built: Path) -> None:
    sql = "SELECT speaker, text, start_us, 'nan'::DOUBLE AS x, 'a\nb' AS y FROM words ORDER BY start_us"
    plain = CliRunner().invoke(app, ["catalog", str(built), sql])
    assert plain.stdout.splitlines() == [
        "speaker  text   start_us  x    y",
        "A        it's   0         nan  a\\nb",
        'A        "odd"  -         nan  a\\nb',
    ]
    lines = CliRunner().invoke(app, ["catalog", str(built), sql, "--json"]).stdout.splitlines()
    assert [json.loads(line)["start_us"] for line in lines] == [0, None]
    assert json.loads(lines[0])["x"] is None


def test_command_prints_the_head_of_an_empty_answer(built: Path) -> None:
    found = CliRunner().invoke(app, ["catalog", str(built), "SELECT text, after FROM words WHERE false"])
    assert found.stdout == "text  after\n"


def test_the_columns_of_pieces_are_those_that_duckdb_makes() -> None:
    kinds = {
        "BIGINT": pa.int64(),
        "INTEGER": pa.int32(),
        "DOUBLE": pa.float64(),
        "BOOLEAN": pa.bool_(),
        "VARCHAR[]": pa.list_(pa.string()),
        "STRUCT": pa.list_(pa.struct({"role": pa.string(), "start_us": pa.int64(), "stop_us": pa.int64()})),
    }
    with duckdb.connect(":memory:") as connection:
        create_tables(connection)
        for table in sorted(set(TABLES) - {"clips", "schema_version"}):
            columns = connection.execute(f"DESCRIBE {table}").fetchall()
            described = [(name, kinds.get(kind.partition("(")[0], pa.string())) for name, kind, *_ in columns]
            assert catalog_tables()[table] == pa.schema(described), table
    assert catalog_tables().keys() == set(TABLES) - {"clips", "schema_version"}


def test_a_worker_writes_pieces_without_duckdb_and_pandas() -> None:
    script = """
import sys
from corpus.schemas.light import load_pyarrow_lightly, own_this_process
own_this_process()
load_pyarrow_lightly()
import pyarrow
from corpus.report.catalog_piece import as_table, piece_form, piece_tables
assert piece_form()
as_table([("r", "t", "A", 0, 5)], piece_tables()["turns"])
assert not {"duckdb", "pandas"} & set(sys.modules), "loaded"
"""
    subprocess.run([sys.executable, "-c", script], check=True)
