"""Access control of the review server: Host, Origin, token, size and rate are checked first."""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from ipaddress import ip_address
from urllib.parse import parse_qs

from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from corpus.schemas.errors import UsageError

_COOKIE = "corpus-review"
_LONGEST_BODY = 256 * 1024
RATE = 200.0
"""Requests per second from one address, on average; a burst may be five times that."""
_POLICY = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' blob: data:",
        "media-src 'self' blob:", "connect-src 'self'", "base-uri 'none'", "form-action 'none'",
        "frame-ancestors 'none'",
    )
)  # fmt: skip
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Whom the server admits."""

    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = None
    """If set, required from everybody; always set if the host is not the loopback address."""
    names: tuple[str, ...] = field(default=())
    """Further names allowed in the Host header."""

    def __post_init__(self) -> None:
        if not _is_loopback(self.host) and not self.token:
            raise UsageError(
                f"{self.host} can be reached from other machines, so a token is needed", todo="give --token"
            )
        if self.token is not None and len(self.token) < 16:
            raise UsageError("the token is too short", todo="give at least 16 characters")

    @property
    def hosts(self) -> set[str]:
        known = {"127.0.0.1", "localhost", "[::1]", self.host, *self.names}
        return {f"{name}:{self.port}" for name in known} | ({*known} if self.port == 80 else set())


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """Checks Host, Origin, token, size and rate first, and sets the headers of every answer."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door
        self._hosts = door.hosts
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name for name, _ in message["headers"]}
                more = [(n.encode(), v.encode()) for n, v in _HEADERS.items() if n.encode() not in names]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        refused = self._refused(scope, headers)
        if refused is not None:
            await refused(scope, receive, sending)
            return
        await self._app(scope, _limited(receive), sending)

    def _refused(self, scope: Scope, headers: dict[str, str]) -> Response | None:
        if headers.get("host", "").lower() not in self._hosts:
            return problem(421, "this is not the name of this server")
        origin = headers.get("origin")
        if (
            origin is not None
            and origin.lower().removeprefix("http://").removeprefix("https://") not in self._hosts
        ):
            return problem(403, "another site's page may not ask this server")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return problem(403, "another site's page may not ask this server")
        if not self._in_time((scope.get("client") or ("?", 0))[0]):
            return problem(429, "too many requests; wait a moment")
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return problem(405, "only GET and POST are known")
        if scope["method"] == "POST" and not headers.get("content-type", "").startswith("application/json"):
            return problem(415, "JSON is wanted")
        if (
            not headers.get("content-length", "0").isdigit()
            or int(headers.get("content-length", "0")) > _LONGEST_BODY
        ):
            return problem(413, "that is too much at once")
        return self._without_token(scope, headers)

    def _without_token(self, scope: Scope, headers: dict[str, str]) -> Response | None:
        token = self._door.token
        if token is None:
            return None
        cookie = SimpleCookie()
        with suppress(Exception):
            cookie.load(headers.get("cookie", ""))
        offered = (
            cookie[_COOKIE].value
            if _COOKIE in cookie
            else headers.get("authorization", "").removeprefix("Bearer ")
        )
        if _same(offered, token):
            return None
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and _same(asked, token):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(_COOKIE, token, httponly=True, samesite="strict", max_age=30 * 86400)
            return answer
        return problem(401, "open the address with ?token=… as the server printed it")

    def _in_time(self, address: str) -> bool:
        now = time.monotonic()
        left, since = self._buckets.pop(address, (5 * RATE, now))
        left = min(5 * RATE, left + (now - since) * RATE)
        self._buckets[address] = (max(0.0, left - 1), now)
        while len(self._buckets) > 10_000:
            self._buckets.popitem(last=False)
        return left >= 1


def _same(one: str, other: str) -> bool:
    """In a time that says nothing of where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def _limited(receive: Receive) -> Receive:
    """A body that is cut off where it is longer than it may be, whatever its header said."""
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > _LONGEST_BODY:
                raise TooLong
        return message

    return limited


class TooLong(Exception):
    pass


def problem(status: int, what: str) -> Response:
    return JSONResponse({"error": what}, status)
