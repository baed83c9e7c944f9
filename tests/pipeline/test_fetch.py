from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from corpus.pipeline.fetch import fetch
from corpus.schemas.errors import MediaError
from corpus.shards.read import open_clips


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def served(talks: Path) -> Iterator[str]:
    """The talks, served on loopback."""
    handler = functools.partial(Handler, directory=str(talks))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_url_is_fetched_once_and_built(
    served: str, talks: Path, tmp_path: Path, run_build: Callable[..., Any]
) -> None:
    url = f"{served}/sound%20only.wav"
    run_build(url, out=tmp_path / "out")
    assert {c.json.source.uri for c in open_clips(tmp_path / "out")} == {url}
    (copy,) = (tmp_path / "out" / ".cache" / "downloads").rglob("*.wav")
    assert copy.read_bytes() == (talks / "sound only.wav").read_bytes()
    assert run_build(url, out=tmp_path / "out").unchanged


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_cannot_be_fetched_says_so_and_leaves_nothing(served: str, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="cannot be read"):
        fetch(f"{served}/gone.mp4", tmp_path)
    for url in ("nosuchscheme://x/y.mp4", "http://[/x.wav", "file:///dev/zero", "local://no/such.wav"):
        with pytest.raises(MediaError, match=r"URL|Protocol"):
            fetch(url, tmp_path)
    with pytest.raises(MediaError, match="there is no such file"):
        fetch("memory://gone/x.mp4", tmp_path)
    with pytest.raises(MediaError, match="is a folder; a URL names one file; name its files"):
        fetch("s3://bucket/talks/", tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_url_that_could_not_be_read_is_tried_again_by_the_same_command(
    talks: Path, tmp_path: Path, run_build: Callable[..., Any]
) -> None:
    """Once credentials are renewed, say: not a byte of the inputs that can be seen has changed."""
    import fsspec

    files = fsspec.filesystem("memory")
    inputs = ("memory://late/sound.wav", talks / "deep.flac")
    outcome = run_build(*inputs, out=tmp_path / "out")
    assert outcome.exit_code == 3 and [fault.code for fault in outcome.faults] == ["unfetched"]
    files.pipe_file("/late/sound.wav", (talks / "sound only.wav").read_bytes())
    try:
        outcome = run_build(*inputs, out=tmp_path / "out")
        assert outcome.exit_code == 0 and outcome.recordings == 2
        assert run_build(*inputs, out=tmp_path / "out").unchanged
    finally:
        files.rm("/late", recursive=True)


@pytest.mark.parametrize("path", ["/" + "é" * 300 + ".wav", "/a/..", "/sha256", "/%00.wav", "/", ""])
def test_a_name_that_no_file_may_have_is_its_urls_fault_or_none(path: str, tmp_path: Path) -> None:
    """Never the disk's, which would end the build."""
    with pytest.raises(MediaError):
        fetch(f"http://127.0.0.1:9{path}", tmp_path)


@pytest.mark.parametrize("host", ["127.0.0.1", "public.example"])
def test_a_transfer_may_last_as_long_as_bytes_come(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """aiohttp's own bound of five minutes ended every download of an hour's video over a slow line."""
    import asyncio

    from corpus.pipeline import fetch as module

    monkeypatch.setattr(module, "is_public_host", lambda name: name == "public.example")
    made: list[Any] = []

    def filesystem(scheme: str, *, get_client: Any, skip_instance_cache: bool) -> Any:
        async def timeout() -> Any:
            async with await get_client() as client:
                return client.timeout

        made.append(asyncio.run(timeout()))
        raise OSError("enough is known")

    monkeypatch.setattr("fsspec.filesystem", filesystem)
    with pytest.raises(OSError, match="enough is known"):
        module._opened(f"http://{host}/a.wav", guarded=False)
    assert made[0].total is None and 0 < made[0].sock_read <= 300
