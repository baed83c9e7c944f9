"""A stream trains on the documents of the reader by place, each once a pass, in another order."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from corpus.schemas.errors import CorpusError, DatasetError, SettingsError
from corpus.trainer.config import RunConfig
from corpus.trainer.data.documents import Documents
from corpus.trainer.data.loader import Loader, LoaderState
from corpus.trainer.data.open_loader import open_loader
from corpus.trainer.data.stream_documents import StreamDocuments
from corpus.trainer.data.stream_loader import StreamLoader
from corpus.trainer.presets import MODELS, preset

pytestmark = pytest.mark.filterwarnings("ignore")  # webdataset's own


def config_for(path: Path | str, **data: Any) -> RunConfig:
    base = preset("tiny")
    chosen = {"data": str(path), "length": 64, "rows": 4, "reader": "stream", "stream_buffer": 20, **data}
    return dataclasses.replace(
        base,
        model=dataclasses.replace(MODELS["tiny"], picture_rows=2, picture_columns=2),
        data=dataclasses.replace(base.data, **chosen),
    )


@pytest.fixture(scope="module")
def shards(rules: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of many clips, in shards that end in the middle of them."""
    drafts = []
    for number in range(5):
        draft = rules.Draft(name=f"talk-{number}", windows=80, speakers=("Ann", "Bo"))
        draft.clip_windows = 4
        for channel in range(3):
            draft.noise(channel, 0, 80, 8000)
        draft.speak(0, 300_000, 3_000_000, "one two three")
        draft.speak(1, 2_000_000, 3_900_000, "four five")
        drafts.append(draft)
    folder = tmp_path_factory.mktemp("shards")
    path: Path = rules.store(folder, drafts, windows_per_clip=4, shard_bytes=1024 * 1024)
    assert len(list(path.glob("train/*.tar"))) > 4
    return path


def first_pass(documents: StreamDocuments) -> list[int]:
    """The numbers of a rank's documents before its second pass."""
    return list(itertools.takewhile(lambda number: _epoch(documents, number) == 0, itertools.count()))


def _epoch(documents: StreamDocuments, number: int) -> int:
    documents.view(number)
    return documents._whence(number)[2]


@pytest.mark.parametrize("hears", ["energy", "mix"])
def test_the_same_windows_in_another_order(shards: Path, hears: str) -> None:
    config = config_for(shards, hears=hears)
    documents = Documents(config)
    by_name = {documents.view(place).id: place for place in range(len(documents))}
    streamed = StreamDocuments(config, 0, 1)
    names = [streamed.view(number).id for number in first_pass(streamed)]
    assert sorted(names) == sorted(by_name) and len(names) > 40
    assert names != list(by_name)
    for number, name in enumerate(names):
        place, view = by_name[name], streamed.view(number)
        assert np.array_equal(view.sizes_N, documents.view(place).sizes_N)
        ours, theirs = (
            from_.turns(at, 0, len(view)) for from_, at in ((streamed, number), (documents, place))
        )
        for field in dataclasses.fields(ours):
            one, other = getattr(ours, field.name), getattr(theirs, field.name)
            assert np.array_equal(one, other) if isinstance(one, np.ndarray) else repr(one) == repr(other)


def test_ranks_share_a_pass_and_its_order_follows_from_the_seed(shards: Path) -> None:
    def names(rank: int, world: int, **data: Any) -> list[str]:
        documents = StreamDocuments(config_for(shards, **data), rank, world)
        return [documents.view(number).id for number in first_pass(documents)]

    alone = names(0, 1)
    assert names(0, 1) == alone == names(0, 1, data=f"file://{shards}")
    assert names(0, 1, seed=1) != alone
    ranks = [names(rank, 3) for rank in range(3)]
    assert all(ranks) and sorted(itertools.chain(*ranks)) == sorted(alone)


def test_conditions_and_weights_choose_as_by_place(shards: Path) -> None:
    chosen = config_for(shards, where="first_window >= 8")
    documents, streamed = Documents(chosen), StreamDocuments(chosen, 0, 1)
    expected = Counter(documents.view(place).id for place in range(len(documents)))
    assert Counter(streamed.view(number).id for number in first_pass(streamed)) == expected
    assert 0 < len(expected) < len(Documents(config_for(shards)))


def taken(loader: Loader, count: int) -> list[LoaderState]:
    stream = iter(loader)
    states = [next(stream)[1] for _ in range(count)]
    stream.close()  # type: ignore[attr-defined]
    return states


def test_a_resumed_run_counts_on_and_begins_a_new_pass(shards: Path) -> None:
    loader = open_loader(config_for(shards))
    assert isinstance(loader, StreamLoader)
    states = taken(loader, 6)
    assert [state.batches for state in states] == [1, 2, 3, 4, 5, 6]
    assert states == taken(StreamLoader(config_for(shards), ahead=0), 6)
    again = StreamLoader(config_for(shards))
    again.load_state_dict(dataclasses.asdict(states[-1]))
    (after,) = taken(again, 1)
    assert after.batches == 7 and after.positions > states[-1].positions
    assert after.positions + after.padding == 7 * loader.positions_per_batch
    before = dataclasses.replace(states[-1])
    assert again.names(before)[0] != loader.names(dataclasses.replace(states[0], batches=0))[0]
    with pytest.raises(SettingsError, match="settings that decide the content of batches") as caught:
        Loader(config_for(shards, reader="map")).load_state_dict(
            dataclasses.asdict(after), config_for(shards)
        )
    assert "data.reader=stream" in caught.value.todo


def test_ranks_take_rows_of_their_own_and_agree_on_the_count(shards: Path) -> None:
    loaders = [StreamLoader(config_for(shards), rank, 2, ahead=0) for rank in range(2)]
    made = [taken(loader, 3) for loader in loaders]
    assert [state.batches for state in made[0]] == [state.batches for state in made[1]]
    begun = [
        {name.split(":")[0] for batch in range(3) for row in loader.names(states[0]) for name in row}
        for loader, states in zip(loaders, made, strict=True)
    ]
    assert begun[0].isdisjoint(begun[1]) and all(begun)


@pytest.mark.parametrize(
    ("data", "world", "error", "message"),
    [
        ({"together": True}, 1, SettingsError, "of one dataset.*data.reader=map"),
        ({}, 400, CorpusError, "ranks"),
        ({"rows": 40}, 40, DatasetError, r"\d+ shards for 40 ranks.*shard_bytes"),
        ({"where": "windows > 1000"}, 1, DatasetError, "none of the"),
    ],
)
def test_what_cannot_be_streamed_is_said(
    shards: Path, data: dict[str, Any], world: int, error: type[CorpusError], message: str
) -> None:
    with pytest.raises(error, match=message):
        StreamLoader(config_for(shards, **data), 0, world)


def test_a_damaged_shard_is_named(shards: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(shards, tmp_path / "copy")
    shard = sorted(copy.glob("train/*.tar"))[1]
    shard.write_bytes(shard.read_bytes()[:70_000])
    with pytest.raises(CorpusError, match=shard.name):
        taken(StreamLoader(config_for(copy)), 50)
