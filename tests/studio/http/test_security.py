"""The studio's security: only what is meant for it comes in, and no page can call elsewhere."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pops.studio.http.hosts import Hosts, network_of
from pops.studio.http.login import MOST_TRIES, Login
from pops.studio.http.security import MOST_JSON, POLICY, SecurityMiddleware, client_of
from pops.studio.http.streams import Streams
from pops.studio.jobs.job import Client
from pops.studio.jobs.queue import Busy

LARGE = 1000_000
LOCAL = Hosts.of("127.0.0.1")
CALLS = {"apply": ["operator", "inputs", "text", "settings"], "compose": ["expression"]}
BODIES = {  # that are taken
    "/gradio_api/call/apply": b'{"data": []}',
    "/gradio_api/queue/join": b'{"data": [], "fn_index": 0, "session_hash": "s"}',
}
ANSWER = b'{"event_id": "e1"}'


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Answers a job with its id, and anything else with the body that it was sent."""
    message = await receive() if scope["method"] == "POST" else {"body": b"page"}
    if message["type"] == "http.disconnect" if "type" in message else False:
        return
    assert not message.get("more_body")
    body = ANSWER if "/call/" in scope["path"] and scope["method"] == "POST" else message["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def _free(client: Client) -> None:
    """Takes any job."""


def security(
    hosts: Hosts = LOCAL, announce: Callable[[Client], None] = _free, login: Login | None = None
) -> SecurityMiddleware:
    return SecurityMiddleware(_app, LARGE, announce, CALLS, hosts, login)


def ask(
    path: str,
    body: bytes | None = None,
    by: SecurityMiddleware | None = None,
    query: str = "",
    address: str = "127.0.0.1",
    **headers: str,
) -> tuple[int, bytes, dict[str, str]]:
    """Send one request; the status, the body and the headers of the answer."""
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
        "query_string": query.encode(),
        "client": (address, 50000),
        "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in given.items()],
    }
    asyncio.run((by or security())(scope, receive, send))
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
        "/page/../service.py",
        "/pictures/../../etc/passwd",
        "/page/%2e%2e/service.py",
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


@pytest.mark.parametrize("path", ["/check", *BODIES])
@pytest.mark.parametrize(
    "value",
    [
        {"data": [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}]},
        {"data": [[{"a": {"path": "http://example.org", "meta": {}}}]]},
        {"data": ["x"], "meta": 1},
    ],
)
def test_a_file_of_the_server_cannot_be_named(path: str, value: dict[str, Any]) -> None:
    whole = {"fn_index": 0, "session_hash": "s", "settings": value, "data": [value]}
    escaped = json.dumps(whole).replace("meta", "m\\u0065ta").encode()
    for body in (json.dumps(whole).encode(), escaped):
        assert "files cannot be named in a request" in refused(path, body)


@pytest.mark.parametrize("path", BODIES)
def test_a_job_that_cannot_wait_is_refused_before_it_reaches_gradio(path: str) -> None:
    clients = []

    def full(client: Client) -> None:
        clients.append(client)
        raise Busy("the studio is busy")

    busy = security(announce=full)
    status, said, _ = ask(path, BODIES[path], busy, **{"x-client": "me"})
    assert (status, json.loads(said)) == (503, {"error": "the studio is busy"})
    assert ask("/check", b"{}", busy)[0] == 200
    assert clients == [Client("127.0.0.1", "me")]


def test_a_job_that_is_none_takes_no_place() -> None:
    announced: list[Client] = []
    by = security(announce=announced.append)
    assert ask("/gradio_api/call/apply", b'{"data": 5}', by)[0] == 400
    assert ask("/gradio_api/call/apply", b'{"data": []}', by)[0] == 200
    assert len(announced) == 1


def refused(path: str, body: bytes) -> str:
    """The one line that a request is refused with."""
    status, said, _ = ask(path, body)
    assert status == 400
    (error,) = json.loads(said).values()
    assert error and "\n" not in error
    return str(error)


