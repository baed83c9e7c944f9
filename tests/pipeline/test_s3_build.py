"""Builds into a real S3 server that fails, sleeps and forgets; tests/shards/test_s3.py says how to run it."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from corpus.pipeline import building, far_lease
from corpus.pipeline.build import build_dataset
from corpus.pipeline.engine import Done
from corpus.pipeline.far_build import build_at, relabel_at
from corpus.pipeline.fetch import fetch
from corpus.pipeline.progress import Quiet
from corpus.pipeline.relabel import relabel_dataset
from corpus.pipeline.request import Request
from corpus.schemas import store as stores
from corpus.schemas.errors import MediaError, StorageError
from corpus.schemas.settings import CueSettings, Settings
from corpus.schemas.store import UrlStore, store_at
from corpus.shards.verify import verify_dataset

pytestmark = pytest.mark.filterwarnings("ignore")  # the server's own

URL = "s3://bucket/a b/set"
Answer = Callable[[dict[str, Any]], tuple[str, bytes] | None]


def refusal(status: str, code: str) -> tuple[str, bytes]:
    return status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()


class Server:
    """moto's S3, counting what is put; `before` may answer in its place."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._lock = threading.Lock()
        self.before: Answer = lambda environ: None
        self.put_bytes = 0
        self.multipart = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        with self._lock:
            if environ["REQUEST_METHOD"] == "PUT" and "HTTP_X_AMZ_COPY_SOURCE" not in environ:
                self.put_bytes += int(environ.get("CONTENT_LENGTH") or 0)
            self.multipart += environ["QUERY_STRING"].startswith("uploads")
            answer = self.before(environ)
        if answer is None:
            return self._app(environ, start_response)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        content = b"" if environ["REQUEST_METHOD"] == "HEAD" else answer[1]
        start_response(
            answer[0], [("Content-Type", "application/xml"), ("Content-Length", str(len(content)))]
        )
        return [content]


