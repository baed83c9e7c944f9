"""Ten thousand hours by simulation: the driver's real code, stages and sound made up.

    python ten_thousand_hours.py [--recordings 20000] [--minutes 30] [--rows]

The driver gathers, hashes, plans, splits, lays out shards and writes index, catalog and report as it always
does. What workers do is made up here: rows of clips and of the catalog, as many and as large as those of real
recordings (RATES); segments and shards are empty files of the right size. Their time is not counted. Each
case is a process of its own, so that its peak memory is its own. `--rows` leaves out what is said.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from corpus.pipeline import build
from corpus.pipeline.annotate import Annotated
from corpus.pipeline.cache import Cache
from corpus.pipeline.cutting import Cut
from corpus.pipeline.engine import Done
from corpus.pipeline.progress import Quiet
from corpus.pipeline.record import ROWS_STAGE, Recorded, RecordingJob
from corpus.pipeline.request import Request
from corpus.schemas.codec import to_plain
from corpus.schemas.drops import Drop
from corpus.schemas.settings import Settings
from corpus.shards import write
from corpus.shards.columns import ClipRow
from corpus.shards.cut import ROWS_FILE, SEGMENT_FILE

RATES = {"turns": 20, "words": 180, "cues": 20, "answers": 10, "events": 1, "units": 30, "transitions": 30}
"""Rows a minute of talk of two, about those of the conversations of docs/quality.md."""
CLIP_BYTES = 830_000
"""30 s of two voices: 100 MB an hour (docs/cluster.md)."""
FAULTS = 0.01
CASES = ("cold", "nothing changed", "one added", "cold, 1 % faults")
TEXT = {"timing": "aligned", "label": "backchannel", "action": "answer", "kind": "pause"}


class Stub:
    """What the workers do, without doing it."""

    def __init__(self, minutes: float, with_talk: bool, faults: float) -> None:
        self._clips = max(1, round(minutes * 2))
        self._faults = faults
        self._template = _talk(minutes) if with_talk else {}
        self.seconds = 0.0

    def run_jobs(
        self,
        function: Callable[[Any], Any],
        jobs: Sequence[RecordingJob],
        *,
        num_workers: int,
        on_poll: Callable[[], None],
    ) -> Iterator[Done[RecordingJob, Recorded]]:
        for number, job in enumerate(jobs):
            began = time.process_time()
            done = self._recorded(job)
            self.seconds += time.process_time() - began
            if number % 100 == 0:
                on_poll()
            yield Done(job, done)

    def _recorded(self, job: RecordingJob) -> Recorded:
        uri, recording = job.identity.item.uri, job.identity.recording
        if int(recording[:8], 16) / 2**32 < self._faults:
            drop = Drop(item=uri, stage="decode", kind="fault", code="unusable", reason="made up")
            return Recorded(annotated=Annotated(uri=uri, recording=recording, drops=(drop,)))
        cache = Cache(job.cache_root, job.scratch)
        digest = hashlib.sha256(job.key.encode()).hexdigest()
        folder = cache.folder("cut", digest)
        folder.mkdir(parents=True, exist_ok=True)
        rows = list(_rows(recording, uri, job.split, job.config, self._clips))
        (folder / ROWS_FILE).write_text(json.dumps(rows), encoding="utf-8")
        with open(folder / SEGMENT_FILE, "wb") as file:
            file.truncate(sum(row["size"] for row in rows))
        cache.make(ROWS_STAGE, job.key, lambda to: self._piece(to, recording, uri, job.split))
        annotated = Annotated(uri=uri, recording=recording, drops=(), label="made up", decode="made up")
        cut = Cut(uri=uri, recording=recording, split=job.split, drops=(), segment=digest)
        return Recorded(annotated=annotated, cut=cut)

    def _piece(self, folder: Path, recording: str, uri: str, split: str) -> list[Drop]:
        import pyarrow as pa

        from corpus.report.catalog_piece import PIECE_FILE, piece_tables

        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.OSFile(str(folder / PIECE_FILE), "wb") as file:
            for name, schema in piece_tables().items():
                with pa.ipc.new_stream(file, schema, options=options) as stream:
                    table = self._template.get(name)
                    if name == "recordings":
                        table = _table(
                            schema, 1, {"uri": uri, "split": split, "duration_us": self._clips * 30_000_000}
                        )
                    if table is not None:
                        place = schema.get_field_index("recording_id")
                        stream.write_table(
                            table.set_column(place, schema.field(place), pa.array([recording] * len(table)))
                        )
        return []


def _talk(minutes: float) -> dict[str, Any]:
    from corpus.report.catalog_piece import piece_tables

    tables = piece_tables()
    counts = {name: round(rate * minutes) for name, rate in RATES.items()} | {"speakers": 2, "streams": 1}
    return {name: _table(tables[name], count, {}) for name, count in counts.items() if count}


def _table(schema: Any, count: int, given: dict[str, Any]) -> Any:
    import pyarrow as pa

    draw = random.Random(0)
    words = ["yeah", "right", "so", "the", "thing", "about", "people", "understand", "different", "and"]

    def column(field: Any) -> Any:
        if field.name in given:
            return pa.array([given[field.name]] * count, field.type)
        if pa.types.is_integer(field.type):
            return pa.array(sorted(draw.randrange(1_800_000_000) for _ in range(count)), pa.int64()).cast(
                field.type, safe=False
            )
        if pa.types.is_floating(field.type):
            return pa.array([draw.random() for _ in range(count)], field.type)
        if pa.types.is_boolean(field.type):
            return pa.array([True] * count, field.type)
        if pa.types.is_list(field.type):
            return pa.array([[]] * count, field.type)
        if field.name == "id" or field.name.endswith("_id"):
            return pa.array([f"{draw.getrandbits(64):016x}" for _ in range(count)])
        if field.name in ("thresholds", "evidence", "payload"):
            return pa.array(['{"overlap_ms":120}'] * count)
        if field.name in TEXT:
            return pa.array([TEXT[field.name]] * count)
        return pa.array([draw.choice(words) for _ in range(count)])

    return pa.Table.from_arrays([column(field) for field in schema], schema=schema)


def _rows(recording: str, uri: str, split: str, config: str, clips: int) -> Iterator[dict[str, Any]]:
    draw = random.Random(recording)
    offset = 0
    for number in range(clips):
        size = 512 * round(CLIP_BYTES * draw.uniform(0.8, 1.2) / 512)
        members = tuple(offset + 512 + k * size // 6 for k in range(5))
        row = ClipRow(
            key=f"{recording[:20]}-{number * 150:07d}", split=split, offset=offset, size=size,
            member_offsets=members, member_sizes=(size // 7,) * 5, sha256=f"{draw.getrandbits(256):064x}",
            recording=recording, uri=uri, licence=None, consent=None, conversation=None, named_speakers=(),
            speakers=("S1", "S2"), first_window=number * 150, windows=150, start_us=number * 30_000_000,
            stop_us=(number + 1) * 30_000_000, sample_rate_hz=16000, turns=10, words=90, cues=10, events=0,
            speech_us=25_000_000, overlap_us=1_000_000, pictures=0, unreliable_share=0.1, separated_share=0.0,
            padded_share=0.0, mix_peak=0.7, mix_rms=0.1, config=config, snr_db=draw.uniform(5, 40),
            bandwidth_hz=7600.0, speech_share=0.8, overlap_share=0.03, monologue_us=9_000_000, language="en",
        )  # fmt: skip
        yield to_plain(row)
        offset += size


def _write_shard(path: Path, runs: Any) -> str:
    """An empty file of the shard's size, which real tasks would write."""
    size = sum(sum(run.sizes) for run in runs) + 1024
    with open(path, "wb") as file:
        file.truncate(size)
    return hashlib.sha256(path.name.encode() + str(size).encode()).hexdigest()


