"""What training on cues adds, on generated corpora in which a cue is the only signal for when to speak.

    rise    another's voice stops: after a rising tone an answer is due, after a falling one the voice goes on
    um      another's voice stops: after a hummed "um" the voice goes on, otherwise an answer is due
    flash   a square appears in one of the corners: an answer is due if it is the lower right one

    python benchmarks/cue_ablation.py --seeds 3 --steps 80

There is one line for each corpus, number of steps and way of training. It gives the share of right decisions
on held-out recordings with other voices and times, by a model that runs freely in a session (an answer begun
within one window of its time, none begun where none is due), over all seeds, each with its own data. `none`
is the usual loss, `cues` adds `loss.cues`, and `answers` adds `loss.answers` to that. [ ]: the 95 % interval
over seeds (Student's t), and for the difference from `none` over pairs of the same seed. `silent` is the
score of never speaking.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from generated import load_rules

from corpus.schemas.clip import clip_key
from corpus.schemas.clock import WINDOW_US
from corpus.schemas.conversation import Answer, Cue, LabelMade
from corpus.trainer.config import RunConfig
from corpus.trainer.data.documents import Documents
from corpus.trainer.evaluate.evaluate import run_free
from corpus.trainer.overrides import with_overrides
from corpus.trainer.presets import preset
from corpus.trainer.session.sampling import Sampling
from corpus.trainer.train.load_model import load_model
from corpus.trainer.train.loop import train_model

WINDOWS = 60
REACH = 3
"""Windows after a decision in which nothing may begin where nothing is due."""
T_95 = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36}
WAYS = {
    "none": (),
    "cues": ("loss.cues=1",),
    "answers": ("loss.cues=1", "loss.answers=1"),
}
COMMON = (
    *(
        "data.length=192",
        "data.rows=3",
        "optim.lr=5e-3",
        "optim.warmup_steps=10",
        "model.frames_per_position=8",
        "model.picture_every=1",
    ),
    *("model.picture_rows=2", "model.picture_columns=2", "log_every=1000", "save_every=100000"),
)
Draft = Any
Decisions = list[tuple[int, bool]]
"""The window an answer is due in, or would be, and whether it is."""


def voice(draft: Draft, start: int, windows: int, hz_S: np.ndarray, *, hum: bool = False) -> None:
    """A voice in the room's channel: harmonics of a moving pitch, with a little breath."""
    samples = windows * 3200
    phase = 2 * np.pi * np.cumsum(hz_S) / 16_000
    parts = range(1, 3 if hum else 9)
    wave = sum(np.sin(k * phase) / (1 if hum else k**0.7) for k in parts)
    breath = 0 if hum else 0.2 * draft.rng.standard_normal(samples)
    draft.sound[-1, start * 3200 :][:samples] += (1500 * (wave + breath)).astype(np.int16)


def tagged(draft: Draft, label: str, kind: str, start: int, stop: int) -> None:
    times = {"start_us": start * WINDOW_US, "stop_us": stop * WINDOW_US}
    cue = Cue(label=label, kind=kind, speaker=None, confidence=1.0, origin="generated/1", **times)
    draft.cues.append(cue)


def answer(draft: Draft, start: int, action: str) -> None:
    times = {"start_us": start * WINDOW_US, "stop_us": (start + 2) * WINDOW_US}
    draft.answers.append(Answer(speaker="Bo", action=action, why="generated", to="generated", **times))


def says(draft: Draft, at: int) -> None:
    draft.tone(0, at, 2, 300, 5000)
    draft.speak(0, at * WINDOW_US, (at + 2) * WINDOW_US, "yes")


def talked(draft: Draft, decisions: Decisions, *, um: bool) -> None:
    """A recording in which another person talks and stops, again and again."""
    rng, base = draft.rng, float(draft.rng.uniform(90, 240))
    at = int(rng.integers(0, 3))
    while at + 16 < draft.windows:
        windows, signal = int(rng.integers(3, 8)), bool(rng.random() < 0.5)
        samples = windows * 3200
        hz_S = base * (1 + 0.1 * np.sin(np.linspace(0, rng.uniform(2, 9), samples) + rng.uniform(0, 6)))
        end = at + windows
        if um:
            voice(draft, at, windows, hz_S)
            if signal:
                voice(draft, end, 1, np.full(3200, base * 0.95), hum=True)
                tagged(draft, "hesitation", "filled_pause", end, end + 1)
                end += 1
            due = not signal
        else:
            hz_S[-3200:] *= np.linspace(1, 1.5 if signal else 0.85, 3200)
            voice(draft, at, windows, hz_S)
            if signal:
                tagged(draft, "invitation", "question", end - 1, end)
            due = signal
        decisions.append((end + 1, due))
        answer(draft, end + 1, "answer" if due else "wait")
        if due:
            says(draft, end + 1)
        at = end + (3 + int(rng.integers(1, 4)) if due else 4)
    draft.made = [LabelMade(label="hesitation" if um else "invitation", made=True)]


