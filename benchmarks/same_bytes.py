"""Checks that interrupted builds give the same bytes: local, on Ray, on Ray into S3, each `--runs` times.

    python benchmarks/same_bytes.py [--ways local ray s3] [--runs 20] [--recordings 24]

A run is one command, repeated until it succeeds. Meanwhile, at random moments, a worker process is killed, a
node of the cluster is killed and another one joins, and the driver is killed; 5 % of the S3 server's answers
are errors and 5 % come late. The result is compared, file by file, with an undisturbed build. `ray` needs
Ray; `s3` also needs moto[server] and s3fs (`make test-s3` makes an environment).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from build_fixed_costs import SETTINGS, write_recording

from corpus.schemas.store import store_at
from corpus.shards.write import read_manifest

FLAGS = [*SETTINGS, "--set=shards.shard_bytes=1048576"]
SABOTAGES = 3
LATEST_S = {"local": 5.0, "ray": 16.0, "s3": 20.0}
"""About how long a command takes: sabotages fall anywhere in it."""
STALLED_S = 900.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ways", nargs="+", default=["local", "ray", "s3"], choices=list(LATEST_S))
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--recordings", type=int, default=24)
    parser.add_argument("--first", type=int, default=0, help="seed of the first run")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.serve)
        return
    with tempfile.TemporaryDirectory(prefix="corpus-same-bytes-") as scratch:
        folder = Path(scratch)
        talks = folder / "talks"
        talks.mkdir()
        for number in range(asked.recordings):
            write_recording(talks, number)
        out = folder / "undisturbed"
        subprocess.run(
            [*build(talks, str(out))], check=True, stdout=subprocess.DEVNULL, env=environment(folder / "w")
        )
        wanted = digests(out)
        for way in asked.ways:
            with surroundings(way) as around:
                for seed in range(asked.first, asked.first + asked.runs):
                    work = folder / f"{way}-{seed}"
                    work.mkdir()
                    done = disturbed(way, talks, work, random.Random(seed), around)
                    same = done["digests"] == wanted
                    print(f"{way} {seed}: {'same' if same else 'OTHER BYTES'}; {done['commands']} commands, "
                          f"killed {dict(done['killed'])}, {done['wall_s']:.0f} s", flush=True)  # fmt: skip
                    shutil.rmtree(work)


def build(talks: Path, out: str) -> list[str]:
    return [sys.executable, "-m", "corpus.cli.main", "build", str(talks), "--out", out, *FLAGS, "-j", "2"]


def environment(work: Path) -> dict[str, str]:
    return {**os.environ, "CORPUS_CACHE_DIR": str(work / "cache"), "CORPUS_WORK_DIR": str(work / "far")}


def digests(out: Path) -> dict[str, str]:
    """sha256 of each file that the manifest lists, and of the manifest."""
    manifest = read_manifest(out)
    assert manifest is not None, out
    names = ["manifest.json", *(s.path for s in manifest.shards), *(f.path for f in manifest.files)]
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names}


def disturbed(way: str, talks: Path, work: Path, draw: random.Random, around: Any) -> dict[str, Any]:
    """Build until a command succeeds; returns the result and the disturbances."""
    out = f"s3://bucket/{work.name}" if way == "s3" else str(work / "out")
    command = build(talks, out) + ([] if way == "local" else ["--engine", "ray", "--address", around.address])
    killed: Counter[str] = Counter()
    commands, began = 0, time.monotonic()
    while True:
        commands += 1
        log = work / "log"
        with log.open("wb") as said:
            driver = subprocess.Popen(command, env=environment(work), stdout=said, stderr=said)
            while driver.poll() is None and killed.total() < SABOTAGES:
                try:
                    driver.wait(draw.uniform(0.3, LATEST_S[way]))
                except subprocess.TimeoutExpired:
                    killed[sabotage(way, driver, draw, around)] += 1
            code = driver.wait(STALLED_S)
        if code == 0:
            break
        if code != -signal.SIGKILL:
            # What a person sees who then gives the same command again.
            print(f"  {work.name}: exit code {code}: {log.read_text()[-300:]}", flush=True)
            assert commands < 10, "it never ends well"
    if way == "s3":
        store, there = store_at(out), work / "there"
        for entry in store.list(""):
            path = there / entry.name
            path.parent.mkdir(parents=True, exist_ok=True)
            store.fetch(entry.name, work / "fetched").rename(path)
        out = str(there)
    return {
        "digests": digests(Path(out)),
        "commands": commands,
        "killed": killed,
        "wall_s": time.monotonic() - began,
    }


def sabotage(way: str, driver: subprocess.Popen[bytes], draw: random.Random, around: Any) -> str:
    kind = draw.choice(["worker", "driver"] if way == "local" else ["worker", "driver", "node"])
    if kind == "driver":
        driver.kill()
    elif kind == "node":
        around.lose_a_node()
    else:
        processes = workers_of(way, driver.pid)
        if not processes:
            return "nobody"
        try:
            draw.choice(processes).kill()
        except psutil.NoSuchProcess:
            return "nobody"
    return kind


def workers_of(way: str, driver: int) -> list[psutil.Process]:
    """Of a pool the driver's own children, of Ray whatever runs jobs or waits for them.

    A node's agents are left alone: without them it dies, and none would take its place.
    """
    try:
        if way == "local":
            return [p for p in psutil.Process(driver).children() if "spawn_main" in " ".join(p.cmdline())]
        names = {p: p.name() for p in psutil.Process().children(recursive=True)}
        return [
            process
            for process, name in names.items()
            if name.startswith("ray::") and not name.startswith(("ray::Dash", "ray::RuntimeEnv"))
        ]
    except psutil.NoSuchProcess:
        return []


class Cluster:
    """Ray on this machine: a head without processors, and two nodes with one each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as RayCluster

        head = {
            "num_cpus": 0,
            "object_store_memory": 100_000_000,
            # A lost machine is noticed within ten seconds instead of a minute.
            "_system_config": {"health_check_period_ms": 1000, "health_check_failure_threshold": 10},
        }
        self._cluster = RayCluster(initialize_head=True, head_node_args=head)
        self._nodes = [self._add(), self._add()]
        self.address: str = self._cluster.address

    def _add(self) -> Any:
        return self._cluster.add_node(num_cpus=1, object_store_memory=100_000_000)

    def lose_a_node(self) -> None:
        """The one that has been there longest, at once; another joins."""
        self._cluster.remove_node(self._nodes.pop(0), allow_graceful=False)
        self._nodes.append(self._add())

    def shutdown(self) -> None:
        self._cluster.shutdown()


