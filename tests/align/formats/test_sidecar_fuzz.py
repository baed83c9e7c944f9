"""Damaged annotation files: each is read or refused with a sentence, and what survives can be written."""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from corpus.align.formats.files import conversations_of
from corpus.align.formats.write import FORMATS
from corpus.align.sidecars import read_sidecars
from corpus.report.catalog import CatalogEntry, RunFacts, open_catalog, write_catalog
from corpus.report.catalog_read import read_conversation
from corpus.report.page import write_report
from corpus.report.stats import dataset_stats
from corpus.schemas.codec import from_json, to_json
from corpus.schemas.conversation import Conversation, Cue, Event, Turn, Word
from corpus.schemas.drops import Drop
from corpus.schemas.ids import with_ids
from corpus.schemas.recording import Recording, SourceFile
from corpus.schemas.settings import Settings
from corpus.shards.columns import ClipRow, rows_table

SECOND = 1_000_000
DURATION_US = 20 * SECOND
LONGEST_S = 5.0
"""For one file of a few kilobytes, on a machine that does other things besides."""
HOSTILE = (
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"NaN",
    b"-1",
    b"1e999",
    b"-0.5",
    b"9" * 30,
    b"9223372036854775808",
    b"9" * 5000,
    b"[" * 3000,
    b"null",
    b"true",
    b"{}",
    b"[]",
    b'""',
    b'"',
    b"<",
    b">",
    b"&#0;",
    b"&x;",
    b"<!DOCTYPE a [<!ENTITY x 'y'>]>",
    b"-->",
    b"\r",
    b"\n\n",
    b"\t",
    b" ",
    b"room",
    b"<NA>",
    b"__proto__",
    b"\xe2\x80\xa8",
    b"A" * 70_000,
    b"<script>alert(1)</script>",
    b"IntervalTier",
    b"99:99:99,999",
    b"SPEAKER",
    b";;",
)


def talk() -> Conversation:
    """Two people over each other, with words, a cue and an event."""
    turns, words = [], []
    for number, (speaker, start) in enumerate([("Ann", 0), ("Bob", 1), ("Ann", 4), ("Bob", 7)]):
        turns.append(Turn(speaker=speaker, start_us=start * SECOND, stop_us=(start + 2) * SECOND))
        for at, text in enumerate(("so", "well", f"no{number}")):
            begin = start * SECOND + at * SECOND // 2
            words.append(Word(speaker=speaker, start_us=begin, stop_us=begin + 300_000, text=text, after="?"))
    times = {"start_us": SECOND, "stop_us": 2 * SECOND}
    cue = Cue(label="overlap", kind="simultaneous", speaker="Ann", confidence=0.5, origin="people", **times)
    event = Event(label="unscored", kind="", speaker=None, origin="people", **times)
    return Conversation(
        recording="x",
        duration_us=DURATION_US,
        speakers=("Ann", "Bob"),
        turns=tuple(turns),
        words=tuple(words),
        cues=(cue,),
        events=(event,),
    )