def flashed(draft: Draft, decisions: Decisions) -> None:
    rng = draft.rng
    shown: list[int | None] = [0] * draft.windows
    at = int(rng.integers(1, 5))
    while at + 8 < draft.windows:
        due = bool(rng.random() < 0.5)
        shown[at] = 3 if due else int(rng.integers(1, 3))
        decisions.append((at + 2, due))
        if due:
            tagged(draft, "visual", "scene_cut", at, at + 1)
            answer(draft, at + 2, "answer")
            says(draft, at + 2)
        at += int(rng.integers(5, 9))
    draft.pictures = shown
    draft.made = [LabelMade(label="visual", made=True)]


CORPORA: dict[str, Callable[[Draft, Decisions], None]] = {
    "rise": lambda draft, decisions: talked(draft, decisions, um=False),
    "um": lambda draft, decisions: talked(draft, decisions, um=True),
    "flash": flashed,
}


def made(rules: ModuleType, folder: Path, corpus: str, seed: int) -> tuple[Path, dict[str, Decisions]]:
    drafts, decided = [], {}
    for split, count in (("train", 48), ("validation", 10)):
        for number in range(count):
            draft = rules.Draft(name=f"{corpus}-{split}-{seed}-{number}", windows=WINDOWS, split=split)
            found = decided[clip_key(draft.hash, 0)] = []
            CORPORA[corpus](draft, found)
            drafts.append(draft)
    return rules.store(folder, drafts, windows_per_clip=WINDOWS), decided


def right(config: RunConfig, run: Path, decided: dict[str, Decisions], seed: int) -> tuple[int, int, int]:
    """The numbers of right decisions, of decisions, and of those where nothing is due."""
    model, _ = load_model(run)
    documents = Documents(with_overrides(config, ["data.split=validation"]))
    good = total = silent = 0
    for document in range(len(documents)):
        outs = list(run_free(model, documents, document, sampling=Sampling(), seed=seed))
        said = [False, *(out.speak for out in outs)]
        begins = [w for w, speaks in enumerate(said) if speaks and not said[w - 1]]
        for at, due in decided[documents.view(document).key]:
            near = [begin for begin in begins if at - 1 <= begin <= at + (1 if due else REACH)]
            good, total, silent = good + (bool(near) == due), total + 1, silent + (not due)
    return good, total, silent


def interval(values: list[float]) -> str:
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:.3f}"
    half = T_95[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:.3f} [{mean - half:.3f}, {mean + half:.3f}]"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--corpora", nargs="+", default=list(CORPORA), choices=list(CORPORA))
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--first-seed", type=int, default=0)
    arguments.add_argument("--steps", type=int, nargs="+", default=[80])
    given = arguments.parse_args()
    torch.set_num_threads(1)
    rules = load_rules()
    for corpus in given.corpora:
        found: dict[tuple[int, str], list[float]] = {}
        idle, began, seeds = [], time.process_time(), range(given.first_seed, given.first_seed + given.seeds)
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                data, decided = made(rules, Path(folder), corpus, seed)
                for steps in given.steps:
                    for way, pairs in WAYS.items():
                        sees = f"data.pictures={str(corpus == 'flash').lower()}"
                        own = (f"data.data={data}", f"steps={steps}", f"data.seed={seed}", sees)
                        config = with_overrides(preset("tiny"), [*COMMON, *own, *pairs])
                        run = Path(folder) / f"{way}-{steps}"
                        train_model(config, run, talk=lambda _: None)
                        good, total, silent = right(config, run, decided, seed)
                        found.setdefault((steps, way), []).append(good / total)
                idle.append(silent / total)
        for (steps, way), values in found.items():
            more = [a - b for a, b in zip(values, found[steps, "none"], strict=True)]
            line = {
                "corpus": corpus,
                "steps": steps,
                "way": way,
                "right": interval(values),
                "more than none": "" if way == "none" else interval(more),
                "silent": round(statistics.fmean(idle), 3),
                "seeds": list(seeds),
            }
            print(json.dumps(line), flush=True)
        print(json.dumps({"corpus": corpus, "cpu_s": round(time.process_time() - began)}), flush=True)


if __name__ == "__main__":
    main()