@pytest.mark.parametrize(
    "path, body, said",
    [
        ("/check", b"", "is not JSON"),
        ("/check", b"{", "is not JSON"),
        ("/check", b"\xff\xfe", "is not JSON"),
        ("/check", b"[" * 100_000, "Expected `object`, got `array`".replace("`", "")),
        ("/check", b"[]", "Expected object, got array"),
        ("/check", b"null", "Expected object, got null"),
        ("/check", b'{"expression": 5}', "expression: Expected str, got int"),
        ("/check", b'{"expression": "\\ud800"}', "is not JSON"),
        ("/check", b'{"expression": "\xed\xa0\x80"}', "is not JSON"),
        ("/check", b'{"inputs": ["a"]}', "inputs: Expected object | null, got array"),
        ("/check", b'{"settings": 5}', "settings: Expected object | null, got int"),
        ("/check", b'{"settings": {"guidance": 1e999}}', "out of range"),
        ("/check", b'{"settings": {"guidance": %s}}' % (b"9" * 400), "a number is too large"),
        ("/compositions/save", b'{"inputs": {"a": NaN}}', "is not JSON"),
        ("/gradio_api/call/apply", b"{}", "missing required field 'data'"),
        ("/gradio_api/call/apply", b'{"data": {}}', "data: Expected array, got object"),
        (
            "/gradio_api/call/apply",
            b'{"data": [0,0,0,0,0]}',
            "takes no more than operator, inputs",
        ),
        ("/gradio_api/call/apply", b'{"data": [%s]}' % (b"9" * 400), "a number is too large"),
        ("/gradio_api/queue/join", b'{"data": [], "fn_index": 0}', "session_hash"),
        ("/gradio_api/queue/join", b'{"data": [], "fn_index": 2, "session_hash": "s"}', "no such"),
        (
            "/gradio_api/queue/join",
            b'{"data": [], "fn_index": -1, "session_hash": "s"}',
            "fn_index",
        ),
        ("/gradio_api/queue/join", b'{"data": [], "fn_index": 0, "session_hash": ""}', "session"),
        ("/gradio_api/cancel", b'{"event_id": "x"}', "missing required field"),
        ("/gradio_api/reset", b'{"event_id": 5}', "event_id: Expected str, got int"),
    ],
)
def test_what_is_no_message_is_refused_in_one_line(path: str, body: bytes, said: str) -> None:
    assert said in refused(path, body)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
)


@given(st.sampled_from(["/check", "/gradio_api/call/apply", "/gradio_api/queue/join"]), values)
def test_what_passes_is_json_that_every_reader_takes(path: str, value: Any) -> None:
    for body in (value, {"data": value, "fn_index": 0, "session_hash": "s", "settings": value}):
        status, said, _ = ask(path, json.dumps(body).encode("utf-8", "surrogatepass"))
        assert status in (200, 400)
        if path == "/check" and status == 200:
            json.loads(said.decode(), parse_constant=pytest.fail)


def test_arguments_that_a_job_leaves_out_are_null() -> None:
    status, said, _ = ask("/gradio_api/queue/join", BODIES["/gradio_api/queue/join"])
    passed = {"data": [None] * 4, "fn_index": 0, "session_hash": "s"}
    assert (status, json.loads(said)) == (200, passed)


def test_a_call_that_there_is_not_is_not_there() -> None:
    assert ask("/gradio_api/call/paint", b'{"data": []}')[0] == 404


def test_events_can_be_asked_for_of_jobs_that_there_are() -> None:
    by = security()
    assert ask("/gradio_api/call/apply/e1", by=by)[0] == 404
    assert ask("/gradio_api/queue/data", by=by, query="session_hash=s")[0] == 404
    assert ask("/gradio_api/queue/data", by=by)[0] == 404
    for path, body in BODIES.items():
        assert ask(path, body, by)[0] == 200
    assert ask("/gradio_api/queue/data", by=by, query="session_hash=s")[0] == 200
    assert ask("/gradio_api/call/apply/e1", by=by)[0] == 200
    assert ask("/gradio_api/call/apply/e1", by=by)[0] == 404  # they were delivered


