"""What a manifest names may not reach into this machine, by whatever spelling or detour."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from corpus.pipeline.fetch import fetch
from corpus.pipeline.local_urls import is_public
from corpus.schemas.errors import MediaError

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/away.wav":
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.2:{self.server.server_address[1]}/secret.wav")
            self.end_headers()
        else:
            super().do_GET()

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A server on loopback that hands out `secret.wav`."""
    (tmp_path / "secret.wav").write_bytes(b"secret")
    handler = functools.partial(Handler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("0.0.0.0", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::ffff:127.0.0.1]"],
)
def test_hosts_of_this_machine_are_refused(host: str, port: int, tmp_path: Path) -> None:
    with pytest.raises(
        MediaError, match="allow-local-urls" if host in ("127.0.0.1", "localhost") else "read"
    ):
        fetch(f"http://{host}:{port}/secret.wav", tmp_path / "got", guarded=True)
    assert [path for path in (tmp_path / "got").rglob("*") if path.is_file()] == []
    if host == "127.0.0.1":
        assert fetch(f"http://{host}:{port}/secret.wav", tmp_path / "got").read_bytes() == b"secret"


def test_a_redirect_leads_nowhere_local(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetch(f"http://127.0.0.1:{port}/away.wav", tmp_path / "free").read_bytes() == b"secret"
    monkeypatch.setattr("corpus.pipeline.local_urls.is_public", lambda host: host == "127.0.0.1")
    good = fetch(f"http://127.0.0.1:{port}/secret.wav", tmp_path / "got", guarded=True)
    assert good.read_bytes() == b"secret"
    with pytest.raises(MediaError, match="cannot be read"):
        fetch(f"http://127.0.0.1:{port}/away.wav", tmp_path / "got", guarded=True)


@pytest.mark.parametrize(
    "url", ["file:///etc/hostname", "local:///etc/hostname", "memory://x", "zip://a::file:///b"]
)
def test_schemes_that_open_what_is_local_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="allow-local-urls"):
        fetch(url, tmp_path, guarded=True)


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
    ],
)
def test_public_addresses(host: str, public: bool) -> None:
    assert is_public(host) == public


def test_a_build_lets_a_manifest_reach_inside_only_if_told(
    talks: Path, tmp_path: Path, run_build: Callable[..., Any]
) -> None:
    manifest = tmp_path / "list.jsonl"
    manifest.write_text(json.dumps({"uri": f"file://{talks}/sound%20only.wav".replace("%20", " ")}))
    outcome = run_build(str(manifest), out=tmp_path / "out")
    assert (outcome.exit_code, outcome.recordings) == (3, 0)
    assert any("allow-local-urls" in drop.reason for drop in outcome.faults)
    outcome = run_build(str(manifest), out=tmp_path / "out", allow_local_urls=True)
    assert (outcome.exit_code, outcome.recordings) == (0, 1)
