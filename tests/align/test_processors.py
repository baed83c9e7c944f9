"""The default recogniser on the sample call, under the instruction sets that other processors have.

Rounding differs from one to the next, and a sequence model turns one bit into another word. So a bound here
is one that must hold on all of them; what one processor happens to give is not asserted anywhere.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from corpus.align.sidecars import read_sidecars
from corpus.align.transcribe import open_transcriber
from corpus.schemas.codec import to_plain
from corpus.schemas.conversation import Turn
from corpus.schemas.pcm import Pcm
from corpus.schemas.settings import TranscribeSettings

LACKING = 3
"""The exit code by which `recognise.py` says that the processor has not the instruction set."""
INSTRUCTION_SETS = ("GENERIC", "AVX2", "AVX512")
THREADS = ("1", "2")
"""`OMP_NUM_THREADS`: it moves the rounding too. Workers of a build set it to 1."""
WORST_WER = 0.26
WIDEST_SPREAD = 0.02
"""The call has 81 words, so one word is 0.012. Four roundings on one processor gave 0.210 each, a word more
than the bar of 0.20 (benchmarks/RESULTS.md); others are not known. Four words of margin, so that a new
processor does not fail where nothing is broken, and a loop, which costs twenty words and more, still does.
The spread is that of the bar."""

pytestmark = pytest.mark.models


@dataclass(frozen=True, slots=True)
class Result:
    """What one process recognised."""

    words: list[dict[str, object]]
    drops: list[dict[str, object]]


Recognise = Callable[..., Result]


@pytest.fixture(scope="module")
def recognise(sample_pcm: Pcm, sample_turns: list[Turn], sample_path: Path) -> Recognise:
    """Words of the call under an instruction set, None for the processor's own; skips where it lacks it."""

    @cache
    def run(instructions: str | None, threads: str | None) -> Result | None:
        chosen = {"CT2_FORCE_CPU_ISA": instructions} if instructions else {}
        if threads is not None:
            chosen["OMP_NUM_THREADS"] = threads
        script = Path(__file__).with_name("recognise.py")
        windows = str(sum(segment.windows for segment in sample_pcm.segments))
        done = subprocess.run(
            [sys.executable, str(script), str(sample_path), windows, json.dumps(to_plain(sample_turns))],
            env={**os.environ, **chosen},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == LACKING:
            return None
        assert done.returncode == 0, done.stderr
        return Result(**json.loads(done.stdout))

    def words(instructions: str | None, threads: str | None = None) -> Result:
        found = run(instructions, threads)
        if found is None:
            pytest.skip(f"this processor lacks {instructions}")
        return found

    return words


def plain(text: str) -> str:
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())


@pytest.fixture(scope="module")
def word_error(sample_folder: Path) -> Callable[[Result], float]:
    import jiwer

    truth, _ = read_sidecars([sample_folder / "sample.stm"], 30_000_000)
    wanted = plain(" ".join(word.text for word in truth.words or ()))
    return lambda found: float(jiwer.wer(wanted, plain(" ".join(str(word["text"]) for word in found.words))))


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("instructions", INSTRUCTION_SETS)
def test_no_loop_decides_the_words_of_the_sample_call(
    instructions: str,
    threads: str | None,
    recognise: Recognise,
    word_error: Callable[[Result], float],
) -> None:
    found = recognise(instructions, threads)
    print(f"WER {word_error(found):.3f}")  # `pytest -rP` shows it
    assert word_error(found) <= WORST_WER
    assert {word["speaker"] for word in found.words} == {"speaker90", "speaker91"}
    assert all(word["confidence"] is not None for word in found.words)
    timing = Counter(str(word["timing"]) for word in found.words)
    assert timing.keys() <= {"aligned", "recognised"}
    assert timing["aligned"] >= 0.8 * timing.total()
    assert all(drop["kind"] == "trim" and drop["count"] for drop in found.drops)


def test_instruction_sets_agree_within_the_spread(
    recognise: Recognise, word_error: Callable[[Result], float]
) -> None:
    errors: list[float] = []
    for instructions, threads in product(INSTRUCTION_SETS, THREADS):
        try:
            errors.append(word_error(recognise(instructions, threads)))
        except pytest.skip.Exception:
            continue  # the test above says which
    assert len(errors) >= 2
    assert max(errors) - min(errors) <= WIDEST_SPREAD


def test_two_processes_recognise_the_same(
    recognise: Recognise, sample_pcm: Pcm, sample_turns: list[Turn]
) -> None:
    done = open_transcriber(TranscribeSettings())(sample_pcm, sample_turns, None)
    assert Result(to_plain(done.words), to_plain(done.drops)) == recognise(None)
