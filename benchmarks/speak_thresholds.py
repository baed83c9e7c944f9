"""When to speak: how often a trained model speaks, and how correctly, for ways of using its probability.

    corpus train --preset tiny --data OUT --run RUN steps=300 data.pictures=false
    python benchmarks/speak_thresholds.py --run RUN --data OUT --split train --free 8

For each way, a line gives, freely and told, the share of windows with speech and of right actions, the
person's share, the share of its speech that overlaps another's, and the calibration. `as trained` leaves the
effect of the loss weights in the probability.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from corpus.trainer.data.control import Weighting
from corpus.trainer.evaluate.evaluate import Limits, evaluate_model
from corpus.trainer.session.sampling import Sampling
from corpus.trainer.train.load_model import load_model

THRESHOLDS = ((0.5, 0.5), (0.5, 0.4), (0.5, 0.3), (0.4, 0.4), (0.3, 0.3), (0.3, 0.5), (0.2, 0.5))


def ways() -> list[tuple[str, bool, Sampling]]:
    """Each way's name, whether the loss weights are undone, and its settings."""
    made = [
        ("as trained, 0.5, stay 0.4", False, Sampling(speak_above=0.5, stay_above=0.4)),
        ("as trained, sampled", False, Sampling(control="sampled")),
        ("sampled", True, Sampling(control="sampled")),
    ]
    for speak, stay in THRESHOLDS:
        made.append((f"{speak}, stay {stay}", True, Sampling(speak_above=speak, stay_above=stay)))
    return made


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    for name in ("--run", "--data"):
        arguments.add_argument(name, type=Path, required=True)
    arguments.add_argument("--split", default="validation")
    arguments.add_argument("--free", type=int, default=8)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    model, config = load_model(given.run)
    for name, undone, sampling in ways():
        model.weighting = Weighting.of(config.loss) if undone else Weighting()
        found = evaluate_model(
            model,
            config,
            given.data,
            split=given.split,
            sampling=sampling,
            limits=Limits(documents=given.free, free=None),
        )
        rows = {(row.name, row.told): row for row in found.timing}
        free, told, human = rows["model", False], rows["model", True], rows["human", False]
        line = {
            "way": name,
            "speaks": free.speaks.value,
            "human": human.speaks.value,
            "right": free.right.value,
            "off_by": free.off_by_windows.value,
            "overlap": free.overlap.value,
            "human_overlap": human.overlap.value,
            "told_speaks": told.speaks.value,
            "told_right": told.right.value,
            "ece": found.calibration.ece.value,
            "ece_silent": found.calibration.ece_silent.value,
        }
        print(
            json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in line.items()}), flush=True
        )


if __name__ == "__main__":
    main()
