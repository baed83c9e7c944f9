"""The funnel's sums balance exactly, whatever is built, filtered, cut off or left out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import duckdb
from hypothesis import given
from hypothesis import strategies as st

from corpus.report.catalog_rows import CatalogEntry
from corpus.report.funnel import Funnel, funnel
from corpus.report.stats import dataset_stats
from corpus.schemas.drops import Drop

Made = Callable[..., CatalogEntry]
Written = Callable[..., Path]
WINDOW_US = 200_000


class World:
    """A made-up catalog, and the sums kept beside it one by one."""

    def __init__(self) -> None:
        self.db = duckdb.connect(":memory:")
        self.db.execute("CREATE TABLE recordings (recording_id VARCHAR, uri VARCHAR, duration_us BIGINT)")
        self.db.execute("CREATE TABLE clips (start_us BIGINT, stop_us BIGINT)")
        self.db.execute(
            "CREATE TABLE drops (item VARCHAR, stage VARCHAR, kind VARCHAR, code VARCHAR, reason VARCHAR,"
            " start_us BIGINT, stop_us BIGINT, count BIGINT)"
        )
        self.db.execute(
            "CREATE TABLE oddities (recording_id VARCHAR, code VARCHAR, detail VARCHAR,"
            " start_us BIGINT, stop_us BIGINT)"
        )

    def drop(self, item: str, stage: str, code: str, start_us: int | None, stop_us: int | None) -> None:
        row = [item, stage, "trim", code, "why", start_us, stop_us, 1]
        self.db.execute("INSERT INTO drops VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)


clips = st.lists(st.tuples(st.integers(1, 150), st.sampled_from(["kept", "kept", "min_snr_db", "languages"])))
recordings = st.lists(
    st.tuples(
        clips, st.integers(0, WINDOW_US - 1), st.lists(st.integers(1, 60).map(lambda s: s * 1_000_000))
    ),
    max_size=5,
)
others = st.lists(st.one_of(st.none(), st.integers(1, 10**10)), max_size=4)


@given(recordings, others, st.booleans())
def test_given_is_lost_plus_kept(
    built: list[tuple[list[tuple[int, str]], int, list[int]]], left: list[int | None], twice: bool
) -> None:
    world = World()
    lost: dict[str, int] = {}
    given_us = kept_us = 0
    for number, (parts, rest_us, gaps) in enumerate(built):
        uri, at_us = f"{number}.wav", 0
        for windows, fate in parts:
            stop_us = at_us + windows * WINDOW_US
            if fate == "kept":
                world.db.execute("INSERT INTO clips VALUES (?, ?)", [at_us, stop_us])
                kept_us += stop_us - at_us
            else:
                world.drop(uri, "filter", fate, at_us, stop_us)
                lost[fate] = lost.get(fate, 0) + stop_us - at_us
            at_us = stop_us
        for gap_us in gaps:
            oddity = [f"r{number}", "unwritten_gap", "nothing", at_us, at_us + gap_us]
            world.db.execute("INSERT INTO oddities VALUES (?, ?, ?, ?, ?)", oddity)
            lost["unwritten_gap"] = lost.get("unwritten_gap", 0) + gap_us
            at_us += gap_us
        if rest_us:
            world.drop(uri, "decode", "last_partial_window", at_us, at_us + rest_us)
            lost["last_partial_window"] = lost.get("last_partial_window", 0) + rest_us
        world.db.execute("INSERT INTO recordings VALUES (?, ?, ?)", [f"r{number}", uri, at_us + rest_us])
        given_us += at_us + rest_us
        world.drop(uri, "transcribe", "looping", 0, at_us)  # words, not time
    for number, length_us in enumerate(left):
        span = (None, None) if length_us is None else (0, length_us)
        world.drop(f"left-{number}.wav", "decode", "unusable", *span)
        if twice:  # a second Drop of the same recording loses no more time
            world.drop(f"left-{number}.wav", "probe", "odd", *span)
        if length_us is not None:
            lost["unusable"] = lost.get("unusable", 0) + length_us
            given_us += length_us
    with closing(world.db):
        found = funnel(world.db)
    assert isinstance(found, Funnel)
    assert (found.given_us, found.kept_us) == (given_us, kept_us)
    assert {loss.code: loss.us for loss in found.losses} == lost
    assert found.unaccounted_us == 0
    assert found.unknown == left.count(None)


def test_what_vanished_without_a_word_is_seen(make_entry: Made, write_built: Written) -> None:
    """The clips of this entry end where its last window does; what is behind it is told by no Drop here."""
    entry = make_entry(duration_us=10_100_000)
    assert dataset_stats(write_built([entry])).funnel.unaccounted_us == 100_000
    told = Drop(
        item=entry.recording.uri, stage="decode", kind="trim", code="last_partial_window", reason="why",
        start_us=10_000_000, stop_us=10_100_000,
    )  # fmt: skip
    assert dataset_stats(write_built([entry], [told])).funnel.unaccounted_us == 0
