from __future__ import annotations

import random
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corpus.review.labels import LABELS_FILE
from corpus.review.room import Room
from corpus.review.serve import query
from corpus.review.store import Store, bring_up_to_date, opened
from corpus.schemas.codec import to_json
from corpus.schemas.conversation import Cue
from corpus.schemas.errors import DatasetError, LockedError, NewerSchemaError, StorageError
from corpus.schemas.files import temporary
from corpus.schemas.review import Judged, Review
from corpus.schemas.reviews_file import REVIEWS_FILE, last_sequence, read_reviews
from corpus.schemas.votes import groups, outcome


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


def test_what_a_process_killed_while_writing_left_is_written_over(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.add([review(1)])
        temporary(tmp_path / REVIEWS_FILE).write_bytes(b"half a file")
    assert last_sequence(tmp_path) == 1
    assert not temporary(tmp_path / REVIEWS_FILE).exists()


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


def test_a_store_of_version_1_is_brought_to_this_one_with_all_its_rows(tmp_path: Path) -> None:
    import duckdb

    numbered = [
        replace(review(n, who), sequence=2 * n + k - 2) for n in (1, 2, 3) for k, who in enumerate("ab", 1)
    ]
    with duckdb.connect(str(tmp_path / LABELS_FILE)) as old:
        old.execute(Path(__file__).with_name("labels_1.sql").read_text())
        for one in numbered:
            cue = one.judged.cue if one.judged else None
            assert cue is not None
            row = (
                *(
                    one.sequence,
                    one.id,
                    one.recording,
                    one.item,
                    one.about,
                    one.verdict,
                    one.annotator,
                    one.role,
                ),
                *(one.draw, cue.label, cue.kind, cue.speaker, cue.start_us, cue.stop_us, None, one.note, 0),
                *(one.decided_at_us, 0, "", to_json(one)),
            )
            old.execute(f"INSERT INTO reviews VALUES ({', '.join('?' * len(row))})", row)
    with opened(tmp_path) as store:
        assert store.reviews() == numbered
        assert store.query("SELECT version FROM schema_version")[1] == [(2,)]
        assert store.query("SELECT count(*) FROM reviews_current")[1] == [(6,)]
        assert store.query("SELECT state, count(*) FROM cues_current GROUP BY ALL")[1] == [("added", 3)]
        assert store.query("SELECT * FROM queue")[1] == store.query("SELECT * FROM disagreements")[1] == []
        name = store.id
        assert store.add([review(9)])[0].sequence == 7
    with opened(tmp_path) as again:
        assert again.id == name and len(again.reviews()) == 7


def test_a_migration_that_fails_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    import duckdb

    with duckdb.connect(str(tmp_path / LABELS_FILE)) as old:
        old.execute(Path(__file__).with_name("labels_1.sql").read_text())
        old.execute("CREATE TABLE store (name VARCHAR)")  # in the way
    with pytest.raises(DatasetError):
        Store(tmp_path)
    with duckdb.connect(str(tmp_path / LABELS_FILE)) as same:
        assert same.execute("SELECT version FROM schema_version").fetchall() == [(1,)]
        assert same.execute("SELECT * FROM reviews_current").fetchall() == []


def test_on_a_full_disk_a_decision_is_refused_and_taken_once_there_is_room(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add([review(1)])
    store.export()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = max(path.stat().st_size for path in tmp_path.iterdir())
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 100, hard))  # no file may grow
        for number in range(2, 40):
            try:
                store.add([review(number)])
            except StorageError as error:
                assert "could not be kept" in str(error) and "make room" in str(error)
                break
        else:
            pytest.fail("nothing was refused")
        with pytest.raises(StorageError):
            store.add([review(number)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.sequence == number - 1
    kept = store.add([review(number), review(number + 1)])
    assert [r.sequence for r in kept] == [number, number + 1]
    assert [r.sequence for r in store.reviews()] == list(range(1, number + 2))
    store.close()
    with opened(tmp_path) as store:
        assert [r.sequence for r in store.reviews()] == list(range(1, number + 2))
    assert last_sequence(tmp_path) == number + 1


def test_the_view_of_what_was_decided_says_the_same_as_the_rule(tmp_path: Path) -> None:
    """In SQL and in Python; only items whose speaker and place stay apart, as the view goes by item."""
    rng = random.Random(7)
    reviews: list[Review] = []
    for n in range(400):
        one = review(rng.randrange(40), rng.choice("abcd"))
        cue = one.judged.cue if one.judged else None
        assert cue is not None
        becomes = replace(cue, kind=rng.choice(("pause", "")), stop_us=cue.stop_us + rng.randrange(1, 99))
        verdict = rng.choice(("accept", "reject", "correct", "unsure", "undo"))
        role = "adjudication" if rng.random() < 0.05 else "annotation"
        more: dict[str, Any] = {"becomes": (Judged(cue=becomes),)} if verdict == "correct" else {}
        if verdict == "undo":
            undone = rng.choice([r for r in reviews if r.verdict != "undo"] or [one])
            more = {"judged": None, "undoes": undone.id, "item": undone.item, "annotator": undone.annotator}
        reviews.append(replace(one, id=f"r{n}", verdict=verdict, role=role, **more))
    with opened(tmp_path) as store:
        store.add(reviews)
        found = store.query(
            "SELECT cue_id, state, kind, start_us, stop_us, annotators, share FROM cues_decided"
        )[1]
        numbered = store.reviews()
    expected: dict[str, Any] = {}
    for group in groups(numbered, ()):
        decided = outcome(group)
        (item,) = group.items
        cue = decided.becomes[0].cue if decided.becomes else None
        if decided.kind == "tie":
            expected[item] = "tie"
        elif decided.kind == "decided" and cue is not None:
            ends = (cue.kind, cue.start_us, cue.stop_us)
            expected[item] = ("stands", *ends, list(decided.who), round(decided.share, 9))
        elif decided.kind == "decided":
            expected[item] = ("rejected", list(decided.who), round(decided.share, 9))
    said: dict[str, Any] = {}
    for item, state, kind, start_us, stop_us, who, share in found:
        rejected, stands = (
            (state, who, round(share, 9)),
            (state, kind, start_us, stop_us, who, round(share, 9)),
        )
        said[item] = "tie" if state == "tie" else rejected if state == "rejected" else stands
    assert said == expected and len({v if v == "tie" else v[0] for v in said.values()}) == 3


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


def test_a_question_without_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corpus.review.store._LONGEST_QUERY_S", 0.2)
    with opened(tmp_path) as store:
        with pytest.raises(DatasetError, match="INTERRUPT"):
            store.query("SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b")
        assert store.query("SELECT 1")[1] == [(1,)]


def test_the_queue_can_be_asked_before_anybody_reviewed(dataset: Path) -> None:
    ((waiting,),) = query(dataset, "SELECT count(*) FROM queue")[1]
    assert waiting
    assert not (dataset / "labels.duckdb").exists()


def test_sql_reads_and_changes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.add([review(1), review(1, "bob")])
        columns, rows = store.query("SELECT annotator, label FROM reviews_current ORDER BY annotator")
        assert (columns, rows) == (["annotator", "label"], [("ann", "hold"), ("bob", "hold")])
        assert store.query("SELECT * FROM disagreements")[1] == []
        for sql in ("DELETE FROM reviews", "SELECT 1; SELECT 2", "COPY reviews TO 'x.csv'", "nonsense"):
            with pytest.raises(DatasetError):
                store.query(sql)


def test_a_catalog_with_cues_of_a_recording_it_does_not_list_is_refused(dataset: Path) -> None:
    import duckdb

    with duckdb.connect(str(dataset / "catalog.duckdb")) as catalog:
        catalog.execute("UPDATE cues SET recording_id = 'another'")
    with pytest.raises(DatasetError, match="cues of a recording that it does not list, 'another'"):
        Room(dataset).close()
