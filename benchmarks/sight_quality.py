"""Sight compared with the truth: counted movements and their onsets, cuts and flashes; and its cost.

    python benchmarks/sight_quality.py [--films N] [--first SEED]     counts, onsets
    python benchmarks/sight_quality.py --speed FILE…                  sight beside decoding, CPU time
    python benchmarks/sight_quality.py --talker FILE X Y              the only talker's face among others

X and Y are the place of the talker's face, as shares of the picture. Sound at most 25 dB below the loudest is
talk.

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

import av
import numpy as np

from corpus.align.cues.motion import motion
from corpus.align.cues.repetition import repetition
from corpus.align.cues.scene_cut import scene_cut
from corpus.align.sight.watch import Watcher
from corpus.align.sight.who import voice_marks, whose_faces
from corpus.ingest.decode import DecodeSource, decode_media
from corpus.schemas.clock import US, WINDOW_US
from corpus.schemas.conversation import Conversation, Turn
from corpus.schemas.settings import IngestSettings, SightSettings, VisualSettings
from corpus.schemas.span import Span, union

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


def talker(path: Path, x: float, y: float) -> None:
    """In how many pictures with talk the face at this place moves its mouth most, and its speaker."""
    watcher = Watcher(SightSettings())
    with tempfile.TemporaryDirectory() as folder:
        decode_media([DecodeSource(path=path)], Path(folder), IngestSettings(), observers=(watcher,))
    seen, talk = watcher.finish(), _loud(path)
    conversation = Conversation(
        recording=path.stem,
        duration_us=seen.head.stop_us,
        speakers=("S1",),
        turns=tuple(Turn(speaker="S1", start_us=t.start_us, stop_us=t.stop_us) for t in talk),
    )
    boxes = {track.id: np.median(seen.of_track(track.id)["box"], axis=0) for track in seen.head.tracks}
    true = {n for n, box in boxes.items() if box[0] <= x <= box[2] and box[1] <= y <= box[3]}
    matched = whose_faces(seen, conversation, VisualSettings())
    movement = np.stack([np.nan_to_num(seen.mouth_movement(track), nan=-1) for track in boxes])
    heard = voice_marks(talk, seen.times_us + seen.head.period_us // 2)
    most = np.array(list(boxes))[movement.argmax(0)[heard]]
    right = sum(int(face) in true for face in most)
    print(
        f"{path.name}: {len(boxes)} faces; of {len(most)} pictures with talk the talker's mouth moves most "
        f"in {right} = {right / len(most):.0%}; faces given to the voice: {sorted(matched)}, true "
        f"{sorted(true)}, alike {[round(match.alike, 2) for match in matched.values()]}"
    )


def _loud(path: Path) -> list[Span]:
    """Stretches of sound at most 25 dB below the loud ones, in steps of 100 ms."""
    resampler, parts = av.AudioResampler(format="s16", layout="mono", rate=16_000), []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    samples = np.concatenate(parts).astype(np.float64)
    steps = samples[: len(samples) // 1600 * 1600].reshape(-1, 1600)
    level = 10 * np.log10((steps**2).mean(1) + 1)
    loud = np.flatnonzero(level >= np.percentile(level, 95) - 25)
    spans = [Span(int(at) * 100_000, int(at + 1) * 100_000) for at in loud]
    return [span for span in union(spans, bridge_us=200_000) if span.duration_us >= 200_000]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=40)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--speed", type=Path, nargs="+", default=[])
    parser.add_argument("--talker", nargs=3, metavar=("FILE", "X", "Y"))
    given = parser.parse_args()
    if given.talker:
        path, x, y = given.talker
        talker(Path(path), float(x), float(y))
    elif given.speed:
        speed(given.speed)
    else:
        counts(given.films, given.first)


if __name__ == "__main__":
    main()
