from __future__ import annotations

from pathlib import Path

import pytest

from corpus.review.store import LABELS_FILE, Store, bring_up_to_date, opened
from corpus.schemas.conversation import Cue
from corpus.schemas.errors import DatasetError, LockedError, NewerSchemaError
from corpus.schemas.review import Judged, Review
from corpus.schemas.reviews_file import REVIEWS_FILE, last_sequence, read_reviews


def review(number: int, who: str = "ann") -> Review:
    cue = Cue(
        label="hold", kind="pause", speaker="S1", start_us=number * 1000, stop_us=number * 1000 + 500,
        confidence=0.5, origin="hold/1",
    )  # fmt: skip
    return Review(
        id=f"{who}{number}", recording="r" * 64, item=f"c{number}", verdict="accept", judged=Judged(cue=cue),
        annotator=who, decided_at_us=number,
    )  # fmt: skip


def test_reviews_get_numbers_and_come_back(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        kept = store.add([review(1), review(2)])
        assert [r.sequence for r in kept] == [1, 2]
    with opened(tmp_path) as store:
        assert store.add([review(3)])[0].sequence == 3
        assert [r.id for r in store.reviews()] == ["ann1", "ann2", "ann3"]
    assert [r.id for r in read_reviews(tmp_path / REVIEWS_FILE)] == ["ann1", "ann2", "ann3"]
    assert last_sequence(tmp_path) == 3


def test_a_review_sent_twice_is_one(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        first = store.add([review(1)])
        assert store.add([review(1)]) == first
        assert store.add([review(1), review(2), review(2)])[1].sequence == 2
        assert len(store.reviews()) == 2


def test_a_build_finds_what_a_killed_server_had_not_yet_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add([review(1)])
    store.close()  # as after a kill: no Parquet
    assert last_sequence(tmp_path) == 0
    bring_up_to_date(tmp_path)
    assert last_sequence(tmp_path) == 1


def test_without_reviews_nothing_is_made(tmp_path: Path) -> None:
    bring_up_to_date(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    import duckdb

    with opened(tmp_path):
        pass
    with duckdb.connect(str(tmp_path / LABELS_FILE)) as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(NewerSchemaError, match="newer"):
        Store(tmp_path)
    with pytest.raises(NewerSchemaError):
        bring_up_to_date(tmp_path)


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / LABELS_FILE).write_bytes(b"no database")
    with pytest.raises(DatasetError):
        Store(tmp_path)


def test_a_second_process_is_told_that_the_store_is_open(tmp_path: Path) -> None:
    import subprocess
    import sys

    store = Store(tmp_path)
    code = f"from corpus.review.store import Store; from pathlib import Path; Store(Path({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert LockedError.__name__ in done.stderr and "another process" in done.stderr
    code = code.replace("Store(Path", "bring_up_to_date(Path").replace(
        "import Store", "import bring_up_to_date"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    store.close()


def test_sql_reads_and_changes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.add([review(1), review(1, "bob")])
        columns, rows = store.query("SELECT annotator, label FROM reviews_current ORDER BY annotator")
        assert (columns, rows) == (["annotator", "label"], [("ann", "hold"), ("bob", "hold")])
        assert store.query("SELECT * FROM disagreements")[1] == []
        for sql in ("DELETE FROM reviews", "SELECT 1; SELECT 2", "COPY reviews TO 'x.csv'", "nonsense"):
            with pytest.raises(DatasetError):
                store.query(sql)
