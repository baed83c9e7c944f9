"""The numbers of two small conversations, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.pipeline.catalog import CatalogEntry, RunFacts, write_catalog
from corpus.pipeline.stats import Stats, lengths_of, offset_bars, stats
from corpus.schemas.conversation import Conversation, Cue, Turn, Word
from corpus.schemas.drops import Drop
from corpus.schemas.ids import with_ids
from corpus.schemas.recording import Recording

S = 1_000_000
RUN = RunFacts(version="0", config="", settings="{}")


def entry(number: int, turns: list[tuple[str, float, float]], words: int) -> CatalogEntry:
    name = f"{number:064x}"
    conversation = Conversation(
        recording=name,
        duration_us=10 * S,
        speakers=tuple(dict.fromkeys(t[0] for t in turns)),
        turns=tuple(Turn(speaker=s, start_us=int(a * S), stop_us=int(b * S)) for s, a, b in turns),
        words=tuple(
            Word(speaker="A", start_us=i * 1000, stop_us=i * 1000 + 1, text="so") for i in range(words)
        ),
        cues=(
            Cue(
                label="hold", kind="pause", speaker="A", start_us=0, stop_us=300, confidence=1.0, origin="x/1"
            ),
        ),
    )
    recording = Recording(hash=name, uri=f"{number}.wav", files=(), streams=(), duration_us=10 * S)
    return CatalogEntry(recording=recording, conversation=with_ids(conversation), split="train")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Stats:
    out = tmp_path_factory.mktemp("stats")
    entries = [
        entry(1, [("A", 0, 2), ("B", 2.5, 4), ("A", 3.5, 6)], 10),  # gap 0.5, overlap 0.5
        entry(2, [("A", 0, 1), ("A", 1.5, 2.5), ("C", 3, 4)], 5),  # pause 0.5, gap 0.5
    ]
    trim = Drop(item="1.wav", stage="cut", kind="trim", code="last_partial_window", reason="", count=7)
    fault = Drop(item="3.wav", stage="probe", kind="fault", code="unusable", reason="")
    write_catalog(out, entries, [trim, trim, fault], RUN)
    return stats(out)


def test_time(found: Stats) -> None:
    assert (found.recordings, found.recorded_us) == (2, 20 * S)
    assert (found.speech_us, found.overlap_us) == (5.5 * S + 3 * S, 0.5 * S)
    assert (found.speech_share, found.overlap_share) == (8.5 / 20, 0.5 / 8.5)


def test_turn_taking(found: Stats) -> None:
    floor = found.floor
    assert (floor.units.count, floor.gaps.count, floor.pauses.count, floor.offsets.count) == (6, 2, 1, 3)
    assert (floor.offsets.median_us, floor.offsets.low_us, floor.overlaps_between.total_us) == (
        S // 2,
        -S // 2,
        S // 2,
    )
    assert floor.longest_monologue_us == 2.5 * S
    assert {(b.start_us, b.count) for b in floor.offset_bars if b.count} == {(-S // 2, 1), (S // 2, 2)}


def test_speakers_words_cues_and_drops(found: Stats) -> None:
    rows = [(s.uri, s.speaker, s.turns, s.words, s.speech_us) for s in found.speakers]
    assert rows == [
        ("1.wav", "A", 2, 10, 4.5 * S),
        ("1.wav", "B", 1, 0, 1.5 * S),
        ("2.wav", "A", 2, 5, 2 * S),
        ("2.wav", "C", 1, 0, S),
    ]
    assert found.words_per_minute == 100.0  # 15 words in 9 s
    assert [(c.label, c.kind, c.count, c.total_us) for c in found.cues] == [("hold", "pause", 2, 600)]
    assert [(d.kind, d.code, d.items, d.count) for d in found.drops] == [
        ("fault", "unusable", 1, 1),  # what needs a hand comes first
        ("trim", "last_partial_window", 1, 14),
    ]


def test_nothing_at_all(tmp_path: Path) -> None:
    write_catalog(tmp_path, [], [], RUN)
    empty = stats(tmp_path)
    assert (empty.recordings, empty.speech_share, empty.words_per_minute) == (0, 0.0, 0.0)
    assert [s.split for s in empty.splits] == ["train", "validation", "test"]


@given(st.lists(st.integers(-5 * S, 5 * S), max_size=30))
def test_every_offset_is_in_one_bar(offsets: list[int]) -> None:
    bars = offset_bars(offsets)
    assert sum(b.count for b in bars) == len(offsets)
    for bar in bars[1:-1]:
        assert bar.count == sum(bar.start_us <= o < bar.stop_us for o in offsets)


def test_quartiles_by_hand() -> None:
    four = lengths_of([4, 1, 3, 2])
    assert (four.low_us, four.median_us, four.high_us, four.total_us) == (1, 2, 3, 10)
    assert lengths_of([7]).median_us == 7
    assert lengths_of([]).median_us == 0
