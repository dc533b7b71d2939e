"""Jobs, as calls of Gradio's API. Each is a stream of what its job tells, the result last.

Gradio reads the signatures, and so finds the names of their types here; it is an extra, and this
module is imported by `pops.studio.app` alone.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from gradio import Error, Request, Server

from pops.errors import PopsError
from pops.studio.http.messages import Calls
from pops.studio.http.security import client_of

if TYPE_CHECKING:
    from pops.studio.jobs.job import Job
    from pops.studio.service import StudioService

__all__ = ["add_calls"]


def add_calls(server: Server, service: StudioService) -> Calls:
    """Give a server the jobs of a studio.

    Args:
        server: The server, not yet listening.
        service: The studio that checks the requests and queues the jobs.

    Returns:
        The names of the arguments of each call, in the order in which Gradio numbers the calls.
    """

    async def apply(
        request: Request,
        operator: str,
        inputs: list,
        text: str = "",
        settings: dict | None = None,
    ) -> AsyncIterator[dict]:
        """Apply an operator to inputs, ids in the order of its slots, null for one left empty."""
        submit = partial(service.apply, operator, inputs, text, settings)
        async for event in _stream(service, request, submit):
            yield event

    async def compose(
        request: Request,
        expression: str,
        inputs: dict | None = None,
        settings: dict | None = None,
    ) -> AsyncIterator[dict]:
        """Run a composition; `inputs` are ids by the names that the expression uses."""
        submit = partial(service.compose, expression, inputs, settings)
        async for event in _stream(service, request, submit):
            yield event

    async def grid(
        request: Request,
        operator: str,
        rows: list,
        columns: list,
        mean: bool = False,
        settings: dict | None = None,
        slots: list | None = None,
    ) -> AsyncIterator[dict]:
        """Apply an operator to every row with every column; texts may be columns."""
        submit = partial(service.grid, operator, rows, columns, mean, settings, slots)
        async for event in _stream(service, request, submit):
            yield event

    async def find(
        request: Request,
        expression: str,
        inputs: dict | None = None,
        settings: dict | None = None,
        k: int | None = None,
    ) -> AsyncIterator[dict]:
        """Find the pictures of the studio's index that are nearest to a composition."""
        submit = partial(service.find, expression, inputs, settings, k)
        async for event in _stream(service, request, submit):
            yield event

    calls: tuple[Callable[..., AsyncIterator[dict]], ...] = (apply, compose, grid, find)
    for call in calls:
        server.api(call, name=call.__name__, concurrency_limit=None)
    return {call.__name__: list(inspect.signature(call).parameters)[1:] for call in calls}


async def _stream(
    service: StudioService, request: Request, submit: Callable[..., Job]
) -> AsyncIterator[dict[str, Any]]:
    """Follow a job; a refusal is told in the words that the studio has for it."""
    client = client_of(request.client.host if request.client else "", request.headers)
    service.queue.arrives(client)
    try:
        async for event in submit(client=client).follow():
            yield event
    except PopsError as error:
        raise Error(str(error.at(None)), print_exception=False) from error
