"""Train the linear models of backchannels, stalls and invitations; the same data gives the same bytes.

    OMP_NUM_THREADS=1 python benchmarks/train_units.py FOLDER --series ES2002 --series IS1003 \
        --series TS3005 --out align/cues/units.npz

FOLDER holds `*.json.gz` in the conversation form with people's marks. Prints the sha256 to put into
`align/cues/linear.py`. Needs scikit-learn, which the product does not need.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression

from corpus.align.cues.files import conversation_files, read_marks, without_cues
from corpus.align.cues.linear import Linear, write_models
from corpus.align.cues.unit_features import question_features, run_features
from corpus.align.cues.units import Said, short_runs, units_said
from corpus.schemas.conversation import Cue
from corpus.schemas.settings import CueSettings

SMALLEST = 0.02
"""Weights below this in every class are left out."""
Examples = list[tuple[list[str], str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--series", action="append", required=True)
    parser.add_argument("--out", type=Path, required=True)
    told = parser.parse_args()
    paths = [p for p in conversation_files([told.folder]) if p.name.startswith(tuple(told.series))]
    runs: Examples = []
    questions: Examples = []
    for path in paths:
        annotation, duration_us, _ = read_marks(path)
        said = units_said(without_cues(path, annotation, duration_us), CueSettings().ipu_bridge_us)
        for unit in said:
            cues = [c for c in annotation.cues if c.speaker == unit.speaker and c.span.overlaps(unit.span)]
            runs += [(run_features(unit, *run), _run_class(unit, run, cues)) for run in short_runs(unit)]
            asked = any(cue.label == "invitation" for cue in cues)
            questions.append((question_features(unit), "invitation" if asked else "none"))
    data = write_models({"questions": fitted(questions, 0.3), "runs": fitted(runs, 0.1)})
    told.out.write_bytes(data)
    print(
        f"{told.out}: {len(data)} bytes of {len(paths)} meetings, sha256 {hashlib.sha256(data).hexdigest()}"
    )


def _run_class(unit: Said, run: tuple[int, int], cues: Sequence[Cue]) -> str:
    """The label of the mark that shares most time with the run."""
    start_us, stop_us = unit.words[run[0]].start_us or 0, unit.words[run[1] - 1].stop_us or 0
    best = (0, "none")
    for cue in cues:
        name = cue.label if cue.label == "backchannel" else cue.kind
        if name in ("backchannel", "stall"):
            common_us = min(stop_us, cue.stop_us) - max(start_us, cue.start_us)
            best = max(best, (common_us, name))
    return best[1]


def fitted(examples: Examples, strength: float) -> Linear:
    """A logistic regression with feature names."""
    names = DictVectorizer()
    table = names.fit_transform([dict.fromkeys(listed, 1) for listed, _ in examples])
    model = LogisticRegression(C=strength, max_iter=400).fit(table, [wanted for _, wanted in examples])
    weights, bias = model.coef_.T, model.intercept_
    if len(model.classes_) == 2:
        weights, bias = np.concatenate([0 * weights, weights], axis=1), np.array([0.0, bias[0]])
    kept = np.flatnonzero(np.abs(weights).max(axis=1) >= SMALLEST)
    listed = names.get_feature_names_out()
    return Linear(
        tuple(map(str, model.classes_)),
        bias.astype(np.float64),
        {str(listed[place]): row for row, place in enumerate(kept)},
        weights[kept].astype(np.float32),
    )


if __name__ == "__main__":
    main()
