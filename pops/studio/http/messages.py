"""The JSON that requests may hold, checked before anything acts on it.

Nothing but the fields named here goes on to Gradio, so that it meets no value that it cannot bear:
no file of the server, no unknown call, no number beyond 64 bits, no text that is not Unicode.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from pops.io.formats.schema import Meta, decode_json
from pops.studio.http.refusals import Malformed, NotThere

__all__ = ["CALL", "Calls", "Join", "read_message"]

Calls = Mapping[str, Sequence[str]]  # the names of the arguments of each call, in Gradio's order
Id = Annotated[str, Meta(max_length=64, pattern=r"\A[A-Za-z0-9_-]+\Z")]
Values = Annotated[list[Any], Meta(max_length=32)]
LARGEST = 2**63
CALL = re.compile(r"/gradio_api/call/(\w+)")


class Message(msgspec.Struct):
    """The content of a request; fields that it does not name are left out."""


class Call(Message):
    """A job."""

    data: Values


class Join(Message):
    """A job, as Gradio's own client sends it."""

    data: Values
    fn_index: Annotated[int, Meta(ge=0)]
    session_hash: Id


class Cancel(Message):
    """The wish to end a job."""

    session_hash: Id
    fn_index: Annotated[int, Meta(ge=0, lt=1000)]
    event_id: Id


class Reset(Message):
    """The wish of an older client to end a job."""

    event_id: Id


class Draft(Message):
    """A composition that is not run."""

    expression: str = ""
    inputs: dict[str, Any] | None = None
    settings: dict[str, Any] | None = None


KINDS: dict[str, type[Message]] = {
    "/check": Draft,
    "/compositions/save": Draft,
    "/gradio_api/queue/join": Join,
    "/gradio_api/cancel": Cancel,
    "/gradio_api/reset": Reset,
}


def read_message(path: str, content: bytes, calls: Calls) -> tuple[Message, bytes]:
    """Read the JSON of a request.

    Args:
        path: The address that the request was sent to.
        content: The body.
        calls: The calls that there are.

    Returns:
        The message, and the same as JSON. Arguments that a job leaves out are null.

    Raises:
        Malformed: It is not JSON, or not what this address takes.
        NotThere: No call has this address.
    """
    call = CALL.fullmatch(path)
    if call and call[1] not in calls:
        raise NotThere("there is no such call")
    kind = Call if call else KINDS[path.rstrip("/")]
    message = decode_json(content, kind, Malformed, "the request")
    if isinstance(message, Join):
        if message.fn_index >= len(calls):
            raise Malformed("the request: fn_index: there is no such call")
        _fill(message, list(calls)[message.fn_index], calls)
    elif isinstance(message, Call) and call:
        _fill(message, call[1], calls)
    value = msgspec.to_builtins(message)
    _check(value)
    return message, msgspec.json.encode(value)


def _fill(job: Call | Join, name: str, calls: Calls) -> None:
    """Give a job all arguments of its call."""
    names = calls[name]
    if len(job.data) > len(names):
        raise Malformed(f"the request: data: {name} takes no more than {', '.join(names)}")
    job.data = [*job.data, *[None] * (len(names) - len(job.data))]


def _check(value: Any) -> None:
    """Refuse files of Gradio's own kind, which it would open or fetch, and vast numbers."""
    if isinstance(value, dict):
        if "meta" in value:
            raise Malformed("files cannot be named in a request: send them to /inputs")
        for inner in value.values():
            _check(inner)
    elif isinstance(value, list):
        for inner in value:
            _check(inner)
    elif isinstance(value, int) and not -LARGEST <= value < LARGEST:
        raise Malformed("the request: a number is too large")
