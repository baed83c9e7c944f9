from __future__ import annotations

from pathlib import Path

from corpus.report.people import people_part
from corpus.review.store import opened
from corpus.schemas.conversation import Cue
from corpus.schemas.review import Judged, Review, Verdict


def review(number: int, who: str, verdict: Verdict) -> Review:
    cue = Cue(
        label="hold", kind="pause", speaker="S1", start_us=number * 10**6, stop_us=number * 10**6 + 500,
        confidence=0.5, origin="hold/<1>",
    )  # fmt: skip
    return Review(
        id=f"{who}{number}", recording="r" * 64, item=f"c{number}", verdict=verdict, judged=Judged(cue=cue),
        annotator=who, decided_at_us=number, draw="random",
    )  # fmt: skip


def test_the_report_tells_what_people_decided(tmp_path: Path) -> None:
    assert people_part(tmp_path) == ""
    with opened(tmp_path) as store:
        store.add([review(n, "ann", "accept" if n < 3 else "reject") for n in range(12)])
        store.add([review(n, "bob", "accept") for n in range(3)])
    part = people_part(tmp_path)
    assert "15 decisions of 2 annotators on 12 items" in part
    assert "3 of 12" in part and "look at its thresholds" in part
    assert "hold/&lt;1&gt;" in part and "<1>" not in part
