"""The annotators' page over HTTP: on the loopback address, or elsewhere behind a token."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from corpus.report.pages.markup import asset as shared
from corpus.review.guard import Door, Guard, TooLong, problem
from corpus.review.media import LONGEST_US
from corpus.review.room import Room
from corpus.schemas.codec import to_plain
from corpus.schemas.errors import CorpusError, StorageError, UsageError

logger = logging.getLogger(__name__)

PAGE = Path(__file__).with_name("page")
ASSETS = (
    *("review.html", "review.css", "review.js", "dom.js", "outbox.js", "player.js", "timeline.js", "grid.js"),
    *("agreement.js", "edit.js"),
)
_SHARED_STYLES = ("page.css", "clip.css")
"""With the report's styles, all files that are ever sent, by the only names they are known under."""
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_Handler = Callable[[Request], Awaitable[Response]]


def _answering(handler: _Handler) -> _Handler:
    """What went wrong becomes an answer that says so."""

    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except StorageError as error:
            return problem(507, f"not kept: {error}")
        except CorpusError as error:
            return problem(422, str(error))
        except TooLong:
            return problem(413, "that is too much at once")
        except (KeyError, TypeError, ValueError, UnicodeDecodeError, RecursionError) as error:
            return problem(400, f"the request cannot be read: {type(error).__name__}")

    return answered