def test_what_is_remembered_of_jobs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pops.studio.http.security.SESSIONS", 3)
    by = security()
    for number in range(5):
        body = b'{"data": [], "fn_index": 0, "session_hash": "s%d"}' % number
        assert ask("/gradio_api/queue/join", body, by)[0] == 200
    there = [
        ask("/gradio_api/queue/data", by=by, query=f"session_hash=s{number}")[0]
        for number in range(5)
    ]
    assert there == [404, 404, 200, 200, 200]


def test_answers_that_stay_open_are_bounded() -> None:
    opened, release = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        opened.set()
        await release.wait()
        await send({"type": "http.response.body", "body": b""})

    by = SecurityMiddleware(app, LARGE, _free, CALLS, LOCAL)
    by._streams = Streams(most=3, most_of_address=2)

    async def ask_for_heartbeat(address: str) -> int:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            **{"type": "http", "method": "GET", "path": "/gradio_api/heartbeat/abc"},
            **{"client": (address, 50000), "headers": [(b"host", b"localhost:7860")]},
        }
        await by(scope, receive, send)
        return int(sent[0]["status"])

    async def all_at_once() -> list[int]:
        places = ["127.0.0.1", "127.0.0.1", "127.0.0.1", "10.0.0.1", "10.0.0.2"]
        asked = [asyncio.create_task(ask_for_heartbeat(place)) for place in places]
        await opened.wait()
        await asyncio.sleep(0)
        release.set()
        first = await asyncio.gather(*asked)
        return [*first, await ask_for_heartbeat("10.0.0.2")]  # others have ended

    assert asyncio.run(all_at_once()) == [200, 200, 503, 200, 503, 200]


@pytest.mark.parametrize(
    "origin, status",
    [
        ("http://localhost:7860", 200),
        ("http://evil.example", 403),
        ("null", 403),
        ("", 403),
        ("http://[", 403),
        ("http://[::1", 403),
        ("//", 403),
        ("\xe9", 403),
    ],
)
def test_another_site_s_page_cannot_post(origin: str, status: int) -> None:
    assert ask("/check", b"{}", origin=origin)[0] == status


@given(st.text(st.characters(codec="utf-8")))
def test_no_name_of_a_host_or_an_origin_is_an_accident(text: str) -> None:
    assert ask("/", host=text)[0] in (200, 403)
    assert ask("/check", b"{}", origin=text)[0] in (200, 403)


@pytest.mark.parametrize("host", ["localhost", "localhost:7860", "127.0.0.1:1", "[::1]:7860"])
def test_this_machine_s_own_names_are_taken(host: str) -> None:
    for hosts in (LOCAL, Hosts.of("0.0.0.0")):
        assert ask("/", by=security(hosts), host=host)[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "", "[", "192.168.0.7", "localhost.evil.example"])
def test_a_studio_for_this_machine_takes_no_other_name(host: str) -> None:
    status, said, _ = ask("/", host=host)
    assert status == 403 and b"start it with --host" in said


def test_a_studio_for_the_network_takes_addresses_and_the_names_that_are_allowed() -> None:
    by = security(Hosts.of("0.0.0.0", ["Studio.example.org", "*.lan"]))
    for host in ("192.168.0.7:7860", "[fe80::1]:7860", "studio.example.org", "STUDIO.example.org"):
        assert ask("/", by=by, host=host)[0] == 200
    assert ask("/", by=by, host="cat.lan")[0] == 200
    for host in ("evil.example", "example.org", "lan", "", "["):
        status, said, _ = ask("/", by=by, host=host)
        assert status == 403 and b"--allowed_hosts" in said
    assert ask("/", by=security(Hosts.of("0.0.0.0", ["*"])), host="evil.example")[0] == 200


FORM = {"content-type": "application/x-www-form-urlencoded"}


