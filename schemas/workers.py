"""What every pool of processes needs: they begin alike, end with their parent, and import no script."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from corpus.schemas.light import own_this_process


@contextmanager
def no_main_module() -> Iterator[None]:
    """Hide the main module: spawn would import it again in every worker, which does not need it.

    So a script that starts them needs no `if __name__ == "__main__"`.
    """
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {
        name: main.__dict__[name] for name in ("__spec__", "__file__") if name in main.__dict__
    }
    try:
        # spawn looks for these two to find out what to import.
        main.__dict__.pop("__file__", None)
        main.__spec__ = None
        yield
    finally:
        main.__dict__.update(hidden)


def new_workers(count: int) -> ProcessPoolExecutor:
    """A pool of processes that have not started yet."""
    # Not fork: a forked worker would inherit the threads' locks of torch, PyAV and DuckDB.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, mp_context=context, initializer=_begin_worker)


def _begin_worker() -> None:
    """Die with the parent, leave Ctrl-C to it, and limit numeric libraries to one thread."""
    import signal

    own_this_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    logging.getLogger().setLevel(logging.WARNING)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """Leave no worker behind when its parent is killed: the next build may clear its scratch folder."""
    from multiprocessing.connection import wait as wait_for

    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def stop_workers(executor: ProcessPoolExecutor, *, at_once: bool) -> None:
    """End the processes; with `at_once` without waiting for their jobs."""
    if at_once:
        for process in list((executor._processes or {}).values()):
            process.kill()  # at once, stopped or not; what it was writing has a temporary name
    executor.shutdown(wait=True, cancel_futures=True)
