"""Inputs that a cluster looks at: a build is the same, and reads no item of a bundle that is known."""

from __future__ import annotations

import json
import random
import wave
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corpus.align.sidecar_files import Listing, find_sidecars
from corpus.pipeline import bundles, ray_recordings, survey
from corpus.pipeline.build import build_dataset
from corpus.pipeline.progress import Quiet
from corpus.pipeline.request import Request
from corpus.schemas.errors import StorageError, UsageError
from corpus.schemas.settings import Settings

BytesOf = Callable[[Path], dict[str, str]]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "MEAN_ITEMS", 2)
    monkeypatch.setattr(survey, "MANY", 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(12):
        talk(folder, f"t{number:02d}", number, "Ann" if number in (0, 11) else None)
    return folder


@pytest.fixture
def requests(folder: Path, tmp_path: Path, no_models: Settings) -> Iterator[tuple[Request, Request]]:
    """The same dataset built on a cluster, and here."""
    far = Request(inputs=(str(folder),), out=tmp_path / "far", settings=no_models, engine="ray")
    yield far, replace(far, out=tmp_path / "here", engine="local")


def talk(folder: Path, name: str, seed: int, person: str | None = None) -> None:
    with wave.open(str(folder / f"{name}.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(random.Random(seed).randbytes(2 * 9_600))
    if person is not None:
        name_person(folder, name, person, 400_000)


def name_person(folder: Path, name: str, person: str, stop_us: int) -> None:
    turn = {"speaker": person, "start_us": 100_000, "stop_us": stop_us}
    plain = {
        "schema": "corpus.conversation/2",
        "speakers": [person],
        "named_speakers": [person],
        "turns": [turn],
    }
    (folder / f"{name}.json").write_text(json.dumps(plain))


def test_every_change_gives_the_dataset_of_a_build_that_looks_itself(
    fake_cluster: Any, folder: Path, requests: tuple[Request, Request], bytes_of: BytesOf
) -> None:
    far, here = requests

    def person_of_two() -> None:  # its bundle falls, and that of t11, whose items nobody has read
        name_person(folder, "t00", "Ann", 500_000)

    changes: list[Callable[[], object]] = [
        lambda: None,
        lambda: talk(folder, "t03b", 33),
        lambda: talk(folder, "t04", 44),
        person_of_two,
        lambda: (folder / "empty.wav").write_bytes(b""),
    ]
    for change in changes:
        change()
        fake_cluster.done.clear()
        codes = [build_dataset(one, Quiet()).exit_code for one in (far, here)]
        assert codes[0] == codes[1] and bytes_of(far.out) == bytes_of(here.out)
        surveys = fake_cluster.done.count("SurveyTask")
        assert surveys == (0 if change is changes[0] else 2 if change is person_of_two else 1)
    fake_cluster.done.clear()
    assert build_dataset(replace(far, rehash=True), Quiet()).recordings == 13
    assert "SurveyTask" not in fake_cluster.done and bytes_of(far.out) == bytes_of(here.out)


def test_nothing_changed_is_seen_by_one_survey(fake_cluster: Any, requests: tuple[Request, Request]) -> None:
    far, _ = requests
    build_dataset(far, Quiet())
    fake_cluster.done.clear()
    assert build_dataset(far, Quiet()).unchanged and fake_cluster.done == ["SurveyTask"]


def test_a_missing_input_and_one_that_changes_meanwhile_are_errors(
    fake_cluster: Any,
    folder: Path,
    requests: tuple[Request, Request],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    far, _ = requests
    build_dataset(far, Quiet())
    with pytest.raises(UsageError, match="no such file"):
        build_dataset(replace(far, inputs=(*far.inputs, str(folder / "nowhere"))), Quiet())
    name_person(folder, "t00", "Ann", 500_000)
    again, before = [], survey.survey

    def changing(task: survey.SurveyTask) -> survey.Survey:
        if task.wanted is not None:
            again.append(task)
            talk(folder, "t11", 77, "Ann")
        return before(task)

    with monkeypatch.context() as patch:
        patch.setattr(survey, "survey", changing)
        patch.setattr(fake_cluster, "is_pickling", False)
        with pytest.raises(StorageError, match="are being changed"):
            build_dataset(far, Quiet())
    assert again and build_dataset(far, Quiet()).exit_code == 0


def test_part_of_a_listing_finds_the_same_files(folder: Path) -> None:
    for name in ("t01.wav.RTTM", "t02.JSON", "other.rttm", "t010.rttm"):
        (folder / name).write_text("")
    whole = Listing()
    media = [str(folder / f"t{number:02d}.wav") for number in range(12)]
    part = whole.about(media[:3])
    names = part.names_in(str(folder))
    assert names == {"t00.json", "t01.wav.rttm", "t02.json"}
    for place in media[:3]:
        assert part.may_have_sidecars(place) == whole.may_have_sidecars(place)
        assert find_sidecars(Path(place), part) == find_sidecars(Path(place), whole)
    both = part.joined(whole.about(media[3:])).names_in(str(folder))
    assert both == names | {"t11.json"}


def test_a_machine_where_nothing_is_mounted_ends_the_build(
    fake_cluster: Any,
    folder: Path,
    requests: tuple[Request, Request],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An empty folder in the inputs' place would look like the removal of everything."""
    far, _ = requests
    build_dataset(far, Quiet())
    before = bytes_below(far.out)
    monkeypatch.setattr(ray_recordings, "_is_seen", lambda path: path == folder)
    with pytest.raises(StorageError, match="does not see"):
        build_dataset(replace(far, allow_removals=True), Quiet())
    assert bytes_below(far.out) == before


def bytes_below(out: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in out.rglob("*.tar")}
