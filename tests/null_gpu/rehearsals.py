"""What tests/trainer/test_rehearsal.py runs in processes of their own, on the GPU that computes nothing.

python rehearsals.py NAME ARGUMENT...    one line of JSON on stdout
"""

from __future__ import annotations

import ctypes
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

COUNTS = (
    "launches",
    "replays",
    "recorded",
    "beside",
    "waits",
    "pageable",
    "to_device",
    "to_host",
    "complaints",
)
RUNTIME = ctypes.CDLL(None)
RUNTIME.nullgpu_count.restype = ctypes.c_long


def counted() -> dict[str, int]:
    return {name: RUNTIME.nullgpu_count(name.encode()) for name in COUNTS}


def since(before: dict[str, int]) -> dict[str, int]:
    return {name: count - before[name] for name, count in counted().items()}


def steps(run: str, *pairs: str) -> dict[str, Any]:
    """Trains `base` with overrides: of every step what it launched, waited for and held."""
    from torch._dynamo.utils import counters

    from corpus.trainer.model.model import InteractionModel
    from corpus.trainer.overrides import with_overrides
    from corpus.trainer.parallel.compute_copies import ComputeCopies
    from corpus.trainer.presets import preset
    from corpus.trainer.train.checkpoint_saver import Saver
    from corpus.trainer.train.loop import _Run, train
    from corpus.trainer.train.memory import footprint
    from corpus.trainer.train.step import Learner

    config = with_overrides(preset("base"), list(pairs))
    found: list[dict[str, Any]] = []
    in_place, take, learn = ComputeCopies.in_place, _Run._take, Learner.learn
    began: dict[str, Any] = {}

    @contextmanager
    def micro_batches(copies: ComputeCopies) -> Iterator[None]:
        """Around the micro-batches of a step, forward and backward."""
        before = counted()
        with in_place(copies):
            yield
        began["micro"] = since(before)

    def taken(own: _Run, batches: Any) -> Any:
        torch.cuda.reset_peak_memory_stats()
        began.update(step=counted(), at=time.process_time())
        return take(own, batches)

    def learnt(own: Learner, *rest: Any) -> Any:
        result = learn(own, *rest)
        found.append(
            {
                **since(began["step"]),
                "logged": result.logged,
                "micro": began["micro"],
                "graphs": counters["stats"]["unique_graphs"],
                "allocated": torch.cuda.max_memory_allocated(),
                "reserved": torch.cuda.max_memory_reserved(),
                "cpu_s": round(time.process_time() - began["at"], 3),
            }
        )
        return result

    with (
        patch.object(ComputeCopies, "in_place", micro_batches),
        patch.object(_Run, "_take", taken),
        patch.object(Learner, "learn", learnt),
        patch.object(Saver, "save", lambda *_: None),  # fifty GB of zeros
    ):
        train(config, Path(run), talk=lambda _: None)
    needed = footprint(config, InteractionModel.unset(config.model).named_parameters(), 1)
    return {"steps": found, "formula": needed.total, **counted()}


def session(preset: str) -> dict[str, Any]:
    """Records all a session of a preset needs, then lives through some windows."""
    from corpus.trainer.model.model import InteractionModel
    from corpus.trainer.presets import MODELS
    from corpus.trainer.session.cuda_graph import Replay
    from corpus.trainer.session.sampling import Sampling
    from corpus.trainer.session.session import MicroTurn, Session

    config = MODELS[preset]
    model = InteractionModel.unset(config, "cuda").to(torch.bfloat16).eval()
    kernels: dict[int, int] = {}
    recorded = Replay._recorded

    def noted(replay: Replay) -> Any:
        graph = recorded(replay)
        kernels[id(replay)] = counted()["recorded"]
        return graph

    windows = []
    random = np.random.default_rng(0)
    with patch.object(Replay, "_recorded", noted):
        live = Session(model, sampling=Sampling(speak_above=0.0, stay_above=0.0), max_seconds=60)
        recordings = len(kernels)
        for seen in (False, True, False, False):
            before = counted()
            frame = random.integers(0, 256, (200, 320, 3), np.uint8) if seen else None
            live.step(MicroTurn(audio=random.integers(0, 256, (8, 80), np.uint8), frame=frame))
            windows.append(since(before))
    runs = {f"{length} {keys}": kernels[id(run)] for (length, keys), run in live._reader._runs.items()}
    late = len(kernels) - recordings
    return {"runs": runs, "recordings": recordings, "late": late, "windows": windows, **counted()}


def command(*arguments: str) -> dict[str, Any]:
    """`corpus ARGUMENTS…` without its way of ending the process."""
    from corpus.cli.main import app

    app(list(arguments), standalone_mode=False)
    return counted()


def mistakes() -> dict[str, Any]:
    """Which of them are told; a graph is broken by a mistake, so each has its own."""

    def recorded(work: Callable[[], Any]) -> None:
        with torch.cuda.graph(torch.cuda.CUDAGraph(), capture_error_mode="thread_local"):
            work()

    def elsewhere(work: Callable[[], Any]) -> None:
        """By another thread, which the capturing one waits for."""
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    on_gpu, on_host = torch.zeros(8, device="cuda"), torch.zeros(8)
    complex_ones = torch.zeros(4, 4, device="cuda", dtype=torch.complex64)
    tries: dict[str, Callable[[], Any]] = {
        "wait": lambda: recorded(torch.cuda.synchronize),
        "copy": lambda: recorded(lambda: on_gpu.copy_(on_host)),
        "read": lambda: recorded(on_gpu.sum().item),
        "another thread": lambda: recorded(lambda: elsewhere(torch.cuda.synchronize)),
        "kernels": lambda: recorded(lambda: on_gpu.add_(1)),
        "unknown": lambda: complex_ones @ complex_ones,
        "too much": lambda: torch.empty(80 << 30, dtype=torch.uint8, device="cuda"),
        "not so much": lambda: torch.empty(78 << 30, dtype=torch.uint8, device="cuda"),
    }
    told = []
    for name, work in tries.items():
        try:
            work()
        except RuntimeError:  # torch's errors of CUDA and of memory both are
            told.append(name)
    return {"told": told, **counted()}


if __name__ == "__main__":
    NAMES: dict[str, Callable[..., dict[str, Any]]] = {"steps": steps, "session": session, "command": command}
    NAMES["mistakes"] = mistakes
    print(json.dumps(NAMES[sys.argv[1]](*sys.argv[2:])))
