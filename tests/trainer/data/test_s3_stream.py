"""Documents streamed from an S3 server are those of the folder, in its order; see tests/shards/test_s3.py."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from corpus.schemas.store import store_at
from corpus.trainer.config import RunConfig
from corpus.trainer.data.stream_documents import StreamDocuments
from corpus.trainer.presets import MODELS, preset

pytestmark = pytest.mark.filterwarnings("ignore")  # the server's own


def config_for(data: str) -> RunConfig:
    base = preset("tiny")
    model = dataclasses.replace(MODELS["tiny"], picture_rows=2, picture_columns=2)
    chosen = dataclasses.replace(base.data, data=data, length=64, reader="stream", stream_buffer=8)
    return dataclasses.replace(base, model=model, data=chosen)


def test_a_bucket_streams_like_the_folder(
    rules: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("CORPUS_READ_CACHE_BYTES", "0")
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("streams")
        out: Path = rules.write(tmp_path, "talk", {"train": 6}, windows=11).path
        store = store_at("s3://streams/a b/out")
        for path in out.rglob("*"):
            if path.is_file():
                store.publish(path, path.relative_to(out).as_posix())
        near, away = (StreamDocuments(config_for(data), 0, 1) for data in (str(out), "s3://streams/a b/out"))
        for document in range(len(near) + 3):  # into the second pass
            assert near.view(document).id == away.view(document).id
            stop = len(near.view(document))
            ours, theirs = (each.turns(document, 0, stop) for each in (near, away))
            assert np.array_equal(ours.heard_NFM, theirs.heard_NFM)
            assert np.array_equal(ours.sound_NFM, theirs.sound_NFM)
    finally:
        server.stop()