def case(name: str, folder: Path, minutes: float, with_talk: bool) -> dict[str, float]:
    """One build; the driver's CPU seconds and peak memory."""
    stub = Stub(minutes, with_talk, FAULTS if "faults" in name else 0.0)
    build.run_jobs = stub.run_jobs  # type: ignore[assignment]
    write.write_shard = _write_shard
    out = folder / ("faults" if "faults" in name else "out")
    request = Request(inputs=(str(folder / "talks"),), out=out, settings=Settings())
    began = time.process_time()
    outcome = build.build_dataset(request, Quiet())
    seconds = time.process_time() - began - stub.seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cpu_s": seconds, "peak_mb": peak, "recordings": outcome.recordings, "clips": outcome.clips}


def _make_talks(folder: Path, first: int, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        (folder / f"talk-{number:07d}.wav").write_bytes(f"talk {number}".encode())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--recordings", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rows", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--case")
    parser.add_argument("--skip-faults", action="store_true")
    asked = parser.parse_args()
    if asked.case:
        print(json.dumps(case(asked.case, asked.folder, asked.minutes, not asked.rows)))
        return
    folder = Path(tempfile.mkdtemp(prefix="ten-thousand-", dir=asked.folder))
    try:
        _make_talks(folder / "talks", 0, asked.recordings)
        own = ["--folder", str(folder), "--minutes", str(asked.minutes), *(["--rows"] if asked.rows else [])]
        for name in CASES[:-1] if asked.skip_faults else CASES:
            if name == "one added":
                _make_talks(folder / "talks", asked.recordings, 1)
            command = [sys.executable, __file__, "--case", name, *own]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            each = 1000 * found["cpu_s"] / asked.recordings
            peak = f"peak {found['peak_mb']:.0f} MB"
            print(f"{name}: {found['cpu_s']:.2f} CPU s, {each:.2f} ms a recording, {peak}", flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
