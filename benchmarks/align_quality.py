"""Diarization and word errors of the default models on real conversations.

    python benchmarks/align_quality.py [FOLDER]

FOLDER holds `x.wav` (16 kHz mono) with `x.rttm` and `x.json` (conversation form); without one only the
call that ships with pyannote.audio is measured. DER: overlap scored, the whole file evaluated, collar
0 and 0.25 s on both sides of every boundary. WER: lower case, punctuation dropped, all speakers' words in
order of time.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import tempfile
import time
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jiwer
import numpy as np
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from corpus.align.diarize import open_diarizer
from corpus.align.sidecars import read_sidecars
from corpus.align.transcribe import open_transcriber
from corpus.schemas.artifacts import Segment as Windows
from corpus.schemas.conversation import Turn, Word
from corpus.schemas.pcm import Pcm
from corpus.schemas.settings import DiarizeSettings, TranscribeSettings

COLLARS_S = (0.0, 0.25)


@dataclass(frozen=True, slots=True)
class Item:
    """One file with its truth."""

    sound: Path
    turns: tuple[Turn, ...]
    text: str


def load(path: Path, folder: Path) -> Pcm:
    """The sound as a decode folder; the last window is filled with zeros."""
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (16000, 1, 2):
            raise SystemExit(f"{path.name} is not 16 kHz mono 16-bit")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    windows = -(-len(samples) // 3200)
    np.pad(samples, (0, windows * 3200 - len(samples))).tofile(folder / "channel-0.i16")
    return Pcm(folder, 1, [Windows(first_window=0, windows=windows)], 16000)


def sample() -> Item:
    """The call inside the pyannote.audio package."""
    spec = importlib.util.find_spec("pyannote.audio")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "sample"
    rttm, _ = read_sidecars([folder / "sample.rttm"], 30_000_000)
    stm, _ = read_sidecars([folder / "sample.stm"], 30_000_000)
    return Item(folder / "sample.wav", rttm.turns or (), text_of(stm.words or ()))


def items(folder: Path) -> Iterator[Item]:
    for sound in sorted(folder.glob("*.wav")):
        rttm, _ = read_sidecars([sound.with_suffix(".rttm")], 10**12)
        told, _ = read_sidecars([sound.with_suffix(".json")], 10**12)
        yield Item(sound, rttm.turns or (), text_of(told.words or ()))


def text_of(words: Sequence[Word]) -> str:
    """Words as they are compared: by time, lower case, letters only, spelled letters apart."""
    said = " ".join(word.text for word in sorted(words, key=lambda word: word.start_us or 0))
    return " ".join(re.sub(r"[^a-z0-9' ]", " ", said.lower()).split())


def annotation(turns: Sequence[Turn]) -> Annotation:
    made = Annotation()
    for number, turn in enumerate(turns):
        made[Segment(turn.start_us / 1e6, turn.stop_us / 1e6), number] = turn.speaker
    return made


def measure(name: str, found: Sequence[Item]) -> None:
    diarizer, transcriber = open_diarizer(DiarizeSettings()), open_transcriber(TranscribeSettings())
    ders = {collar: DiarizationErrorRate(collar=2 * collar, skip_overlap=False) for collar in COLLARS_S}
    texts: list[str] = []
    sound_s = diarized_s = transcribed_s = 0.0
    for item in found:
        with tempfile.TemporaryDirectory() as folder:
            pcm = load(item.sound, Path(folder))
            length_s = pcm.stop_sample / pcm.sample_rate_hz
            began = time.perf_counter()
            turns, _ = diarizer(pcm)
            middle = time.perf_counter()
            words = transcriber(pcm, turns, None).words
            sound_s += length_s
            diarized_s += middle - began
            transcribed_s += time.perf_counter() - middle
        texts.append(text_of(words))
        for metric in ders.values():
            metric(annotation(item.turns), annotation(turns), uem=Timeline([Segment(0, length_s)]))
    told = "  ".join(f"DER (collar {collar:g}) {abs(metric):.3f}" for collar, metric in ders.items())
    errors = jiwer.process_words([item.text for item in found], texts)
    print(
        f"{name}: {len(found)} files, {sound_s:.0f} s  {told}  WER {errors.wer:.3f}"
        f" (S {errors.substitutions} D {errors.deletions} I {errors.insertions} of"
        f" {sum(len(item.text.split()) for item in found)})"
        f"  time/sound: diarize {diarized_s / sound_s:.2f}, transcribe {transcribed_s / sound_s:.2f}"
    )


if __name__ == "__main__":
    measure("pyannote sample", [sample()])
    if len(sys.argv) > 1:
        measure(Path(sys.argv[1]).name, list(items(Path(sys.argv[1]))))
