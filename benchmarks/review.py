"""The review server at 1 M cues and 100,000 reviews: `python benchmarks/review.py`.

The catalog is synthetic: 2,000 hours of talk with 500 cues, 600 turns and 3,000 words each, without sound.
Cutting a stretch from a clip of 30 s is measured separately, on a real clip.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from corpus.pipeline.build import build_dataset
from corpus.pipeline.progress import Quiet
from corpus.pipeline.request import Request
from corpus.review.media import Media
from corpus.review.room import Room
from corpus.review.store import opened
from corpus.schemas.conversation import Cue, Turn
from corpus.schemas.review import Judged, Review
from corpus.schemas.settings import DiarizeSettings, Settings, TranscribeSettings

RECORDINGS, CUES, TURNS, WORDS = 2_000, 500, 600, 3_000
REVIEWS = 100_000
LABELS = ("backchannel", "hesitation", "yield", "hold", "interruption", "overlap")


def small_dataset(folder: Path) -> Path:
    """A minute of noise in which two people take turns."""
    noise = np.random.default_rng(0).integers(-3000, 3000, 16_000 * 60, np.int16)
    with wave.open(str(folder / "talk.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, len(noise), "NONE", ""))
        file.writeframes(noise.tobytes())
    lines = [f"talk 1 {'AB'[n % 2]} {n * 1.5:.2f} {n * 1.5 + 1.2:.2f} <o> uh hello" for n in range(38)]
    (folder / "talk.stm").write_text("\n".join(lines) + "\n")
    none = Settings(diarize=DiarizeSettings(backend="none"), transcribe=TranscribeSettings(backend="none"))
    build_dataset(Request(inputs=(str(folder / "talk.wav"),), out=folder / "OUT", settings=none), Quiet())
    return folder / "OUT"


def fill_catalog(out: Path) -> None:
    """Add the synthetic recordings."""
    import duckdb

    labels = "[" + ", ".join(f"'{name}'" for name in LABELS) + "]"
    of = f"FROM range({RECORDINGS}) t(r)"
    statements = (
        "INSERT INTO recordings SELECT sha256('r' || r), 'talk' || r || '.wav', 'train', 3600000000, NULL, "
        f"NULL, NULL, 1, 1, [], 1, 0, NULL, NULL, NULL {of}",
        f"INSERT INTO speakers SELECT sha256('r' || r), 'S' || (s + 1), s, false, 1, 1 {of}, range(2) u(s)",
        "INSERT INTO turns SELECT sha256('r' || r), 't' || n, 'S' || (n % 2 + 1), n * 6000000, "
        f"n * 6000000 + 5500000 {of}, range({TURNS}) u(n) ORDER BY r, n",
        "INSERT INTO words SELECT sha256('r' || r), 'w' || n, 'S' || (n // 5 % 2 + 1), n * 1200000, "
        f"n * 1200000 + 300000, 'word', '', 'measured', 0.9 {of}, range({WORDS}) u(n) ORDER BY r, n",
        f"INSERT INTO cues SELECT sha256('r' || r), 'c' || n, {labels}[(hash(r * 1000 + n) % 6)::INT + 1], "
        "'', 'S' || (n % 2 + 1), n * 7200000, n * 7200000 + 400000, (hash(n * 7 + r) % 1000) / 1000.0, "
        f"'made/1', NULL, '{{}}', '{{}}', [] {of}, range({CUES}) u(n) ORDER BY r, n",
    )
    with duckdb.connect(str(out / "catalog.duckdb")) as connection:
        for statement in statements:
            connection.execute(statement)


def made_up_reviews(out: Path) -> list[Review]:
    import duckdb

    rng = random.Random(0)
    with duckdb.connect(str(out / "catalog.duckdb"), read_only=True) as c:
        rows = c.execute(
            "SELECT recording_id, cue_id, label::VARCHAR, speaker, start_us, stop_us, confidence FROM cues "
            f"WHERE origin = 'made/1' USING SAMPLE {REVIEWS * 2 // 3} ROWS (reservoir, 1)"
        ).fetchall()
    reviews: list[Review] = []
    for recording, name, label, speaker, start_us, stop_us, sure in rows:
        cue = Cue(
            label=label, kind="", speaker=speaker, start_us=start_us, stop_us=stop_us, confidence=sure,
            origin="made/1",
        )  # fmt: skip
        at = max(0, start_us - 6_000_000)
        around = tuple(
            Turn(speaker=f"S{n % 2 + 1}", start_us=at + n * 6_000_000, stop_us=at + n * 6_000_000 + 5_500_000)
            for n in range(3)
        )
        for who in ("ann", "bob")[: rng.choice((1, 2))]:
            dice = rng.random()
            moved = Judged(cue=replace(cue, start_us=start_us + 50_000))
            reviews.append(
                Review(
                    id=f"r{len(reviews)}", recording=recording, item=name, annotator=who, decided_at_us=1,
                    around=around, judged=Judged(cue=cue), becomes=(moved,) if dice >= 0.9 else (),
                    verdict="accept" if dice < 0.6 else "reject" if dice < 0.9 else "correct",
                )
            )  # fmt: skip
    return reviews[:REVIEWS]


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall time and processor time in seconds; on a busy machine the first is an upper bound."""
    since, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - since, time.process_time() - cpu


