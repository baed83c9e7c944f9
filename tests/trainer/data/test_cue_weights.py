"""Clips with wanted cues appear in an epoch more often, and a run resumes in it exactly."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
import torch

from corpus.schemas.conversation import Cue
from corpus.schemas.errors import CorpusError, SettingsError
from corpus.trainer.config import RunConfig
from corpus.trainer.data.documents import Documents
from corpus.trainer.data.loader import Loader
from corpus.trainer.overrides import with_overrides
from corpus.trainer.presets import preset

Data = tuple[Path, dict[str, tuple[str, ...]]]
KINDS = {"hold": "pause", "yield": "turn_end", "invitation": "question"}
LABELS = (("hold",), ("yield", "hold"), (), ("invitation",), ())


@pytest.fixture(scope="module")
def data(rules: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Data:
    drafts, labels = [], {}
    for number, own in enumerate(LABELS):
        draft, _ = rules.talk(f"weights-{number}", 20, speakers=2, pictures=False)
        times = {"start_us": 0, "stop_us": 200_000, "confidence": 1.0, "origin": "x"}
        draft.cues += [Cue(label=label, kind=KINDS[label], speaker="Ann", **times) for label in own]
        drafts.append(draft)
        labels[rules.clip_key(draft.hash, 0)] = own
    return rules.store(tmp_path_factory.mktemp("weights"), drafts, windows_per_clip=20), labels


def config_of(path: Path, *pairs: str) -> RunConfig:
    own = (f"data.data={path}", "data.length=256", "data.rows=2", "data.pictures=false", "device=cpu")
    return with_overrides(preset("tiny"), [*own, *pairs])


WEIGHED = ("data.cue_weight.hold=3", "data.cue_weight.yield=5")


def test_the_most_of_a_clips_labels_counts(data: Data) -> None:
    path, labels = data
    documents = Documents(config_of(path, *WEIGHED), weighed=True)
    times = {(): 1, ("hold",): 3, ("yield", "hold"): 5, ("invitation",): 1}
    assert len(documents) == 2 * sum(times[own] for own in LABELS)
    for epoch in (0, 1):
        first = epoch * len(documents)
        seen = Counter(documents.view(first + place).id for place in range(len(documents)))
        assert seen == {f"{key}/{who}": times[own] for key, own in labels.items() for who in (0, 1)}
    # What is scored is not weighed.
    assert len(Documents(config_of(path, *WEIGHED))) == 2 * len(LABELS)


def test_it_resumes_exactly_and_only_as_it_was(data: Data) -> None:
    config = config_of(data[0], *WEIGHED)
    whole = Loader(config, ahead=0)
    batches = [next(stream) for stream in [iter(whole)] for _ in range(6)]
    later = Loader(config, ahead=0)
    later.load_state_dict(dataclasses.asdict(batches[2][1]), config)
    for (ours, state), (theirs, theirs_state) in zip(iter(later), batches[3:], strict=False):
        assert state == theirs_state
        assert torch.equal(ours.token_BL, theirs.token_BL)
    plain = config_of(data[0])
    with pytest.raises(SettingsError, match="differ") as error:
        Loader(plain).load_state_dict(dataclasses.asdict(batches[2][1]), config)
    assert "data.cue_weight.hold=3" in error.value.todo
    # A run that knows no weights has the order it always had.
    assert Loader(config_of(data[0], "data.cue_weight.hold=1")).state == Loader(plain).state


@pytest.mark.parametrize("pair", ["hold=0", "hold=-1", "hold=1001", "hold=1.5", "hold=x", "cough=2"])
def test_weights_are_whole_numbers_of_labels(data: Data, pair: str) -> None:
    with pytest.raises(CorpusError):
        config_of(data[0], f"data.cue_weight.{pair}")
