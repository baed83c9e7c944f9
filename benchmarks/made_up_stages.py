"""Simulates the time and the output of a recording's jobs at real rates, for ten_thousand_hours.py."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from corpus.pipeline.annotate import Annotated
from corpus.pipeline.artifact import write_head
from corpus.pipeline.cache import Cache
from corpus.pipeline.cutting import Cut
from corpus.pipeline.record import ROWS_STAGE, Recorded, RecordingJob, rows_key
from corpus.pipeline.views import Views, ViewsJob
from corpus.report.catalog import CATALOG_FILE
from corpus.report.page import REPORT_FILE
from corpus.schemas.drops import Drop
from corpus.schemas.files import sha256_file
from corpus.shards import segment_rows
from corpus.shards.columns import ClipRow, rows_table
from corpus.shards.cut import ROWS_FILE, SEGMENT_FILE
from corpus.shards.planning import Planned, PlanTask, plan
from corpus.shards.runs import Run

RATES = {"turns": 20, "words": 180, "cues": 20, "answers": 10, "events": 1, "units": 30, "transitions": 30}
"""Rows a minute of talk of two, about those of the conversations of docs/quality.md."""
CPU_S_PER_S = 0.472
"""Diarizing, transcribing and the rest (docs/cluster.md)."""
CLIP_BYTES = 830_000
"""30 s of two voices: 100 MB an hour (docs/cluster.md)."""
CLIP_WINDOWS = 150
TEXT = {"timing": "aligned", "label": "backchannel", "action": "answer", "kind": "pause"}


class Stages:
    """Simulated jobs of recordings of one length."""

    def __init__(self, minutes: float, faults: float, *, with_talk: bool, with_files: bool) -> None:
        self._minutes = minutes
        self._with_files = with_files
        self._faults = faults
        self._template = _talk(minutes) if with_talk else {}
        self._clips: pa.Table | None = None

    def seconds_of(self, job: RecordingJob) -> float:
        draw = random.Random(job.identity.recording)
        return 60 * self._minutes * CPU_S_PER_S * draw.uniform(0.8, 1.25)

    def outcome_of(self, job: RecordingJob) -> Recorded:
        uri, recording = job.identity.item.uri, job.identity.recording
        if int(recording[:8], 16) / 2**32 < self._faults:
            reason = "the stream is cut off after 12.4 s and nothing after that can be decoded"
            drop = Drop(item=uri, stage="decode", kind="fault", code="unusable", reason=reason)
            return Recorded(annotated=Annotated(uri=uri, recording=recording, drops=(drop,)))
        cache = Cache(job.cache_root, job.scratch)
        segment = hashlib.sha256(job.key.encode()).hexdigest()
        if self._with_files:
            self._write_files(cache, segment, job)
        # As most recordings: the last partial window is left out.
        drop = Drop(item=uri, stage="cut", kind="trim", code="partial_window", reason="120 ms at the end")
        annotated = Annotated(uri=uri, recording=recording, drops=(drop,), label=segment, decode=segment)
        cut = Cut(uri=uri, recording=recording, split=job.split, drops=(), segment=segment)
        return Recorded(annotated=annotated, cut=cut)

    def _write_files(self, cache: Cache, segment: str, job: RecordingJob) -> None:
        folder = cache.folder("cut", segment)
        if not folder.exists():
            folder.mkdir(parents=True)
            self._clips = self._clips or _clips(job.config, self._minutes)
            rows = _of_recording(self._clips, job.identity.recording, job.split, job.identity.item.uri)
            _write_stream(folder / ROWS_FILE, rows)
            _make_empty(folder / SEGMENT_FILE, sum(self._clips["size"].to_pylist()))
        piece = cache.folder(ROWS_STAGE, rows_key(job))
        if not piece.exists():
            piece.mkdir(parents=True)
            self._write_piece(piece, job)

    def _write_piece(self, folder: Path, job: RecordingJob) -> None:
        """Write the recording's rows of the catalog in the form of catalog_piece.py."""
        from corpus.report.catalog_piece import PIECE_FILE, piece_tables

        own = {
            "uri": job.identity.item.uri,
            "split": job.split,
            "duration_us": round(60_000_000 * self._minutes),
        }
        with open(folder / PIECE_FILE, "wb") as file:
            for name, schema in piece_tables().items():
                table = _table(schema, 1, own) if name == "recordings" else self._template.get(name)
                if table is None:
                    file.write(_stream(name))
                    continue
                place = schema.get_field_index("recording_id")
                whose = pa.array([job.identity.recording] * len(table))
                file.write(_stream_of(table.set_column(place, schema.field(place), whose)))
        write_head(folder, ())


@cache
def _stream(name: str) -> bytes:
    """The Arrow stream of a table without rows."""
    from corpus.report.catalog_piece import piece_tables

    return _stream_of(piece_tables()[name].empty_table())


