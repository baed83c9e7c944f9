"""Proactive tasks: speak because of something to watch for, not because somebody has stopped talking.

    every     "tick" every n windows after a note that gives n in strokes, until a note says stop
    count     a number in base four, given by a note, when a square's moves end in its last digit
    startstop "go" when a square has begun to move, "end" when it has come to rest
    correct   the right word within a window of a wrong one, while the other goes on talking
    report    a tool's result, at the first pause after it has arrived, or at once if nobody talks

    python benchmarks/proactive.py every startstop correct report

For each task a `tiny` model is trained and then runs freely through held-out recordings; the result is one
line. Rows hold whole recordings (`data.whole`), because a note at the beginning applies to the end; two
thirds of the training recordings are shorter than the held-out ones. Pictures are one patch, and movement in
them is a label for `loss.cues`, in training only. If a task has them, all numbers (in notes, repeated by the
model, or the length of a movement), all words of prompts and all pitches of voices are held out: `TRAINED`
and `HELD_OUT` share none, and tests/benchmarks/test_proactive.py searches the recordings for any. `score` is
found : (found + missed + stray). An utterance is found if it begins within one window of its time and has the
right word; it is stray if it has no such place. Also given are the same score regardless of the word
(`timed`), that of the best constant (the best way of speaking in every p-th window from any start, with the
right words), and `cpu_s` of training, in one thread. Always being silent scores 0. [ ]: the 95 % interval
over recordings.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import ascii_lowercase
from typing import Any
from zlib import crc32

import numpy as np
import torch
from generated import load_rules
from PIL import Image

from corpus.schemas.clip import clip_key
from corpus.schemas.clock import WINDOW_US
from corpus.schemas.conversation import Cue, LabelMade
from corpus.trainer.config import RunConfig
from corpus.trainer.data.documents import Documents
from corpus.trainer.evaluate.confidence import draws, ratio
from corpus.trainer.evaluate.evaluate import run_free
from corpus.trainer.overrides import with_overrides
from corpus.trainer.presets import preset
from corpus.trainer.session.sampling import Sampling
from corpus.trainer.train.load_model import load_model
from corpus.trainer.train.loop import train_model

WINDOWS, SHORTEST = 60, 15
SIDE, SQUARE = 40, 16
HELD_OUT_RECORDINGS = 24
Draft = Any
Due = list[tuple[int, str]]
"""The windows utterances begin in, and their words."""
WAY = (
    *("data.whole=true", "data.rows=6", "log_every=50", "save_every=100000"),
    *("optim.lr=4e-3", "optim.weight_decay=0.01", "optim.warmup_steps=10", "loss.audio=0.2"),
)
SMALL = (
    *("model.layers=3", "model.frames_per_position=8", "model.audio_levels=8", "model.rope_theta=1000"),
    *("model.attention_window_s=none", "model.picture_every=1", "model.text_slots=16", "model.tied=false"),
)
"""With a theta of 1e6 two of the four pairs that tell time would stand still within a recording."""
FALLING = ("optim.lr=2e-3", "optim.decay_share=0.5")
PICTURES = ("model.picture_rows=1", "model.picture_columns=1", "loss.cues=0.3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """The ingredients of recordings; training and held-out recordings share none of them."""

    new_words: bool
    """Of prompts: a quarter of all words is held out."""
    pitches_hz: tuple[tuple[float, float], ...]
    """Ranges of voices."""
    periods: tuple[int, ...]
    """Windows between ticks."""
    counts: tuple[str, ...]
    """Numbers of base four that do not end in nought."""
    moves: tuple[int, ...]
    """Windows a movement lasts."""
    results: tuple[str, ...]


def _apart(values: Sequence[str], share: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split values: all but every `share`-th one, and the others."""
    return tuple(v for k, v in enumerate(values) if k % share != share // 2), tuple(
        values[share // 2 :: share]
    )


_COUNTS = _apart([f"{a}{b}" for a in range(4) for b in (1, 2, 3)], 4)
_RESULTS = _apart([f"{number:02}" for number in range(100)], 7)
TRAINED = Kinds(
    new_words=False,
    pitches_hz=((100, 145), (170, 230)),
    periods=(3, 4, 6, 8, 9),
    counts=_COUNTS[0],
    moves=(3, 4, 6, 7),
    results=_RESULTS[0],
)
HELD_OUT = Kinds(
    new_words=True,
    pitches_hz=((150, 165),),
    periods=(5, 7),
    counts=_COUNTS[1],
    moves=(5, 8),
    results=_RESULTS[1],
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    draw: Callable[[Draft, Kinds], Due]
    """A recording made of these."""
    recordings: int
    """To train on."""
    pairs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The score of one recording."""

    found: int
    timed: int
    missed: int
    stray: int


def says(draft: Draft, at: int, text: str) -> None:
    """Bo says a word of at most one window."""
    draft.tone(0, at, 1, 300, 5000)
    draft.speak(0, at * WINDOW_US, (at + 1) * WINDOW_US, text)


def wording(draft: Draft, kinds: Kinds, value: str) -> str:
    """A note: the value, then a meaningless word."""
    while True:
        word = "".join(draft.rng.choice(list(ascii_lowercase), int(draft.rng.integers(1, 5))))
        if (crc32(word.encode()) % 4 == 0) == kinds.new_words:
            return f"{value} {word}"


def pitch(draft: Draft, kinds: Kinds) -> float:
    """The pitch of a voice; held-out pitches lie between the trained ones."""
    low, high = kinds.pitches_hz[int(draft.rng.integers(len(kinds.pitches_hz)))]
    return float(draft.rng.uniform(low, high))


def voice(draft: Draft, at: int, hz: float, formant: float) -> None:
    """One window of a voice in the room: harmonics, strongest near a formant."""
    phase = 2 * np.pi * hz * np.arange(3200) / 16_000
    wave = sum(
        np.exp(-(((k * hz - formant) / 250) ** 2)) * np.sin(k * phase) + 0.1 * np.sin(k * phase)
        for k in range(1, 20)
    )
    draft.sound[-1, at * 3200 :][:3200] += (2500 * np.asarray(wave)).astype(np.int16)


@cache
def square(corner: int) -> bytes:
    """A picture of one patch with a bright square in one of its corners, as a JPEG."""
    pixels = np.full((SIDE, SIDE, 3), 30, np.uint8)
    top, left = (SIDE - SQUARE) * (corner // 2), (SIDE - SQUARE) * (corner % 2)
    pixels[top : top + SQUARE, left : left + SQUARE] = (240, 220, 60)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def show(draft: Draft, corners: Sequence[int]) -> None:
    draft.picture_size = (SIDE, SIDE)
    draft.pictures = [square(corner) for corner in corners]
    draft.made = [LabelMade(label="visual", made=True)]


def moved(draft: Draft, start: int, stop: int) -> None:
    """A labeler's mark on a movement, from which `loss.cues` learns, in training only."""
    start_us, stop_us = start * WINDOW_US, min(stop, draft.windows) * WINDOW_US
    if start_us < stop_us:
        cue = Cue(
            label="visual",
            kind="motion_start",
            speaker=None,
            start_us=start_us,
            stop_us=stop_us,
            confidence=1.0,
            origin="generated/1",
        )
        draft.cues.append(cue)


def every(draft: Draft, kinds: Kinds) -> Due:
    rng, due, at = draft.rng, Due(), int(draft.rng.integers(0, 3))
    draft.noise(-1, 0, draft.windows, 60)
    while at + 12 < draft.windows:
        n = int(rng.choice(kinds.periods))
        draft.note(at, wording(draft, kinds, "|" * n + ";"))
        times = int(rng.integers(2, 5))
        ticks = [at + n * k for k in range(1, times + 1) if at + n * k < draft.windows]
        due += [(tick, "tick") for tick in ticks]
        last = ticks[-1] + int(rng.integers(1, n - 1))
        if last + 1 < draft.windows:
            draft.note(last, wording(draft, kinds, "!"))
        at = last + int(rng.integers(3, 7))
    for tick, text in due:
        says(draft, tick, text)
    return due


def count(draft: Draft, kinds: Kinds) -> Due:
    rng, due, moves = draft.rng, Due(), 0
    number = str(rng.choice(kinds.counts))
    draft.note(0, wording(draft, kinds, number))
    shown, following = [], int(rng.integers(2, 5))
    for window in range(draft.windows):
        if window == following:
            moves += 1
            following += int(rng.integers(3, 6))
            moved(draft, window, window + 1)
            if moves % 4 == int(number, 4) % 4 and window + 2 < draft.windows:
                due.append((window + 2, number))
        shown.append((0, 1, 3, 2)[moves % 4])
    show(draft, shown)
    for at, text in due:
        says(draft, at, text)
    return due


def startstop(draft: Draft, kinds: Kinds) -> Due:
    rng, due, place = draft.rng, Due(), int(draft.rng.integers(0, 4))
    shown: list[int] = []
    while len(shown) < draft.windows:
        shown += [place] * int(rng.integers(3, 9))
        begins, moves = len(shown), int(rng.choice(kinds.moves))
        for _ in range(moves):
            place = int(rng.choice([corner for corner in range(4) if corner != place]))
            shown.append(place)
        moved(draft, begins, begins + moves)
        due += [(begins + 1, "go"), (begins + moves + 1, "end")]
    show(draft, shown[: draft.windows])
    due = [(at, text) for at, text in due if at < draft.windows]
    for at, text in due:
        says(draft, at, text)
    return due


FORMANTS = {"a": 500.0, "b": 1100.0, "c": 1900.0}


def correct(draft: Draft, kinds: Kinds) -> Due:
    rng, due, hz = draft.rng, Due(), pitch(draft, kinds)
    right = str(rng.choice(list(FORMANTS)))
    draft.note(0, wording(draft, kinds, right))
    at = int(rng.integers(1, 4))
    while at + 6 < draft.windows:
        length = int(rng.integers(4, 11))
        wrong = {int(rng.integers(1, length - 1)) for _ in range(int(rng.integers(0, 3)))}
        for k in range(min(length, draft.windows - at)):
            # After a wrong word come right ones, while it is put right.
            off = k in wrong and not wrong & {k - 1, k - 2}
            word = str(rng.choice([name for name in FORMANTS if name != right])) if off else right
            voice(draft, at + k, hz, FORMANTS[word])
            if off and at + k + 1 < draft.windows:
                due.append((at + k + 1, right))
        at += length + int(rng.integers(2, 6))
    for begin, text in due:
        says(draft, begin, text)
    return due


def report(draft: Draft, kinds: Kinds) -> Due:
    rng, due, hz = draft.rng, Due(), pitch(draft, kinds)
    talks = np.zeros(draft.windows, bool)
    at = int(rng.integers(0, 3))
    while at < draft.windows:
        length = int(rng.integers(3, 9))
        talks[at : at + length] = True
        at += length + int(rng.integers(4, 8))
    for window in np.flatnonzero(talks):
        voice(draft, int(window), hz, float(rng.choice(list(FORMANTS.values()))))
    at = int(rng.integers(1, 5))
    while at + 12 < draft.windows:
        result = str(rng.choice(kinds.results))
        draft.note(at, wording(draft, kinds, result))
        quiet = next((w for w in range(at, draft.windows) if not talks[w]), draft.windows)
        if quiet + 1 >= draft.windows:
            break
        due.append((quiet + 1, result))
        at = quiet + int(rng.integers(4, 10))
    for begin, text in due:
        says(draft, begin, text)
    return due


TASKS = {
    "every": Task(draw=every, recordings=240, pairs=("steps=800", *FALLING)),
    "count": Task(
        draw=count,
        recordings=256,
        pairs=(*PICTURES, "model.layers=4", "data.rows=4", "steps=800", "optim.decay_share=0.6"),
    ),
    "startstop": Task(draw=startstop, recordings=512, pairs=(*PICTURES, "steps=450", *FALLING)),
    "correct": Task(draw=correct, recordings=480, pairs=("steps=1500", "optim.decay_share=0.65")),
    "report": Task(
        draw=report, recordings=1024, pairs=("data.rows=5", "steps=1300", "optim.decay_share=0.7")
    ),
}


def made(
    name: str, folder: Path, seed: int, counts: Mapping[str, int] | None = None
) -> tuple[Path, dict[str, Due]]:
    """The task's dataset, with this many recordings per split, and the utterances due in each recording."""
    rules, drafts, dues = load_rules(), [], {}
    counts = counts or {"train": TASKS[name].recordings, "validation": HELD_OUT_RECORDINGS}
    for split, kinds in (("train", TRAINED), ("validation", HELD_OUT)):
        for number in range(counts[split]):
            draft = rules.Draft(name=f"{name}-{split}-{seed}-{number}", windows=WINDOWS, split=split)
            if split == "train" and number % 3:
                # Shorter ones have a note or two: which of many to repeat is hard to find first.
                windows = int(draft.rng.integers(SHORTEST, WINDOWS))
                draft = rules.Draft(name=draft.name, windows=windows, split=split)
            dues[clip_key(draft.hash, 0)] = TASKS[name].draw(draft, kinds)
            drafts.append(draft)
    return rules.store(folder, drafts, windows_per_clip=WINDOWS), dues


def scored(said: Sequence[tuple[int, str]], due: Due) -> Score:
    """Score utterances, each with the window it begins in, against those due, one to one in order."""
    left, found, timed = list(said), 0, 0
    for at, text in due:
        near = next((one for one in left if abs(one[0] - at) <= 1), None)
        if near is not None:
            left.remove(near)
            timed += 1
            found += near[1] == text
    return Score(found=found, timed=timed, missed=len(due) - timed, stray=len(left))


def lived(model: Any, documents: Documents, document: int) -> list[tuple[int, str]]:
    """The utterances of a model that runs freely."""
    said: list[tuple[int, str]] = []
    speaking = False
    sampling = Sampling(text_temperature=0.0, audio_temperature=0.0)
    for out in run_free(model, documents, document, sampling=sampling):
        if out.speak and not speaking:
            said.append((out.turn + 1, ""))
        if out.speak:
            said[-1] = (said[-1][0], (said[-1][1] + out.text).strip())
        speaking = out.speak
    return said


def best_constant(dues: Sequence[Due]) -> tuple[float, str]:
    """The best score of speaking in every p-th window from the f-th on, with the right words."""
    best = (0.0, "never")
    for period in range(2, WINDOWS):
        for first in range(period):
            score = [scored([(w, "") for w in range(first, WINDOWS, period)], due) for due in dues]
            found = sum(one.timed for one in score)
            all_ = found + sum(one.missed + one.stray for one in score)
            best = max(best, (found / all_, f"every {period} from {first}"))
    return best


def fitted(config: RunConfig) -> RunConfig:
    """The run with rows as long as the longest recording, so that each recording fits into a row."""
    documents = Documents(config)
    longest = max(1 + int(documents.sizes(place).sum()) for place in range(len(documents)))
    return with_overrides(config, [f"data.length={longest}"])


def outcome(name: str, folder: Path, seed: int, pairs: Sequence[str] = ()) -> dict[str, Any]:
    """Train and score one task."""
    data, dues = made(name, folder / "data", seed)
    pictures = f"data.pictures={str(name in ('count', 'startstop')).lower()}"
    own = (f"data.data={data}", f"data.seed={seed}", pictures, *TASKS[name].pairs, *pairs)
    config = fitted(with_overrides(preset("tiny"), [*SMALL, *WAY, *own]))
    began = time.process_time()
    train_model(config, folder / "run", talk=lambda _: None)
    spent = time.process_time() - began
    model, _ = load_model(folder / "run")
    documents = Documents(with_overrides(config, ["data.split=validation"]))
    keys = [documents.view(document).key for document in range(len(documents))]
    scores = [scored(lived(model, documents, d), dues[key]) for d, key in enumerate(keys)]
    all_D = np.array([one.timed + one.missed + one.stray for one in scores], np.float64)
    drawn = draws(len(scores))
    parts = {}
    for part in ("found", "timed"):
        measure = ratio(np.array([getattr(one, part) for one in scores], np.float64), all_D, drawn)
        parts[part] = [measure.value, measure.low, measure.high]
    constant, how = best_constant([dues[key] for key in keys])
    return {
        "task": name,
        "score": [round(value or 0.0, 3) for value in parts["found"]],
        "timed": [round(value or 0.0, 3) for value in parts["timed"]],
        "constant": round(constant, 3),
        "constant is": how,
        "due": sum(len(dues[key]) for key in keys),
        "missed": sum(one.missed for one in scores),
        "stray": sum(one.stray for one in scores),
        "cpu_s": round(spent),
        "seed": seed,
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("tasks", nargs="+", choices=list(TASKS))
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    for name in given.tasks:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(outcome(name, Path(folder), given.seed, given.set)), flush=True)


if __name__ == "__main__":
    main()
