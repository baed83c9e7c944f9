"""How often a running build looks at its workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpus.pipeline import ledger
from corpus.pipeline.progress import Quiet
from corpus.pipeline.state import Running, State
from corpus.schemas.codec import to_json


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
    assert status is not None and len(status.running) == min(workers, 32)
    assert len(status.running) + status.more == workers
