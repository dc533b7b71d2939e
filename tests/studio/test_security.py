"""The studio's security: only what is meant for it comes in, and no page can call elsewhere."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from pops.studio.queue import Busy
from pops.studio.security import MOST_JSON, POLICY, SecurityMiddleware

LARGE = 1000_000


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the body that it was sent."""
    message = await receive() if scope["method"] == "POST" else {"body": b"page"}
    assert not message.get("more_body")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


def _free(client: str) -> None:
    """Takes any job."""


def ask(
    path: str,
    body: bytes | None = None,
    hosts: tuple[str, ...] | None = None,
    announce: Callable[[str], None] = _free,
    **headers: str,
) -> tuple[int, bytes, dict[str, str]]:
    security = SecurityMiddleware(_app, LARGE, announce, *([] if hosts is None else [hosts]))
    sent: list[Any] = []
    parts = [] if body is None else [body[i : i + 65536] for i in range(0, len(body), 65536)]
    coming = [{"type": "http.request", "body": p, "more_body": True} for p in parts]
    coming.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Any:
        return coming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    given = {"host": "localhost:7860", **headers}
    scope = {
        "type": "http",
        "method": "GET" if body is None else "POST",
        "path": path,
        "client": ("127.0.0.1", 50000),
        "headers": [(k.encode(), v.encode()) for k, v in given.items()],
    }
    asyncio.run(security(scope, receive, send))
    back = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    return sent[0]["status"], sent[1]["body"], back


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/pictures/objects/mug", "/stack"])
def test_the_page_is_there(path: str) -> None:
    assert ask(path)[:2] == (200, b"page")


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/file=/etc/passwd",
        "/gradio_api/proxy=http://example.org",
        "/gradio_api/upload",
        "/gradio_api/run/apply",
        "/gradio_api/vibe-code",
        "/monitoring",
        "/login",
        "/docs",
        "/page/../studio.py",
        "/pictures/../../etc/passwd",
        "/page/%2e%2e/studio.py",
    ],
)
def test_what_the_studio_does_not_need_is_not_there(path: str) -> None:
    assert ask(path)[0] == 404
    assert ask(path, b"{}")[0] == 404


def test_a_page_cannot_call_another_place() -> None:
    for answer in (ask("/"), ask("/nowhere")):
        assert answer[2]["content-security-policy"] == POLICY
    assert "http" not in POLICY and "*" not in POLICY and "unsafe" not in POLICY


def test_a_body_arrives_as_it_was_sent() -> None:
    body = bytes(range(256)) * 3000
    assert ask("/inputs", body)[:2] == (200, body)


@pytest.mark.parametrize("path, most", [("/inputs", LARGE), ("/check", MOST_JSON)])
def test_a_body_that_is_too_large_is_refused(path: str, most: int) -> None:
    status, said, _ = ask(path, b" " * (most + 1))
    assert status == 413 and b"too large" in said


@pytest.mark.parametrize("path", ["/check", "/gradio_api/call/apply", "/gradio_api/queue/join"])
@pytest.mark.parametrize(
    "value",
    [
        {"data": [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}]},
        {"data": [[{"a": {"path": "http://example.org", "meta": {}}}]]},
        {"data": ["x"], "meta": 1},
    ],
)
def test_a_file_of_the_server_cannot_be_named(path: str, value: object) -> None:
    escaped = json.dumps(value).replace("meta", "m\\u0065ta").encode()
    for body in (json.dumps(value).encode(), escaped):
        assert ask(path, body)[0] == 400


@pytest.mark.parametrize("path", ["/gradio_api/call/apply", "/gradio_api/queue/join"])
def test_a_job_that_cannot_wait_is_refused_before_it_reaches_gradio(path: str) -> None:
    clients = []

    def full(client: str) -> None:
        clients.append(client)
        raise Busy("the studio is busy")

    status, said, _ = ask(path, b"{}", announce=full, **{"x-client": "me"})
    assert (status, json.loads(said)) == (503, {"error": "the studio is busy"})
    assert ask("/check", b"{}", announce=full)[0] == 200
    assert clients == ["127.0.0.1 me"]


def test_what_is_no_json_is_refused() -> None:
    assert ask("/check", b"{")[0] == 400


def test_another_site_s_page_cannot_post() -> None:
    assert ask("/check", b"{}", origin="http://evil.example")[0] == 403
    assert ask("/check", b"{}", origin="http://localhost:7860")[0] == 200
    assert ask("/check", b"{}", origin="null")[0] == 403


def test_another_name_for_this_machine_is_refused() -> None:
    assert ask("/", host="evil.example")[0] == 403
    assert ask("/", host="evil.example", hosts=())[0] == 200
    assert ask("/", host="[::1]:7860")[0] == 200
