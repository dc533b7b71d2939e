"""The Space and the container, as far as they can be tried without the hub and without Docker."""

import json
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
import yaml

ROOT = Path(__file__).parent.parent
HOST = "someone-pops.hf.space"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_the_space_starts_as_the_hub_starts_it(tmp_path: Path):
    app = shutil.copytree(ROOT / "spaces", tmp_path / "app")
    port = free_port()
    env = os.environ | {"PORT": str(port), "SPACE_HOST": HOST, "POPS_MCP": "1"}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")])
    process = subprocess.Popen([sys.executable, "app.py"], cwd=app, env=env)
    try:
        facts = json.loads(wait_for(f"http://127.0.0.1:{port}/stack", process))
        assert "texturing" in [row["name"] for row in facts["operators"]]
        with pytest.raises(HTTPError) as refused:
            urlopen(Request(f"http://127.0.0.1:{port}/stack", headers={"host": "evil.example"}))
        refused.value.close()
        assert refused.value.code == 403
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        kinds = {
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
        }
        asked = Request(
            f"http://127.0.0.1:{port}/mcp", json.dumps(call).encode(), {"host": HOST, **kinds}
        )
        with urlopen(asked) as answer:
            tools = json.load(answer)["result"]["tools"]
        assert {tool["name"] for tool in tools} == {"operators", "apply", "compose"}
    finally:
        process.terminate()
        process.wait(30)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> bytes:
    """Wait for a page, and give what it says."""
    for _ in range(1200):
        assert process.poll() is None, "the Space has ended"
        try:
            with urlopen(Request(url, headers={"host": HOST})) as answer:
                return bytes(answer.read())
        except (URLError, ConnectionError):
            time.sleep(0.5)
    raise AssertionError("the Space does not answer")


def test_on_zerogpu_every_call_goes_to_a_process_that_has_the_gpu(
    monkeypatch: pytest.MonkeyPatch,
):
    from pops import Engine

    calls: list[str] = []

    def borrow(duration: int) -> Any:
        def decorated(work: Any) -> Any:
            def call(name: str, *given: Any, **options: Any) -> Any:
                calls.append(name)
                # What goes to another process and comes back from it is pickled.
                given, options = pickle.loads(pickle.dumps((given, options)))
                return pickle.loads(pickle.dumps(work(name, *given, **options)))

            return call

        return decorated

    fake = ModuleType("spaces")
    fake.GPU = borrow  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "spaces", fake)
    space: dict[str, Any] = {"__name__": "space"}
    exec((ROOT / "spaces/app.py").read_text(), space)
    engine = space["on_borrowed_gpu"](Engine.load("pocket", "cpu"))
    request = ("assets/objects/mug.png", "assets/textures/wood.png")
    told = engine.apply("texturing", request, seeds=[1], progress=lambda *_: None)
    plain = Engine.load("pocket", "cpu").apply("texturing", request, seeds=[1])
    assert told.image_embeds.equal(plain.image_embeds)
    assert len(engine.render(told, seeds=[0], progress=lambda *_: None)) == 1
    assert calls == ["apply", "render"]  # what these call themselves is inside already


def test_the_card_and_the_requirements_of_the_space_fit_the_project():
    card = (ROOT / "spaces/README.md").read_text()
    facts = yaml.safe_load(card.split("---")[1])
    assert (ROOT / "spaces" / facts["app_file"]).is_file()
    pinned = dict(re.findall(r"^(\S+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    assert (facts["sdk"], facts["sdk_version"]) == ("gradio", pinned["gradio"])
    assert len(facts["short_description"]) <= 60  # the hub refuses longer ones
    wanted = (ROOT / "spaces/requirements.txt").read_text().splitlines()
    assert "pops-operators[mcp]" in wanted


@pytest.mark.skipif(sys.platform != "linux", reason="hadolint is installed on Linux alone")
def test_the_dockerfile_has_no_fault_that_hadolint_knows():
    lint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([lint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_image_holds_all_that_it_copies_and_runs_no_root():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    assert all((ROOT / name).exists() for name in copied)
    assert set(copied) == kept
    (user,) = [line.split()[1] for line in lines if line.startswith("USER")]
    assert user.isdigit()
    assert int(user) > 0
    assert any(line.startswith("HEALTHCHECK") for line in lines)
