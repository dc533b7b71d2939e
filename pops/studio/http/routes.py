"""Short requests, answered at once: the page, uploads, pictures, embeddings, checks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from pops.errors import PopsError
from pops.studio.service import StudioService
from pops.studio.store import StoredItem

__all__ = ["OPEN_AT_ONCE", "add_routes"]

PAGE = Path(__file__).parent.parent / "page"
MEDIA = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
OPEN_AT_ONCE = 2  # a picture of the largest size takes 300 MB while it is open
KEEP = {"cache-control": "private, max-age=86400, immutable"}  # an item never changes


def add_routes(server: FastAPI, service: StudioService) -> None:
    """Give a server the short requests of a studio.

    Args:
        server: The server, not yet listening.
        service: The studio.
    """
    opening = CapacityLimiter(OPEN_AT_ONCE)

    @server.api_route("/", methods=["GET", "HEAD"])
    def page() -> Response:
        return _file("index.html")

    @server.get("/page/{name}")
    def file(name: str) -> Response:
        return _file(name)

    @server.get("/favicon.ico")
    def icon() -> Response:
        return _file("icon.svg")

    @server.get("/stack")
    async def stack() -> Response:
        return await _answer(service.describe)

    @server.post("/inputs")
    async def inputs(request: Request) -> Response:
        name = _told_name(request.headers.get("x-name", "picture"))
        content = await request.body()
        return await _answer(lambda: service.add(content, name).told, opening)

    @server.get("/pictures/{name:path}")
    def picture(name: str) -> Response:
        item = _find(service, name)
        if item is None or not item.shown:
            return Response(status_code=404)
        kind = "image/jpeg" if item.shown.startswith(b"\xff\xd8") else "image/png"
        return Response(item.shown, 200, KEEP, kind)

    @server.get("/embeddings/{name}")
    def embedding(name: str) -> Response:
        item = _find(service, name)
        if item is None or item.embedding is None:
            return Response(status_code=404)
        with TemporaryDirectory(prefix="pops-studio-") as folder:
            path = Path(folder) / "embedding.safetensors"
            item.embedding.save(path)
            return Response(path.read_bytes(), 200, KEEP, "application/octet-stream")

    @server.post("/check")
    async def check(request: Request) -> Response:
        return await _with_json(service.check, request)

    @server.post("/compositions/save")
    async def save(request: Request) -> Response:
        return await _with_json(service.save, request)

    @server.post("/compositions/open")
    async def opened(request: Request) -> Response:
        content = await request.body()
        return await _answer(lambda: service.open(content), opening)


def _told_name(header: str) -> str:
    """Read the name in a header: percent-encoded, or bytes of UTF-8 as they are."""
    name = unquote(header)
    try:
        return name.encode("latin-1").decode()
    except UnicodeError:
        return name


async def _answer(work: Callable[[], Any], limiter: CapacityLimiter | None = None) -> Response:
    """Do some work in a thread and answer with what it gives, as JSON, or with its error.

    No error leaves the thread: the future that brings it would hold it, and it what was sent.
    """

    def attempt() -> tuple[Any, int]:
        try:
            return work(), 200
        except PopsError as error:
            return {"error": str(error.at(None))}, 422

    return JSONResponse(*await to_thread.run_sync(attempt, limiter=limiter))


async def _with_json(work: Callable[..., Any], request: Request) -> Response:
    """Do some work with the expression, the inputs and the settings of a request."""
    given = await request.json()
    given = given if isinstance(given, dict) else {}
    named = given.get("expression", ""), given.get("inputs"), given.get("settings")
    return await _answer(lambda: work(*named))


def _file(name: str) -> Response:
    path = PAGE / Path(name).name
    if path.suffix not in MEDIA or not path.is_file():
        return Response(status_code=404)
    headers = {"cache-control": "no-cache"}
    return FileResponse(path, media_type=MEDIA[path.suffix], headers=headers)


def _find(service: StudioService, name: str) -> StoredItem | None:
    try:
        return service.store.get(name)
    except PopsError:
        return None
