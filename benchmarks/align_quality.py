"""Speakers and words from the default models on real conversations, compared with the bars of RESULTS.md.

    python benchmarks/align_quality.py [FOLDER] [--joins] [--sounds] [--long] [--instructions AVX2 ...]

FOLDER holds `x.wav` (16 kHz mono) with `x.rttm` and `x.json` (conversation form); without a folder only the
call that ships with pyannote.audio is measured. The mean voice excludes the measured recording
(`campplus_mean.json` holds each recording's part). `--joins` adds pairs of FOLDER's clips, in the order of
names, with their sounds joined, and every second pair also apart; a name stands for one person in both clips,
as in AMI's corpus. `--long` makes one recording of some seven minutes from the call and FOLDER's clips, each
twice, out of order. `--sounds` counts the words invented in a minute each of silence, synthetic music and
noise. Words are recognised under each instruction set in a separate process. DER scores overlaps and the
whole file, with a collar of 0 and 0.25 s on both sides of every boundary. Words are counted like in `corpus
score`, with the detected turns. CPU is seconds of this process and its children per second of sound, and by
stage.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from corpus.align import bundled, campplus
from corpus.align.diarize import open_diarizer
from corpus.align.forced import PocketSphinx
from corpus.align.score import Counts, Said, compare, figures, pooled
from corpus.align.sidecars import read_sidecars
from corpus.align.transcribe import open_transcriber
from corpus.align.whisper import Whisper
from corpus.schemas.artifacts import Segment as Windows
from corpus.schemas.codec import to_plain
from corpus.schemas.conversation import Turn, Word
from corpus.schemas.pcm import Pcm
from corpus.schemas.settings import DiarizeSettings, TranscribeSettings

COLLARS_S = (0.0, 0.25)
INSTRUCTION_SETS = ("GENERIC", "AVX2", "AVX512")
LACKING = 3
"""Exit code: this processor has not the instruction set."""
LEFT_OUT = "EN2001b"
"""Has three words, which nobody would understand: left out of the figures of words and of the joins."""
WORD_FIGURES = (
    "wer", "cpwer", "fillers_heard", "fillers", "fillers_false", "words_lost_overlap", "words_lost_alone",
    "word_start_median_ms", "word_start_p90_ms",
)  # fmt: skip
RATE_HZ = 16_000
_MEAN_VOICE = campplus.background


class Stages:
    """Measures CPU seconds spent in functions by wrapping them in place."""

    def __init__(self, of: dict[str, tuple[Any, str]]) -> None:
        self._seconds = dict.fromkeys(of, 0.0)
        for stage, (owner, name) in of.items():
            setattr(owner, name, self._timed(stage, getattr(owner, name)))

    def _timed(self, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            began = time.process_time()
            try:
                return work(*given, **named)
            finally:
                self._seconds[stage] += time.process_time() - began

        return timed

    def told(self, of_sound_s: float) -> str:
        """CPU seconds per second of sound since the last call, as text."""
        seconds, self._seconds = self._seconds, dict.fromkeys(self._seconds, 0.0)
        return ", ".join(f"{stage} {spent / of_sound_s:.3f}" for stage, spent in seconds.items())


@dataclass(frozen=True, slots=True)
class Item:
    """A file with its truth."""

    name: str
    sound: npt.NDArray[np.int16]
    said: Said

    @property
    def length_s(self) -> float:
        return len(self.sound) / RATE_HZ


def sound_of(path: Path) -> npt.NDArray[np.int16]:
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE_HZ, 1, 2):
            raise SystemExit(f"{path.name} is not 16 kHz mono 16-bit")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def decoded(sound: npt.NDArray[np.int16], folder: Path) -> Pcm:
    """The sound as a decode folder; the last window is filled with zeros."""
    windows = -(-len(sound) // 3200)
    np.pad(sound, (0, windows * 3200 - len(sound))).astype("<i2").tofile(folder / "channel-0.i16")
    return Pcm(folder, 1, [Windows(first_window=0, windows=windows)], RATE_HZ)


def sample() -> Item:
    """The call inside the pyannote.audio package."""
    spec = importlib.util.find_spec("pyannote.audio")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "sample"
    rttm, _ = read_sidecars([folder / "sample.rttm"], 30_000_000)
    stm, _ = read_sidecars([folder / "sample.stm"], 30_000_000)
    said = Said(rttm.turns or (), stm.words or (), 30_000_000)
    return Item("sample", sound_of(folder / "sample.wav"), said)


def items(folder: Path) -> Iterator[Item]:
    for path in sorted(folder.glob("*.wav")):
        rttm, _ = read_sidecars([path.with_suffix(".rttm")], 10**12)
        told, _ = read_sidecars([path.with_suffix(".json")], 10**12)
        sound = sound_of(path)
        said = Said(rttm.turns or (), told.words or (), len(sound) * 1_000_000 // RATE_HZ)
        yield Item(path.stem, sound, said)


def annotation(turns: Sequence[Turn]) -> Annotation:
    made = Annotation()
    for number, turn in enumerate(turns):
        made[Segment(turn.start_us / 1e6, turn.stop_us / 1e6), number] = turn.speaker
    return made


def stages_of_speakers() -> Stages:
    return Stages({"windows": (bundled, "posteriors"), "voices": (bundled, "_voices")})


def stages_of_words() -> Stages:
    return Stages(
        {
            "encoder": (Whisper, "encode"),
            "decoder": (Whisper, "generate_with_fallback"),
            "word times": (Whisper, "find_alignment"),
            "aligner": (PocketSphinx, "__call__"),
        }
    )


def speakers(name: str, found: Sequence[Item], stages: Stages) -> dict[str, list[Turn]]:
    """Print DER and return the turns."""
    diarizer = open_diarizer(DiarizeSettings())
    ders = {collar: DiarizationErrorRate(collar=2 * collar, skip_overlap=False) for collar in COLLARS_S}
    turns: dict[str, list[Turn]] = {}
    too_few = cpu_s = 0.0
    for item in found:
        with tempfile.TemporaryDirectory() as folder:
            mean_voice_without(item)
            began = time.process_time()
            turns[item.name], _ = diarizer(decoded(item.sound, Path(folder)))
            cpu_s += time.process_time() - began
        count = len({t.speaker for t in item.said.turns}) - len({t.speaker for t in turns[item.name]})
        too_few += count / len(found)
        for metric in ders.values():
            truth, guess = annotation(item.said.turns), annotation(turns[item.name])
            metric(truth, guess, uem=Timeline([Segment(0, item.length_s)]))
    told = "  ".join(f"DER (collar {collar:g}) {abs(metric):.3f}" for collar, metric in ders.items())
    seconds = sum(item.length_s for item in found)
    print(
        f"{name}: {len(found)} files, {seconds:.0f} s  {told}  speakers too few {too_few:+.2f}"
        f"  CPU {cpu_s / seconds:.3f} ({stages.told(seconds)})",
        flush=True,
    )
    return turns


def mean_voice_without(*left_out: Item) -> None:
    """The mean voice without a recording, which must not be measured with its own part."""
    campplus.background = partial(_MEAN_VOICE, tuple(item.name for item in left_out))


def joins(found: Sequence[Item]) -> None:
    """Each pair of clips as one recording."""
    ders, ders_of_second = (DiarizationErrorRate(collar=0.0, skip_overlap=False) for _ in range(2))
    too_few: list[int] = []
    for number, (one, other) in enumerate(combinations(found, 2)):
        mean_voice_without(one, other)
        at_us = one.said.duration_us
        later = [
            Turn(speaker=t.speaker, start_us=t.start_us + at_us, stop_us=t.stop_us + at_us)
            for t in other.said.turns
        ]
        truth = [*one.said.turns, *later]
        with tempfile.TemporaryDirectory() as folder:
            sound = np.concatenate([one.sound, other.sound])
            turns, _ = open_diarizer(DiarizeSettings())(decoded(sound, Path(folder)))
        for metric in (ders,) if number % 2 else (ders, ders_of_second):
            metric(annotation(truth), annotation(turns), uem=Timeline([Segment(0, len(sound) / RATE_HZ)]))
        too_few.append(len({t.speaker for t in truth}) - len({t.speaker for t in turns}))
    for ders_of, counts in ((ders, too_few), (ders_of_second, too_few[::2])):
        print(f"joins of two: {len(counts)} pairs  DER {abs(ders_of):.3f}", end="")
        print(f"  speakers too few {np.mean(counts):+.2f}", flush=True)


def words(found: Sequence[Item], turns: dict[str, list[Turn]]) -> None:
    """Count the words of each set of files, in this process; prints one JSON object."""
    transcriber = open_transcriber(TranscribeSettings())
    counts: dict[str, Counts] = {}
    stages = stages_of_words()
    cpu_s = 0.0
    for item in found:
        with tempfile.TemporaryDirectory() as folder:
            began = time.process_time()
            done = transcriber(decoded(item.sound, Path(folder)), turns[item.name], None)
            cpu_s += time.process_time() - began
        guess = Said(tuple(turns[item.name]), tuple(done.words), item.said.duration_us)
        counts[item.name] = compare(item.said, guess)
    of_clips = [count for name, count in counts.items() if name != "sample" and not name.startswith(LEFT_OUT)]
    of_sample = figures(counts["sample"]) if "sample" in counts else {}
    seconds = sum(item.length_s for item in found)
    told = {"sample": of_sample, "clips": figures(pooled(of_clips)) if of_clips else {}}
    print(json.dumps({**told, "cpu": cpu_s / seconds, "stages": stages.told(seconds)}))


def words_under(instructions: str, folder: Path | None, turns: dict[str, list[Turn]]) -> None:
    """Print the figures of words under an instruction set, which is chosen when the library is loaded."""
    done = subprocess.run(
        [sys.executable, __file__, *([str(folder)] if folder else []), "--words-only"],
        input=json.dumps({name: to_plain(found) for name, found in turns.items()}),
        env={**os.environ, "CT2_FORCE_CPU_ISA": instructions},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == LACKING:
        print(f"words, {instructions}: this processor lacks it")
        return
    if done.returncode:
        raise SystemExit(done.stderr)
    told = json.loads(done.stdout.splitlines()[-1])
    print(f"words, {instructions}: sample WER {told['sample']['wer']:.3f}", end="")
    print(f"  CPU {told['cpu']:.3f} ({told['stages']})")
    for name in WORD_FIGURES:
        if name in told["clips"]:
            print(f"  clips {name} {told['clips'][name]}")
    sys.stdout.flush()


def long_recording(found: Sequence[Item]) -> Item:
    """All items one after the other, and once more with every second one moved to the end."""
    order = [*found, *found[::2], *found[1::2]]
    turns, words, at_us = list[Turn](), list[Word](), 0
    for item in order:
        turns += [replace(t, start_us=t.start_us + at_us, stop_us=t.stop_us + at_us) for t in item.said.turns]
        words += [
            replace(w, start_us=(w.start_us or 0) + at_us, stop_us=(w.stop_us or 0) + at_us)
            for w in item.said.words
        ]
        at_us += item.said.duration_us
    sound = np.concatenate([item.sound for item in order])
    return Item("long", sound, Said(tuple(turns), tuple(words), at_us))


def made_up(seconds: int = 60) -> Iterator[tuple[str, npt.NDArray[np.int16]]]:
    rng = np.random.default_rng(1)
    count = seconds * RATE_HZ
    yield "silence", np.zeros(count, np.int16)
    yield "noise", (rng.standard_normal(count) * 1500).astype(np.int16)
    music = np.zeros(count)
    for first in range(0, count, RATE_HZ // 2):
        times = np.arange(RATE_HZ // 2) / RATE_HZ
        for half_tones in rng.choice([0, 3, 5, 7, 10, 12, 15], 3, replace=False):
            tone = 220 * 2 ** (half_tones / 12)
            waves = sum(np.sin(2 * np.pi * tone * n * times) / n for n in (1, 2, 3))
            music[first : first + len(times)] += waves * np.exp(-4 * times)
    yield "music", (music * 3000).astype(np.int16)


def sounds() -> None:
    """Words where nobody speaks: with the detected turns, and as if somebody talked throughout."""
    diarizer, transcriber = open_diarizer(DiarizeSettings()), open_transcriber(TranscribeSettings())
    for name, sound in made_up():
        with tempfile.TemporaryDirectory() as folder:
            pcm = decoded(sound, Path(folder))
            turns, _ = diarizer(pcm)
            throughout = [Turn(speaker="S1", start_us=0, stop_us=len(sound) * 1_000_000 // RATE_HZ)]
            told = [" ".join(w.text for w in transcriber(pcm, t, None).words) for t in (turns, throughout)]
        print(
            f"{name}: turns {len(turns)}  words {told[0]!r}, with a turn throughout {told[1]!r}", flush=True
        )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--joins", action="store_true")
    parser.add_argument("--sounds", action="store_true")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--instructions", nargs="*", default=INSTRUCTION_SETS)
    parser.add_argument("--words-only", action="store_true", help="turns of the files on stdin")
    asked = parser.parse_args()
    clips = list(items(asked.folder)) if asked.folder else []
    if asked.words_only:
        given = {name: [Turn(**turn) for turn in found] for name, found in json.load(sys.stdin).items()}
        try:
            words([sample(), *clips], given)
        except ValueError as error:
            if "CPU does not support" not in str(error):
                raise
            return LACKING
        return 0
    talking = [clip for clip in clips if not clip.name.startswith(LEFT_OUT)]
    stages = stages_of_speakers()
    turns = speakers("sample call", [sample()], stages)
    if clips:
        turns |= speakers(asked.folder.name, clips, stages)
    for instructions in asked.instructions:
        words_under(instructions, asked.folder, turns)
    if asked.long:
        # Measured with the mean voice of all: without each of these nothing would be left of it.
        long = long_recording([sample(), *talking])
        words([long], speakers("long recording", [long], stages))
    if asked.joins:
        joins(talking)
    if asked.sounds:
        sounds()
    return 0


if __name__ == "__main__":
    sys.exit(main())
