"""The studio's jobs as tools of the Model Context Protocol, for assistants that call tools.

They go through the same queue and the same limits as the page's own jobs, behind the same gate. The
package mcp is an extra, and this module is imported by `pops.studio.app` alone.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from anyio import CapacityLimiter, to_thread
from mcp.server.fastmcp import Context, FastMCP
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import ImageContent, TextContent
from pydantic import Field
from starlette.routing import Route

from pops.errors import InputError, PopsError
from pops.studio.http.routes import OPEN_AT_ONCE
from pops.studio.http.security import TOOLS, client_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from gradio import Server

    from pops.studio.jobs.job import Client, Job
    from pops.studio.service import StudioService

__all__ = ["add_tools"]

ABOUT = """Operators on pictures, which give pictures again. Call `operators` first: it tells which
operators there are, which inputs each takes, and which example pictures can be inputs. An input is
the name of an example, the id of an earlier result, or a picture as a data URL."""

Source = Annotated[
    str, Field(description="name of an example, id of a result, or data:image/png;base64,...")
]
Seeds = Annotated[list[int], Field(description="one result for each seed")]
Content = list[TextContent | ImageContent]
MADE = ("id", "expression", "seed", "render_seed")  # what is told of a result
NONE_LEFT = "none of the pictures that are nearest is there any more"
FOUND = ("id", "found", "score", "rank")  # of a picture that was found


def add_tools(server: Server, service: StudioService) -> None:
    """Give a server the studio's tools, at one address.

    Args:
        server: The server, not yet listening.
        service: The studio that checks the requests and queues the jobs.
    """
    tools = FastMCP(
        "pops",
        ABOUT,
        stateless_http=True,
        json_response=True,
        log_level="WARNING",
        # The studio's own middleware has checked the host name already.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    _add_all(tools, _Desk(service))
    tools.streamable_http_app()  # makes the session manager
    server.router.routes.insert(0, Route(TOOLS, _Endpoint(tools), methods=["POST"]))


class _Endpoint:
    """The ASGI application of the tools; what it runs in starts with the first request."""

    def __init__(self, tools: FastMCP) -> None:
        self.manager = tools.session_manager
        self._started: asyncio.Future[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._started is None:
            self._started = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._run(self._started))
        await asyncio.shield(self._started)
        await self.manager.handle_request(scope, receive, send)

    async def _run(self, started: asyncio.Future[None]) -> None:
        async with self.manager.run():
            started.set_result(None)
            await asyncio.Event().wait()  # until the loop ends


class _Desk:
    """Takes what assistants send to the studio, and gives them what the studio tells."""

    def __init__(self, service: StudioService) -> None:
        self.service = service
        self.opening = CapacityLimiter(OPEN_AT_ONCE)

    def item(self, source: str) -> str:
        """Give the id of an input."""
        if source.startswith("data:"):
            try:
                content = base64.b64decode(source.partition(",")[2], validate=True)
            except (binascii.Error, ValueError) as error:
                raise InputError(
                    "a data URL must be data:image/png;base64, and the picture in base64"
                ) from error
            return self.service.add(content, "picture").id
        named = {item.name: item.id for item in self.service.store.examples.values()}
        return named.get(source, source)

    async def results(
        self, context: Context, submit: Callable[..., Job], keys: Sequence[str] = MADE
    ) -> Content:
        """Do a job, and give its results as pictures, each after a line that tells what it is."""
        request = context.request_context.request
        client: Client = client_of(request.client.host if request.client else "", request.headers)
        last: dict[str, Any] = {}
        job = await to_thread.run_sync(partial(submit, client), limiter=self.opening)
        async for event in job.follow():
            last = event
            if event.get("state") == "working":
                await context.report_progress(event["done"], event["total"])
        made: Content = []
        for told in last["results"] if "results" in last else [last["result"]]:
            item = self.service.store.get(told["id"])
            line = {key: told[key] for key in keys}
            made.append(TextContent(type="text", text=json.dumps(line, ensure_ascii=False)))
            kind = "image/jpeg" if item.shown.startswith(b"\xff\xd8") else "image/png"
            data = base64.b64encode(item.shown).decode()
            made.append(ImageContent(type="image", data=data, mimeType=kind))
        return made or [TextContent(type="text", text=NONE_LEFT)]


def _add_all(tools: FastMCP, desk: _Desk) -> None:
    """Add the functions whose names, arguments and docstrings an assistant is shown."""
    service = desk.service

    @tools.tool(structured_output=False)
    def operators() -> str:
        """Tell which operators there are, with their inputs, and the names of example pictures."""
        rows = {
            row.name: {"inputs": row.inputs, "takes_text": row.takes_text}
            for row in service.operators.values()
        }
        examples = [item.name for item in service.store.examples.values()]
        return json.dumps({"operators": rows, "examples": examples}, ensure_ascii=False)

    @tools.tool(structured_output=False)
    async def apply(
        context: Context,
        operator: str,
        inputs: list[Source | None],
        text: str = "",
        seeds: Seeds = [18],  # noqa: B006  pydantic copies it
    ) -> Content:
        """Apply an operator to inputs in the order of its slots, null for one that is left out."""

        def submit(client: Client) -> Job:
            ids = [None if source is None else desk.item(source) for source in inputs]
            return service.apply(operator, ids, text, {"seeds": seeds}, client)

        return await _in_words(desk.results(context, submit))

    @tools.tool(structured_output=False)
    async def compose(
        context: Context,
        expression: str,
        inputs: dict[str, Source] | None = None,
        seed: int = 18,
    ) -> Content:
        """Run operators on what operators made, as in scene(texturing('mug.png', 'wood.png'),
        'beach.png'). Examples are known by name; `inputs` names others for the expression."""

        def submit(client: Client) -> Job:
            named = {name: desk.item(source) for name, source in (inputs or {}).items()}
            return service.compose(expression, named, {"seeds": [seed]}, client)

        return await _in_words(desk.results(context, submit))

    if service.engine.stack.spec.index:
        _add_find(tools, desk)


def _add_find(tools: FastMCP, desk: _Desk) -> None:
    """Add the search, where the studio has an index of pictures."""

    @tools.tool(structured_output=False)
    async def find(
        context: Context,
        expression: str,
        inputs: dict[str, Source] | None = None,
        k: Annotated[int, Field(description="how many pictures, the nearest first")] = 6,
        seed: int = 18,
    ) -> Content:
        """Find the pictures of this studio's index that are nearest to a composition, as in
        texturing('mug.png', 'wood.png'); a single name in quotes finds what looks like it."""

        def submit(client: Client) -> Job:
            named = {name: desk.item(source) for name, source in (inputs or {}).items()}
            return desk.service.find(expression, named, {"seeds": [seed]}, k, client)

        return await _in_words(desk.results(context, submit, FOUND))


async def _in_words(work: Awaitable[Content]) -> Content:
    """Let an error reach the assistant in the words that the studio has for it."""
    try:
        return await work
    except PopsError as error:
        raise ValueError(str(error.at(None))) from error
