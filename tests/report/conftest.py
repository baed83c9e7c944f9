"""What the tests of report share: datasets made by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from corpus.report.catalog import RunFacts, write_catalog
from corpus.report.catalog_rows import CatalogEntry
from corpus.schemas.codec import to_json
from corpus.schemas.conversation import Conversation, Cue, Event, Turn, Word
from corpus.schemas.drops import Drop
from corpus.schemas.ids import with_ids
from corpus.schemas.recording import Oddity, Recording, SourceFile, Stream
from corpus.schemas.settings import (
    Settings,
)
from corpus.shards.columns import ClipRow, rows_table

Made = Callable[..., CatalogEntry]
Written = Callable[..., Path]


def ms_turn(speaker: str, start_ms: int, stop_ms: int) -> Turn:
    return Turn(speaker=speaker, start_us=start_ms * 1000, stop_us=stop_ms * 1000)


HAND_WORKED = (
    ms_turn("A", 0, 1000),
    ms_turn("A", 1500, 2000),
    ms_turn("B", 2300, 3300),
    ms_turn("A", 3100, 4000),
    ms_turn("B", 3550, 3750),
    ms_turn("B", 4000, 4500),
)
"""A pauses 500 ms; B takes over after 300 ms; A 200 ms before B ends; B speaks 200 ms inside A's turn and
takes over the moment A ends. Somebody talks for 3700 ms, both for 400 ms."""


@pytest.fixture
def hand_worked() -> tuple[Turn, ...]:
    return HAND_WORKED


@pytest.fixture
def make_entry() -> Made:
    """A recording with a conversation; what is not given is small and sound."""

    def made(
        name: str = "talk",
        *,
        turns: Sequence[Turn] = HAND_WORKED,
        words: Sequence[Word] = (),
        cues: Sequence[Cue] = (),
        events: Sequence[Event] = (),
        duration_us: int = 5_000_000,
        split: str = "train",
        sidecars: tuple[str, ...] = (),
        named: tuple[str, ...] = (),
    ) -> CatalogEntry:
        hash_ = hashlib.sha256(name.encode()).hexdigest()
        items = (*turns, *words)
        speakers = tuple(dict.fromkeys(item.speaker for item in items))
        odd = Oddity(code="variable_frame_rate", detail="between 12 and 30 pictures a second")
        return CatalogEntry(
            recording=Recording(
                hash=hash_,
                uri=f"{name}.mp4",
                files=(SourceFile(uri=f"{name}.mp4", sha256=hash_, bytes=1234),),
                streams=(
                    Stream(
                        kind="video", index=0, file=0, codec="h264", rate="30000/1001", offset_us=0,
                        duration_us=duration_us, width=640, height=360, oddities=(odd,),
                    ),
                    Stream(
                        kind="audio", index=1, file=0, codec="aac", rate="48000", offset_us=1000,
                        duration_us=duration_us - 1000, channels=2,
                    ),
                ),
                duration_us=duration_us,
                speakers=named,
            ),
            conversation=with_ids(
                Conversation(
                    recording=hash_, duration_us=duration_us, speakers=speakers, turns=tuple(turns),
                    words=tuple(words), cues=tuple(cues), events=tuple(events), named_speakers=named,
                )
            ),
            split=split,
            sidecars=sidecars,
        )  # fmt: skip

    return made


def clip_row(entry: CatalogEntry) -> ClipRow:
    windows = entry.recording.duration_us // 200_000
    talked = entry.conversation
    return ClipRow(
        key=f"{entry.recording.hash[:20]}-0000000", split=entry.split, shard=f"{entry.split}/x.tar", offset=0,
        size=1000, member_offsets=(512,) * 5, member_sizes=(0,) * 5, sha256="0" * 64,
        recording=entry.recording.hash, uri=entry.recording.uri, licence=None, consent=None,
        conversation=None, named_speakers=talked.named_speakers, speakers=talked.speakers, first_window=0,
        windows=windows, start_us=0, stop_us=windows * 200_000, sample_rate_hz=16_000,
        turns=len(talked.turns), words=len(talked.words), cues=len(talked.cues), events=len(talked.events),
        speech_us=0, overlap_us=0, pictures=windows - 1, unreliable_share=0.25, separated_share=0.0,
        padded_share=0.0, mix_peak=0.5, mix_rms=0.1, config="c" * 64,
    )  # fmt: skip


@pytest.fixture
def write_built(tmp_path: Path) -> Written:
    """Write clips.parquet and the catalog of a few recordings; returns the dataset's folder."""

    def written(entries: Sequence[CatalogEntry], drops: Sequence[Drop] = ()) -> Path:
        import pyarrow.parquet as pq

        out = tmp_path / "OUT"
        out.mkdir(exist_ok=True)
        rows = [clip_row(entry) for entry in entries]
        pq.write_table(rows_table(rows), out / "clips.parquet")
        settings = Settings()
        run = RunFacts(
            config="c" * 64, settings=settings, settings_json=to_json(settings), versions_json='{"cut":{}}',
            recordings=len(entries), clips=len(rows), windows=sum(row.windows for row in rows),
        )  # fmt: skip
        write_catalog(out, iter(entries), iter(drops), run)
        return out

    return written
