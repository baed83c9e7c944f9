"""A session of `tiny` after eight hours compared with sessions of a minute: CPU time per step, memory.

    python benchmarks/session_long.py [--hours 8] [--minutes 10]

The old session runs for `--minutes`. Then its clock is put forward: the numbers of positions and micro-turns,
including those of its keys, become what they are after `--hours`, while its memory stays that of its
attention window. Then it runs through the same minutes again, step by step in turn with sessions that restart
every minute. Both hear the same noise. Bars: p99 1.15, memory 1.05.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import numpy as np
import torch

from corpus.trainer.model.model import InteractionModel
from corpus.trainer.presets import preset
from corpus.trainer.session.kv_cache import FAR
from corpus.trainer.session.session import MicroTurn, Session

MINUTE = 300
"""Windows."""


def put_forward(session: Session, windows: int) -> None:
    """Make a session look as if this many more windows had passed."""
    plain: dict[str, Any] = session.state_dict()
    cache, turns = plain["cache"], windows - plain["turn"]
    sinks = cache["_sinks"] or 0
    ring = cache["capacity"] - sinks
    # By whole rounds of the ring, so that every position stays in its slot.
    each = plain["length"] / plain["turn"]
    more = round(turns * each / ring) * ring
    ringed_S = (cache["position"] >= sinks) & (cache["position"] < FAR)
    cache["position"][ringed_S] += more
    cache["turn"][ringed_S] += turns
    for name in ("length", "_lost"):
        cache[name] += more
    cache["_lost_turn"] += turns
    frames = session.config.frames_per_window
    plain["pending"]["turn_L"] = plain["pending"]["turn_L"] + turns
    plain["pending"]["time_L"] = plain["pending"]["time_L"] + turns * frames
    plain["turn"] += turns
    plain["length"] += more
    session.load_state_dict(plain)


def lived(session: Session, heard_NFM: np.ndarray) -> list[float]:
    """CPU milliseconds of each step."""
    spent = []
    for heard_FM in heard_NFM:
        began = time.process_time()
        session.step(MicroTurn(audio=heard_FM))
        spent.append(1e3 * (time.process_time() - began))
    return spent


def resident_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--hours", type=float, default=8)
    arguments.add_argument("--minutes", type=int, default=10)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    config = preset("tiny").model
    model = InteractionModel(config, seed=1).eval()
    shape = (given.minutes * MINUTE, config.frames_per_window, config.mel_bins)
    heard_NFM = np.random.default_rng(0).integers(90, 160, shape).astype(np.uint8)
    old = Session(model, pictures=False)
    lived(old, heard_NFM[:MINUTE])
    after_minute = resident_mb(), old.cache_bytes
    lived(old, heard_NFM[MINUTE:])
    put_forward(old, round(given.hours * 60) * MINUTE - len(heard_NFM))
    spent: dict[str, list[float]] = {"old": [], "young": []}
    for minute in range(given.minutes):
        young = Session(model, pictures=False)
        for heard_FM in heard_NFM[minute * MINUTE :][:MINUTE]:
            spent["old"] += lived(old, heard_FM[None])
            spent["young"] += lived(young, heard_FM[None])
    ratios = [
        float(
            np.percentile(spent["old"][at : at + MINUTE], 99)
            / np.percentile(spent["young"][at : at + MINUTE], 99)
        )
        for at in range(0, len(spent["old"]), MINUTE)
    ]
    p99 = {name: float(np.percentile(values, 99)) for name, values in spent.items()}
    print(f"the old session stands at window {old.turn}: {old.turn / 5 / 3600:.2f} h")
    print(
        f"p99 of a step: {p99['old']:.2f} ms CPU after {given.hours:g} h, {p99['young']:.2f} in minute one, "
        f"{p99['old'] / p99['young']:.3f} : 1 (by minutes {min(ratios):.2f} to {max(ratios):.2f}); "
        f"medians {np.median(spent['old']):.2f}, {np.median(spent['young']):.2f}"
    )
    print(
        f"keys and values {old.cache_bytes / after_minute[1]:.3f} : 1; "
        f"the process at most {resident_mb():.0f} MB, {after_minute[0]:.0f} after its first minute"
    )


if __name__ == "__main__":
    main()
