"""Commands on a dataset at a URL."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from corpus.cli import far
from corpus.cli.main import app
from corpus.pipeline import far_lease
from corpus.schemas.errors import DatasetError, UsageError

URL = "memory://bucket/dataset"
FLAGS = ["--set=diarize.backend=none", "--set=transcribe.backend=none", "--set=sight.enabled=false"]


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import fsspec

    monkeypatch.setenv("CORPUS_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setattr(far, "_GONE_WITH_US", ())  # all commands of a test are one process
    yield
    fsspec.filesystem("memory").store.clear()


def corpus(*arguments: str) -> str:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False).output


def test_build_status_and_errors_of_a_url(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no build was started here"):
        corpus("status", URL)
    (tmp_path / "talks").mkdir()
    with wave.open(str(tmp_path / "talks" / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(bytes(64000))
    (tmp_path / "talks" / "broken.wav").write_bytes(b"RIFF")
    url = "memory://u:hunter2@bucket/dataset"
    said = corpus("build", str(tmp_path / "talks"), "--out", url, *FLAGS)
    assert f"in {URL}; 1 of 1 shard written" in said and "1 recording, 1 clip" in said
    status, listed, shown = corpus("status", url), corpus("errors", url), corpus("errors", url, "show")
    assert status.startswith("done: 1 of 2 done, 1 with faults") and listed.startswith("broken.wav")
    assert f"retry: corpus errors {URL} retry" in shown
    again = corpus("errors", url, "retry")
    assert "1 recording" in again and "hunter2" not in said + status + listed + shown + again
    assert "1 clip" in corpus("verify", url)


def test_errors_name_the_url_and_not_the_folder_in_which_it_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talks = tmp_path / "talks"
    talks.mkdir()
    for name, frames in (("a.wav", 64000), ("b.wav", 96000)):
        with wave.open(str(talks / name), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes(bytes(frames))
    corpus("build", str(talks), "--out", URL, *FLAGS)
    with pytest.raises(DatasetError) as caught:
        corpus("build", str(talks / "a.wav"), "--out", URL, *FLAGS)
    assert caught.value.where == URL and "would be removed: 'b.wav'" in caught.value.what
    monkeypatch.setenv("CORPUS_WORK_DIR", str(tmp_path / "another machine"))
    for arguments in (["build", "--add", str(talks / "a.wav"), "--out", URL], ["errors", URL, "retry"]):
        with pytest.raises(DatasetError, match=f"{URL}: was not built on this machine; use `--add` and"):
            corpus(*arguments)


def test_the_memory_of_a_process_is_no_place_for_a_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(far, "_GONE_WITH_US", ("memory",))
    for arguments in (("--out", URL), ("--out", str(tmp_path / "out"), "--cache", URL)):
        with pytest.raises(UsageError, match="gone when this command ends"):
            corpus("build", str(tmp_path), *arguments)
    assert not (tmp_path / "out").exists()


def test_a_url_that_lost_a_slash_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="a URL has two slashes: s3://bucket/set"):
        corpus("build", str(tmp_path), "--out", "s3:/bucket/set")
    assert not (tmp_path / "s3:").exists()
    (tmp_path / "talk:").mkdir()
    assert far.folder_of("talk:/set") == Path("talk:/set")


def test_what_wants_a_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="plans are made for folders"):
        corpus("plan", str(tmp_path), "--out", URL)
    with pytest.raises(UsageError, match="is only for folders; copy the file to"):
        corpus("build", str(tmp_path), "--out", URL, "--reviews", "reviews.parquet")


def test_status_of_a_build_that_was_killed(tmp_path: Path) -> None:
    from corpus.schemas.store import store_at

    text = '{"phase":"build","recordings":2,"done":1,"faults":0,"running":[],"pid":1,"detail":""}'
    far_lease.put(store_at(URL), ".cache/status.json", text.encode())
    assert corpus("status", URL).startswith("killed: 1 of 2 done")
    far_lease.put(store_at(URL), far_lease.LEASE, b"somebody 1")
    assert corpus("status", URL).startswith("build: 1 of 2 done")


def test_scores_of_a_dataset_at_a_url_are_those_of_the_folder(repository: Path, tmp_path: Path) -> None:
    import json

    from corpus.cli.by_recording import by_recording
    from corpus.schemas.store import store_at

    out, store = repository / "tests" / "fixtures" / "dataset-1", store_at(URL)
    for path in out.rglob("*"):
        if path.is_file():
            store.publish(path, path.relative_to(out).as_posix())
    recordings = by_recording(out)
    assert recordings and by_recording(URL) == recordings
    for name in recordings:
        (tmp_path / f"{name}.rttm").write_text(f"SPEAKER {name} 1 0 5 <NA> <NA> A <NA> <NA>\n")
    near, away = (json.loads(corpus("score", str(tmp_path), place, "--json")) for place in (str(out), URL))
    assert near == away and near["recordings"]
    store.remove(next(one.name for one in store.list() if one.name.endswith(".tar")))
    with pytest.raises(DatasetError, match="a file of the dataset is missing"):
        corpus("score", str(tmp_path), URL)