def spread(name: str, seconds: list[tuple[float, float]], bar: str) -> None:
    for clock, values in zip(("wall", "processor"), zip(*seconds, strict=True), strict=True):
        ms = sorted(1e3 * s for s in values)
        p95, middle = ms[int(0.95 * len(ms))], statistics.median(ms)
        print(
            f"{name}, {clock}: median {middle:.1f} ms, p95 {p95:.1f}, most {ms[-1]:.1f} of {len(ms)} ({bar})"
        )


def scale(folder: Path) -> None:
    out = small_dataset(folder)
    print(f"catalog of {RECORDINGS * CUES:,} cues: {timed(lambda: fill_catalog(out))[0]:.1f} s", flush=True)
    reviews = made_up_reviews(out)
    with opened(out) as store:
        print(f"{len(reviews):,} reviews taken in: {timed(lambda: store.add(reviews))[0]:.1f} s", flush=True)
        print(f"reviews.parquet written: {timed(store.export)[0]:.2f} s", flush=True)
    opened_room: list[Room] = []
    wall, cpu = timed(lambda: opened_room.append(Room(out)))
    print(f"server ready: {wall:.1f} s, processor {cpu:.1f}", flush=True)
    (room,) = opened_room
    print("agreement page, first: {:.2f} s, processor {:.2f}".format(*timed(room.agreement)))
    for mode, label in (("uncertain", ""), ("random", ""), ("uncertain", "hold")):
        room.next("warm", mode, label, 1, [])
        seconds, decisions = [], []
        for number in range(300):
            found: list[dict[str, Any]] = []
            seconds.append(timed(lambda: found.extend(room.next("ann", mode, label, 1, [])["items"])))  # noqa: B023
            decision = {
                "id": f"{mode}{label}{number}", "recording": found[0]["recording"],
                "item": found[0]["item"], "verdict": "accept",
            }  # fmt: skip
            decisions.append(timed(lambda: room.decide("ann", [decision])))  # noqa: B023
        spread(f"next item, {mode} {label}".rstrip(), seconds, "p95 at most 50 ms, aim 15")
        spread("decision kept", decisions, "no bar")
    for _ in range(3):
        room.decide("ann", [{**decision, "id": os.urandom(8).hex()}])
        print("agreement page: {:.2f} s, processor {:.2f} (at most 2)".format(*timed(room.agreement)))
    name = room.media.clips[0].json.recording
    first = [timed(lambda: Media(out).outlines(name, 0, 5_000_000)) for _ in range(20)]
    spread("first outlines of 5 s from a clip", first, "once a clip")
    room.close()


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        scale(Path(folder))


if __name__ == "__main__":
    main()
