"""One epoch of `tiny` on a dataset: CPU seconds with its preset, and with the previous preset.

    python benchmarks/trainer_epoch.py OUT --rounds 3

The previous preset had rows of 256 positions, every picture and no attention window, and computed the padding
of a batch's lists. Now a row holds a whole clip with every tenth picture, and padding is left out on a CPU.
Both are trained in turn, in rounds, including reading; prints one line for each, then the ratio: median
[min, max].
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from corpus.trainer.config import RunConfig
from corpus.trainer.data.loader import Loader
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.overrides import with_overrides
from corpus.trainer.presets import preset
from corpus.trainer.train.optim import Optimizer

BEFORE = (
    *("data.length=256", "data.rows=4", "model.picture_every=1"),
    *("model.attention_window_s=none", "model.sink_turns=1"),
)


def spent(config: RunConfig, *, trim: bool) -> tuple[float, int]:
    """CPU seconds of an epoch, and its number of steps."""
    model = InteractionModel(config.model).train()
    optimizer = Optimizer(list(model.named_parameters()), config.optim)
    began, steps = time.process_time(), 0
    for batch, _ in Loader(config, epochs=1):
        sums = model(batch.trimmed() if trim else batch, config.loss)
        sums.total(sums.denominators).backward()
        optimizer.step(1.0)
        optimizer.zero_grad()
        model.update_router_bias()
        steps += 1
    return time.process_time() - began, steps


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--split", default="train")
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    own = (f"data.data={given.out.absolute()}", f"data.split={given.split}")
    now, before = with_overrides(preset("tiny"), own), with_overrides(preset("tiny"), [*own, *BEFORE])
    pairs = []
    for _ in range(given.rounds):
        (one, steps), (other, more) = spent(now, trim=True), spent(before, trim=False)
        pairs.append((one, other))
        print(
            json.dumps(
                {"now_s": round(one, 2), "steps": steps, "before_s": round(other, 2), "its steps": more}
            )
        )
    ratios = [one / other for one, other in pairs]
    print(f"now : before {statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]")


if __name__ == "__main__":
    main()
