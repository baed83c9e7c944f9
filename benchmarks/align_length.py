"""Four hours compared with one: linking, words, voices and facts on synthetic features, turns and words.

    python benchmarks/align_length.py [--repeats 3]

Six voices talk in turns of 0.3 to 6 s that overlap or leave pauses. Each stretch of ten minutes has its own
labels and noisy voice vectors, as from the networks. A word begins every 0.3 s of a turn. The sound is a
sparse file of zeros: everything but the networks is measured. CPU seconds are the least of the repeats;
memory is the peak of a separate process minus its memory after imports.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from corpus.align.attribute import TurnIndex, attribute_words
from corpus.align.backend import Bounds, Found
from corpus.align.diarize import MARGIN_S, STRETCH_S, Stretch, sureness, together
from corpus.align.heard import Heard
from corpus.align.quality.talk import TalkIndex
from corpus.align.voices import split_voices
from corpus.align.whose_words import attributed
from corpus.pipeline.assemble import Draft, assemble
from corpus.schemas.artifacts import Decoded, Segment
from corpus.schemas.clock import US
from corpus.schemas.conversation import Turn, Word
from corpus.schemas.ids import with_ids
from corpus.schemas.span import Span

RATE_HZ = 16_000
SPEAKERS = 6
WORD_US = 300_000
CLIP_US = 30 * US


def features(hours: int) -> tuple[list[Stretch], list[Found]]:
    """Synthetic outputs of the networks for each stretch."""
    draw, noise = random.Random(0), np.random.default_rng(0)
    centres = _unit(noise.normal(size=(SPEAKERS, 192)))
    stretches, found = [], []
    for number in range(hours * 3600 // STRETCH_S):
        start, stop = number * STRETCH_S, (number + 1) * STRETCH_S
        low, high = max(0, start - MARGIN_S), min(hours * 3600, stop + MARGIN_S)
        stretches.append(Stretch(*(second * RATE_HZ for second in (start, stop, low, high))))
        labels = draw.sample(range(SPEAKERS), SPEAKERS)
        talk, at = [], 0.0
        while at < high - low - 6:
            length = draw.uniform(0.3, 6)
            talk.append((at, at + length, str(draw.choice(labels))))
            at += length + draw.uniform(-0.7, 0.5)
        voices = _unit(centres + noise.normal(size=centres.shape) * 0.03)
        sure = tuple((float(second), second + 1.0, 0.9) for second in range(high - low))
        found.append(Found(tuple(talk), {str(label): voices[label] for label in labels}, sure))
    return stretches, found


def _unit(rows: Any) -> Any:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def spoken(turns: list[Turn]) -> list[Heard]:
    spans = [
        Span(at, at + WORD_US - 50_000)
        for turn in turns
        for at in range(turn.start_us, turn.stop_us - WORD_US, WORD_US)
    ]
    return [Heard(span, "word", 0.8) for span in sorted(spans)]


def measured(hours: int) -> dict[str, float]:
    """CPU seconds of each part, and MB beyond the imports."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        begin = time.process_time()
        made = work()
        seconds[name] = time.process_time() - begin
        return made

    stretches, found = features(hours)
    turns = timed("linking", lambda: together(stretches, found, RATE_HZ, Bounds(), 0.56))
    timed("sureness", lambda: sureness(stretches, found, RATE_HZ))
    words = timed("words recognised", lambda: _attributed(spoken(turns), turns, hours))
    named = [Word(speaker="", start_us=w.start_us, stop_us=w.stop_us, text=w.text) for w in words]
    timed("words of a file", lambda: attribute_words(named, turns))
    length_us = hours * 3600 * US
    draft = Draft(recording="0" * 64, duration_us=length_us, turns=turns, words=words)
    talked = timed("assemble", lambda: with_ids(assemble("", draft)[0]))
    with tempfile.TemporaryDirectory() as folder:
        decoded = Decoded(
            duration_us=hours * 3600 * US, sample_rate_hz=RATE_HZ, channels=(None,), streams=(),
            segments=(Segment(first_window=0, windows=hours * 18_000),),
        )  # fmt: skip
        with open(Path(folder) / "channel-0.i16", "wb") as sound:
            sound.truncate(2 * hours * 3600 * RATE_HZ)
        out = Path(folder) / "voices"
        out.mkdir()
        timed("voices", lambda: split_voices(decoded, Path(folder), talked.turns, talked.speakers, out))
    timed("facts of talk", lambda: _facts(TalkIndex(talked.turns, talked.words), hours))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {**seconds, "MB": used / 1024}


def _attributed(heard: list[Heard], turns: list[Turn], hours: int) -> list[Word]:
    """Attribute words like the transcriber: 30 s at a time, against all turns."""
    index, found, place = TurnIndex.of(turns), list[Word](), 0
    for stop_us in range(CLIP_US, hours * 3600 * US + 1, CLIP_US):
        first = place
        while place < len(heard) and heard[place].span.start_us < stop_us:
            place += 1
        found += attributed(heard[first:place], index)[0]
    return found


def _facts(talk: TalkIndex, hours: int) -> None:
    for start_us in range(0, hours * 3600 * US, CLIP_US):
        talk.of(Span(start_us, start_us + CLIP_US))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--hours", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.hours:
        print(json.dumps(measured(given.hours)))
        return
    best: dict[int, dict[str, float]] = {}
    for _ in range(given.repeats):
        for hours in (1, 4):
            command = [sys.executable, __file__, "--hours", str(hours)]
            now = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            best[hours] = {name: min(value, best.get(hours, now)[name]) for name, value in now.items()}
    parts = [name for name in best[1] if name != "MB"]
    for name in parts:
        print(f"{name:<18}{best[1][name]:8.3f} s {best[4][name]:8.3f} s {best[4][name] / best[1][name]:6.2f}")
    one, four = (sum(best[hours][name] for name in parts) for hours in (1, 4))
    print(f"{'all':<18}{one:8.3f} s {four:8.3f} s {four / one:6.2f}")
    print(f"memory beyond the imports: {best[1]['MB']:.0f} MB, {best[4]['MB']:.0f} MB")


if __name__ == "__main__":
    main()
