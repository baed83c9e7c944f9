"""Several datasets in one endless order, and clips chosen by a condition."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections import Counter
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.schemas.errors import DatasetError, SettingsError
from corpus.shards.read import open_clips
from corpus.trainer.config import RunConfig
from corpus.trainer.data.documents import Documents
from corpus.trainer.data.loader import Loader
from corpus.trainer.data.mixture import absolute, parts_of, source_of
from corpus.trainer.data.where import places_where
from corpus.trainer.presets import preset

WEIGHTS = st.lists(st.integers(1, 50), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def folders(rules: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Seven talks and three beeps."""
    folder = tmp_path_factory.mktemp("mixture")
    talk = rules.write(folder / "talk", "talk", {"train": 7, "validation": 1}, windows=11).path
    return talk, rules.write(folder / "beep", "beep", {"train": 3}, windows=20).path


def config_for(data: str, **changed: object) -> RunConfig:
    base = preset("tiny")
    chosen = {"data": data, "length": 128, "rows": 4, "pictures": False, **changed}
    return dataclasses.replace(base, data=dataclasses.replace(base.data, **chosen), device="cpu")


@given(weights=WEIGHTS, many=st.integers(1, 400))
@settings(max_examples=100)
def test_each_dataset_has_its_share_at_every_place(weights: list[int], many: int) -> None:
    shares = [Fraction(weight, sum(weights)) for weight in weights]
    given: list[list[int]] = [[] for _ in shares]
    for place in range(many):
        number, inside = source_of(place, shares)
        given[number].append(inside)
        for before, (share, documents) in enumerate(zip(shares, given, strict=True)):
            assert abs(len(documents) - share * (place + 1)) < before + 1
    assert all(documents == list(range(len(documents))) for documents in given)


def test_documents_come_in_their_shares_and_every_one_once_an_epoch(folders: tuple[Path, Path]) -> None:
    talk, beep = folders
    documents = Documents(config_for(f"{talk}:0.75,{beep}:1/4"))
    alone = Documents(config_for(str(talk)))
    keys = set(open_clips(beep).keys())
    views = [documents.view(place) for place in range(4 * len(alone))]
    beeps = [view.id for view in views if view.key in keys]
    talks = [view.id for view in views if view.key not in keys]
    assert len(beeps) == len(alone)
    assert talks == [alone.view(place).id for place in range(3 * len(alone))]
    assert set(Counter(talks).values()) == {3}


def test_one_dataset_of_weight_1_is_that_dataset(folders: tuple[Path, Path]) -> None:
    one, mixture = Loader(config_for(str(folders[0]))), Loader(config_for(f"{folders[0]}:3"))
    assert one.state == mixture.state
    assert one.names(one.state) == mixture.names(one.state)


@pytest.mark.parametrize("where", ["", "pictures >= 0"])
def test_a_mixture_goes_on_where_it_stopped_whatever_the_ranks(
    folders: tuple[Path, Path], where: str
) -> None:
    config = config_for(f"{folders[0]}:2,{folders[1]}:1", where=where)
    unbroken = Loader(config, ahead=0)
    states = [state for _, (_, state) in zip(range(9), unbroken, strict=False)]
    begun = Loader(config, 0, 2, ahead=0)
    for _, (_, state) in zip(range(4), begun, strict=False):
        assert state == states[state.batches - 1]
    for rank, world in ((0, 1), (1, 2), (3, 4)):
        resumed = Loader(config, rank, world, ahead=0)
        resumed.load_state_dict(begun.state_dict())
        rest = [state for _, (_, state) in zip(range(5), resumed, strict=False)]
        assert rest == states[4:]


@pytest.mark.parametrize("data", ["A:0.7,B", "A:0.7,B:0", "A:-1,B:1", "A:x,B:1", ":1,B:1", "A:1/0,B:1"])
def test_weights_that_are_none_are_named(data: str) -> None:
    with pytest.raises(SettingsError, match="not a folder with a weight"):
        parts_of(data)


def test_paths_of_a_mixture_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("A:0.7, b/C:0.3") == f"{tmp_path}/A:0.7,{tmp_path}/b/C:0.3"
    assert absolute("A") == str(tmp_path / "A")
    assert absolute("A:0.7,B") == f"{tmp_path}/A:0.7,B"
    assert absolute(":0.5") == ":0.5"


def test_a_condition_chooses_clips(folders: tuple[Path, Path]) -> None:
    clips = open_clips(folders[0], split="train")
    two = [place for place, clip in enumerate(clips) if len(clip.json.speakers) >= 2]
    assert 0 < len(two) < len(clips)
    assert places_where(open_clips(folders[0], split="train"), "len(speakers) >= 2").tolist() == two
    documents = Documents(config_for(str(folders[0]), where="len(speakers) >= 2"))
    keys = {documents.view(place).key for place in range(len(documents))}
    assert keys == {clips[place].key for place in two}


