"""Training's weights, and probabilities with them undone: against tables whose truth is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from corpus.trainer.config import LossConfig, ModelConfig
from corpus.trainer.data import noise
from corpus.trainer.data.control import Weighting, control_weights
from corpus.trainer.data.layout import Turns, lay_out
from corpus.trainer.data.sequence import BYTE_0, EOW, NO_TARGET, SIL, SPK
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.session.sampling import Sampling, next_token
from corpus.trainer.session.session import Answer, MicroTurn, Session

LOSS = LossConfig()
shares = st.floats(1e-3, 1 - 1e-3)
weights = st.floats(0.05, 5)


@given(p=shares, silence=weights, onset=weights, offset=weights)
def test_the_optimum_of_weighted_cross_entropy_is_set_right(
    p: float, silence: float, onset: float, offset: float
) -> None:
    """Of so many windows p are spoken in; the loss is least at the distorted odds, undone they are p's."""
    loss = LossConfig(silence=silence, onset=onset, offset=offset)
    for before in (False, True):
        said = np.array([False, True])
        w_sil, w_spk = control_weights(np.full(2, before), said, loss)
        # d/dq of -(p w_spk log q + (1 - p) w_sil log(1 - q)) is 0 here:
        learnt = p * w_spk / (p * w_spk + (1 - p) * w_sil)
        assert Weighting.of(loss).undone(float(learnt), before) == pytest.approx(p, rel=1e-9)


def test_a_table_trained_with_the_layouts_weights_gives_the_true_shares_back(tiny: ModelConfig) -> None:
    """Four situations, known shares; logits of a table go down the weighted loss of real targets."""
    rng = np.random.default_rng(0)
    true = np.array([[0.02, 0.3], [0.7, 0.95]])  # [spoke before, what is heard]
    count = 6000
    heard, speak = rng.integers(0, 2, count), np.zeros(count, bool)
    for n in range(count):
        speak[n] = rng.random() < true[int(n > 0 and speak[n - 1]), heard[n]]
    blank = np.zeros((count, 8, 80), np.uint8)
    turns = Turns(
        heard_NFM=blank,
        heard_known_NF=np.ones((count, 8), bool),
        pictures=[None] * count,
        given=[()] * count,
        speak_N=speak,
        written=[()] * count,
        sound_NFM=blank,
        audible_NF=np.ones((count, 8), bool),
        known_N=np.ones(count, bool),
        spoke_before=False,
    )
    laid = lay_out(turns, tiny, LOSS)
    asked = np.isin(laid.text_target_L, (SIL, SPK))
    before = np.concatenate(([False], speak[:-1]))
    place = torch.from_numpy(2 * before.astype(np.int64) + heard)
    target = torch.from_numpy((laid.text_target_L[asked] == SPK).astype(np.float64))
    weight = torch.from_numpy(laid.text_weight_L[asked].astype(np.float64))
    table = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([table], max_iter=200, tolerance_grad=1e-12)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        logit = table[place]
        nats = torch.nn.functional.binary_cross_entropy_with_logits(logit, target, weight)
        nats.backward()
        return nats

    optimizer.step(closure)
    learnt = table.detach().sigmoid().numpy().reshape(2, 2)
    share = np.array([[speak[(before == b) & (heard == h)].mean() for h in (0, 1)] for b in (False, True)])
    assert learnt[0] == pytest.approx(share[0] * 15 / (share[0] * 15 + 1 - share[0]), abs=1e-5)
    undone = Weighting.of(LOSS).undone(learnt, np.array([[False, False], [True, True]]))
    assert undone == pytest.approx(share, abs=1e-5)
    assert np.abs(learnt - share).max() > 0.3


def test_factors_are_those_of_the_loss() -> None:
    made = Weighting.of(LOSS)
    assert (made.after_silence, made.after_speech) == (pytest.approx(15), 1.0)
    assert made.end_of_window == 0.5
    even = {"silence": 1.0, "onset": 1.0, "offset": 1.0, "end_of_window": 1.0}
    assert Weighting.of(LossConfig(**even)) == Weighting()
    # What weighs nothing has left no trace in the odds.
    for nothing in ({"silence": 0.0}, {"onset": 0.0}, {"end_of_window": 0.0}):
        assert Weighting.of(LossConfig(**even | nothing)) == Weighting()