def test_nothing_is_seen_without_the_password() -> None:
    by = security(login=Login("op\u00e9n sesame"))
    assert ask("/", by=by)[::2] == (303, ask("/", by=by)[2])
    assert ask("/", by=by)[2]["location"] == "/login"
    for path in ("/stack", "/page/main.js", "/pictures/objects/mug", "/gradio_api/info", "/config"):
        status, said, _ = ask(path, by=by)
        assert status == 401 and b"asks for its password" in said
    for path in ("/check", "/inputs", *BODIES):
        assert ask(path, BODIES.get(path, b"{}"), by)[0] == 401
    for path in ("/login", "/page/style.css", "/page/icon.svg", "/favicon.ico"):
        assert ask(path, by=by)[0] == 200
    assert ask("/nowhere", by=by)[0] == 404


def test_who_gives_the_password_is_known_by_a_cookie() -> None:
    by = security(login=Login("op\u00e9n sesame"))
    form = b"username=me&password=op%C3%A9n+sesame"
    status, _, back = ask("/login", form, by)
    cookie = back["set-cookie"].split(";")[0]
    assert status == 200 and "HttpOnly" in back["set-cookie"]
    assert "sesame" not in cookie
    assert ask("/", by=by, cookie=f"other=1; {cookie}")[0] == 200
    assert ask("/check", b"{}", by, cookie=cookie)[0] == 200
    for wrong in (cookie[:-1], "pops_studio=", "pops_studio=;;=\xff", cookie.replace("pops", "x")):
        assert ask("/stack", by=by, cookie=wrong)[0] == 401
    other = security(login=Login("op\u00e9n sesame"))
    assert ask("/stack", by=other, cookie=cookie)[0] == 401
    status, _, back = ask("/login", form, by, accept="text/html,*/*")
    assert (status, back["location"]) == (303, "/")


def test_a_program_can_send_the_password_itself() -> None:
    by = security(login=Login("op\u00e9n sesame"))
    assert ask("/stack", by=by, authorization="Bearer op\u00e9n sesame")[0] == 200
    for wrong in ("Bearer x", "Bearer", "Basic op\u00e9n sesame", "op\u00e9n sesame"):
        assert ask("/stack", by=by, authorization=wrong)[0] == 401


@pytest.mark.parametrize("form", [b"", b"password=", b"password=wrong", b"\xff=&&&", b"&" * 4000])
def test_a_wrong_password_is_refused(form: bytes) -> None:
    by = security(login=Login("open sesame"))
    status, said, back = ask("/login", form, by)
    assert status == 401 and b"the password is wrong" in said and "set-cookie" not in back
    status, _, back = ask("/login", form, by, accept="text/html")
    assert (status, back["location"]) == (303, "/login#wrong")


def test_an_address_cannot_try_for_ever() -> None:
    by = security(login=Login("open sesame"))
    for _ in range(MOST_TRIES):
        assert ask("/login", b"password=guess", by)[0] == 401
    assert ask("/login", b"password=open+sesame", by)[0] == 429
    assert ask("/stack", by=by, authorization="Bearer open sesame")[0] == 429
    assert ask("/login", b"password=open+sesame", by, address="10.0.0.2")[0] == 200


def test_a_studio_without_a_password_has_no_login() -> None:
    assert ask("/login")[0] == 404
    assert ask("/login", b"password=x")[0] == 404


def test_no_socket_is_opened_for_the_web() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(security()({"type": "websocket"}, None, send))  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008}]


# Places that visitors come from


@pytest.mark.parametrize(
    "address, network",
    [
        ("192.168.1.7", "192.168.1.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_all_addresses_of_one_house_count_as_one(address: str, network: str) -> None:
    assert network_of(address) == network
    assert client_of(address, {"x-client": "a"}) == Client(network, "a")


@given(st.text())
def test_any_address_has_a_place(address: str) -> None:
    assert isinstance(network_of(address), str)


def test_who_changes_address_within_a_house_cannot_try_passwords_for_ever() -> None:
    by = security(Hosts.of("0.0.0.0"), login=Login("right"))
    tried = [
        ask("/stack", by=by, address=f"2001:db8::{at:x}", authorization=f"Bearer {at}")[0]
        for at in range(12)
    ]
    assert tried == [401] * 10 + [429] * 2
    assert ask("/stack", by=by, address="2001:db8:1::1", authorization="Bearer 0")[0] == 401
