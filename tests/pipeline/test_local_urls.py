"""What a manifest names may not reach into this machine, by whatever spelling or detour."""

from __future__ import annotations

import functools
import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corpus.pipeline.adding import added
from corpus.pipeline.build import build_dataset
from corpus.pipeline.fetch import fetch
from corpus.pipeline.local_urls import is_public
from corpus.pipeline.plan import plan
from corpus.pipeline.quarantine import retry
from corpus.pipeline.request import Request
from corpus.pipeline.state import State
from corpus.schemas.codec import from_json
from corpus.schemas.errors import MediaError
from corpus.schemas.settings import Settings

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)

NO_SETTINGS = Settings()


class Quiet:
    """A build's talk that nobody reads."""

    def phase(self, name: str, total: int) -> None: ...

    def at(self, done: float, detail: str) -> None: ...

    def say(self, line: str) -> None: ...


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


def test_a_public_url_that_a_person_names_is_led_nowhere_local(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redirect is the host's doing, not the person's."""
    monkeypatch.setattr("corpus.pipeline.local_urls.is_public", lambda host: host == "127.0.0.1")
    assert fetch(f"http://127.0.0.1:{port}/secret.wav", tmp_path / "got").read_bytes() == b"secret"
    with pytest.raises(MediaError, match="private network"):
        fetch(f"http://127.0.0.1:{port}/away.wav", tmp_path / "got")


@pytest.mark.parametrize(
    "authority",
    ["8.8.8.8@127.0.0.1:{port}", "8.8.8.8:80@127.0.0.1:{port}", "127.0.0.1:{port}#@8.8.8.8",
     "127.0.0.1:{port}?@8.8.8.8", "127.0.0.1:{port}\\@8.8.8.8", "127。0。0。1:{port}", "①27.0.0.1:{port}"],
)  # fmt: skip
def test_no_spelling_of_an_authority_leads_inside(authority: str, port: int, tmp_path: Path) -> None:
    url = f"http://{authority.format(port=port)}/secret.wav"
    with pytest.raises(MediaError):
        fetch(url, tmp_path / "got", guarded=True)
    assert [path for path in (tmp_path / "got").rglob("*") if path.is_file()] == []


def test_a_name_that_stands_for_a_private_address_is_refused(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def resolved(host: Any, *rest: Any, **options: Any) -> Any:
        return real("127.0.0.1" if host == "public.example" else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    url = f"http://public.example:{port}/secret.wav"
    with pytest.raises(MediaError, match="private network"):
        fetch(url, tmp_path / "got", guarded=True)
    assert fetch(url, tmp_path / "got").read_bytes() == b"secret"


def test_a_url_with_an_ipv6_address_is_read(tmp_path: Path) -> None:
    class Six(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6

    (tmp_path / "secret.wav").write_bytes(b"secret")
    handler = functools.partial(Handler, directory=str(tmp_path))
    try:
        server = Six(("::1", 0), handler)
    except OSError:
        pytest.skip("no IPv6 here")
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://[::1]:{server.server_port}/secret.wav"
            assert fetch(url, tmp_path / "got").read_bytes() == b"secret"
            with pytest.raises(MediaError, match="private network"):
                fetch(url, tmp_path / "got", guarded=True)
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/hostname",
        "local:///etc/hostname",
        "memory://x",
        "zip://a::file:///b",
        "s3://a/b::file:///etc/hostname",
    ],
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
        ("::ffff:8.8.8.8", True),
        ("::127.0.0.1", False),
        ("fec0::1", False),
        ("::ffff:0:127.0.0.1", False),
        ("2001:0:5ef5:79fb:0:3f57:80ff:fffe", False),
        ("198.18.0.1", False),
        ("255.255.255.255", False),
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
    outcome = run_build(str(manifest), out=tmp_path / "out", local_urls=(str(manifest),))
    assert (outcome.exit_code, outcome.recordings) == (0, 1)


def test_what_was_let_in_stays_let_in_and_what_is_added_does_not(
    talks: Path, tmp_path: Path, run_build: Callable[..., Any]
) -> None:
    """`plan`, `build --add` and `errors retry` judge every input as the build that brought it did."""
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    first.write_text(json.dumps({"uri": f"file://{talks}/sound only.wav"}))
    second.write_text(json.dumps({"uri": f"file://{talks}/deep.flac"}))
    out = tmp_path / "out"
    assert run_build(str(first), out=out, local_urls=(str(first),)).recordings == 1
    same = Request(inputs=(str(first),), out=out, settings=NO_SETTINGS, local_urls=(str(first),))
    assert plan(replace(same, settings=from_json(Settings, State(out).invocation().settings))).nothing_to_do
    more = added(Request(inputs=(str(second),), out=out, settings=NO_SETTINGS), settings_given=False)
    assert more.local_urls == (str(first),)
    outcome = build_dataset(more, Quiet())
    assert (outcome.recordings, len(outcome.faults)) == (1, 1)
    assert retry(out, [], Quiet()).recordings == 1
    again = added(
        Request(inputs=(str(second),), out=out, settings=NO_SETTINGS, local_urls=(str(second),)),
        settings_given=False,
    )
    assert build_dataset(again, Quiet()).recordings == 2