def _stream_of(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    # To compress a single row takes longer than everything else.
    options = pa.ipc.IpcWriteOptions(compression="zstd" if len(table) > 1 else None)
    with pa.ipc.new_stream(sink, table.schema, options=options) as stream:
        if len(table):
            stream.write_table(table)
    return sink.getvalue()


def _write_stream(path: Path, table: pa.Table) -> None:
    with open(path, "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)


def _talk(minutes: float) -> Mapping[str, pa.Table]:
    from corpus.report.catalog_piece import piece_tables

    tables = piece_tables()
    counts = {name: round(rate * minutes) for name, rate in RATES.items()} | {"speakers": 2, "streams": 1}
    own = {"streams": {"kind": "audio"}}
    return {name: _table(tables[name], count, own.get(name, {})) for name, count in counts.items() if count}


def _table(schema: pa.Schema, count: int, own: Mapping[str, object]) -> pa.Table:
    draw = random.Random(0)
    starts = sorted(draw.randrange(1_800_000_000) for _ in range(count))
    words = ["yeah", "right", "so", "the", "thing", "about", "people", "understand", "different", "and"]

    def values(field: pa.Field) -> list[Any]:
        if field.name in own:
            return [own[field.name]] * count
        if pa.types.is_integer(field.type):
            if not field.name.endswith("_us"):
                return [draw.randrange(8) for _ in starts]
            return [start + 400_000 * ("stop" in field.name) for start in starts]
        if pa.types.is_floating(field.type):
            return [draw.random() for _ in starts]
        if pa.types.is_boolean(field.type):
            return [True] * count
        if pa.types.is_list(field.type):
            return [[]] * count
        if field.name.endswith("_id"):
            return [f"{draw.getrandbits(64):016x}" for _ in starts]
        if field.name in ("thresholds", "evidence", "payload"):
            return ['{"overlap_ms":120}'] * count
        return [TEXT.get(field.name) or draw.choice(words) for _ in starts]

    return pa.Table.from_arrays([pa.array(values(field), field.type) for field in schema], schema=schema)


def plan_without_files(minutes: float, task: PlanTask) -> Planned:
    """`plan`, with the rows of segments made up when they are read."""
    clips = _clips(task.config, minutes)

    def made_up(segment: segment_rows.SegmentRef) -> pa.Table:
        return _of_recording(clips, segment.recording, segment.split, f"{segment.recording[:12]}.wav")

    segment_rows._read = made_up
    segment_rows.has_size = lambda *_: True
    return plan(task)


def _clips(config: str, minutes: float) -> pa.Table:
    """Rows of clips; other recordings differ only in their names."""
    draw = random.Random(0)
    rows, offset = [], 0
    for number in range(max(1, round(2 * minutes))):
        size = 512 * round(CLIP_BYTES * draw.uniform(0.8, 1.2) / 512)
        row = ClipRow(
            key="", split="", offset=offset, size=size, sha256="", recording="0" * 64, uri="",
            member_offsets=tuple(offset + 512 + k * size // 6 for k in range(5)),
            member_sizes=(size // 7,) * 5, licence=None, consent=None, conversation=None,
            named_speakers=(), speakers=("S1", "S2"),
            first_window=number * CLIP_WINDOWS, windows=CLIP_WINDOWS,
            start_us=number * 30_000_000, stop_us=(number + 1) * 30_000_000, sample_rate_hz=16000, turns=10,
            words=90, cues=10, events=0, speech_us=25_000_000, overlap_us=1_000_000, pictures=0,
            unreliable_share=0.1, separated_share=0.0, padded_share=0.0, mix_peak=0.7, mix_rms=0.1,
            config=config, snr_db=draw.uniform(5, 40), bandwidth_hz=7600.0, speech_share=0.8,
            overlap_share=0.03, monologue_us=9_000_000, language="en",
        )  # fmt: skip
        rows.append(row)
        offset += size
    return rows_table(rows)


def _of_recording(clips: pa.Table, recording: str, split: str, uri: str) -> pa.Table:
    """The rows with the names of a recording and its clips."""
    draw = random.Random(recording)
    columns = {
        "key": [f"{recording[:20]}-{number * CLIP_WINDOWS:07d}" for number in range(len(clips))],
        "split": [split] * len(clips),
        "sha256": [f"{draw.getrandbits(256):064x}" for _ in range(len(clips))],
        "recording": [recording] * len(clips),
        "uri": [uri] * len(clips),
    }
    for name, values in columns.items():
        place = clips.schema.get_field_index(name)
        clips = clips.set_column(place, clips.schema.field(place), pa.array(values, pa.string()))
    return clips


def write_no_shard(path: Path, runs: Iterable[Run], far: object) -> str:
    """Write an empty file of the shard's size, which takes no space."""
    size = sum(sum(run.sizes) for run in runs) + 1024
    _make_empty(path, size)
    return hashlib.sha256(f"{path.name} {size}".encode()).hexdigest()


def _make_empty(path: Path, size: int) -> None:
    with open(path, "wb") as file:
        file.truncate(size)


def make_no_views(job: ViewsJob) -> Views:
    """Two small files in place of catalog and report."""
    (job.folder / CATALOG_FILE).write_bytes(job.run.config.encode())
    (job.folder / REPORT_FILE).write_bytes(b"no report")
    return Views(catalog_sha256=sha256_file(job.folder / CATALOG_FILE), poor=())


def make_talks(folder: Path, first: int, count: int) -> None:
    """Write media files of a few bytes; only their hashes are computed."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        (folder / f"talk-{number:07d}.wav").write_bytes(f"talk {number}".encode())