def make_app(room: Room, door: Door, *, annotator: str = "") -> ASGIApp:
    """The application; `room` is closed with it. The page asks for a name unless `annotator` is one."""

    def name_of(request: Request) -> str:
        name = unquote(request.headers.get("x-annotator", ""))
        if not name or len(name) > 64 or not name.isprintable() or name != name.strip():
            raise UsageError("give your name: 1 to 64 printable characters")
        return name

    async def page(request: Request) -> Response:
        return _asset("review.html")

    async def asset(request: Request) -> Response:
        return _asset(request.path_params["name"])

    async def state(request: Request) -> Response:
        room.refresh()
        name = unquote(request.headers.get("x-annotator", ""))[:64]
        return JSONResponse({**await run_in_threadpool(room.state, name), "annotator": annotator})

    async def last(request: Request) -> Response:
        decision = await run_in_threadpool(room.last, name_of(request))
        return JSONResponse(decision)

    async def next_(request: Request) -> Response:
        asked = await _json(request)
        number = min(48, max(1, int(asked.get("number", 1))))
        without = asked.get("without", [])[:500]
        items = await run_in_threadpool(
            room.next,
            name_of(request),
            str(asked.get("mode", "uncertain")),
            str(asked.get("label", "")),
            number,
            without,
        )
        return JSONResponse(items)

    async def reviews(request: Request) -> Response:
        asked = await _json(request)
        given = asked["reviews"]
        if not isinstance(given, list) or not 1 <= len(given) <= 100:
            raise UsageError("send 1 to 100 reviews at a time")
        if asked.get("store", room.store.id) != room.store.id:
            return problem(409, "another dataset is served here now; reload the page")
        where = request.client.host if request.client else "?"
        kept = await run_in_threadpool(room.decide, name_of(request), given, where)
        changed.set()
        progress = room.queue.progress(name_of(request), str(asked.get("label", "")))
        return JSONResponse(
            {
                "generation": room.generation,
                "kept": [{"id": review.id, "sequence": review.sequence} for review in kept],
                "progress": to_plain(progress),
                "disputed": room.queue.disputed(),
            }
        )

    async def item(request: Request) -> Response:
        item = await run_in_threadpool(
            room.item, request.path_params["recording"], request.path_params["item"], "chosen"
        )
        return JSONResponse(item) if item is not None else problem(404, "no such cue")

    async def example(request: Request) -> Response:
        example = await run_in_threadpool(room.example, request.path_params["label"])
        return JSONResponse(example) if example is not None else problem(404, "no cue of this label")

    async def agreement(request: Request) -> Response:
        return JSONResponse(to_plain(await run_in_threadpool(room.agreement)))

    async def disputes(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(room.disputes))

    async def sql(request: Request) -> Response:
        asked = await _json(request)
        columns, rows = await run_in_threadpool(room.store.query, str(asked["sql"]))
        text = json.dumps({"columns": columns, "rows": rows}, default=str)
        return Response(text, media_type="application/json")

    async def sound(request: Request) -> Response:
        start_us, stop_us = _span(request)
        channel = request.path_params["channel"]
        number = None if channel == "mix" else int(channel)
        if number is not None and not 0 <= number < 8:
            return problem(404, "no such channel")
        recording = request.path_params["recording"]
        content = await run_in_threadpool(room.media.wave, recording, start_us, stop_us, number)
        return _ranged(request, content, "audio/wav")

    async def outlines(request: Request) -> Response:
        outlines = await run_in_threadpool(
            room.media.outlines, request.path_params["recording"], *_span(request)
        )
        return JSONResponse(outlines, headers={"cache-control": "private, max-age=600"})

    async def pictures(request: Request) -> Response:
        content = await run_in_threadpool(
            room.media.pictures, request.path_params["recording"], *_span(request)
        )
        return _ranged(request, content, "application/octet-stream")

    changed = asyncio.Event()

    async def exporting() -> None:
        while True:
            await changed.wait()
            await asyncio.sleep(0.5)
            changed.clear()
            try:
                await run_in_threadpool(room.store.export)
            except CorpusError as error:
                logger.error("reviews.parquet is behind: %s", error)
                await asyncio.sleep(5)
                changed.set()

    @asynccontextmanager
    async def living(app: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(exporting())
        try:
            yield
        finally:
            task.cancel()
            await run_in_threadpool(room.close)

    place = "/{recording:str}/{start:int}-{stop:int}"
    routes: list[tuple[str, str, _Handler]] = [
        ("GET", "/", page),
        ("GET", "/page/{name:str}", asset),
        ("GET", "/api/state", state),
        ("GET", "/api/last", last),
        ("POST", "/api/next", next_),
        ("POST", "/api/reviews", reviews),
        ("GET", "/api/item/{recording:str}/{item:str}", item),
        ("GET", "/api/example/{label:str}", example),
        ("GET", "/api/agreement", agreement),
        ("GET", "/api/disputes", disputes),
        ("POST", "/api/sql", sql),
        ("GET", f"/sound{place}/{{channel:str}}.wav", sound),
        ("GET", f"/outlines{place}", outlines),
        ("GET", f"/pictures{place}", pictures),
    ]
    app = Starlette(
        routes=[Route(path, _answering(run), methods=[method]) for method, path, run in routes],
        lifespan=living,
    )
    return Guard(app, door)


def _asset(name: str) -> Response:
    if name in _SHARED_STYLES:
        content = shared(name).encode()
    elif name in ASSETS:
        content = (PAGE / name).read_bytes()
    else:
        return problem(404, "no such file")
    kind = f"{_KINDS[Path(name).suffix]}; charset=utf-8"
    return Response(content, media_type=kind, headers={"cache-control": "no-cache"})


async def _json(request: Request) -> dict[str, Any]:
    body = json.loads(await request.body())
    if not isinstance(body, dict):
        raise UsageError("the body must be an object")
    return body


def _span(request: Request) -> tuple[int, int]:
    start_us, stop_us = request.path_params["start"], request.path_params["stop"]
    if not 0 <= start_us < stop_us <= 2**53 or stop_us - start_us > LONGEST_US:
        raise UsageError("a stretch may last at most a minute")
    return start_us, stop_us


def _ranged(request: Request, content: bytes, kind: str) -> Response:
    """The content, or the part of it that a Range header asks for."""
    headers = {"accept-ranges": "bytes", "cache-control": "private, max-age=600"}
    asked = request.headers.get("range", "")
    if not asked.startswith("bytes=") or "," in asked:
        return Response(content, media_type=kind, headers=headers)
    first, _, last = asked.removeprefix("bytes=").partition("-")
    size = len(content)
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= stop:
        return Response(status_code=416, headers={**headers, "content-range": f"bytes */{size}"})
    headers["content-range"] = f"bytes {start}-{stop - 1}/{size}"
    return Response(content[start:stop], 206, media_type=kind, headers=headers)
