from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from corpus.cli.main import app
from corpus.report.catalog_rows import CatalogEntry
from corpus.report.spread import offsets, spread
from corpus.report.stats import LongestMonologue, SplitCount, dataset_stats, words_per_minute
from corpus.report.stats_text import ms_text, stats_text, time_text
from corpus.schemas.conversation import Cue, LabelMade, Word
from corpus.schemas.drops import Drop
from corpus.schemas.errors import DatasetError

Made = Callable[..., CatalogEntry]
Written = Callable[..., Path]


def array(values: list[int]) -> np.ndarray:
    return np.array(values, np.int64)


def test_spread_of_ten_values() -> None:
    found = spread(array([7, 1, 2, 3, 4, 5, 6, 8, 9, 10]))
    assert (found.count, found.p10_us, found.median_us, found.p90_us, found.mean_us) == (10, 1, 5, 9, 6)
    assert spread(array([])).count == 0
    assert spread(array([-3])).median_us == -3


def test_histogram_bins_are_half_open() -> None:
    found = offsets(array([-2_000_001, -2_000_000, -1, 0, 99_999, 100_000, 1_999_999, 2_000_000]))
    assert (found.below, found.above) == (1, 1)
    assert found.counts[0] == 1
    assert found.counts[19:22] == (1, 2, 1)
    assert found.counts[-1] == 1
    assert len(found.counts) == 40


@given(st.lists(st.integers(-5_000_000, 5_000_000), max_size=50))
def test_histogram_loses_nothing(values: list[int]) -> None:
    found = offsets(array(values))
    assert found.below + found.above + sum(found.counts) == len(values) == found.spread.count
    for place, count in enumerate(found.counts):
        start_us = found.start_us + place * found.bin_us
        assert count == sum(start_us <= value < start_us + found.bin_us for value in values)


def test_words_per_minute() -> None:
    assert words_per_minute(30, 10_000_000) == pytest.approx(180)
    assert words_per_minute(0, 10) is None
    assert words_per_minute(3, 0) is None


@pytest.fixture
def built(make_entry: Made, write_built: Written) -> Path:
    words = [Word(speaker="A", start_us=n * 200_000, stop_us=n * 200_000 + 1, text="w") for n in range(8)]
    cues = [
        Cue(
            label="hold", kind="pause", speaker="A", start_us=0, stop_us=n, confidence=1.0, origin=f"hold/{n}"
        )
        for n in (1, 2)
    ]
    entries = [
        make_entry("talk", words=words, cues=cues, named=("A",)),
        make_entry("again", split="test", named=("A", "B"), sidecars=("again.stm",), duration_us=10_000_000),
    ]
    trims = [
        Drop(item=f"{n}.mp4", stage="cut", kind="trim", code="short", reason="is short", count=3)
        for n in "ab"
    ]
    fault = Drop(item="bad.mp4", stage="probe", kind="fault", code="unusable", reason="is no media")
    return write_built(entries, [*trims, fault])


def test_a_dataset_worked_by_hand(built: Path) -> None:
    found = dataset_stats(built)
    assert (found.recordings, found.recorded_us, found.clips, found.windows) == (2, 15_000_000, 2, 75)
    assert (found.written_us, found.bytes, found.windows_with_picture) == (15_000_000, 2000, 73)
    assert (found.speakers, found.named_people, found.recordings_with_sidecars) == (4, 2, 1)
    talk = found.talk
    assert (talk.speech_us, talk.overlap_us, talk.turns, talk.words) == (7_400_000, 800_000, 12, 8)
    assert talk.speech_share == pytest.approx(7.4 / 15)
    assert talk.overlap_of_speech == pytest.approx(4 / 37)
    assert talk.words_per_minute == pytest.approx(8 / (2.4 / 60))  # A talks 2.4 s in the one with words
    floor = found.floor
    assert (floor.units, floor.pauses.count, floor.gaps.count) == (12, 2, 4)
    assert (floor.overlaps_between.count, floor.overlaps_within.count, floor.unclear) == (2, 2, 0)
    assert floor.pauses.median_us == 500_000
    assert floor.offsets.spread.count == 6
    assert floor.offsets.spread.mean_us == 33_333  # twice 300, -200 and 0 ms
    assert found.longest_monologue == LongestMonologue(
        uri="again.mp4", speaker="A", start_us=0, stop_us=2_000_000
    )
    assert found.splits == (
        SplitCount(split="train", recordings=1, clips=1, windows=25),
        SplitCount(split="test", recordings=1, clips=1, windows=50),
    )
    assert [(length.windows, length.clips) for length in found.clip_lengths] == [(50, 1), (25, 1)]
    assert [(cue.label, cue.kind, cue.count, cue.total_us) for cue in found.cues] == [("hold", "pause", 2, 3)]
    assert [(d.kind, d.code, d.drops, d.things) for d in found.drops] == [
        ("fault", "unusable", 1, 1),
        ("trim", "short", 2, 6),
    ]
    assert found.quality.unreliable_share == pytest.approx(0.25)


