"""Runs a model over Full-Duplex-Bench's own samples, v1 and v1.5, in the layout of its authors.

    DIR/…/ID/input.wav          -> output.wav, output.json
    DIR/…/ID/clean_input.wav    -> clean_output.wav, clean_output.json    (v1.5: without the overlap)
                                   input.json, clean_input.json           (v1.5, with a recogniser only)

Every output keeps the clock and the length of its input: the user's window i is answered in window i + 1.
`*.json` hold `text` and `chunks` of words with `timestamp` in seconds; beside an `interrupt.json`, only words
after the end of the interruption, as in the published transcription. The words are those that the model
wrote, or with a recogniser those that it hears in the sound, as in the benchmark's own figures.

Figures by the definitions of the v1 scripts are computed, too, where those scripts use only words.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus.schemas.arrays import Int16Array
from corpus.schemas.errors import FormatError, StorageError, UsageError
from corpus.schemas.files import write_whole
from corpus.trainer.evaluate.duplex_bench import Chunk, words_of
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.session.sampling import Sampling
from corpus.trainer.session.talk import run, voice_of, wave_bytes
from corpus.trainer.session.talk_user import User, read_sound, user_of

Recogniser = Callable[[Int16Array], list[Chunk]]
"""Words in int16 sound at 16 kHz, with their times in seconds."""
RATE = 16_000
PAIRS = (("input.wav", "output"), ("clean_input.wav", "clean_output"))
LABELS = {
    "pause.json": "pause_handling",
    "turn_taking.json": "smooth_turn_taking",
    "interrupt.json": "user_interruption",
}
TAKEN_S, TAKEN_WORDS = 1.0, 3
"""A turn is taken by speech of at least this length, or of more words than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _TaskFigures:
    """Figures of the samples with one kind of label file, by the published scripts' definitions."""

    task: str
    samples: int
    taken: int
    latency_s: float | None
    """Mean time from the label to the first word, where a turn was taken; None if none was. The published
    script divides by their number and fails there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FdbResult:
    samples: int
    clean: int
    """Number of samples with a `clean_input.wav`."""
    recognised: bool
    tasks: tuple[_TaskFigures, ...]


def run_folder(
    model: InteractionModel,
    folder: Path,
    *,
    recogniser: Recogniser | None = None,
    sampling: Sampling | None = None,
    seed: int = 0,
    replace: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> FdbResult:
    """Answer every sample below a folder; outputs are written beside the inputs.

    Raises:
        UsageError: no sample, or outputs of another run that must not be replaced.
        FormatError: a label file cannot be read.
        MediaError: an input is not sound.
        StorageError: an output cannot be written.
    """
    samples = sorted({path.parent for path in folder.rglob("input.wav")})
    if not samples:
        todo = "name a folder with ID/input.wav in it, as the benchmark is unpacked"
        raise UsageError("holds no sample", where=str(folder), todo=todo)
    there = [sample for sample in samples if (sample / "output.wav").exists()]
    if there and not replace:
        todo = "give --replace, or a copy of the folder without them"
        raise UsageError(f"{len(there)} samples have an output.wav already", where=str(there[0]), todo=todo)
    cases_of: dict[str, list[tuple[bool, float | None]]] = {}
    clean = 0
    for number, sample in enumerate(samples, 1):
        label = _label_of(sample)
        cut_s = label[1][1] if label is not None and label[0] == "interrupt.json" else 0.0
        for input_name, output_name in PAIRS:
            if (sample / input_name).exists():
                chunks = _answer(
                    model, sample, input_name, output_name, recogniser, sampling or Sampling(), seed, cut_s
                )
                if label is not None and output_name == "output":
                    cases_of.setdefault(LABELS[label[0]], []).append(_taken(chunks, label))
        clean += (sample / "clean_input.wav").exists()
        if progress is not None:
            progress(number, len(samples))
    return FdbResult(
        samples=len(samples),
        clean=clean,
        recognised=recogniser is not None,
        tasks=tuple(_figures(task, cases) for task, cases in sorted(cases_of.items())),
    )


def _answer(
    model: InteractionModel,
    sample: Path,
    input_name: str,
    output_name: str,
    recogniser: Recogniser | None,
    sampling: Sampling,
    seed: int,
    cut_s: float,
) -> list[Chunk]:
    """Answer one input; writes its output and the words in it."""
    length = len(read_sound(sample / input_name))
    user = user_of(str(sample / input_name))
    outs, _ = run(model, user, (), sampling=sampling, seed=seed)
    voice = voice_of(outs)[:length]
    if recogniser is None:
        chunks = [chunk for chunk in words_of(outs) if chunk["timestamp"][0] * RATE < length]
    else:
        chunks = _heard(recogniser, voice, cut_s)
    inside = [chunk for chunk in chunks if chunk["timestamp"][0] >= cut_s]
    files = {f"{output_name}.wav": wave_bytes(voice[:, None]), f"{output_name}.json": _words(inside)}
    if recogniser is not None and (sample / "clean_input.wav").exists():
        files[f"{Path(input_name).stem}.json"] = _words(recogniser(_shown(user, length)))
    try:
        for name, data in files.items():
            write_whole(sample / name, data)
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(sample)) from error
    return inside


def _shown(user: User, length: int) -> Int16Array:
    return user.samples[:length]


def _heard(recogniser: Recogniser, voice: Int16Array, cut_s: float) -> list[Chunk]:
    """Words after a time, on the clock of the whole output."""
    heard = recogniser(voice[round(cut_s * RATE) :])
    return [
        {"text": chunk["text"], "timestamp": [round(time + cut_s, 3) for time in chunk["timestamp"]]}
        for chunk in heard
    ]


def _words(chunks: Sequence[Chunk]) -> bytes:
    text = " ".join(chunk["text"].strip() for chunk in chunks)
    return json.dumps({"text": text, "chunks": list(chunks)}, ensure_ascii=False, indent=1).encode()


def _label_of(sample: Path) -> tuple[str, tuple[float, float]] | None:
    """The name of the sample's label file, and the times in it."""
    for name in LABELS:
        if (sample / name).is_file():
            try:
                entry: Any = json.loads((sample / name).read_bytes())[0]
                start, stop = (float(time) for time in entry["timestamp"])
            except (ValueError, TypeError, KeyError, IndexError) as error:
                what = f"is not a list with a timestamp of two numbers: {error}"
                raise FormatError(what, where=str(sample / name)) from error
            return name, (start, stop)
    return None


