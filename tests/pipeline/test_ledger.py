"""How often a running build looks at its workers."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from corpus.pipeline import ledger
from corpus.pipeline.progress import Quiet
from corpus.pipeline.state import Quarantined, Running, State
from corpus.schemas.codec import to_json
from corpus.schemas.drops import Drop
from corpus.schemas.errors import FormatError, StorageError
from corpus.schemas.marks import Marks


@pytest.mark.parametrize(("workers", "most", "least"), [(1, 300, 150), (400, 11, 9)])
def test_many_workers_are_looked_at_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, most: int, least: int
) -> None:
    kept, now_s, scratch = State(tmp_path), 0.0, tmp_path / "scratch"
    kept.create()
    scratch.mkdir()
    for number in range(workers):
        line = Running(uri=f"{number:03}.wav", stage="decode", share=0.5)
        (scratch / f"running-{number}.json").write_text(to_json(line))
    book = ledger.Ledger(kept, Quiet(), scratch)
    book.begin("build", workers)
    saved = 0
    save = kept.save_status

    def counted(status: object) -> None:
        nonlocal saved
        saved += 1
        save(status)  # type: ignore[arg-type]

    monkeypatch.setattr(ledger, "monotonic", lambda: now_s)
    monkeypatch.setattr(kept, "save_status", counted)
    for _ in range(2000):  # a hundred seconds
        book.poll()
        now_s += 0.05
    assert least <= saved <= most
    status = kept.status()
    assert status is not None and len(status.running) == (workers if workers <= 32 else 8)
    assert len(status.running) + status.more == workers


def fault(number: int) -> Drop:
    return Drop(item=f"{number}.wav", stage="decode", kind="fault", code="unusable", reason="cut off")


def test_each_fault_adds_one_line_and_a_killed_build_has_lost_none(tmp_path: Path) -> None:
    kept = State(tmp_path)
    kept.create()
    book = ledger.Ledger(kept, Quiet(), tmp_path / "scratch")
    book.begin("build", 50)
    sizes = []
    for number in range(50):
        book.take(f"{number}.wav", lambda: "a key", (fault(number),), built=False)
        sizes.append((kept.folder / "quarantine.jsonl").stat().st_size)
        assert len(kept.quarantine().items) == number + 1
    assert (kept.folder / "quarantine.json").stat().st_size < 20  # not written again for any of them
    assert len({after - before for before, after in pairwise(sizes[9:])}) == 1
    with open(kept.folder / "quarantine.jsonl", "ab") as file:
        file.write(b'{"uri":"50.w')  # a build that was killed here
    assert [one.uri for one in kept.quarantine().items] == [f"{number}.wav" for number in range(50)]
    book.save_quarantine()
    assert {one.uri for one in kept.quarantine().items} == {f"{number}.wav" for number in range(50)}
    assert not (kept.folder / "quarantine.jsonl").exists()


def test_what_was_saved_and_added_counts_once(tmp_path: Path) -> None:
    """A build may be killed after the whole quarantine is saved and before the lines are removed."""
    kept = State(tmp_path)
    kept.create()
    item = Quarantined(uri="a.wav", key="k", drops=(fault(0),), built=False)
    book = ledger.Ledger(kept, Quiet(), tmp_path / "scratch")
    book.take("a.wav", lambda: "k", (fault(0),), built=False)
    book.save_quarantine()
    kept.append_quarantined(item)
    assert [one.uri for one in kept.quarantine().items] == ["a.wav"]
    (kept.folder / "quarantine.jsonl").write_bytes(b"x\n")
    with pytest.raises(FormatError, match="not JSON"):
        kept.quarantine()


def test_what_failed_before_outlives_a_build_that_is_killed_while_it_looks_at_its_inputs(
    tmp_path: Path,
) -> None:
    kept = State(tmp_path)
    kept.create()
    first = ledger.Ledger(kept, Quiet(), tmp_path / "scratch")
    first.begin("identify", 2)
    first.begin("build", 2)
    first.take("a.wav", lambda: "a", (fault(0),), built=False)
    first.take("b.wav", lambda: "b", (fault(1),), built=False)
    with open(kept.folder / "quarantine.jsonl", "ab") as file:
        file.write(b'{"uri":"c.w')  # killed here
    second = ledger.Ledger(kept, Quiet(), tmp_path / "scratch")
    second.begin("identify", 2)
    second.drop((fault(9),))  # and here
    assert [one.uri for one in kept.quarantine().items] == ["a.wav", "b.wav", "9.wav"]
    third = ledger.Ledger(kept, Quiet(), tmp_path / "scratch")
    third.begin("identify", 1)
    assert third.hold("a.wav", lambda: "a")
    third.begin("build", 0)  # b.wav is no longer there
    assert [one.uri for one in kept.quarantine().items] == ["a.wav"]
    assert third.faults == 1


@pytest.mark.parametrize(
    "name", ["quarantine.jsonl", "marks.json", "marks.arrow", "finished.json", "damaged.json"]
)
def test_a_folder_in_the_place_of_a_state_file_is_one_clear_line(tmp_path: Path, name: str) -> None:
    kept = State(tmp_path)
    (kept.folder / name).mkdir(parents=True)
    assert (Marks(kept.folder).but(frozenset()), kept.finished(), kept.damaged()) == ({}, None, ())
    if name == "quarantine.jsonl":
        with pytest.raises(FormatError, match=r"jsonl: cannot be read: Is a directory; remove this file"):
            kept.quarantine()
    if name == "finished.json":
        with pytest.raises(StorageError, match=r"finished.json: Is a directory"):
            kept.forget_finished()
    if name == "damaged.json":
        with pytest.raises(StorageError, match=r"damaged.json: Is a directory"):
            kept.save_damaged(())
