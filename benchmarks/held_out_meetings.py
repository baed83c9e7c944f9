"""When to speak, learnt from meeting clips and judged on others: who is heard in both is in neither.

    corpus build ../shared/data/ami30 --out OUT
    python benchmarks/held_out_meetings.py OUT --seeds 3 --steps 60
    python benchmarks/held_out_meetings.py OUT --ways none --seeds 1 --steps 100 2000 --group 0

Clips that share a person stand together; each such group (or the one asked for) is held out once of a small
`tiny` without pictures that is trained on all others, and its documents are lived through freely. One line
for each number of steps and way, over all documents: `none` is the usual loss, `cues` adds `loss.cues` of
all labels, `answers` adds `loss.answers`. [ ] of `right`: the 95 % interval over recordings, mean over
seeds; of differences over pairs of the same seed (Student's t). `sure` tells why: of the windows out of
silence, each with its probability p of an onset, knowing what the person did before, those where an onset
within a window on either side is likelier than none, 1 - (1 - p)^3 > .5, and those of them that had one.
Elsewhere speaking breaks more silences than it meets onsets. `control` is the loss held out in nats, beside
that of the best constant.

The first line has those that understand nothing, and `rule`: the best of all rules "speak for l windows once
the others have been silent for s", chosen with the answers in view.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from cue_ablation import WAYS, interval

from corpus.schemas.arrays import BoolArray, Float64Array
from corpus.shards.read import open_clips
from corpus.trainer.config import RunConfig
from corpus.trainer.data.documents import Documents
from corpus.trainer.data.runs import runs
from corpus.trainer.evaluate.baselines import baseline
from corpus.trainer.evaluate.confidence import Measure, draws, ratio
from corpus.trainer.evaluate.evaluate import heard_of, run_free
from corpus.trainer.evaluate.held_out import Losses
from corpus.trainer.evaluate.timing import TOLERANCE_WINDOWS, actions
from corpus.trainer.evaluate.timing_cases import Scene, scene_of
from corpus.trainer.overrides import with_overrides
from corpus.trainer.presets import preset
from corpus.trainer.session.sampling import Sampling
from corpus.trainer.train.load_model import load_model
from corpus.trainer.train.loop import train_model

COMMON = (
    *("data.length=512", "data.rows=2", "data.whole=true", "data.pictures=false"),
    *("model.frames_per_position=8", "loss.audio=0.2", "optim.warmup_steps=10"),
    *("log_every=100000", "save_every=100000"),
)
Counts = dict[str, tuple[int, int]]
"""Of each recording: right actions, and all."""


def groups(data: Path) -> list[list[str]]:
    """Recordings, those that share a person together."""
    found: list[tuple[set[str], list[str]]] = []
    for clip in open_clips(data):
        people, names = set(clip.json.speakers), [clip.key.split("-")[0]]
        for group in [group for group in found if group[0] & people]:
            found.remove(group)
            people, names = people | group[0], names + group[1]
        found.append((people, sorted(set(names))))
    return sorted(names for _, names in found)


def chosen(config: RunConfig, recordings: Sequence[str], *, held_out: bool) -> RunConfig:
    listed = " OR ".join(f"starts_with(key, '{name}')" for name in recordings)
    return with_overrides(config, [f"data.where={listed if held_out else f'NOT ({listed})'}"])


def documents_of(config: RunConfig) -> Iterator[tuple[Documents, int, str, Scene]]:
    documents = Documents(config)
    for document in range(len(documents)):
        recording = documents.view(document).key.split("-")[0]
        yield documents, document, recording, scene_of(documents, document)


def counted(scenes: Sequence[tuple[str, Scene]], speaks: Callable[[Scene], BoolArray]) -> Counts:
    """How right a way to speak is in each recording, free-running, as `corpus eval` counts it."""
    counts: Counts = defaultdict(lambda: (0, 0))
    for recording, scene in scenes:
        found = actions(speaks(scene), scene.human_W, told=False, first=1)
        good, all_ = counts[recording]
        counts[recording] = (good + found.met + found.kept, all_ + found.onsets + found.silences)
    return counts


def right_of(counts: Counts) -> Measure:
    good_R, all_R = np.array([counts[name] for name in sorted(counts)], np.float64).T
    return ratio(good_R, all_R, draws(len(counts)))


def rule(scene: Scene, silent: int, windows: int) -> BoolArray:
    """Speak for so many windows once the others have been silent for so many."""
    speaks_W = np.zeros(len(scene.human_W), bool)
    for start, stop in runs(~scene.other_W):
        if start and start + silent < stop:
            speaks_W[start + silent : start + silent + windows] = True
    return speaks_W


def sure_of(p_N: Float64Array, scene: Scene) -> tuple[int, int, int]:
    """Windows out of silence; those where an onset within a window is likelier than none; those with one."""
    human_W = scene.human_W
    onset_W = np.diff(human_W.astype(int), prepend=0) > 0
    # The probability of window w is in the micro-turn before it.
    silent_W = np.flatnonzero(~human_W[:-1]) + 1
    within_W = 1 - (1 - p_N[silent_W - 1]) ** (2 * TOLERANCE_WINDOWS + 1)
    sure = silent_W[within_W > 0.5]
    near = [onset_W[at - TOLERANCE_WINDOWS : at + TOLERANCE_WINDOWS + 1].any() for at in sure]
    return len(silent_W), len(sure), int(sum(near))


class Judged:
    """What the held-out documents of all groups add up to, of one way and seed."""

    def __init__(self) -> None:
        self.counts: Counts = defaultdict(lambda: (0, 0))
        self.sure = np.zeros(3, int)
        self.control = np.zeros(2)
        self.cpu_s = 0.0

    def add(self, config: RunConfig, run: Path, seed: int) -> None:
        model, _ = load_model(run)
        model.eval()
        losses = Losses(model, config)
        for documents, document, recording, scene in documents_of(config):
            view = documents.view(document)
            before_N = np.concatenate(([view.spoke_before], view.speak_N[:-1]))
            p_N = model.weighting.undone(losses.add(documents, document), before_N)
            self.sure += sure_of(p_N, scene)
            outs = run_free(model, documents, document, sampling=Sampling(), seed=seed)
            speaks_W, _ = heard_of(outs, len(scene.human_W))
            found = counted([(recording, scene)], lambda _, given=speaks_W: given)[recording]
            good, all_ = self.counts[recording]
            self.counts[recording] = (good + found[0], all_ + found[1])
        row = next(row for row in losses.rows() if (row.cue, row.stream) == ("all", "control"))
        assert row.model is not None and row.unigram is not None
        self.control += np.array([row.model, row.unigram]) * row.count


def shown(measure: Measure) -> str:
    assert measure.value is not None
    return f"{measure.value:.3f}" + (f" [{measure.low:.3f}, {measure.high:.3f}]" if measure.low else "")


def without_understanding(config: RunConfig, parts: list[list[str]]) -> dict[str, str]:
    held_out = chosen(config, [name for part in parts for name in part], held_out=True)
    scenes = [(recording, scene) for _, _, recording, scene in documents_of(held_out)]
    rules = [(silent, windows) for silent in range(11) for windows in (1, 2, 3, 5, 8, 13)]
    tried = {each: right_of(counted(scenes, lambda scene, r=each: rule(scene, *r))) for each in rules}
    best = max(tried, key=lambda each: tried[each].value or 0.0)
    found = {"rule": f"{shown(tried[best])} with s, l = {best}"}
    for name in ("silent", "timer", "unigram", "shifted"):

        def speaks(scene: Scene, name: str = name) -> BoolArray:
            given = {"human_W": scene.human_W, "other_WF": scene.other_WF, "document": scene.id}
            return baseline(name, share=float(scene.human_W.mean()), told=False, **given)

        found[name] = shown(right_of(counted(scenes, speaks)))
    found["actions"] = str(sum(all_ for _, all_ in counted(scenes, lambda s: s.human_W).values()))
    return found


def judged(base: RunConfig, parts: list[list[str]], way: str, seed: int) -> Judged:
    one, began = Judged(), time.process_time()
    for part in parts:
        config = with_overrides(base, [f"data.seed={seed}", *WAYS[way]])
        with tempfile.TemporaryDirectory() as folder:
            train_model(chosen(config, part, held_out=False), Path(folder), talk=lambda _: None)
            one.add(chosen(base, part, held_out=True), Path(folder), seed)
    one.cpu_s = time.process_time() - began
    return one


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--steps", type=int, nargs="+", default=[60])
    arguments.add_argument("--group", type=int)
    arguments.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    whole = with_overrides(preset("tiny"), [f"data.data={given.data}", *COMMON, *given.set])
    parts = [part for k, part in enumerate(groups(given.data)) if given.group in (None, k)]
    print(json.dumps({"groups": [len(part) for part in parts], **without_understanding(whole, parts)}))
    for steps in given.steps:
        base = with_overrides(whole, [f"steps={steps}"])
        found: dict[str, list[Judged]] = {}
        for way in given.ways:
            found[way] = [judged(base, parts, way, seed) for seed in range(given.seeds)]
            right = [right_of(one.counts) for one in found[way]]
            line = {
                "steps": steps,
                "way": way,
                "right": shown(mean_of(right)),
                "each seed": [shown(one) for one in right],
                "sure": np.sum([one.sure for one in found[way]], 0).tolist(),
                "control": np.sum([one.control for one in found[way]], 0).round(1).tolist(),
                "cpu_s": round(sum(one.cpu_s for one in found[way])),
            }
            if way != given.ways[0]:
                pairs = zip(right, [right_of(one.counts) for one in found[given.ways[0]]], strict=True)
                more = [(a.value or 0.0) - (b.value or 0.0) for a, b in pairs]
                line[f"more than {given.ways[0]}"] = interval(more)
            print(json.dumps(line), flush=True)


def mean_of(measures: Sequence[Measure]) -> Measure:
    """Values and bounds, each the mean over seeds."""
    parts = [[getattr(one, name) or 0.0 for one in measures] for name in ("value", "low", "high")]
    value, low, high = (statistics.fmean(part) for part in parts)
    return Measure(value=value, low=low, high=high, cases=measures[0].cases)


if __name__ == "__main__":
    main()
