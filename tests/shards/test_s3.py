"""A real S3 server, where `s3fs` and `moto[server]` are installed; they ask for an older python-dateutil than
constraints.txt, so `make test` goes without: `make test-s3` installs them in an environment of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from corpus.schemas import store as stores
from corpus.schemas.clip import MEMBERS
from corpus.schemas.errors import DatasetError, StorageError
from corpus.schemas.store import store_at
from corpus.shards.read import Clip, open_clips
from corpus.shards.verify import verify_dataset

pytestmark = pytest.mark.filterwarnings("ignore")  # the server's own

ODD = "ünï #1?x=%2F&y'[*].tar"


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URL of an empty bucket; the server ends with the module."""
    moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem().mkdir("bucket")
        yield "s3://bucket"
        server.stop()


def members(clip: Clip) -> list[bytes]:
    return [bytes(clip.member(name)) for name in MEMBERS]


def test_a_bucket_reads_like_the_folder(
    bucket: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORPUS_READ_CACHE_BYTES", "0")
    out, url = repository / "tests" / "fixtures" / "dataset-1", f"{bucket}/a b/out"
    store = store_at(url)
    for path in out.rglob("*"):
        if path.is_file():
            store.publish(path, path.relative_to(out).as_posix())
    near, away = open_clips(out), open_clips(url)
    assert [members(clip) for clip in away] == [members(clip) for clip in near]
    assert members(open_clips(url)[len(near) - 1]) == members(near[len(near) - 1])
    assert verify_dataset(url, num_workers=1).problems == verify_dataset(out, num_workers=1).problems
    with pytest.raises(DatasetError, match="no finished dataset"):
        open_clips("s3://gone/out")


@pytest.mark.parametrize("name", ["lease", ODD])
def test_only_the_first_of_two_makes_what_is_new(bucket: str, tmp_path: Path, name: str) -> None:
    store, mine, other = store_at(f"{bucket}/leases"), tmp_path / "mine", tmp_path / "other"
    mine.write_text("mine")
    other.write_text("other")
    assert store.publish(mine, name, new=True)
    assert not store.publish(other, name, new=True)
    assert store.open_range(name) == b"mine" and name in [one.name for one in store.list()]
    store.remove(name)
    assert not store.has(name)


def test_a_server_that_answers_nothing_is_named(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_PAUSES_S", ())
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(StorageError, match=r"bucket/out.*run the same command again") as caught:
        open_clips(f"{bucket}/out")
    assert "hunter2" not in str(caught.value)
