"""The studio over HTTP: a real server, the pocket stack, and Gradio's own client."""

import gc
import http.client
import json
import re
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from gradio.queueing import Queue
from gradio_client import Client
from gradio_client.exceptions import AppError
from gradio_client.utils import QueueError
from PIL import Image

from pops.errors import UsageError, install_hint
from pops.io.embeddings import load_embeddings
from pops.pocket.world.vocabulary import ADJECTIVES
from pops.studio.app import start
from pops.studio.config import StudioConfig
from pops.studio.http.security import client_of
from pops.studio.jobs.job import Job
from pops.studio.service import StudioService
from tests.studio.studio_server import ignored, running

pytestmark = ignored

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "assets"
QUICK = {"seeds": [18], "render_steps": 2}
called: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def _calls() -> Iterator[None]:
    """Every address that this process connects to."""
    connect = socket.socket.connect

    def recorded(self: socket.socket, address: Any) -> None:
        called.append(str(address[0]) if isinstance(address, tuple) else "local")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", recorded)
        yield


@pytest.fixture(scope="module")
def served(_calls: None) -> Iterator[tuple[str, StudioService]]:
    with running(waiting=4) as (url, studio):
        yield url, studio


@pytest.fixture(scope="module")
def client(served: tuple[str, StudioService]) -> Client:
    return Client(served[0], verbose=False)


