"""What a session and the whole pass say of a document's tokens: nearly the same, or the same bits."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType

import pytest
import torch

from corpus.trainer.config import DataConfig, ModelConfig
from corpus.trainer.data.documents import Documents
from corpus.trainer.evaluate.dlogp import logp_difference
from corpus.trainer.model.batch_invariant import batch_invariant, is_batch_invariant
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.presets import MODELS, preset

TINY = dataclasses.replace(MODELS["tiny"], picture_rows=2, picture_columns=2, picture_every=1)
KINDS = {
    "all is seen": dataclasses.replace(TINY, attention_window_s=None),
    # Sinks, and a ring of keys that comes round several times.
    "a window": dataclasses.replace(TINY, attention_window_s=1.0, sink_turns=2),
    "dense": dataclasses.replace(TINY, dense_layers=2, head_norms=False, rope="whole"),
}


@pytest.fixture(scope="module")
def data(rules: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    corpus = rules.write(tmp_path_factory.mktemp("dlogp"), "talk", {"validation": 1}, windows=40)
    return Path(corpus.path)


@pytest.mark.parametrize("kind", list(KINDS))
def test_batch_invariant_means_the_same_bits(data: Path, kind: str) -> None:
    config: ModelConfig = KINDS[kind]
    torch.set_num_threads(1)
    model = InteractionModel(config, seed=2).eval()
    with torch.no_grad():  # drawn as it is, all tokens are as likely
        for value in model.parameters():
            value.mul_(4 if value.ndim > 1 else 1)
    own = DataConfig(data=str(data), split="validation", length=4096, rows=1)
    documents = Documents(dataclasses.replace(preset("tiny"), model=config, data=own))
    usual = logp_difference(model, documents, 0)
    assert usual.tokens > 60 and 0 < usual.most < 1e-3
    with batch_invariant():
        exact = logp_difference(model, documents, 0)
    assert exact.tokens == usual.tokens
    assert exact.most == exact.mean == 0.0
    assert not is_batch_invariant()