def test_a_dataset_with_nothing_in_it(write_built: Written) -> None:
    found = dataset_stats(write_built([]))
    assert (found.recordings, found.windows, found.talk.speech_share) == (0, 0, 0.0)
    assert found.longest_monologue is None
    assert found.talk.words_per_minute is None
    assert list(stats_text(found))


def test_labels_that_were_not_made_are_counted_with_their_reason(
    make_entry: Made, write_built: Written
) -> None:
    def entry(name: str, *labels: LabelMade) -> CatalogEntry:
        made = make_entry(name)
        return replace(made, conversation=replace(made.conversation, labels_made=labels))

    lone = LabelMade(label="yield", made=False, reason="only one person talks")
    out = write_built(
        [
            entry("a", lone, LabelMade(label="hold", made=True)),
            entry("b", lone, LabelMade(label="visual", made=False, reason="no picture")),
        ]
    )
    found = dataset_stats(out)
    assert [(one.label, one.reason, one.recordings) for one in found.unmade] == [
        ("yield", "only one person talks", 2),
        ("visual", "no picture", 1),
    ]
    lines = [line.split() for line in stats_text(found)]
    assert ["yield", "2", "only", "one", "person", "talks"] in lines


def test_cues_have_a_rate_where_they_were_looked_for_and_one_to_hear(
    make_entry: Made, write_built: Written
) -> None:
    def hold(start_us: int, confidence: float) -> Cue:
        return Cue(
            label="hold", kind="pause", speaker="A", start_us=start_us, stop_us=start_us + 1,
            confidence=confidence, origin="hold/1",
        )  # fmt: skip

    def entry(name: str, looked: bool, *cues: Cue) -> CatalogEntry:
        made = make_entry(name, cues=cues, duration_us=30_000_000)
        label = LabelMade(label="hold", made=looked, reason="" if looked else "no turns")
        return replace(made, conversation=replace(made.conversation, labels_made=(label,)))

    out = write_built(
        [
            entry("a", True, hold(1_000_000, 0.5), hold(2_000_000, 0.9), hold(29_999_999, 0.8)),
            entry("b", False),
        ]
    )
    (cue,) = dataset_stats(out).cues
    assert (cue.count, cue.per_minute) == (3, 6.0)  # three in the half minute that was looked at
    assert (cue.example_uri, cue.example_start_us, cue.example_offset_us) == ("a.mp4", 2_000_000, 2_000_000)
    assert cue.published == "" and replace(cue, label="backchannel", kind="lexical").published


def test_command(built: Path) -> None:
    lines = CliRunner().invoke(app, ["stats", str(built)]).stdout.splitlines()
    assert lines[0].split() == ["recordings", "2", "15.0", "s", "recorded"]
    plain = json.loads(CliRunner().invoke(app, ["stats", str(built), "--json"]).stdout)
    assert plain["floor"]["offsets"]["spread"]["count"] == 6


def test_times_as_people_read_them() -> None:
    assert [time_text(us) for us in (0, 59_900_000, 60_000_000, 3_723_000_000)] == [
        "0.0 s",
        "59.9 s",
        "1:00 min",
        "1:02:03 h",
    ]
    assert ms_text(-641_250) == "−641 ms"


def test_a_catalog_without_its_run_is_refused(built: Path) -> None:
    with duckdb.connect(str(built / "catalog.duckdb")) as catalog:
        catalog.execute("DELETE FROM runs")
    with pytest.raises(DatasetError, match="holds no run"):
        dataset_stats(built)