def test_text_ends_as_often_as_it_did_in_training(tiny: ModelConfig) -> None:
    """A table of logits goes down the weighted loss of a layout's real targets: of spoken windows, those with
    one letter, with another, and without. What is drawn from it are their shares."""
    count, letters = 2000, [BYTE_0 + 97, BYTE_0 + 98]
    kind = np.random.default_rng(0).choice(3, count, p=[0.15, 0.25, 0.6])
    blank, yes = np.zeros((count, 8, 80), np.uint8), np.ones(count, bool)
    turns = Turns(
        heard_NFM=blank,
        heard_known_NF=np.ones((count, 8), bool),
        pictures=[None] * count,
        given=[()] * count,
        speak_N=yes,
        written=[(letters[k],) if k < 2 else () for k in kind],
        sound_NFM=blank,
        audible_NF=np.ones((count, 8), bool),
        known_N=yes,
        spoke_before=False,
    )
    laid = lay_out(turns, tiny, LOSS)
    first = (laid.token_L == SPK) & (laid.text_target_L != NO_TARGET)
    target = torch.from_numpy(laid.text_target_L[first].astype(np.int64))
    weight = torch.from_numpy(laid.text_weight_L[first])
    logit_V = torch.zeros(tiny.vocab, requires_grad=True)
    optimizer = torch.optim.LBFGS([logit_V], max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        total = (-logit_V.log_softmax(0)[target] * weight).sum() / weight.sum()
        total.backward()
        return total

    optimizer.step(closure)
    free = Sampling(text_temperature=1.0, text_top_p=1.0)
    bits = noise.uniform(noise.mix(5, torch.arange(1500)))

    def ends(factor: float) -> float:
        drawn = [int(next_token(logit_V.detach(), free, each, factor)) for each in bits]
        return drawn.count(EOW) / len(drawn)

    share = float((kind == 2).mean())
    assert ends(1.0) == pytest.approx(share / 2 / (share / 2 + 1 - share), abs=0.04)
    assert ends(Weighting.of(LOSS).end_of_window) == pytest.approx(share, abs=0.04)


def test_a_session_writes_with_the_weight_of_the_end_undone(tiny: ModelConfig) -> None:
    """The same model and seed: told that training made `<eow>` hardly likely, it ends at once."""
    model = InteractionModel(dataclasses.replace(tiny, picture_rows=0)).double().eval()
    with torch.no_grad():
        model.norm.weight.zero_()  # every token is as likely
    sampling = Sampling(speak_above=0.0, stay_above=0.0, text_temperature=1.0, text_top_p=1.0)
    heard = np.zeros((8, 80), np.uint8)
    written = []
    for factor in (1.0, 1e-9):
        model.weighting = Weighting(end_of_window=factor)
        written.append(len(Session(model, sampling=sampling).step(MicroTurn(audio=heard)).tokens))
    assert written == [tiny.text_slots, 0]


@given(p=st.floats(0, 1), before=st.booleans())
def test_certainty_stays_and_order_too(p: float, before: bool) -> None:
    made = Weighting(after_silence=15.0, after_speech=0.5)
    assert made.undone(0.0, before) == 0.0 and made.undone(1.0, before) == 1.0
    found = made.undone(p, before)
    assert 0 <= found <= 1 and (found <= p) == (not before or found == p)
    several = made.undone(np.array([p, p]), np.array([before, not before]))
    assert several[0] == found


def test_a_session_tells_and_uses_the_probability_with_weights_undone(tiny: ModelConfig) -> None:
    torch.manual_seed(0)
    model = InteractionModel(dataclasses.replace(tiny, picture_rows=0)).double().eval()
    heard = np.random.default_rng(0).integers(0, 256, (30, 8, 80), np.uint8)
    said = np.random.default_rng(1).random(30) < 0.5

    def lived() -> np.ndarray:
        session = Session(model, max_seconds=10)
        answers = [Answer(speak=bool(s), sound_FM=heard[0] if s else None) for s in said]
        return np.array(
            [session.step(MicroTurn(audio=h), force=a).p_speak for h, a in zip(heard, answers, strict=True)]
        )

    raw = lived()
    model.weighting = Weighting(after_silence=15.0, after_speech=2.0)
    before = np.concatenate(([False], said[:-1]))
    factor = np.where(before, 2.0, 15.0)
    assert lived() == pytest.approx(raw / (raw + (1 - raw) * factor), abs=1e-12)
    # Between the two probabilities: with the weights it would speak, without them it does not.
    sampling = Sampling(speak_above=0.3, stay_above=0.3)
    assert raw[0] > 0.3
    assert not Session(model, sampling=sampling, max_seconds=1).step(MicroTurn(audio=heard[0])).speak
    model.weighting = Weighting()
    assert Session(model, sampling=sampling, max_seconds=1).step(MicroTurn(audio=heard[0])).speak
