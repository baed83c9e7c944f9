"""Train the weights of the self-correction tagger; the same data gives the same bytes.

    OMP_NUM_THREADS=1 python benchmarks/train_self_correction.py FOLDER --series ES2002 --series IS1003 \
        --series TS3005 --out align/cues/repairs.npz

FOLDER holds `*.json.gz` in the conversation form with people's self-corrections. Word statistics are cross-
fitted: those for a meeting are counted on the other meetings. Every meeting is used twice, the second time
without its cut-off words, capital letters and punctuation, which a recogniser may not write. Words that the
annotators left open (`unscored`) are not used. Prints the sha256 to put into `align/cues/self_correction.py`.
Needs scikit-learn, which the product does not need.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from corpus.align.cues.files import conversation_files, read_marks, without_cues
from corpus.align.cues.repair_features import Statistics, features
from corpus.align.cues.repair_flow import Grammar
from corpus.align.cues.repair_words import Said, said_by
from corpus.align.cues.tagger import Tagger, write_tagger
from corpus.align.cues.trees import Trees
from corpus.align.cues.word_statistics import WordStatistics
from corpus.schemas.arrays import Int64Array
from corpus.schemas.conversation import Conversation, Cue, Event

TREES = 120
LEARNING_RATE = 0.1


@dataclass(frozen=True)
class Meeting:
    said: list[Said]
    inside: list[Int64Array]
    ends: list[Int64Array]
    weights: list[Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--series", action="append", required=True)
    parser.add_argument("--out", type=Path, required=True)
    told = parser.parse_args()
    paths = [p for p in conversation_files([told.folder]) if p.name.startswith(tuple(told.series))]
    data = write_tagger(train(paths))
    told.out.write_bytes(data)
    print(
        f"{told.out}: {len(data)} bytes of {len(paths)} meetings, sha256 {hashlib.sha256(data).hexdigest()}"
    )


def train(paths: Sequence[Path]) -> Tagger:
    """Train the tagger on some meetings."""
    whole, uncut = zip(*(read(path) for path in paths), strict=True)
    rows, inside, ends, weights = [], [], [], []
    for place in range(len(paths)):
        others = statistics([meeting for at, meeting in enumerate(whole) if at != place])
        for meeting in (whole[place], uncut[place]):
            rows += [features(said, others) for said in meeting.said]
            inside += meeting.inside
            ends += meeting.ends
            weights += meeting.weights
    table, weight = np.concatenate(rows), np.concatenate(weights)
    return Tagger(
        ends=_fitted(table, np.concatenate(ends), weight),
        inside=_fitted(table, np.concatenate(inside), weight),
        statistics=statistics(whole),
    )


def read(path: Path) -> tuple[Meeting, Meeting]:
    """A meeting with its tags, and the same without cut-off words."""
    annotation, duration_us, _ = read_marks(path)
    told = without_cues(path, annotation, duration_us)
    kept = tuple(
        replace(word, text=word.text.lower(), after="")
        for word in told.words
        if not word.text.rstrip(".,?!").endswith("-")
    )
    marks = annotation.cues, [event for event in annotation.events if event.label == "unscored"]
    return tags(told, *marks), tags(replace(told, words=kept), *marks)


def tags(told: Conversation, cues: Sequence[Cue], left_open: Sequence[Event]) -> Meeting:
    """Masks of the words in a reparandum, and of the last word of each."""
    meeting = Meeting(said_by(told), [], [], [])
    for said in meeting.said:
        starts = np.array([word.start_us for word in said.words])
        inside, ends = np.zeros(len(said), np.int64), np.zeros(len(said), np.int64)
        for cue in cues:
            for part in cue.spans:
                if cue.speaker == said.speaker and part.role == "reparandum":
                    first, stop = np.searchsorted(starts, [part.start_us, part.stop_us])
                    if stop > first:
                        inside[first:stop] = 1
                        ends[stop - 1] = 1
        weight = np.ones(len(said))
        for event in left_open:
            if event.speaker == said.speaker and event.kind == "self_correction":
                first, stop = np.searchsorted(starts, [event.start_us, event.stop_us])
                weight[first:stop] = inside[first:stop]
        meeting.inside.append(inside)
        meeting.weights.append(weight)
        meeting.ends.append(ends)
    return meeting


def statistics(meetings: Sequence[Meeting]) -> Statistics:
    tagged = (
        [said for m in meetings for said in m.said],
        [one for m in meetings for one in m.inside],
        [one for m in meetings for one in m.ends],
    )
    return Statistics(WordStatistics.of(*tagged), Grammar.of(*tagged))


def _fitted(table: Any, wanted: Any, weight: Any) -> Trees:
    model = HistGradientBoostingClassifier(
        max_iter=TREES,
        learning_rate=LEARNING_RATE,
        max_leaf_nodes=20,
        min_samples_leaf=15,
        l2_regularization=2.0,
        early_stopping=False,
        random_state=0,
    )
    return plain_trees(model.fit(table, wanted, sample_weight=weight))


def plain_trees(model: Any) -> Trees:
    """A fitted model's trees as arrays, with each node's right child after its left one."""
    parts: dict[str, list[Any]] = {name: [] for name in ("feature", "threshold", "left", "value")}
    roots: list[int] = []
    for (tree,) in model._predictors:
        nodes = tree.nodes
        roots.append(len(parts["feature"]))
        places, waiting = {0: roots[-1]}, [0]
        size = 1
        while waiting:
            at = waiting.pop(0)
            node = nodes[at]
            here = places[at]
            if not node["is_leaf"]:
                places[int(node["left"])] = roots[-1] + size
                places[int(node["right"])] = roots[-1] + size + 1
                size += 2
                waiting += [int(node["left"]), int(node["right"])]
            parts["feature"].append(-1 if node["is_leaf"] else int(node["feature_idx"]))
            parts["threshold"].append(0.0 if node["is_leaf"] else float(node["num_threshold"]))
            parts["left"].append(here if node["is_leaf"] else places[int(node["left"])])
            parts["value"].append(float(node["value"]) if node["is_leaf"] else 0.0)
    return Trees(
        base=float(np.ravel(model._baseline_prediction)[0]),
        roots=np.array(roots, np.int32),
        feature=np.array(parts["feature"], np.int16),
        threshold=np.array(parts["threshold"], np.float32),
        left=np.array(parts["left"], np.int32),
        value=np.array(parts["value"], np.float32),
    )


if __name__ == "__main__":
    main()
