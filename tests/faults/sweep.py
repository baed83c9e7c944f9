"""Builds in which one call fails: run with `fail_nth.so` preloaded, writes what came of each to stdout.

    sweep.py WORK KIND FIRST STEP MOST

WORK holds `in`, the recordings; `old`, the dataset before, which may be missing; `new.json`, the promised
bytes of the dataset after. Each build runs in a fork of this process and in no other, to cost little.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import corpus.pipeline.build as build
from corpus.pipeline.engine import Done
from corpus.pipeline.progress import Quiet
from corpus.pipeline.request import Request
from corpus.schemas.codec import from_json
from corpus.schemas.errors import CorpusError
from corpus.schemas.settings import Settings
from corpus.shards.verify import verify_dataset

sys.path.insert(0, str(Path(__file__).parent))
from promised import promised_bytes

KINDS = ("none", "write", "fsync", "rename", "open")


class Control(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_int),
        ("at", ctypes.c_int),
        ("count", ctypes.c_int),
        ("below", ctypes.c_char * 4096),
    )


def one_after_another(
    function: Callable[[Any], Any], jobs: Sequence[Any], *, num_workers: int, on_poll: Callable[[], None]
) -> Iterator[Done[Any, Any]]:
    for job in jobs:
        on_poll()
        yield Done(job, function(job))


def in_fork(work: Callable[[], str]) -> str:
    """What the work says, from a process of its own."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        try:
            text = work()
        except CorpusError as error:
            text = f"refused: {error}"
        except OSError as error:
            text = f"refused: {error}"
        except BaseException:
            text = f"CRASHED {traceback.format_exc()}"
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read().decode()
    os.waitpid(child, 0)
    return text


def main() -> None:
    work, kind = Path(sys.argv[1]), sys.argv[2]
    first, step, most = map(int, sys.argv[3:6])
    out, old = work / "out", work / "old"
    expected = json.loads((work / "new.json").read_text())
    settings = from_json(Settings, (work / "settings.json").read_text())
    before = promised_bytes(old) if (old / "manifest.json").exists() else None
    build.run_jobs = one_after_another  # type: ignore[assignment]
    with open(os.environ["FAIL_CONTROL"], "r+b") as file:
        control = Control.from_buffer(mmap.mmap(file.fileno(), 0))
    control.below = str(out).encode()

    def run() -> str:
        done = build.build_dataset(Request(inputs=(str(work / "in"),), out=out, settings=settings), Quiet())
        return f"exit {done.exit_code} {[d.reason for d in done.faults]}"

    at = first
    for _ in range(most):
        shutil.rmtree(out, ignore_errors=True)
        if old.exists():
            shutil.copytree(old, out)
        control.at, control.count, control.kind = at, 0, KINDS.index(kind)
        said = in_fork(run)
        control.kind = 0
        if control.count < at:
            break
        found = promised_bytes(out) if (out / "manifest.json").exists() else None
        wrong = []
        if said.startswith("CRASHED"):
            wrong.append(said)
        if "exit" in said and not said.startswith("exit 0"):
            wrong.append(f"a fault of the disk was put down to a recording: {said}")
        if found not in (before, expected):
            wrong.append("neither the old dataset nor the new one")
        again = in_fork(run)
        if not again.startswith("exit 0") or promised_bytes(out) != expected:
            wrong.append(
                f"the next build: {again}, {'same' if promised_bytes(out) == expected else 'other'} bytes"
            )
        if wrong == [] and at % 10 == 0:
            wrong += [f"verify: {p.what}" for p in verify_dataset(out).problems]
        print(json.dumps({"at": at, "said": said[:300], "wrong": wrong}), flush=True)
        at += step


if __name__ == "__main__":
    main()
