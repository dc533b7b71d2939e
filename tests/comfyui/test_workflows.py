"""The example workflows fit the nodes, and those that need no download run."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.comfyui.prompts import faults, to_prompt
from tests.comfyui.runner import Runner

EXAMPLES = Path(__file__).parents[2] / "comfyui" / "example_workflows"
DRAWINGS = Path(__file__).parents[2] / "docs" / "drawings"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.json"))
WITHOUT_DOWNLOADS = ("combine", "compose", "texturing")


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture
def infos(comfy: dict[str, Any]) -> dict[str, Any]:
    """The descriptions of the nodes of the pack, as ComfyUI gives them to its page."""
    return {name: node.GET_NODE_INFO_V1() for name, node in comfy.items()}


@pytest.mark.parametrize("name", NAMES)
def test_an_example_fits_the_nodes(infos: dict[str, Any], name: str) -> None:
    assert not faults(read(name), infos)


def test_the_check_of_workflows_finds_faults(infos: dict[str, Any]) -> None:
    workflow = read("texturing")
    stack, thing, _, made, *_ = workflow["nodes"]
    stack["widgets_values"][0] = "pokcet"
    made["widgets_values"][0] = -1
    made["inputs"][1]["link"] = None
    workflow["links"][0][5] = "IMAGE"
    assert len(faults(workflow, infos)) == 5
    thing["widgets_values"] = []
    with pytest.raises(ValueError, match="PopsExamplePicture has no value for name"):
        faults(workflow, infos)


@pytest.mark.parametrize("name", NAMES)
def test_the_pictures_show_every_field_of_every_node(
    infos: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(DRAWINGS))
    pictures = importlib.import_module("workflow_pictures")
    others = {other: pictures.describe(other) for other in pictures.OTHERS}
    shown = {node["type"] for node in read(name)["nodes"]}
    assert shown <= {*infos, *others, "MarkdownNote"}
    assert not faults(read(name), {**infos, **others})


@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_a_picture(name: str) -> None:
    assert (EXAMPLES / f"{name}.jpg").stat().st_size < 200_000


@pytest.mark.parametrize("name", WITHOUT_DOWNLOADS)
def test_an_example_runs(run: Runner, infos: dict[str, Any], name: str) -> None:
    workflow = read(name)
    kinds = {str(node["id"]): node["type"] for node in workflow["nodes"]}
    known = {**infos, "PreviewImage": {"input": {"required": {"images": ("IMAGE",)}}}}
    prompt = to_prompt(workflow, known)
    for node in prompt.values():  # few steps, so that the test is quick
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = 2
    (at,) = [number for number, kind in kinds.items() if kind == "PopsRender"]
    ((image,),) = run(prompt, at)
    assert image.ndim == 4 and image.shape[0] > 1 and image.isfinite().all()
    if name == "compose":  # its two ways are one
        torch.testing.assert_close(image[0], image[1], atol=1e-3, rtol=0)
