"""Running the review server, and querying one that runs."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import Request, urlopen

from corpus.review.room import Options, Room
from corpus.schemas.errors import DatasetError, MissingDependencyError, UsageError
from corpus.schemas.files import storage_errors, write_whole

_ADDRESS_FILE = "review-server.json"
"""In OUT/.cache while a server runs: where it answers `corpus review sql`. Only its owner may read it."""


def serve(
    out: Path,
    *,
    host: str,
    port: int,
    token: str | None,
    annotator: str,
    options: Options,
    say: Callable[[str], None],
) -> None:
    """Serve until interrupted; `say` is called with the address to open.

    Raises:
        UsageError: the address is in use, or reachable by others without a token.
        LockedError: another server has this dataset.
        MissingDependencyError: the extra `review` is not installed.
    """
    try:
        import uvicorn

        from corpus.review.guard import Door
        from corpus.review.server import make_app
    except ImportError as error:
        raise MissingDependencyError(
            "the review server needs starlette and uvicorn", todo='pip install "duplex-corpus[review]"'
        ) from error
    listening = _listen(host, port)
    number = int(listening.getsockname()[1])
    door = Door(host=host, port=number, token=token)
    room = Room(out, options)
    room.store.export()  # what a killed server had not written yet
    app = make_app(room, door, annotator=annotator)
    shown = f"[{host}]" if ":" in host else host
    say(f"http://{shown}:{number}/" + (f"?token={token}" if token else ""))
    path = out / ".cache" / _ADDRESS_FILE
    _tell_address(path, shown, number, token)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2
    )
    log = _log_apart()
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        path.unlink(missing_ok=True)
        log.stop()


def _log_apart() -> QueueListener:
    """Who changed what is written by a thread of its own: a terminal that takes no more stops no decision."""
    logger, lines = logging.getLogger("corpus.review"), SimpleQueue[logging.LogRecord]()
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(QueueHandler(lines))
    log = QueueListener(lines, *logging.getLogger().handlers)
    log.start()
    return log


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)  # a client that reads the address may call at once
    except OSError as error:
        listening.close()
        raise UsageError(
            f"cannot listen there: {error.strerror}", where=f"{host}:{port}", todo="give another --port"
        ) from error
    return listening


def _tell_address(path: Path, host: str, port: int, token: str | None) -> None:
    with storage_errors(path):
        path.parent.mkdir(exist_ok=True)
        write_whole(
            path, json.dumps({"url": f"http://{host}:{port}", "token": token, "pid": os.getpid()}).encode()
        )
        path.chmod(0o600)


def _ask_server(out: Path, sql: str) -> tuple[list[str], list[list[Any]]]:
    """What a running server's store says.

    Raises:
        DatasetError: none answers, or it refuses the statement.
    """
    path = out / ".cache" / _ADDRESS_FILE
    try:
        server = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DatasetError(
            "the labels are open in another process, and no review server answers", where=str(out)
        ) from error
    request = Request(
        f"{server['url']}/api/sql", json.dumps({"sql": sql}).encode(), {"content-type": "application/json"}
    )
    if server.get("token"):
        request.add_header("authorization", f"Bearer {server['token']}")
    try:
        with urlopen(request, timeout=60) as answer:
            table = json.load(answer)
    except OSError as error:
        body = getattr(error, "fp", None)
        why = json.load(body).get("error", "") if body is not None else str(error)
        raise DatasetError(f"the server says: {why}", where=str(out)) from error
    return table["columns"], table["rows"]


def query(out: Path, sql: str) -> tuple[list[str], list[Any]]:
    """Query the store of a dataset: through its server if one runs, otherwise in the file.

    Raises:
        DatasetError: the statement is rejected.
    """
    from corpus.review.labels import CATALOG_FILE, LABELS_FILE
    from corpus.review.store import Store, opened
    from corpus.schemas.errors import LockedError

    if not (out / LABELS_FILE).exists():
        # Nobody reviewed here yet: an empty store beside the dataset's cues answers, and OUT gets no file.
        with TemporaryDirectory() as folder:
            if (out / CATALOG_FILE).exists():
                (Path(folder) / CATALOG_FILE).symlink_to((out / CATALOG_FILE).resolve())
            with opened(Path(folder)) as empty:
                return empty.query(sql)
    try:
        store = Store(out)
    except LockedError:
        columns, rows = _ask_server(out, sql)
        return columns, list(rows)
    try:
        return store.query(sql)
    finally:
        store.close()