@contextmanager
def surroundings(way: str) -> Iterator[Any]:
    if way == "local":
        yield None
        return
    if way == "s3":
        port = point_to_server()
    cluster = Cluster()
    server = None
    try:
        if way == "s3":
            server = subprocess.Popen(
                [sys.executable, __file__, "--serve", str(port)], stderr=subprocess.DEVNULL
            )
            make_bucket(port)
        yield cluster
    finally:
        cluster.shutdown()
        if server:
            server.kill()


def point_to_server() -> int:
    """A free port for an S3 server, to which the environment now points."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_DEFAULT_REGION": "us-east-1",
        "CORPUS_READ_CACHE_BYTES": "0",
    }
    return port


def make_bucket(port: int) -> None:
    import s3fs

    for _ in range(150):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.2)
    s3fs.S3FileSystem().mkdir("bucket")


def serve(port: int) -> None:
    """Moto's S3 server; 5 % of its answers are errors and 5 % come 0.3 s late."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    app, draw = DomainDispatcherApplication(create_backend_app), random.Random(port)

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        drawn = draw.random()
        if drawn < 0.05:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            body = b"<Error><Code>SlowDown</Code><Message>slow down</Message></Error>"
            start_response(
                "503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
            )
            return [body]
        if drawn < 0.1:
            time.sleep(0.3)
        return app(environ, start_response)

    class Quiet(WSGIRequestHandler):
        def log_request(self, *_: Any) -> None:
            pass

    make_server("127.0.0.1", port, answer, threaded=True, request_handler=Quiet).serve_forever()


if __name__ == "__main__":
    main()