def _taken(chunks: Sequence[Chunk], label: tuple[str, tuple[float, float]]) -> tuple[bool, float | None]:
    """Whether a turn was taken, and how long after the label's time, at least 0."""
    if not chunks:
        return False, None
    first, last = chunks[0]["timestamp"][0], chunks[-1]["timestamp"][1]
    if last - first < TAKEN_S and len(chunks) <= TAKEN_WORDS:
        return False, None
    name, (start, stop) = label
    return True, max(0.0, first - (stop if name == "interrupt.json" else start))


def _figures(task: str, cases: Sequence[tuple[bool, float | None]]) -> _TaskFigures:
    late = [latency for taken, latency in cases if taken and latency is not None]
    mean = sum(late) / len(late) if late and task != "pause_handling" else None
    return _TaskFigures(task=task, samples=len(cases), taken=sum(taken for taken, _ in cases), latency_s=mean)


def said(result: FdbResult) -> Iterator[str]:
    """Notes for running the published scripts on the folder."""
    for task in result.tasks:
        share = task.taken / task.samples
        late = "" if task.latency_s is None else f", {task.latency_s:.2f} s after"
        yield f"{task.task}: takes the turn in {task.taken} of {task.samples} samples ({share:.3f}){late}"
        if not task.taken and task.task != "pause_handling":
            yield (
                f"  the published script for {task.task} divides by the number of turns taken, which is 0 "
                "here: it will end with an error, and the result is a share of 0 and no latency"
            )
    if not result.recognised:
        yield "the words are those the model wrote; --asr has them recognised in output.wav, as published"
    if result.clean and not result.recognised:
        yield "input.json and clean_input.json, which the task `behavior` reads, are written with --asr only"
