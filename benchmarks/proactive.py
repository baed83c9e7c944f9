"""Proactive tasks: speak because of something to watch for, not because somebody has stopped talking.

    every     a number, given by a note, every n windows until a note says stop; its last digit is n
    count     a number in base four, given by a note, when a square's moves end in its last digit
    startstop "go" when a square has begun to move, "end" when it has come to rest
    correct   the right word within a window of a wrong one, while the other goes on talking
    report    a tool's result, at the first pause after it has arrived, or at once if nobody talks

    python benchmarks/proactive.py every count startstop correct report

For each task a `tiny` model is trained and then runs freely through held-out recordings; the result is one
line. Rows hold whole recordings (`data.whole`), because a note at the beginning applies to the end. Two
thirds of the training recordings are shorter than the held-out ones; half of those of `startstop` are of an
easier form (`Kinds.home`). Pictures are one patch, and movement in them is a label for `loss.cues`, in
training only. Attention reaches back only as far as a task needs. If a task has them, all numbers (in
notes, repeated by the model, or the length of a movement), all words of prompts and all pitches of voices
are held out: `TRAINED` and `HELD_OUT` of proactive_rules.py share none, and
tests/benchmarks/test_proactive.py searches the recordings for any.

`score` is found : (found + missed + stray). An utterance is found if it begins within one window of its time
and has the right word; it is stray if it has no such place. Also given are the same score regardless of the
word (`timed`), that of the best constant (the best way of speaking in every p-th window from any start, with
the right words), and `cpu_s` of training, in one thread. Always being silent scores 0. [ ]: the 95 % interval
over recordings.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from generated import load_rules
from proactive_rules import HELD_OUT, TRAINED, Draft, Due, Kinds, correct, count, every, report, startstop

from corpus.schemas.clip import clip_key
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
HELD_OUT_RECORDINGS = 24
WAY = (
    *("data.whole=true", "data.rows=6", "log_every=50", "save_every=100000"),
    *("optim.lr=4e-3", "optim.weight_decay=0.01", "optim.warmup_steps=10", "loss.audio=0.2"),
)
SMALL = (
    *("model.layers=3", "model.frames_per_position=8", "model.audio_levels=8", "model.rope_theta=1000"),
    *("model.attention_window_s=none", "model.picture_every=1", "model.text_slots=16", "model.tied=false"),
)
"""With a theta of 1e6 two of the four pairs that tell time would stand still within a recording."""
PICTURES = ("model.picture_rows=1", "model.picture_columns=1", "loss.cues=0.3")


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


NEAR = ("model.attention_window_s=0.6", "model.sink_turns=1")
"""Attention reaches the last three windows and the note in the first one."""
TASKS = {
    "every": Task(
        draw=every,
        recordings=1024,
        pairs=(
            *("model.attention_window_s=2.2", "model.sink_turns=1", "model.heads=8", "model.kv_heads=4"),
            *("steps=500", "optim.decay_share=0.6"),
        ),
    ),
    "count": Task(
        draw=count,
        recordings=1024,
        pairs=(
            *(*PICTURES, *NEAR, "model.layers=4"),
            *("data.rows=4", "steps=400", "optim.decay_share=0.6"),
        ),
    ),
    "startstop": Task(
        draw=startstop,
        recordings=512,
        pairs=(
            *(*PICTURES, "model.attention_window_s=0.4", "loss.cues=2"),
            *("steps=400", "optim.decay_share=0.5"),
        ),
    ),
    "correct": Task(draw=correct, recordings=1024, pairs=(*NEAR, "steps=600", "optim.decay_share=0.6")),
    "report": Task(
        draw=report,
        recordings=1024,
        pairs=("model.attention_window_s=2", "data.rows=5", "steps=1000", "optim.decay_share=0.5"),
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
