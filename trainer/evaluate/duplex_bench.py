"""Writes held-out clips in the folder layout of Full-Duplex-Bench v1, so that its scripts can judge a model.

    FOLDER/pause_handling/1/        input.wav  output.wav  output.json  pause.json
    FOLDER/smooth_turn_taking/1/    input.wav  output.wav  output.json  turn_taking.json
    FOLDER/user_interruption/1/     input.wav  output.wav  output.json  interrupt.json
    FOLDER/backchannel/1/           input.wav  output.wav  output.json
    FOLDER/icc_gt_distribution.json     for each backchannel sample: the person's, over 0.2 s bins

A sample is the stretch around one cue of a conversation in which the model ran freely. Both files share a
clock that begins with the sample. A backchannel sample is a whole clip. Samples of pauses and ends of turns
begin where the other took the floor, because the published scripts count all speech in a sample.

`output.json` holds `text` and `chunks` of words with `timestamp` in seconds; for an interruption only those
after its end, as in the published transcription. The words are those that the model wrote, each with the
windows in which it was heard; no recogniser listens to `output.wav`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from corpus.schemas.arrays import Int16Array
from corpus.schemas.clock import WINDOW_US
from corpus.schemas.errors import StorageError
from corpus.trainer.config import RunConfig
from corpus.trainer.data.documents import Documents
from corpus.trainer.evaluate import timing
from corpus.trainer.evaluate.evaluate import held_out_config, run_free
from corpus.trainer.evaluate.timing_cases import Scene, scene_of
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.session.sampling import Sampling
from corpus.trainer.session.session import MicroTurnOut
from corpus.trainer.session.talk import voice_of, wave_bytes
from corpus.trainer.session.talk_user import WINDOW_SAMPLES, user_of

BEFORE_WINDOWS = 25
"""Windows of conversation before the cue in a sample."""

Chunk = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """One folder to write: windows `[start, stop)` of a clip."""

    task: str
    start: int
    stop: int
    told: int
    """Words heard before this window are left out."""
    label: tuple[str, list[dict[str, Any]]] | None
    """Name and content of its label file."""


def write_bench(
    model: InteractionModel,
    config: RunConfig,
    data: Path,
    out: Path,
    *,
    split: str = "validation",
    sampling: Sampling | None = None,
    seed: int = 0,
    most: int | None = None,
) -> int:
    """Run the model freely through a split and write every sample; returns their number.

    Raises:
        StorageError: `out` cannot be written.
    """
    documents = Documents(held_out_config(config, data, split))
    if out.exists() and not out.is_dir():
        raise StorageError("is not a folder", where=str(out), todo="name another one")
    numbers: dict[str, int] = {}
    references: dict[str, list[float]] = {}
    count = len(documents) if most is None else min(most, len(documents))
    try:
        for document in range(count):
            view, scene = documents.view(document), scene_of(documents, document)
            samples = _samples_of(scene, _others_words(documents, document))
            if not samples:
                continue
            outs = list(
                run_free(model, documents, document, sampling=sampling or Sampling(), seed=seed, sound=True)
            )
            user, voice = user_of(f"{data}:{view.key}", view.speaker).samples, voice_of(outs)
            chunks = words_of(outs)
            for sample in samples:
                numbers[sample.task] = numbers.get(sample.task, 0) + 1
                folder = out / sample.task / str(numbers[sample.task])
                _write(folder, sample, user, voice, chunks)
                if sample.task == "backchannel":
                    # One more bin than windows, so that the published script need not interpolate.
                    bins = timing.filled(scene.backchannels, len(scene.human_W) + 1)
                    references[folder.name] = bins.tolist()
        if references:
            text = json.dumps(references, sort_keys=True)
            (out / "icc_gt_distribution.json").write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(out)) from error
    return sum(numbers.values())


def _samples_of(scene: Scene, words: Sequence[tuple[int, str]] = ()) -> list[_Sample]:
    """The samples of a clip. Times in label files are seconds from the sample's start; `words` are those of
    others, each with the window in which it begins."""

    def told_in(first: int, stop: int) -> str:
        return " ".join(word for window, word in words if first <= window < stop)

    windows = len(scene.human_W)
    samples = []
    for pause in scene.pauses:
        start, stop = _floor(scene, pause.first), min(windows, pause.stop + timing.HEARD_AFTER)
        label = ("pause.json", [{"text": "[PAUSE]"}])
        samples.append(_sample("pause_handling", start, stop, (pause.first, pause.stop), label))
    for end in scene.ends:
        start, stop = _floor(scene, end.first), timing.answer_stop(scene.other_W, end.first)
        label = ("turn_taking.json", [{"text": "[TURN-TAKING]"}])
        samples.append(_sample("smooth_turn_taking", start, stop, (end.first, end.stop), label))
    for window in scene.interrupted:
        ended = timing.interruption_end(scene.other_W, window)
        start, stop = max(0, window - BEFORE_WINDOWS), timing.answer_stop(scene.other_W, ended)
        asked = {"context": told_in(start, window), "interrupt": told_in(window, ended)}
        label = ("interrupt.json", [asked])
        samples.append(_sample("user_interruption", start, stop, (window, ended), label, told=ended))
    if scene.backchannels:
        samples.append(_Sample(task="backchannel", start=0, stop=windows, told=0, label=None))
    return samples


def _others_words(documents: Documents, document: int) -> list[tuple[int, str]]:
    """The words of everybody but the model's speaker, each with the window in which it begins."""
    view = documents.view(document)
    head = documents.clips[view.place].json
    words = [word for word in head.words if word.speaker != view.speaker and word.start_us is not None]
    return [
        ((word.start_us or 0) // WINDOW_US - head.first_window, word.text + word.after)
        for word in sorted(words, key=lambda word: (word.start_us or 0, word.id))
    ]


def _floor(scene: Scene, cue: int) -> int:
    """The first window of a sample: after the person has stopped, and not too long before the cue."""
    start = max(0, cue - BEFORE_WINDOWS)
    spoken = np.flatnonzero(scene.human_W[start:cue])
    return start + int(spoken[-1]) + 1 if len(spoken) else start


def _sample(
    task: str,
    start: int,
    stop: int,
    span: tuple[int, int],
    label: tuple[str, list[dict[str, Any]]],
    *,
    told: int = 0,
) -> _Sample:
    times = [_seconds(window - start) for window in span]
    name, (entry,) = label
    label = (name, [{**entry, "timestamp": times}])
    return _Sample(task=task, start=start, stop=stop, told=max(told, start), label=label)


def _seconds(windows: float) -> float:
    return round(windows * timing.WINDOW_S, 3)


def words_of(outs: Sequence[MicroTurnOut]) -> list[Chunk]:
    """The model's words, each timed from the window in which it begins to the end of its last window.

    Silence ends a word.
    """
    letters = [(letter, out.turn + 1) for out in outs for letter in (out.text if out.speak else " ")]
    chunks: list[Chunk] = []
    word, first, last = "", 0, 0
    for letter, window in [*letters, (" ", 0)]:
        if letter.isspace():
            if word:
                chunks.append({"text": word, "timestamp": [_seconds(first), _seconds(last + 1)]})
            word = ""
            continue
        first, last = (first if word else window), window
        word += letter
    return chunks


def _write(
    folder: Path, sample: _Sample, user: Int16Array, voice: Int16Array, chunks: Sequence[Chunk]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    part = slice(sample.start * WINDOW_SAMPLES, sample.stop * WINDOW_SAMPLES)
    (folder / "input.wav").write_bytes(wave_bytes(user[part, None]))
    (folder / "output.wav").write_bytes(wave_bytes(voice[part, None]))
    begin, told_s, end = _seconds(sample.start), _seconds(sample.told), _seconds(sample.stop)
    inside = []
    for chunk in chunks:
        # A word begun before the sample answers something else. One begun during an interruption is partly
        # heard after it.
        first, last = max(told_s, chunk["timestamp"][0]), min(end, chunk["timestamp"][1])
        if begin <= chunk["timestamp"][0] and first < last:
            times = [round(first - begin, 3), round(last - begin, 3)]
            inside.append({"text": chunk["text"], "timestamp": times})
    text = " ".join(chunk["text"] for chunk in inside)
    (folder / "output.json").write_text(
        json.dumps({"text": text, "chunks": inside}, ensure_ascii=False), encoding="utf-8"
    )
    if sample.label is not None:
        name, content = sample.label
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