@pytest.mark.parametrize(
    "condition",
    [
        "nothing = 1",
        "1 = 1) UNION SELECT 5 --",
        "true; DROP TABLE clips",
        "key IN (SELECT content FROM read_text('/etc/hostname'))",
        "EXISTS (SELECT * FROM '/etc/hostname')",
        "EXISTS (SELECT * FROM read_parquet('clips.parquet'))",
        "key = 'open",
        "windows",
        "1",
        "'true'",
    ],
)
def test_what_is_no_condition_over_clips_is_refused(folders: tuple[Path, Path], condition: str) -> None:
    with pytest.raises(SettingsError, match="not a condition over clips") as error:
        places_where(open_clips(folders[0], split="train"), condition)
    assert "unreliable_share" in error.value.todo


def test_a_condition_that_nothing_fits_is_an_error(folders: tuple[Path, Path]) -> None:
    with pytest.raises(DatasetError, match="none of the 7 clips"):
        Documents(config_for(str(folders[0]), where="windows > 1000"))


@pytest.mark.parametrize("now", ["", "len(speakers) >= 1"])
def test_another_condition_is_refused_on_resume(folders: tuple[Path, Path], now: str) -> None:
    began = config_for(str(folders[0]), where="windows > 1")
    state = Loader(began).state_dict()
    with pytest.raises(SettingsError) as error:
        Loader(config_for(str(folders[0]), where=now)).load_state_dict(state, began)
    assert "data.where=windows > 1" in error.value.todo


def test_a_condition_that_is_new_is_refused_on_resume(folders: tuple[Path, Path]) -> None:
    began = config_for(str(folders[0]))
    state = Loader(began).state_dict()
    with pytest.raises(SettingsError) as error:
        Loader(config_for(str(folders[0]), where="windows > 1")).load_state_dict(state, began)
    assert "set data.where= as it was" in error.value.todo


def test_other_clips_under_the_same_condition_are_refused(folders: tuple[Path, Path]) -> None:
    """A condition may hang on chance."""
    config = config_for(str(folders[0]), where="windows > 1")
    state = Loader(config).state_dict()
    plain = json.loads(json.dumps({**state, "dataset": "0" * 64}))
    with pytest.raises(DatasetError, match="not the dataset"):
        Loader(config).load_state_dict(plain, config)


def test_other_shares_are_refused_on_resume(folders: tuple[Path, Path]) -> None:
    state = Loader(config_for(f"{folders[0]}:2,{folders[1]}:1")).state_dict()
    with pytest.raises(DatasetError, match="not the dataset"):
        Loader(config_for(f"{folders[0]}:1,{folders[1]}:1")).load_state_dict(state)


URLS = [
    ("s3://bucket/out", ["s3://bucket/out"]),
    ("http://host:8000/out", ["http://host:8000/out"]),
    ("s3://bucket/out:0.5,gs://other/out:0.5", ["s3://bucket/out", "gs://other/out"]),
    ("s3://bucket/out:2", ["s3://bucket/out"]),
]


@pytest.mark.parametrize(("data", "places"), URLS)
def test_datasets_may_be_urls(data: str, places: list[str]) -> None:
    assert [part.path for part in parts_of(data)] == places
    assert absolute(data) == data


@pytest.mark.parametrize(
    "data", ["s3://key:secret@bucket/out", "https://host/out?sig=secret", "s3://a?b=secret:1,c:1"]
)
def test_credentials_do_not_come_into_a_run(data: str) -> None:
    with pytest.raises(SettingsError, match="credentials") as caught:
        parts_of(data)
    assert "secret" not in str(caught.value)


def test_a_dataset_at_a_url_gives_the_same_rows(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    monkeypatch.setenv("CORPUS_READ_CACHE_DIR", str(tmp_path))
    files = fsspec.filesystem("memory")
    for path in folders[0].rglob("*.*"):
        files.put_file(str(path), f"/{tmp_path.name}/{path.relative_to(folders[0]).as_posix()}")
    where = "windows > 1"
    away = Documents(config_for(f"memory://{tmp_path.name}", where=where))
    near = Documents(config_for(str(folders[0]), where=where))
    assert away.digest == near.digest and len(away) == len(near)
    for place in range(len(near)):
        ours, theirs = (documents.turns(place, 0, 5) for documents in (away, near))
        assert away.view(place).id == near.view(place).id
        assert pickle.dumps(ours) == pickle.dumps(theirs)