def in_process(function: Callable[[Any], Any], jobs: Sequence[Any], **_: Any) -> Iterator[Done[Any, Any]]:
    for job in jobs:
        yield Done(job, function(job))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """A server with an empty bucket, and a machine that knows it."""
    moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    from werkzeug.serving import make_server

    app = Server(moto.DomainDispatcherApplication(moto.create_backend_app))
    http = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{http.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("CORPUS_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setattr(far_lease, "STALE_S", 0.5)
    monkeypatch.setattr(stores, "_PAUSES_S", (0.05, 0.1, 0.2))
    s3fs.S3FileSystem.clear_instance_cache()
    _empty(s3fs)
    yield app
    app.before = lambda environ: None
    s3fs.S3FileSystem.clear_instance_cache()
    http.shutdown()
    thread.join()


def _empty(s3fs: Any) -> None:
    files = s3fs.S3FileSystem()
    if files.exists("bucket"):
        files.rm("bucket", recursive=True)
    files.mkdir("bucket")


@pytest.fixture
def wanted(talks: Path, no_models: Settings, tmp_path: Path, bytes_of: Callable[[Path], dict[str, str]],
           monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:  # fmt: skip
    """The bytes of a build into a folder."""
    monkeypatch.setattr(building, "run_jobs", in_process)
    build_dataset(replace(request_of(talks, no_models), out=tmp_path / "OUT"), Quiet())
    return bytes_of(tmp_path / "OUT")


def request_of(talks: Path, settings: Settings) -> Request:
    return Request(inputs=(str(talks),), out=Path("unused"), settings=settings)


def stands() -> dict[str, str]:
    store = store_at(URL)
    names = [
        one.name
        for one in store.list()
        if one.name.endswith((".tar", ".parquet", "manifest.json", "README.md"))
    ]
    return {
        name: hashlib.sha256(store.open_range(name)).hexdigest()
        for name in sorted(names)
        if not name.startswith(".")
    }


def test_the_bytes_are_those_of_a_folder_and_little_more_is_sent(
    server: Server, talks: Path, no_models: Settings, wanted: dict[str, str]
) -> None:
    assert build_at(URL, request_of(talks, no_models), Quiet()).exit_code == 0
    assert stands() == wanted
    assert not verify_dataset(URL, num_workers=1).problems
    dataset = sum(one.bytes for one in store_at(URL).list() if not one.name.startswith("."))
    assert server.put_bytes <= 1.2 * dataset
    server.put_bytes = 0
    assert build_at(URL, request_of(talks, no_models), Quiet()).unchanged
    assert server.put_bytes < 5000


@pytest.mark.parametrize("seed", range(4))
def test_five_in_a_hundred_answers_fail_and_as_many_are_slow(
    server: Server, talks: Path, no_models: Settings, wanted: dict[str, str], seed: int
) -> None:
    draw = random.Random(seed)
    failed: list[str] = []

    def unreliable(environ: dict[str, Any]) -> tuple[str, bytes] | None:
        if draw.random() < 0.05:
            failed.append(environ["PATH_INFO"])
            return refusal("503 Slow Down", "SlowDown")
        if draw.random() < 0.05:
            time.sleep(0.2)
        return None

    server.before = unreliable
    assert build_at(URL, request_of(talks, no_models), Quiet()).exit_code == 0
    server.before = lambda environ: None
    assert failed and stands() == wanted


def test_a_server_that_ignores_conditions_is_refused(
    server: Server, talks: Path, no_models: Settings
) -> None:
    def deaf(environ: dict[str, Any]) -> None:
        environ.pop("HTTP_IF_NONE_MATCH", None)

    server.before = deaf
    with pytest.raises(StorageError, match="no conditional put"):
        build_at(URL, request_of(talks, no_models), Quiet())


def test_a_server_that_knows_no_conditions_is_refused(
    server: Server, talks: Path, no_models: Settings
) -> None:
    def refuse(environ: dict[str, Any]) -> tuple[str, bytes] | None:
        conditional = "HTTP_IF_NONE_MATCH" in environ
        return refusal("501 Not Implemented", "NotImplemented") if conditional else None

    server.before = refuse
    with pytest.raises(StorageError, match=r"s3://bucket.*refused"):
        build_at(URL, request_of(talks, no_models), Quiet())


def test_credentials_that_expire_in_the_middle(
    server: Server, talks: Path, no_models: Settings, wanted: dict[str, str]
) -> None:
    """At every fifth place of the way; each time they are renewed and the same command called."""
    answered = [0, 0]

    def expiring(environ: dict[str, Any]) -> tuple[str, bytes] | None:
        answered[0] += 1
        return refusal("400 Bad Request", "ExpiredToken") if answered[0] > answered[1] else None

    server.before = expiring
    errors = []
    for most in range(5, 400, 25):
        answered[:] = [0, most]
        try:
            build_at(URL, request_of(talks, no_models), Quiet())
            break
        except StorageError as error:
            errors.append(str(error))
    server.before = lambda environ: None
    assert errors and all("hunter2" not in text and "run the same command again" in text for text in errors)
    assert all("renew them" in text for text in errors), errors
    assert stands() == wanted


def test_inputs_whose_credentials_have_expired_say_so(server: Server, tmp_path: Path) -> None:
    """To the question for the size, which comes first, the store answers with a bare 400."""
    server.before = lambda environ: refusal("400 Bad Request", "ExpiredToken")
    with pytest.raises(MediaError, match=r"ExpiredToken; credentials are missing, expired .* renew them"):
        fetch("s3://bucket/a.wav", tmp_path)


def test_a_bucket_that_vanishes_and_comes_back(
    server: Server, talks: Path, no_models: Settings, wanted: dict[str, str]
) -> None:
    import s3fs

    server.before = lambda environ: refusal("404 Not Found", "NoSuchBucket")
    with pytest.raises(StorageError, match="bucket"):
        build_at(URL, request_of(talks, no_models), Quiet())
    server.before = lambda environ: None
    build_at(URL, request_of(talks, no_models), Quiet())
    _empty(s3fs)
    assert build_at(URL, request_of(talks, no_models), Quiet()).exit_code == 0
    assert stands() == wanted


def test_large_files_go_in_parts(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(random.Random(1).randbytes(1 << 20) * 110)
    store = store_at(URL)
    store.publish(path, "large")
    assert server.multipart == 1 and server.put_bytes < 1.01 * path.stat().st_size
    assert store.open_range("large", 10_000_000, 90_000_000) == path.read_bytes()[10_000_000:90_000_000]
    store.copy("large", "copied")
    assert store.list()[0].bytes == path.stat().st_size


def test_a_driver_killed_with_9_again_and_again(
    server: Server,
    talks: Path,
    no_models_flags: list[str],
    wanted: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = (
        "import sys; from corpus.pipeline import far_lease; far_lease.STALE_S = 0.5;"
        "from corpus.cli.main import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", script, "build", str(talks), "--out", URL, *no_models_flags]
    draw = random.Random(7)
    killed = 0
    for _ in range(12):
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ)
        seen, wait = server.put_bytes, draw.uniform(0, 1.5)
        while running.poll() is None and server.put_bytes == seen:  # its lease
            time.sleep(0.05)
        try:
            _, error = running.communicate(timeout=wait)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.communicate()
            killed += 1
            continue
        assert running.returncode == 0, error.decode()
        break
    else:
        assert subprocess.run(command, check=False).returncode == 0
    assert killed and stands() == wanted


class _DieOnce:
    """A shard's task whose process is killed when the shard has been sent and nobody knows of it."""

    def __init__(self, stage: Callable[[Any], Any], flag: Path) -> None:
        self._stage, self._flag = stage, flag

    def __call__(self, task: Any) -> Any:
        done = self._stage(task)
        if not self._flag.exists():
            self._flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return done


def test_workers_send_the_shards_and_one_is_killed(
    server: Server,
    talks: Path,
    no_models: Settings,
    wanted: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On this machine's processes; the driver itself sends nothing that is large."""
    from corpus.pipeline import shard_jobs

    real, sent = shard_jobs.run_jobs, []
    publish = UrlStore.publish

    def counted(self: UrlStore, local: Path, name: str, *, new: bool = False) -> bool:
        sent.append(local.name)
        return publish(self, local, name, new=new)

    def deadly(function: Any, jobs: Any, **options: Any) -> Any:
        return real(_DieOnce(function, tmp_path / "flag"), jobs, **options)

    monkeypatch.setattr(UrlStore, "publish", counted)
    monkeypatch.setattr(shard_jobs, "run_jobs", deadly)
    monkeypatch.setattr(shard_jobs, "WORTH_WORKERS_BYTES", 0)
    request = replace(request_of(talks, no_models), num_workers=2)
    assert build_at(URL, request, Quiet()).exit_code == 0
    assert (tmp_path / "flag").exists() and not [name for name in sent if name.endswith(".tar")]
    assert stands() == wanted
    assert not [one.name for one in store_at(URL).list() if one.name.startswith(".rewrite")]


@pytest.mark.ray
def test_on_a_cluster_workers_are_killed_and_the_dataset_is_labelled_and_verified_there(
    server: Server,
    talks: Path,
    no_models: Settings,
    wanted: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    two_nodes: Callable[[], AbstractContextManager[str]],
    bytes_of: Callable[[Path], dict[str, str]],
) -> None:
    with two_nodes() as address:
        import ray.cloudpickle

        from corpus.pipeline import ray_engine
        from corpus.shards.shard_task import stage_shard

        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        real = ray_engine.run_on_ray

        def deadly(function: Any, jobs: Any, **options: Any) -> Any:
            deadly_one = _DieOnce(function, tmp_path / "flag") if function is stage_shard else function
            return real(deadly_one, jobs, **options)

        monkeypatch.setattr(ray_engine, "run_on_ray", deadly)
        far = replace(request_of(talks, no_models), engine="ray", address=address)
        assert build_at(URL, far, Quiet()).exit_code == 0
        assert (tmp_path / "flag").exists() and stands() == wanted
        spread = partial(ray_engine.in_order, address=address)
        assert verify_dataset(URL, spread=spread) == verify_dataset(URL, num_workers=1)
        cues = CueSettings(shift_alone_us=300_000, shift_silence_us=100_000, thinking_shortest_us=100_000)
        assert relabel_at(URL, cues, Quiet(), spread) == relabel_dataset(tmp_path / "OUT", cues, Quiet())
        assert stands() == bytes_of(tmp_path / "OUT") != wanted
        store = store_at(URL)
        victim = next(one for one in store.list() if one.name.endswith(".tar"))
        far_lease.put(store, victim.name, bytes(victim.bytes))
        found = verify_dataset(URL, spread=spread)
        assert found.problems and found == verify_dataset(URL, num_workers=1)
