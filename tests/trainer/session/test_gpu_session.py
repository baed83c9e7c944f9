"""A session on a GPU: what is replayed is what was computed, and a micro-turn is in time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from corpus.trainer.config import ModelConfig
from corpus.trainer.data.sequence import Positions
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.presets import MODELS
from corpus.trainer.session.cuda_graph import Replay
from corpus.trainer.session.incremental import Reader
from corpus.trainer.session.sampling import Sampling
from corpus.trainer.session.session import MicroTurn, MicroTurnOut, Session

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"),
    pytest.mark.filterwarnings("ignore"),
]
SAMPLED = Sampling(control="sampled")
SPEAKS = Sampling(speak_above=0.0, stay_above=0.0)


def model_of(config: ModelConfig, dtype: torch.dtype) -> InteractionModel:
    torch.manual_seed(0)
    model = InteractionModel(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.normal_(0, 0.1)
    return model.to("cuda", dtype).eval()


@pytest.fixture
def unrecorded(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def set_() -> None:
        monkeypatch.setattr(Replay, "__call__", torch.no_grad()(lambda replay: replay.function()))

    return set_


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-4), (torch.bfloat16, 0.05)],
    ids=["fp64", "fp32", "bf16"],
)
def test_a_replay_is_what_it_was_recorded_from(
    tiny: ModelConfig,
    make_document: Callable[..., Positions],
    cut_positions: Callable[..., Positions],
    unrecorded: Callable[[], None],
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    model, whole = model_of(tiny, dtype), make_document(tiny, 20)
    sizes = [1, 1, 5, 3, 9, 1, 30]

    def read() -> torch.Tensor:
        reader, parts = Reader.of(model, capacity_positions=1100), []
        reader.prepare()
        while reader.length < len(whole):
            start = reader.length
            stop = min(start + sizes[len(parts) % len(sizes)], len(whole))
            parts.append(reader.read(cut_positions(whole, start, stop)))
        return torch.cat(parts)

    ours = read()
    unrecorded()
    assert float((ours - read()).abs().max()) <= tolerance


def said(out: MicroTurnOut) -> tuple[object, ...]:
    return out.speak, out.tokens, None if out.mel is None else out.mel.tobytes()


def test_a_session_is_the_same_recorded_forked_and_gone_back(
    tiny: ModelConfig, unrecorded: Callable[[], None]
) -> None:
    """Every head's choices too: in fp64, where recorded and not differ in nothing."""
    model = model_of(tiny, torch.float64)
    heard = np.random.default_rng(0).integers(0, 256, (24, 8, 80), np.uint8)

    def live(session: Session, start: int, stop: int) -> list[tuple[object, ...]]:
        return [said(session.step(MicroTurn(audio=each))) for each in heard[start:stop]]

    session = Session(model, sampling=SAMPLED, max_seconds=60)
    ours = live(session, 0, 16)
    fork = session.fork()
    session.rollback(8)
    assert live(session, 8, 16) == ours[8:]
    assert live(fork, 16, 24) == live(session, 16, 24)
    assert 0 < sum(bool(out[0]) for out in ours) < 16
    unrecorded()
    assert live(Session(model, sampling=SAMPLED, max_seconds=60), 0, 16) == ours


def test_a_micro_turn_of_base_is_in_time() -> None:
    """Spoken windows with text, from 8,000 positions on: p99 within 40 ms."""
    config = MODELS["base"]
    model = InteractionModel.unset(config, "cuda")
    model.initialise(0)
    model = model.to(torch.bfloat16).eval()
    random = np.random.default_rng(0)
    heard = random.integers(0, 256, (8, 80), np.uint8)
    frame = random.integers(0, 256, (200, 320, 3), np.uint8)
    session = Session(model, sampling=SPEAKS, max_seconds=90, history_turns=1)
    while session.positions < 8000:
        session.step(MicroTurn(audio=heard, frame=frame))
    outs = [session.step(MicroTurn(audio=heard)) for _ in range(200)]
    ms = np.array([out.ms for out in outs])
    print(
        f"base, {session.positions} positions, {np.mean([len(out.tokens) for out in outs]):.1f} tokens a "
        f"window: median {np.median(ms):.1f} ms, p99 {np.percentile(ms, 99):.1f} ms, worst {ms.max():.1f} ms"
    )
    assert all(out.speak for out in outs)
    assert np.percentile(ms, 99) <= 40
