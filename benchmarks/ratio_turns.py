"""A micro-turn in a session with a long past: the time for 200 ms of conversation."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import numpy as np
import torch
from ratio_report import Row
from ratio_setting import Setting

from corpus.trainer.model.model import InteractionModel
from corpus.trainer.session.sampling import Sampling
from corpus.trainer.session.session import MicroTurn, Session

HISTORY = 25
"""Turns measured before going back to where the past is as long as asked for."""
KINDS = {
    "speaking": (Sampling(speak_above=0.0, stay_above=0.0), 9),
    "silent": (Sampling(speak_above=1.0, stay_above=1.0), 5),
}
"""Settings that make it so, and the fewest positions of such a window."""


def turns(setting: Setting) -> Iterator[Row]:
    """A window with speech and its maximum of eight letters is 18 positions, 14 of them one after the
    other; at a normal rate of English it holds three letters."""
    past = 8000 if setting.gpu else 40 if setting.quick else 400
    model = InteractionModel.unset(setting.model, setting.device)
    model.initialise(0)
    model = model.to(setting.dtype).eval()
    for name, (sampling, least) in KINDS.items():
        seconds = 0.2 * (past // least + 2 * HISTORY)
        session = Session(
            model, sampling=sampling, max_seconds=seconds, history_turns=HISTORY, pictures=False
        )
        yield from _turns(setting, session, past, name)


def _turns(setting: Setting, session: Session, past: int, name: str) -> Iterator[Row]:
    rng = np.random.default_rng(0)
    shape = (64, setting.model.frames_per_window, setting.model.mel_bins)
    heard = rng.integers(40, 220, shape, dtype=np.uint8)

    def step() -> float:
        start_s = time.perf_counter()
        session.step(MicroTurn(audio=heard[session.turn % len(heard)]))
        if setting.gpu:
            torch.cuda.synchronize()
        return 1e3 * (time.perf_counter() - start_s)

    while session.positions < past:
        step()
    start, taken = session.turn, []
    for _ in range(2 if setting.quick else 12):
        taken += [step() for _ in range(HISTORY)]
        before, after = session.positions, session.turn
        session.rollback(after - HISTORY)
    each = (before - session.positions) / HISTORY
    assert session.turn == start
    ordered = sorted(taken)
    p99 = ordered[max(0, -(-99 * len(ordered) // 100) - 1)]
    yield Row(
        section="turn",
        what=f"a {name} micro-turn of {_preset(setting)}, {past} positions held, p99",
        bar="40 ms / 15 ms" if name == "speaking" else "",
        values=(p99,),
        unit=" ms",
        digits=1,
        note=f"p50 {statistics.median(taken):.1f} ms, longest {ordered[-1]:.1f} ms, {len(taken)} turns of "
        f"{each:.0f} positions, {session.cache_bytes / 1e6:.0f} MB of keys",
    )


def _preset(setting: Setting) -> str:
    return "`base` in bf16" if setting.gpu else "a small model in fp32"


SECTIONS = {"turn": turns}