def _flip(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


def _cut(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + data[start + chance.choice([1, 2, 10, 100, len(data)]) :]


def _repeat(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + data[start : start + 200] * chance.choice([2, 3, 50]) + data[start:]


def _insert(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + chance.choice(HOSTILE) + data[at:]


def _replace_token(data: bytes, chance: random.Random) -> bytes:
    """A number or a text becomes something hostile, the form around it staying whole."""
    at = chance.randrange(len(data))
    stops = b' \n",<>[]{}:='
    start = at
    while start > 0 and data[start - 1] not in stops:
        start -= 1
    stop = at
    while stop < len(data) and data[stop] not in stops:
        stop += 1
    return data[:start] + chance.choice(HOSTILE) + data[stop:]


def _swap_lines(data: bytes, chance: random.Random) -> bytes:
    rows = data.split(b"\n")
    one, other = chance.randrange(len(rows)), chance.randrange(len(rows))
    rows[one], rows[other] = rows[other], rows[one]
    return b"\n".join(rows)


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip,
    _cut,
    _repeat,
    _insert,
    _replace_token,
    _swap_lines,
)


def publish(survivors: Sequence[Conversation], drops: Sequence[Drop], out: Path) -> None:
    """Catalog, statistics and report of what was read: no value that came so far ends a build there."""
    entries, rows = [], []
    for number, survivor in enumerate(survivors):
        hash_ = hashlib.sha256(str(number).encode()).hexdigest()
        file = SourceFile(uri=f"{number}.wav", sha256=hash_, bytes=1)
        length_us = max(survivor.duration_us, DURATION_US)
        recording = Recording(hash=hash_, uri=file.uri, files=(file,), streams=(), duration_us=length_us)
        talk = with_ids(replace(survivor, recording=hash_, duration_us=length_us))
        entries.append(CatalogEntry(recording=recording, conversation=talk, split="train", sidecars=()))
        rows.append(
            ClipRow(
                key=f"{hash_[:20]}-0000000",
                split="train",
                shard="train/x.tar",
                offset=0,
                size=1,
                member_offsets=(512,) * 5,
                member_sizes=(0,) * 5,
                sha256="0" * 64,
                recording=hash_,
                uri=file.uri,
                licence=None,
                consent=None,
                conversation=None,
                named_speakers=talk.named_speakers,
                speakers=talk.speakers,
                first_window=0,
                windows=100,
                start_us=0,
                stop_us=20 * SECOND,
                sample_rate_hz=16_000,
                turns=len(talk.turns),
                words=len(talk.words),
                cues=len(talk.cues),
                events=len(talk.events),
                speech_us=0,
                overlap_us=0,
                pictures=0,
                unreliable_share=0.0,
                separated_share=0.0,
                padded_share=0.0,
                mix_peak=0.5,
                mix_rms=0.1,
                config="c" * 64,
            )
        )
    out.mkdir(exist_ok=True)
    pq.write_table(rows_table(rows), out / "clips.parquet")
    settings = Settings()
    run = RunFacts(
        config="c" * 64, settings=settings, settings_json=to_json(settings), versions_json="{}",
        recordings=len(entries), clips=len(rows), windows=100 * len(rows),
    )  # fmt: skip
    write_catalog(out, iter(entries), iter(drops), run)
    write_report(out, dataset_stats(out))
    assert "<script>alert" not in (out / "report.html").read_text()
    with open_catalog(out) as catalog:
        for entry in entries:
            assert read_conversation(catalog, entry.recording.hash).words == entry.conversation.words


def damage_many(name: str, count: int, folder: Path, *, published: bool = True) -> None:
    """Read `count` damaged files of a format; what is read goes through every writer and ours."""
    survivors: list[Conversation] = []
    told: list[Drop] = []
    whole = FORMATS[name].write(talk())[0].encode()
    path = folder / ("x" + FORMATS[name].ending)
    for seed in range(count):
        chance = random.Random(f"{name} {seed}")
        data = whole
        for _ in range(chance.choice([1, 1, 1, 2, 5])):
            data = chance.choice(MUTATIONS)(data or b"x", chance)
        if chance.random() < 0.05:
            data = data.decode(errors="replace").encode("utf-16")
        path.write_bytes(data)
        start = time.process_time()
        try:
            found, drops = read_sidecars([path], DURATION_US)
            said = found.turns or found.words or found.events or found.cues or drops
            assert said or name == "uem", "neither read nor told"  # a UEM over all of it leaves nothing open
            for drop in drops:
                drop.reason.encode()
            for item in (*(found.turns or ()), *(found.words or ()), *found.cues, *found.events):
                assert item.span is None or 0 <= item.span.start_us <= item.span.stop_us <= DURATION_US
            for made, _ in conversations_of([path]):
                text = to_json(made)
                text.encode()
                assert from_json(Conversation, text) == made
                out = FORMATS[chance.choice(sorted(FORMATS))]
                out.write(made)[0].encode()
                survivors.append(made)
            told += drops
        except Exception as error:
            kept = os.environ.get("CORPUS_FUZZ_KEEP")
            if kept:
                Path(kept).write_bytes(data)
            raise AssertionError(
                f"{name}, seed {seed}: {type(error).__name__}: {str(error)[:300]}"
            ) from error
        assert time.process_time() - start < LONGEST_S, f"{name}, seed {seed} takes too long"
    if published:
        publish(survivors, told, folder / "OUT")


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_few_damaged_annotation_files(name: str, tmp_path: Path) -> None:
    damage_many(name, 25, tmp_path, published=name in ("conversation", "eaf"))  # a second each


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FORMATS))
def test_ten_thousand_damaged_annotation_files(name: str, tmp_path: Path) -> None:
    damage_many(name, 10_000 // len(FORMATS) + 1, tmp_path)
