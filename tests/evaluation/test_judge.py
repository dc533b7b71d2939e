"""The vision-language judge, against a server on this machine that answers as servers do."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from pops.errors import PopsError, UsageError
from pops.evaluation.models import judge as judging
from pops.evaluation.models.judge import KEY, PROMPT, PROMPT_VERSION, VisionJudge, read_marks
from pops.evaluation.stages import Judge

RED, BLUE = Image.new("RGB", (6, 4), "red"), Image.new("RGB", (5, 5), "blue")
ASKED = Judge(RED, (("object", BLUE), ("text", "shiny")))
GOOD = '{"object": 4, "text": 2}'


class Server:
    """Answers with what it is told, one after another, the last again and again."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes, float]] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()
        self.released = threading.Event()

    def say(
        self,
        text: str | None = None,
        *,
        status: int = 200,
        raw: str = "",
        wait: float = 0.0,
        **more: Any,
    ) -> None:
        message = {"role": "assistant", "content": text, **more.pop("message", {})}
        body = raw or json.dumps({"choices": [{"message": message}]})
        headers = {name.replace("_", "-"): str(value) for name, value in more.items()}
        self.answers.append((status, headers, body.encode(), wait))


@pytest.fixture
def server() -> Iterator[tuple[Server, str]]:
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            with told.lock:
                told.bodies.append(json.loads(self.rfile.read(length)))
                told.headers.append({name.lower(): text for name, text in self.headers.items()})
                at = min(len(told.bodies), len(told.answers)) - 1
            assert self.path == "/v1/chat/completions"
            status, headers, body, wait = told.answers[at]
            if wait:
                told.released.wait(wait)
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:  # the client has gone
                pass

        def log_message(self, *_: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield told, f"http://127.0.0.1:{running.server_port}/v1"
    told.released.set()
    running.shutdown()
    running.server_close()
    thread.join()


class Slept(list[float]):
    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def test_a_request_holds_the_prompt_and_all_pictures(
    server: tuple[Server, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told, address = server
    monkeypatch.setenv(KEY, "secret-key")
    told.say(GOOD)
    assert VisionJudge(address, "tiny-vlm")([ASKED]) == [{"object": 4, "text": 2}]
    (body,) = told.bodies
    assert body["model"] == "tiny-vlm" and body["temperature"] == 0
    content = body["messages"][0]["content"]
    assert content[0]["text"].startswith(PROMPT.read_text()[:60])
    pictures = [one["image_url"]["url"] for one in content if one["type"] == "image_url"]
    sizes = []
    for url in pictures:
        head, _, data = url.partition(",")
        assert head == "data:image/png;base64"
        with Image.open(BytesIO(base64.b64decode(data))) as picture:
            sizes.append(picture.size)
    assert sizes == [(6, 4), (5, 5)]
    assert 'Input "text", a text: shiny' in [one.get("text") for one in content]
    assert told.headers[0]["authorization"] == "Bearer secret-key"
    assert PROMPT_VERSION in PROMPT.name


def test_a_rate_limit_is_waited_for_as_long_as_the_server_asks(server: tuple[Server, str]) -> None:
    told, address = server
    told.say(status=429, raw="{}", retry_after=7)
    told.say(status=408, raw="[]")
    told.say(status=503, raw="busy", retry_after="Wed, 21 Oct 2026 07:28:00 GMT")
    told.say(GOOD)
    slept = Slept()
    assert VisionJudge(address, "m", sleep=slept)([ASKED]) == [{"object": 4, "text": 2}]
    assert slept == [7.0, 2.0, 4.0]


def test_a_server_that_stays_busy_ends_the_run_in_one_line(server: tuple[Server, str]) -> None:
    told, address = server
    told.say(status=429, raw=json.dumps({"error": {"message": "slow\ndown"}}))
    slept = Slept()
    with pytest.raises(PopsError, match="answers 429 slow down, 6 times; the same command goes on"):
        VisionJudge(address, "m", sleep=slept)([ASKED])
    assert slept == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_an_answer_that_does_not_come_in_time_is_asked_for_again(
    server: tuple[Server, str],
) -> None:
    told, address = server
    told.say(GOOD, wait=5.0)
    told.say(GOOD)
    slept = Slept()
    made = VisionJudge(address, "m", timeout=0.5, sleep=slept)
    assert made([ASKED]) == [{"object": 4, "text": 2}]
    assert slept == [1.0] and len(told.bodies) == 2


def test_a_server_that_is_not_there_is_named() -> None:
    made = VisionJudge("http://127.0.0.1:9/v1", "m", sleep=Slept())
    with pytest.raises(PopsError, match=r"127.0.0.1:9/v1 cannot be reached .*6 times"):
        made([ASKED])


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_wrong_key_model_or_address_is_not_tried_again(
    status: int, server: tuple[Server, str]
) -> None:
    told, address = server
    told.say(status=status, raw=json.dumps({"error": {"message": "no such model"}}))
    with pytest.raises(UsageError, match=f"answers {status} no such model; check the address"):
        VisionJudge(address, "m", sleep=Slept())([ASKED])
    assert len(told.bodies) == 1


def test_a_refusal_gives_no_marks_and_is_not_asked_again(server: tuple[Server, str]) -> None:
    told, address = server
    told.say(None, message={"refusal": "I cannot help with that."})
    assert VisionJudge(address, "m", sleep=Slept())([ASKED]) == [{"object": None, "text": None}]
    assert len(told.bodies) == 1


@pytest.mark.parametrize("code", ["content_filter", "content_policy_violation"])
def test_a_picture_that_the_server_filters_is_a_refusal_and_ends_no_run(
    code: str, server: tuple[Server, str]
) -> None:
    told, address = server
    told.say(status=400, raw=json.dumps({"error": {"message": "filtered", "code": code}}))
    told.say(GOOD)
    made = VisionJudge(address, "m", sleep=Slept())
    assert made([ASKED]) == [{"object": None, "text": None}]
    assert made([ASKED]) == [{"object": 4, "text": 2}] and len(told.bodies) == 2


def test_nonsense_is_asked_for_once_more_and_then_has_no_marks(server: tuple[Server, str]) -> None:
    told, address = server
    told.say("What a lovely picture!")
    told.say(raw="<html>bad gateway</html>")
    assert VisionJudge(address, "m", sleep=Slept())([ASKED]) == [{"object": None, "text": None}]
    assert len(told.bodies) == 2


def test_many_pictures_are_judged_at_once_and_in_order(server: tuple[Server, str]) -> None:
    told, address = server
    told.say(GOOD)
    assert len(VisionJudge(address, "m")([ASKED] * 20)) == 20 == len(told.bodies)


@pytest.mark.parametrize(
    ("said", "marks"),
    [
        (GOOD, [4, 2]),
        (f"```json\n{GOOD}\n```", [4, 2]),
        ('{"object": 5.0, "text": true}', [5, None]),
        ('{"object": 6, "text": "3"}', [None, None]),
        ('{"object": 3}', [3, None]),
        ('[{"object": 3}', [3, None]),
        ("{3}", [None, None]),
        ("", [None, None]),
    ],
)
def test_marks_are_whole_numbers_from_1_to_5(said: str, marks: list[int | None]) -> None:
    assert list(read_marks(said, ["object", "text"]).values()) == marks


def test_the_prompt_is_the_one_of_its_version() -> None:
    """Another prompt gives other numbers: change both together."""
    import hashlib

    digest = hashlib.sha256(PROMPT.read_bytes()).hexdigest()
    assert (judging.PROMPT_VERSION, digest[:16]) == ("judge-v1", "5635ecc67373f234")
