"""Sight against a truth: counted movements and their onsets, cuts and flashes; and what looking costs.

    python benchmarks/sight_quality.py [--films N] [--first SEED]     counts, onsets
    python benchmarks/sight_quality.py --speed FILE…                  sight beside decoding, CPU time

Films are made by tests/align/cues/seen_truth.py: 2 to 30 repetitions of 0.4 to 3 s, noise of 0 to 8 grey
levels, a camera that jumps by 0 to 0.8 pixels (of 320) every picture.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

from corpus.align.cues.motion import motion
from corpus.align.cues.repetition import repetition
from corpus.align.cues.scene_cut import scene_cut
from corpus.align.sight.watch import Watcher
from corpus.ingest.decode import DecodeSource, decode_media
from corpus.schemas.clock import US, WINDOW_US
from corpus.schemas.settings import IngestSettings, SightSettings, VisualSettings

GENERATOR = Path(__file__).parents[1] / "tests" / "align" / "cues" / "seen_truth.py"
ROUNDS = 3


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("seen_truth", GENERATOR)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["seen_truth"] = module
    spec.loader.exec_module(module)
    return module


def counts(films: int, first: int) -> None:
    truth, settings = generator(), VisualSettings()
    right = started = cut = flashed = 0
    for seed in range(first, first + films):
        film = truth.counted(seed)
        found = [json.loads(cue.evidence)["count"] for cue in repetition(film.seen, settings)]
        starts = [c.start_us for c in motion(film.seen, settings) if c.kind == "motion_start"]
        late_us = starts[0] - film.start_us if starts else None
        right += found == [film.count]
        started += late_us is not None and abs(late_us) <= WINDOW_US
        cuts = scene_cut(truth.with_cut(seed).seen, settings)
        cut += len(cuts) == 1 and abs(cuts[0].start_us - truth.CUT_US) <= WINDOW_US
        flash = truth.with_flash(seed)
        starts = [c.start_us for c in motion(flash.seen, settings) if c.kind == "motion_start"]
        flashed += (
            not scene_cut(flash.seen, settings)
            and len(starts) == 1
            and abs(starts[0] - flash.start_us) <= WINDOW_US
        )
        late = "none" if late_us is None else f"{late_us / US:+.2f}"
        print(f"{seed:5} {film.what:32} {film.count:3} found {found} onset {late}", flush=True)
    for name, number in (("counts", right), ("onsets", started), ("cuts", cut), ("flashes", flashed)):
        print(f"{name:8} {number} of {films} = {number / films:.0%}")


def speed(files: list[Path]) -> None:
    for path in files:
        ratios = []
        for _ in range(ROUNDS):
            plain, looked = (_seconds(path, look=look) for look in (False, True))
            ratios.append(looked / plain - 1)
            print(f"{path.name}: decode {plain:.2f} s, with sight {looked:.2f} s CPU", flush=True)
        middle = statistics.median(ratios)
        print(f"{path.name}: sight adds {middle:.0%} ({min(ratios):.0%} to {max(ratios):.0%})")


def _seconds(path: Path, *, look: bool) -> float:
    with tempfile.TemporaryDirectory() as folder:
        watcher = Watcher(SightSettings())
        begin = time.process_time()
        decode_media(
            [DecodeSource(path=path)], Path(folder), IngestSettings(), observers=(watcher,) if look else ()
        )
        watcher.finish()
        return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=40)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--speed", type=Path, nargs="+", default=[])
    given = parser.parse_args()
    if given.speed:
        speed(given.speed)
    else:
        counts(given.films, given.first)


if __name__ == "__main__":
    main()
