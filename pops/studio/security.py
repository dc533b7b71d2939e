"""ASGI middleware: allow-list of paths, size limits, checks of the sender, security headers.

Only the paths named here exist. A request is refused if it is too large, comes from another site's
page, or names a file of the server; a job also if too many wait. Answers forbid the browser every
call to another place.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from pops.errors import PopsError

__all__ = ["POLICY", "SecurityMiddleware", "client_name"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
READ = re.compile(
    r"/(page/[\w.-]+|pictures/[\w./-]+|embeddings/[\w-]+|stack|favicon\.ico|config/?"
    r"|gradio_api/(info/?|startup-events|queue/data|heartbeat/\w+|call/[\w/]+))?"
)
WRITE = re.compile(
    r"/(inputs|check|compositions/(save|open)|gradio_api/(call/\w+|queue/join|cancel|reset/?))"
)
LARGE = re.compile(r"/(inputs|compositions/open)")
JOB = re.compile(r"/gradio_api/(call/\w+|queue/join)")
MOST_JSON = 256 * 1024  # bytes of any other request
LARGE_AT_ONCE = 8  # requests whose whole body is held in memory
LONGEST_CLIENT = 64
LOCAL = ("localhost", "127.0.0.1", "::1")


def client_name(address: str, headers: Mapping[str, str]) -> str:
    """Whose request it is, as far as that matters for taking turns: an address, and what those who
    share one call themselves."""
    return f"{address} {headers.get('x-client', '')[:LONGEST_CLIENT]}"


class SecurityMiddleware:
    """ASGI middleware.

    `announce`: hears of every job, by the name of its client, before Gradio does, which would take
    all and answer late; it raises a PopsError to refuse one. `hosts`: the names that the server is
    called by; any, if there are none.
    """

    def __init__(
        self,
        app: App,
        most_bytes: int,
        announce: Callable[[str], None],
        hosts: tuple[str, ...] = LOCAL,
    ) -> None:
        self.app = app
        self.most_bytes = most_bytes
        self.announce = announce
        self.hosts = hosts
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
        path, posted = scope["path"], scope["method"] == "POST"
        refusal = self._refusal(scope["method"], path, headers)
        if refusal is not None:
            await _refuse(send, *refusal)
        elif not posted:
            await self.app(scope, receive, _guarded(send))
        elif LARGE.fullmatch(path):
            async with self._large:
                await self._posted(scope, receive, send, headers)
        else:
            await self._posted(scope, receive, send, headers)

    async def _posted(
        self, scope: Scope, receive: Receive, send: Send, headers: Mapping[str, str]
    ) -> None:
        """Pass on a request with a body, once all of it is there and good."""
        large = LARGE.fullmatch(scope["path"]) is not None
        limit = self.most_bytes if large else MOST_JSON
        body = await _body(receive, limit)
        refusal = None
        if body is None:
            most = f"{limit // 2**20} MB" if large else f"{limit // 1024} KB"
            refusal = 413, f"too large: at most {most} are taken"
        elif not large and _names_a_file(body):
            refusal = 400, "files are not taken by name: send them to /inputs"
        elif JOB.fullmatch(scope["path"]):
            try:
                address, *_ = scope.get("client") or ("",)
                self.announce(client_name(address, headers))
            except PopsError as error:
                refusal = 503, str(error)
        if refusal is not None:
            await _refuse(send, *refusal)
        else:
            await self.app(scope, _replay(body or b"", receive), _guarded(send))

    def _refusal(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str] | None:
        known = READ if method in ("GET", "HEAD") else WRITE if method == "POST" else None
        if known is None or not known.fullmatch(path) or ".." in path:
            return 404, "there is nothing here"
        host = headers.get("host", "")
        if self.hosts and _name(f"//{host}") not in self.hosts:
            return 403, "this studio is for this machine; start it with --host to open it to others"
        origin = headers.get("origin")
        if method == "POST" and origin is not None and urlsplit(origin).netloc != host:
            return 403, "requests from other pages are not taken"
        return None


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


async def _body(receive: Receive, limit: int) -> bytes | None:
    """The whole body of a request; None if it is longer than `limit` bytes."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        parts.append(message.get("body", b""))
        if sum(map(len, parts)) > limit:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body again, then what else comes."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _guarded(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", []), *own]}
        await send(message)

    return guarded


async def _refuse(send: Send, status: int, said: str) -> None:
    body = json.dumps({"error": said}).encode()
    sent = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    guarded = _guarded(send)
    await guarded({"type": "http.response.start", "status": status, "headers": sent})
    await guarded({"type": "http.response.body", "body": body})


def _names_a_file(content: bytes) -> bool:
    """Whether JSON holds a file of Gradio's own kind, which the server would open or fetch."""
    try:
        return _holds_file(json.loads(content or b"null"))
    except (ValueError, RecursionError):
        return True  # no JSON at all


def _holds_file(value: Any) -> bool:
    if isinstance(value, dict):
        return "meta" in value or any(map(_holds_file, value.values()))
    return isinstance(value, list) and any(map(_holds_file, value))
