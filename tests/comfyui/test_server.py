"""The pack in a real ComfyUI, without a browser.

    COMFYUI_DIR=~/ComfyUI COMFYUI_PYTHON=~/ComfyUI/.venv/bin/python pytest tests/comfyui

COMFYUI_PYTHON, by default the Python of the tests, must have what ComfyUI and pops need. Nothing is
written into COMFYUI_DIR: models, nodes, inputs and outputs are in a temporary folder.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pops import Embeddings
from tests.comfyui.prompts import faults, to_prompt

ROOT = Path(__file__).parents[2]
HOME = os.environ.get("COMFYUI_DIR")
PATIENCE = 300  # seconds to start, and for a workflow

pytestmark = pytest.mark.skipif(
    HOME is None, reason="COMFYUI_DIR names no folder of ComfyUI to start a server from"
)


class Server:
    """A running ComfyUI."""

    def __init__(self, port: int, folder: Path) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.folder = folder

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.address}/{path}", timeout=60) as answer:
            return json.load(answer)

    def post(self, path: str, content: Any) -> Any:
        request = urllib.request.Request(
            f"{self.address}/{path}",
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def run(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """Queue a prompt and wait for its end; what its history tells."""
        queued = self.post("prompt", {"prompt": prompt})
        assert not queued["node_errors"], queued
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            history = self.get(f"history/{queued['prompt_id']}")
            if history:
                told: dict[str, Any] = history[queued["prompt_id"]]
                return told
            time.sleep(0.5)
        raise TimeoutError("the workflow did not end")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("comfyui")
    (folder / "custom_nodes").mkdir()
    (folder / "input").mkdir()
    (folder / "custom_nodes" / "pops").symlink_to(ROOT / "comfyui")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "log.txt"
    command = [os.environ.get("COMFYUI_PYTHON", sys.executable), "main.py", "--cpu"]
    command += ["--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(folder)]
    command += ["--disable-api-nodes", "--database-url", "sqlite:///:memory:"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=str(HOME),
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    made = Server(port, folder)
    try:
        _wait(process, made, log)
        yield made
    finally:
        process.terminate()
        process.wait(30)


def _wait(process: subprocess.Popen[bytes], server: Server, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        try:
            server.get("system_stats")
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(log.read_text(errors="replace")[-3000:])


@pytest.fixture(scope="module")
def infos(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = server.get("object_info")
    return found


def workflow(name: str) -> dict[str, Any]:
    path = ROOT / "comfyui" / "example_workflows" / f"{name}.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def quick(prompt: dict[str, Any]) -> dict[str, Any]:
    for node in prompt.values():
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = 2
    return prompt


def save(kind: str) -> dict[str, Any]:
    """A prompt that makes an embedding and saves it."""
    sampling = {"seed": 18, "variations": 2, "guidance": 0, "steps": 2, "sampler": "ancestral"}
    sampling["strength"] = 0.5
    stack = {"stack_name": "pocket", "device": "auto", "dtype": "auto", "offload": "model"}
    return {
        "1": {"class_type": "PopsLoadStack", "inputs": stack},
        "2": {"class_type": "PopsExamplePicture", "inputs": {"name": "objects/mug"}},
        "3": {
            "class_type": "PopsOperator_instruct",
            "inputs": {"stack": ["1", 0], "object": ["2", 0], "text": "tiny", **sampling},
        },
        "4": {
            "class_type": "PopsSaveEmbeddings",
            "inputs": {"embeddings": ["3", 0], "filename_prefix": "kept/tiny", "format": kind},
        },
    }


def test_the_server_has_the_nodes_and_they_are_the_packs_own(infos: dict[str, Any]) -> None:
    ours = {name for name, info in infos.items() if info["python_module"] == "custom_nodes.pops"}
    assert {"PopsLoadStack", "PopsOperator_texturing", "PopsCompose", "PopsRender"} <= ours
    assert {name for name in infos if name.startswith("Pops")} == ours  # none has its name from us


@pytest.mark.parametrize("name", ["texturing", "compose", "combine", "revision", "ip_adapter"])
def test_an_example_fits_the_servers_nodes(infos: dict[str, Any], name: str) -> None:
    found = faults(workflow(name), infos)
    # Files of models that this server does not have.
    assert not [fault for fault in found if "ckpt_name" not in fault and "image is" not in fault]


@pytest.mark.parametrize("name, pictures", [("texturing", 4), ("compose", 2), ("combine", 7)])
def test_an_example_runs_on_the_server(
    server: Server, infos: dict[str, Any], name: str, pictures: int
) -> None:
    told = server.run(quick(to_prompt(workflow(name), infos)))
    assert told["status"]["status_str"] == "success", told["status"]["messages"][-1]
    ((shown),) = [output["images"] for output in told["outputs"].values() if "images" in output]
    assert len(shown) == pictures
    for one in shown:
        with Image.open(server.folder / "temp" / one["subfolder"] / one["filename"]) as image:
            assert image.size == (64, 64)


def test_an_embedding_is_saved_and_loaded_again(server: Server) -> None:
    told = server.run(save("ipadpt"))
    assert told["outputs"]["4"]["text"] == ["kept/tiny_00001_.ipadpt"]
    assert len(Embeddings.load(server.folder / "output" / "kept" / "tiny_00001_.ipadpt")) == 2
    loaded = {
        "1": {"class_type": "PopsLoadEmbeddings",
              "inputs": {"file": "kept/tiny_00001_.ipadpt [output]"}},
        "2": {
            "class_type": "PopsSaveEmbeddings",
            "inputs": {"embeddings": ["1", 0], "filename_prefix": "again", "format": "pth"},
        },
    }  # fmt: skip
    assert server.run(loaded)["status"]["status_str"] == "success"
    assert len(Embeddings.load(server.folder / "output" / "again_00001_.pth")) == 2


def test_a_second_run_makes_nothing_again(server: Server) -> None:
    server.run(save("safetensors"))
    told = server.run(save("safetensors"))
    cached = [m[1]["nodes"] for m in told["status"]["messages"] if m[0] == "execution_cached"]
    assert {"1", "2", "3"} <= set(cached[0])


def test_a_missing_file_is_told_before_anything_runs(server: Server) -> None:
    prompt = save("pth")
    prompt["5"] = {"class_type": "PopsLoadEmbeddings", "inputs": {"file": "../gone.pth"}}
    prompt["4"]["inputs"]["embeddings"] = ["5", 0]
    answer = server.post("prompt", {"prompt": prompt})
    (fault,) = answer["node_errors"]["5"]["errors"]
    assert "../gone.pth is not an embedding file in ComfyUI's input or output" in fault["details"]


def test_an_error_of_a_node_is_its_one_line(server: Server) -> None:
    prompt = save("pth")
    stack = {"stack_name": "pocket", "device": "cuda", "dtype": "auto", "offload": "model"}
    prompt["1"]["inputs"] = stack
    told = server.run(prompt)
    (failed,) = [m[1] for m in told["status"]["messages"] if m[0] == "execution_error"]
    assert failed["exception_message"].strip() == (
        "device 'cuda' is not on this machine: use auto or cpu"
    )
    assert failed["node_id"] == "1"