def fetch(url: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def add(url: str, path: Path) -> str:
    status, told = fetch(f"{url}/inputs", path.read_bytes(), **{"x-name": path.name})
    assert status == 200
    return str(json.loads(told)["id"])


def test_the_page_and_all_that_it_needs_come_from_the_studio(
    served: tuple[str, StudioService],
) -> None:
    status, page = fetch(f"{served[0]}/")
    assert status == 200 and b"pops studio" in page
    for file in (ROOT / "pops/studio/page").iterdir():
        status, content = fetch(f"{served[0]}/page/{file.name}")
        assert status == 200 and content == file.read_bytes()
        plain = content.replace(b"http://www.w3.org/2000/svg", b"")
        assert b"http:" not in plain and b"https:" not in plain and b"eval(" not in plain


def test_what_it_gives_is_what_the_engine_gives(
    served: tuple[str, StudioService], client: Client, tmp_path: Path
) -> None:
    url, studio = served
    mug, wood = ASSETS / "objects/mug.png", ASSETS / "textures/wood.png"
    inputs = [add(url, mug), add(url, wood)]
    last = client.predict("texturing", inputs, "", QUICK | {"seeds": [7, 9]}, api_name="/apply")
    made = studio.engine.apply("texturing", [(mug, wood)], seeds=[7, 9])
    pictures = studio.engine.render(made, seeds=[0], steps=2)
    assert [result["seed"] for result in last["results"]] == [7, 9]
    for at, result in enumerate(last["results"]):
        path = tmp_path / f"{at}.safetensors"
        path.write_bytes(fetch(url + result["embedding"])[1])
        found = load_embeddings(path)
        assert (found.image_embeds - made.image_embeds[at]).abs().max() < 1e-4
        assert found.expressions == ("texturing('mug.png', 'wood.png')",)
        path.with_suffix(".png").write_bytes(fetch(url + result["picture"])[1])
        assert _difference(Image.open(path.with_suffix(".png")), pictures[at]) <= 2
    assert fetch(url + last["figure"]["picture"])[1].startswith(b"\xff\xd8")


def _difference(a: Image.Image, b: Image.Image) -> int:
    pairs = zip(a.convert("RGB").tobytes(), b.tobytes(), strict=True)
    return max(abs(x - y) for x, y in pairs)


def test_the_words_that_an_operator_knows_are_told(served: tuple[str, StudioService]) -> None:
    told = json.loads(fetch(f"{served[0]}/stack")[1])
    words = {row["name"]: (row["words"], row["words_known"]) for row in told["operators"]}
    assert words["instruct"] == (list(ADJECTIVES), True)
    assert words["texturing"] == ([], False)


def test_results_and_progress_are_told_as_they_come(client: Client) -> None:
    settings = {"seeds": [1, 2, 3], "steps": 250, "render_steps": 3}
    events = list(
        client.submit(
            "texturing", ["objects/mug", "textures/gold"], "", settings, api_name="/apply"
        )
    )
    states = [event["state"] for event in events]
    assert states.count("result") == 3 and states[-1] == "done"
    assert states.index("result") < len(states) - 3
    worked = [event for event in events if event["state"] == "working"]
    assert {"texturing", "drawing"} <= {event["what"] for event in worked}
    assert all(0 <= event["done"] <= event["total"] for event in worked)


def test_an_input_can_be_left_empty(client: Client, served: tuple[str, StudioService]) -> None:
    last = client.predict("texturing", [None, "textures/gold"], "", QUICK, api_name="/apply")
    assert last["results"][0]["expression"] == "texturing(_, 'gold.png')"


def test_a_result_can_be_an_input(client: Client) -> None:
    first = client.predict(
        "texturing", ["objects/mug", "textures/wood"], "", QUICK, api_name="/apply"
    )
    inputs = [first["results"][0]["id"], "textures/zebra"]
    last = client.predict("texturing", inputs, "", QUICK, api_name="/apply")
    nested = "texturing(texturing('mug.png', 'wood.png'), 'zebra.png')"
    assert last["results"][0]["expression"] == nested
    whole = client.predict(nested, {}, QUICK, api_name="/compose")
    assert whole["result"]["expression"] == nested


def test_a_grid_has_every_row_with_every_column(
    client: Client, served: tuple[str, StudioService]
) -> None:
    rows, columns = ["objects/mug", "objects/car"], ["textures/wood", "textures/gold"]
    events = list(client.submit("texturing", rows, columns, True, QUICK, api_name="/grid"))
    cells = [event for event in events if event["state"] == "result"]
    assert [(cell["table"], cell["row"], cell["column"]) for cell in cells] == [
        (table, row, column)
        for table in ("texturing", "mean")
        for row in (0, 1)
        for column in (0, 1)
    ]
    assert cells[1]["result"]["expression"] == "texturing('mug.png', 'gold.png')"
    assert cells[4]["result"]["expression"] == "mean('mug.png', 'wood.png', 0.5)"
    assert set(events[-1]["figures"]) == {"texturing", "mean"}


def test_rows_and_columns_can_be_any_two_slots(client: Client) -> None:
    given = ["textures/wood"], ["objects/mug"], False, QUICK, ["texture", "object"]
    events = list(client.submit("texturing", *given, api_name="/grid"))
    (cell,) = [event for event in events if event["state"] == "result"]
    assert cell["result"]["expression"] == "texturing('mug.png', 'wood.png')"


@pytest.mark.parametrize(
    "name, data, said",
    [
        ("/apply", ("texturing", ["objects/mug"]), "texturing takes 2 inputs"),
        ("/apply", ("painting", []), "this stack has no operator 'painting'"),
        ("/apply", ("texturing", ["../../etc/passwd", None]), "no longer here: add it again"),
        ("/apply", ("texturing", [["x"], None]), "name an input by the id"),
        ("/apply", ("texturing", [None, None], "", {"steps": 0}), "--steps must be from 1"),
        ("/compose", ("texturing('/etc/passwd', _)",), "there is no picture '/etc/passwd'"),
        ("/compose", ("__import__('os')",), "unknown operator '__import__'"),
        ("/grid", ("texturing", [], ["textures/wood"]), "a grid has 1 to 64 cells"),
        (
            "/grid",
            ("texturing", ["objects/mug"], ["objects/mug"], False, {}, ["object", "x"]),
            "slots must be 2 of those of texturing: object, texture",
        ),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(
    client: Client, name: str, data: tuple[Any, ...], said: str
) -> None:
    with pytest.raises(AppError) as refused:
        client.predict(*data, api_name=name)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_a_bad_upload_is_refused_with_its_reason(served: tuple[str, StudioService]) -> None:
    status, told = fetch(f"{served[0]}/inputs", b"<svg/>", **{"x-name": "a%20drawing.svg"})
    assert status == 422
    assert "a drawing.svg is not a picture" in json.loads(told)["error"]


def test_a_result_is_there_for_who_knows_its_name_only(served: tuple[str, StudioService]) -> None:
    for path in ("/pictures/x", "/embeddings/x", "/pictures/", "/embeddings/objects"):
        assert fetch(served[0] + path)[0] == 404


def test_a_cancelled_job_makes_way(client: Client, served: tuple[str, StudioService]) -> None:
    long = {"seeds": list(range(16)), "render_steps": 200}
    inputs = ["objects/mug", "textures/wood"]
    job = client.submit("texturing", inputs, "", long, api_name="/apply")
    started = time.monotonic()
    while not any(event["state"] == "working" for event in job.outputs()):
        time.sleep(0.05)
        assert time.monotonic() - started < 30
    job.cancel()
    # It would take minutes to its end, and the next job would wait for that.
    last = client.predict("texturing", inputs, "", QUICK, api_name="/apply")
    assert last["state"] == "done" and time.monotonic() - started < 60


def call(url: str, data: list[Any], client: str) -> tuple[int, dict[str, str]]:
    """Send a job as a client without Gradio does."""
    head = {"content-type": "application/json", "x-client": client}
    body = json.dumps({"data": data}).encode()
    status, told = fetch(f"{url}/gradio_api/call/apply", body, **head)
    return status, json.loads(told)


def keep_busy(studio: StudioService) -> threading.Event:
    """The worker has a job that lasts until the event is set."""
    started, go = threading.Event(), threading.Event()

    def hold(job: Job) -> None:
        started.set()
        go.wait(90)

    studio.queue.submit(hold)
    assert started.wait(30)
    return go


def test_a_flood_is_refused_at_once_and_what_was_taken_is_done(
    client: Client, served: tuple[str, StudioService]
) -> None:
    url, studio = served
    go = keep_busy(studio)
    names = ["mug", "car", "hat", "fish", "tree"] * 20
    jobs = [["texturing", [f"objects/{name}", None], "", QUICK] for name in names]
    with ThreadPoolExecutor(len(jobs)) as pool:
        answers = list(pool.map(call, [url] * len(jobs), jobs, map(str, range(len(jobs)))))
    taken = [at for at, (status, _) in enumerate(answers) if status == 200]
    refused = [told for status, told in answers if status == 503]
    assert len(taken) == 3 and len(refused) == 97  # none of them waited for the one at work
    assert all("3 jobs from your address wait already" in told["error"] for told in refused)
    with pytest.raises(QueueError, match="Queue is full"):
        client.predict("texturing", ["objects/mug", None], "", QUICK, api_name="/apply")
    go.set()
    for at in taken:
        told = fetch(f"{url}/gradio_api/call/apply/{answers[at][1]['event_id']}")[1].decode()
        assert f"texturing('{names[at]}.png', _)" in told and "event: complete" in told


@pytest.mark.skipif(sys.platform != "linux", reason="has no second address of its own")
def test_made_up_names_leave_a_place_for_another_address(served: tuple[str, StudioService]) -> None:
    url, studio = served
    go = keep_busy(studio)
    data = ["texturing", ["objects/mug", None], "", QUICK]
    assert [call(url, data, f"made up {n}")[0] for n in range(5)] == [200, 200, 200, 503, 503]
    port = int(url.rpartition(":")[2])
    other = http.client.HTTPConnection("127.0.0.1", port, source_address=("127.0.0.2", 0))
    head = {"content-type": "application/json"}
    other.request("POST", "/gradio_api/call/apply", json.dumps({"data": data}), head)
    answer = other.getresponse()
    assert answer.status == 200
    other.close()
    go.set()
    wait_until(lambda: studio.queue.waiting == 0)


def test_one_client_leaves_places_for_others(
    client: Client, served: tuple[str, StudioService]
) -> None:
    url, studio = served
    go = keep_busy(studio)
    data = ["texturing", ["objects/mug", None], "", QUICK]
    answers = [call(url, data, "greedy") for _ in range(3)]
    assert [status for status, _ in answers] == [200, 200, 503]
    assert "2 of your jobs wait already" in answers[2][1]["error"]
    wait_until(lambda: studio.queue.waiting == 2)
    modest = Client(url, headers={"x-client": "modest"}, verbose=False)
    job = modest.submit(*data, api_name="/apply")
    wait_until(lambda: studio.queue.waiting == 3)
    go.set()
    assert job.result(timeout=60)["state"] == "done"
    for _, told in answers[:2]:
        done = fetch(f"{url}/gradio_api/call/apply/{told['event_id']}")[1].decode()
        assert "event: complete" in done


def wait_until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_nothing_is_kept_of_jobs_that_are_delivered(
    client: Client, served: tuple[str, StudioService]
) -> None:
    url, studio = served
    data = ["texturing", ["objects/mug", None], "", {"seeds": [1], "steps": 1, "render_steps": 1}]
    (queue,) = [one for one in gc.get_objects() if type(one) is Queue and not one.stopped]
    before = len(queue.pending_event_ids_session)
    for _ in range(5):
        event = call(url, data, "me")[1]["event_id"]
        assert "complete" in fetch(f"{url}/gradio_api/call/apply/{event}")[1].decode()
    wait_until(lambda: len(queue.pending_event_ids_session) <= before)
    assert not queue.event_ids_to_events


def test_a_saved_composition_comes_back_with_its_inputs(
    served: tuple[str, StudioService], client: Client
) -> None:
    url = served[0]
    mine = add(url, ASSETS / "objects/hat.png")
    asked = {"expression": "texturing('mine.png', 'wood.png')", "inputs": {"mine.png": mine}}
    head = {"content-type": "application/json"}
    status, saved = fetch(f"{url}/compositions/save", json.dumps(asked).encode(), **head)
    assert status == 200
    status, told = fetch(f"{url}/compositions/open", saved)
    assert status == 200
    opened = json.loads(told)
    assert opened["expression"] == asked["expression"]
    ids = {name: item["id"] for name, item in opened["inputs"].items()}
    assert set(ids) == {"mine.png", "wood.png"} and ids["mine.png"] != mine
    before = client.predict(asked["expression"], asked["inputs"], QUICK, api_name="/compose")
    after = client.predict(asked["expression"], ids, QUICK, api_name="/compose")
    assert before["result"]["picture"] != after["result"]["picture"]
    pictures = [fetch(url + one["result"]["picture"])[1] for one in (before, after)]
    assert pictures[0] == pictures[1] and after["sampled"] == []


@pytest.mark.filterwarnings(  # Gradio's, with which it looks whether the port is free
    r"ignore:unclosed <socket.socket fd=\d+, family=2, .*laddr=.*, 0\)>:ResourceWarning"
)
def test_a_port_that_is_taken_is_named(served: tuple[str, StudioService]) -> None:
    port = int(served[0].rpartition(":")[2])
    with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}.*--port"):
        start(StudioConfig(device="cpu", port=port, browser=False))


def test_without_gradio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UsageError, match=re.escape(install_hint("studio"))):
        start(StudioConfig(browser=False))


@pytest.mark.parametrize("flag, value", [("port", 0), ("waiting", 0), ("upload_mb", 0)])
def test_a_setting_out_of_range_names_its_flag(flag: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"--{flag} must be from 1"):
        StudioConfig(**{flag: value})


@pytest.mark.parametrize("mug", ["mug", "\u30de\u30b0\u30ab\u30c3\u30d7", "a mug & more %41"])
def test_the_example_of_the_guide_runs_with_files_of_any_name(
    mug: str, served: tuple[str, StudioService], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = (ROOT / "docs/studio.md").read_text(encoding="utf-8")
    code = guide.split("```python\n")[1].split("```")[0]
    code = code.replace("http://127.0.0.1:7860", served[0]).replace('"mug.png"', f'"{mug}.png"')
    for kind, name in (("objects", "mug"), ("textures", "wood")):
        mine = mug if name == "mug" else name
        (tmp_path / f"{mine}.png").write_bytes((ASSETS / kind / f"{name}.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/studio.md", "exec"), {})
    with Image.open(tmp_path / "wooden-mug.png") as picture:
        assert picture.size == (64, 64)
    assert len(load_embeddings(tmp_path / "wooden-mug.safetensors")) == 1


def test_nobody_outside_was_called(client: Client) -> None:
    assert called
    assert set(called) <= {"127.0.0.1", "::1", "localhost", "local"}


def test_headers_that_never_end_are_given_up_by_the_server(
    served: tuple[str, StudioService], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pops.studio.http.waiting.MOST_SECONDS", 0.5)
    place = served[0].removeprefix("http://").split(":")
    with socket.create_connection((place[0], int(place[1])), timeout=30) as silent:
        silent.sendall(b"GET /stack HTTP/1.1\r\nhost: localhost\r\nx-slow: ")
        with suppress(ConnectionResetError):  # it may be cut off without a farewell
            assert silent.recv(100) == b""
    assert fetch(served[0] + "/stack")[0] == 200


def _sender(url: str, patch: pytest.MonkeyPatch) -> str:
    """The address that a request with a made-up sender is taken to come from."""
    seen: list[str] = []

    def recorded(address: str, headers: Any) -> Any:
        seen.append(address)
        return client_of(address, headers)

    patch.setattr("pops.studio.http.security.client_of", recorded)
    fetch(url + "/check", b"{}", **{"x-forwarded-for": "203.0.113.9"})
    return seen[0]


def test_a_made_up_sender_is_believed_of_a_trusted_proxy_alone(
    served: tuple[str, StudioService], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _sender(served[0], monkeypatch) == "127.0.0.1"
    with running(trusted_proxies=("127.0.0.0/8",)) as (url, _):
        assert _sender(url, monkeypatch) == "203.0.113.9"
    with pytest.raises(UsageError, match="--trusted_proxies takes addresses or networks"):
        StudioConfig(trusted_proxies=("my-proxy",))
