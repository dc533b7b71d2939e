"""What takes long: calls of Gradio's API. Each is a stream of what its job tells, the result last.

Gradio reads the signatures, and so finds the names of their types here; it is an extra, and this
module is imported by `pops.studio.app` alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from gradio import Error, Request, Server

from pops.errors import PopsError
from pops.studio.security import client_name

if TYPE_CHECKING:
    from pops.studio.queue import Job
    from pops.studio.service import StudioService

__all__ = ["add_calls"]


def add_calls(server: Server, service: StudioService) -> None:
    """Give `server` the jobs of a studio."""

    async def apply(
        request: Request,
        operator: str,
        inputs: list,
        text: str = "",
        settings: dict | None = None,
    ) -> AsyncIterator[dict]:
        """Apply an operator to inputs, ids in the order of its slots, null for one left empty."""
        given = operator, inputs, text, settings
        submit = partial(service.apply, *given)
        async for event in _stream(server, service, request, submit):
            yield event

    async def compose(
        request: Request,
        expression: str,
        inputs: dict | None = None,
        settings: dict | None = None,
    ) -> AsyncIterator[dict]:
        """Run a composition; `inputs` are ids by the names that the expression uses."""
        given = expression, inputs or {}, settings
        submit = partial(service.compose, *given)
        async for event in _stream(server, service, request, submit):
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
        """Every row with every column; columns are texts for an operator that takes one."""
        given = operator, rows, columns, mean, settings, slots
        submit = partial(service.grid, *given)
        async for event in _stream(server, service, request, submit):
            yield event

    for call in (apply, compose, grid):
        server.api(call, name=call.__name__, concurrency_limit=None)


def _forget_sessions(server: Server) -> None:
    """Drop what Gradio keeps of sessions whose jobs are all delivered, which it does not itself."""
    queue = server.get_blocks()._queue
    done = [name for name, jobs in queue.pending_event_ids_session.items() if not jobs]
    for name in done:
        queue.pending_event_ids_session.pop(name)
        queue.pending_messages_per_session.pop(name, None)


async def _stream(
    server: Server, service: StudioService, request: Request, submit: Callable[..., Job]
) -> AsyncIterator[dict[str, Any]]:
    """The events of a job, or its refusal in the words that the studio has for it."""
    client = client_name(request.client.host if request.client else "", request.headers)
    service.queue.arrives(client)
    _forget_sessions(server)
    try:
        async for event in submit(client=client).follow():
            yield event
    except PopsError as error:
        raise Error(str(error.at(None)), print_exception=False) from error
