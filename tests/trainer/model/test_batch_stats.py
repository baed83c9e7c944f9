from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from corpus.trainer.config import LossConfig, ModelConfig
from corpus.trainer.data.sequence import EOW, NO_TARGET, SIL, SPK, Batch, Positions
from corpus.trainer.model.batch_stats import TEXT_SUMS, spoken, text_sums, windows_of
from corpus.trainer.model.model import InteractionModel

Make = Callable[..., Positions]
Pack = Callable[..., Batch]


def test_windows_are_counted_across_documents(
    tiny: ModelConfig, make_document: Make, pack_rows: Pack
) -> None:
    documents = [make_document(tiny, 3, pictures=False), make_document(tiny, 2, pictures=False)]
    assert int(windows_of(pack_rows([documents], 160))) == 5


def test_positions_of_spoken_micro_turns(tiny: ModelConfig, make_document: Make, pack_rows: Pack) -> None:
    """Input and output alike; documents speak in their odd micro-turns."""
    documents = [make_document(tiny, 4), make_document(tiny, 3, 1)]
    batch = pack_rows([documents, documents[::-1]], 260)
    assert torch.equal(
        spoken(batch), (batch.turn_BL >= 0) & (batch.turn_BL % 2 == 1) & (batch.segment_BL >= 0)
    )


def slow_sums(batch: Batch, nats: dict[int, float]) -> dict[str, float]:
    """Position by position, as the names say."""
    sums = dict.fromkeys(TEXT_SUMS, 0.0)
    rows, length = batch.shape
    for row in range(rows):
        before: tuple[int, int] | None = None
        for at in range(length):
            target = int(batch.text_target_BL[row, at])
            segment = int(batch.segment_BL[row, at])
            if target == NO_TARGET:
                continue
            kinds = ["control" if target in (SIL, SPK) else "end" if target == EOW else "words"]
            if target == SPK and before == (segment, SIL):
                kinds.append("onset")
            if target in (SIL, SPK):
                before = (segment, target)
            if batch.text_weight_BL[row, at] > 0:
                sums["speaks"] += target == SPK
                for kind in kinds:
                    sums[kind] += 1
                    sums[f"nats_{kind}"] += nats[row * length + at]
    return sums


def test_text_sums_equal_a_count_by_hand(tiny: ModelConfig, make_document: Make, pack_rows: Pack) -> None:
    """Documents that begin with speech and with silence, side by side, some of it without weight."""
    whole = [make_document(tiny, turns, turns, pictures=False) for turns in (9, 8, 15)]
    batch = pack_rows([whole[:2], whole[2:]], 260)
    random = np.random.default_rng(0)
    batch.text_weight_BL.masked_fill_(torch.from_numpy(random.random(batch.shape) < 0.2), 0)
    control = (batch.text_target_BL == SIL) | (batch.text_target_BL == SPK)
    turned = torch.from_numpy(random.random(batch.shape) < 0.4) & control
    batch.text_target_BL[turned] = SIL + SPK - batch.text_target_BL[turned]
    at = (batch.text_target_BL.reshape(-1) != NO_TARGET).nonzero()[:, 0]
    nats = torch.from_numpy(random.random(len(at)))
    expected = slow_sums(batch, dict(zip(at.tolist(), nats.tolist(), strict=True)))
    assert expected["onset"] > 1 and expected["control"] > expected["speaks"] > expected["onset"]
    found = dict(zip(TEXT_SUMS, text_sums(batch, at, nats).tolist(), strict=True))
    assert found == pytest.approx(expected, abs=1e-12)


def test_a_batch_without_text_tells_nothing(tiny: ModelConfig, make_document: Make, pack_rows: Pack) -> None:
    batch = pack_rows([[make_document(tiny, 3)]], 200)
    batch.text_target_BL.fill_(NO_TARGET)
    none = torch.zeros(0, dtype=torch.int64)
    assert not text_sums(batch, none, torch.zeros(0)).any()


def test_the_model_gives_the_nats_of_its_logits(
    tiny: ModelConfig, make_document: Make, pack_rows: Pack
) -> None:
    model = InteractionModel(tiny).double().eval()
    batch = pack_rows([[make_document(tiny, 4)], [make_document(tiny, 3, 1)]], 200)
    at = (batch.text_target_BL.reshape(-1) != NO_TARGET).nonzero()[:, 0]
    with torch.no_grad():
        logit = model.text_logits(model.hidden(batch)).flatten(0, 1)[at]
        nats = F.cross_entropy(logit, batch.text_target_BL.reshape(-1)[at].long(), reduction="none")
        sums = model(batch, LossConfig())
    expected = slow_sums(batch, dict(zip(at.tolist(), nats.tolist(), strict=True)))
    found = dict(zip(TEXT_SUMS, sums.text_S.tolist(), strict=True))
    assert found == pytest.approx(expected, abs=1e-9)
    assert not sums.text_S.requires_grad and not sums.margin_N.requires_grad


def test_load_apart_for_spoken_micro_turns(tiny: ModelConfig, make_document: Make, pack_rows: Pack) -> None:
    model = InteractionModel(tiny)
    batch = pack_rows([[make_document(tiny, 5)]], 300)
    with torch.no_grad():
        sums = model(batch, LossConfig())
    assert int(sums.load_NE.sum()) == int((batch.segment_BL >= 0).sum()) * tiny.top_k
    assert int(sums.spoken_NE.sum()) == int(spoken(batch).sum()) * tiny.top_k
    assert bool((sums.spoken_NE <= sums.load_NE).all())
    assert bool((sums.margin_N > 0).all()) and len(sums.margin_N) == tiny.layers - tiny.dense_layers
