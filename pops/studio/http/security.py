"""ASGI middleware: allow-list of paths, checks of the sender, limits of size and time, headers.

Only the paths named here exist. A request is refused before anything acts on it if its sender, its
body or the time that it takes is not what it should be; a job also if too many wait. Answers forbid
the browser every call to another place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from cachetools import LRUCache

from pops.errors import PopsError
from pops.studio.http.bodies import Bodies, Message, Receive, replay
from pops.studio.http.hosts import Hosts, network_of
from pops.studio.http.login import MOST_FORM, Login, NoPassword
from pops.studio.http.messages import CALL, Calls, Join, read_message
from pops.studio.http.refusals import Forbidden, NotThere, Refusal, TooMany
from pops.studio.http.streams import STREAM, Streams
from pops.studio.http.waiting import Waiting
from pops.studio.jobs.queue import Busy, Client

__all__ = ["POLICY", "TOOLS", "SecurityMiddleware", "client_of"]

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with none at all, the form of the login has no origin
    "cross-origin-resource-policy": "same-origin",
}
READ = re.compile(
    r"/(page/[\w.-]+|pictures/[\w./-]+|embeddings/[\w-]+|stack|favicon\.ico|config/?"
    r"|gradio_api/(info/?|startup-events|queue/data|heartbeat/\w{1,64}|call/\w+/[\w-]{1,64}))?",
    re.ASCII,
)
WRITE = re.compile(
    r"/(inputs|check|compositions/(save|open)|gradio_api/(call/\w+|queue/join|cancel|reset/?))",
    re.ASCII,
)
LARGE = re.compile(r"/(inputs|compositions/open|mcp)")
TOOLS = "/mcp"  # the tools of assistants, where they are switched on
JOB = re.compile(r"/gradio_api/(call/\w+|queue/join)")
EVENTS = re.compile(r"/gradio_api/call/\w+/([\w-]+)")  # of one job
SESSION = "/gradio_api/queue/data"  # the events of a session of Gradio's own client
# What is open without the password; Gradio asks for its own events when it starts.
OPEN = re.compile(r"/(favicon\.ico|page/(style\.css|icon\.svg)|gradio_api/startup-events)")
MOST_JSON = 256 * 2**10  # bytes of a request that is not a file
LARGE_AT_ONCE = 8  # files of the largest size that are held in memory at once
SESSIONS = 1000  # whose events can be asked for; Gradio itself keeps twice as many
LONGEST_CLIENT = 64


def client_of(address: str, headers: Mapping[str, str]) -> Client:
    """Tell clients apart, as far as that matters for taking turns.

    Args:
        address: The address of the sender.
        headers: The headers of the request; in `x-client` those who share an address call
            themselves by a name of their own.

    Returns:
        The client.
    """
    return Client(network_of(address), headers.get("x-client", "")[:LONGEST_CLIENT])


class SecurityMiddleware:
    """Everything between the network and the studio.

    Args:
        app: The ASGI application behind it.
        most_bytes: The bytes of the largest file that is taken.
        announce: Called for every job before Gradio hears of it, which would take all and answer
            late; it raises `Busy` to refuse one.
        calls: The jobs that there are, with the names of their arguments.
        hosts: The names that the server may be called by.
        login: The password, if there is one.
        tools: Whether assistants may call the studio's tools.
        waiting: Closes connections whose requests never come.
    """

    def __init__(
        self,
        app: App,
        most_bytes: int,
        announce: Callable[[Client], None],
        calls: Calls,
        hosts: Hosts,
        login: Login | None = None,
        tools: bool = False,
        waiting: Waiting | None = None,
    ) -> None:
        self.app = app
        self.tools = tools
        self.most_bytes = most_bytes
        self.announce = announce
        self.calls = calls
        self.hosts = hosts
        self.login = login
        self.waiting = waiting or Waiting()
        self._bodies = Bodies(LARGE_AT_ONCE * max(most_bytes, MOST_JSON))
        self._streams = Streams()
        self._sessions: LRUCache[str, bool] = LRUCache(SESSIONS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application answer it."""
        if scope["type"] == "lifespan":
            async with self.waiting.watch():
                await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            try:
                await self._answer(scope, receive, _guarded(send))
            except Refusal as refusal:
                await _refuse(send, refusal)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
        method, path = scope["method"], scope["path"]
        sender, *_ = scope.get("client") or ("",)
        address = network_of(sender)
        self._check_sender(method, headers)
        if self.login and path == "/login":
            return await self._log_in(self.login, scope, receive, send, address, headers)
        known = READ if method in ("GET", "HEAD") else WRITE if method == "POST" else None
        there = known is not None and known.fullmatch(path) is not None and ".." not in path
        if not there and not (self.tools and method == "POST" and path == TOOLS):
            raise NotThere("there is nothing at this address")
        if self.login and not OPEN.fullmatch(path):
            try:
                self.login.admit(headers, address)
            except NoPassword:
                if path != "/":
                    raise
                return await _redirect(send, "/login")
        if method == "POST":
            await self._take(scope, receive, send, client_of(address, headers))
        elif STREAM.fullmatch(path):
            with self._streams.hold(address):
                await self._give(scope, receive, send)
        else:
            await self._give(scope, receive, send)

    def _check_sender(self, method: str, headers: Mapping[str, str]) -> None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self.hosts.admit(host):
            if self.hosts.any_address:
                raise Forbidden(
                    "the studio does not answer to this name: add it to --allowed_hosts"
                )
            raise Forbidden(
                "this studio answers this machine only; start it with --host to open it to others"
            )
        if method == "POST" and origin is not None and _place(origin) != host:
            raise Forbidden("a request that comes from another page is refused")

    async def _take(self, scope: Scope, receive: Receive, send: Send, client: Client) -> None:
        """Pass on a request with a body, once all of it is there and good."""
        path = scope["path"]
        large = LARGE.fullmatch(path) is not None
        limit = self.most_bytes if large else MOST_JSON
        async with self._bodies.read(receive, limit, client.address) as body:
            if large:
                return await self.app(scope, replay(body, receive), send)
            message, content = read_message(path, body, self.calls)
            if JOB.fullmatch(path):
                try:
                    self.announce(client)
                except Busy as busy:
                    raise TooMany(str(busy)) from busy
            if isinstance(message, Join):
                await self._remember(scope, message.session_hash)
            elif CALL.fullmatch(path):
                send = self._noting(scope, send)
            await self.app(_as_json(scope, content), replay(content, receive), send)

    async def _remember(self, scope: Scope, session: str) -> None:
        """Let the events of a session be asked for; the oldest makes way."""
        if session not in self._sessions and len(self._sessions) >= SESSIONS:
            await self._leave(scope, self._sessions.popitem()[0])
        self._sessions[session] = True

    def _noting(self, scope: Scope, send: Send) -> Send:
        """Make a `send` that remembers the id of the job that Gradio answers with."""

        async def noting(message: Message) -> None:
            found = re.search(rb'"event_id":\s*"([\w-]+)"', message.get("body", b""))
            if found:
                await self._remember(scope, found[1].decode())
            await send(message)

        return noting

    async def _give(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request for something. Of a job that is not there, no events are waited for."""
        events = EVENTS.fullmatch(scope["path"])
        session = events[1] if events else None
        if scope["path"] == SESSION:
            query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
            session = query.get("session_hash", [""])[0]
        if session is not None and session not in self._sessions:
            raise NotThere("there is no such job, or there is none any more")
        await self.app(dict(scope), receive, send)
        if events and session:
            self._sessions.pop(session, None)
            await self._leave(scope, session)

    async def _leave(self, scope: Scope, session: str) -> None:
        """Tell Gradio that nobody listens to a session any more, or it keeps a record of it."""

        async def gone() -> Message:
            return {"type": "http.disconnect"}

        async def nowhere(message: Message) -> None:
            """Drop a message, since nobody is there to be answered."""

        query = f"session_hash={quote(session)}".encode()
        told = {
            "method": "GET",
            "path": SESSION,
            "raw_path": SESSION.encode(),
            "query_string": query,
        }
        await self.app({**scope, **told}, gone, nowhere)

    async def _log_in(
        self,
        login: Login,
        scope: Scope,
        receive: Receive,
        send: Send,
        address: str,
        headers: Mapping[str, str],
    ) -> None:
        """Show the form, or check what was written into it."""
        if scope["method"] != "POST":
            return await self.app({**scope, "path": "/page/login.html"}, receive, send)
        page = "text/html" in headers.get("accept", "")  # a browser is sent to the login
        async with self._bodies.read(receive, MOST_FORM, address) as form:
            try:
                login.check_form(form, address)
            except Refusal as refusal:
                if not page:
                    raise
                wrong = isinstance(refusal, NoPassword)
                return await _redirect(send, "/login#wrong" if wrong else "/login#wait")
        cookie = [(b"set-cookie", login.cookie.encode())]
        if page:
            return await _redirect(send, "/", cookie)
        await _reply(send, 200, {"success": True}, cookie)


def _place(origin: str) -> str | None:
    """Find the host and port of an origin; None if it has none."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None


def _as_json(scope: Scope, content: bytes) -> Scope:
    """Give the scope of a request whose body is now this JSON."""
    own = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    kept = [pair for pair in scope["headers"] if pair[0] not in dict(own)]
    return {**scope, "headers": [*kept, *own]}


def _guarded(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", []), *own]}
        await send(message)

    return guarded


async def _refuse(send: Send, refusal: PopsError) -> None:
    """Answer with one line. What is left of the request is not waited for."""
    status = getattr(refusal, "status", 400)
    await _reply(_guarded(send), status, {"error": str(refusal)}, [(b"connection", b"close")])


async def _redirect(send: Send, to: str, more: list[tuple[bytes, bytes]] | None = None) -> None:
    place = [(b"location", to.encode()), (b"content-length", b"0"), *(more or [])]
    await send({"type": "http.response.start", "status": 303, "headers": place})
    await send({"type": "http.response.body", "body": b""})


async def _reply(send: Send, status: int, value: object, more: list[tuple[bytes, bytes]]) -> None:
    body = json.dumps(value).encode()
    kind = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": [*kind, *more]})
    await send({"type": "http.response.body", "body": body})
