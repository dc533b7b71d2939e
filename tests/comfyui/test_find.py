"""The node that finds pictures."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from pops import Embeddings, Engine
from pops.errors import InputError, UsageError
from pops.search.build import build_index, list_pictures
from tests.comfyui.runner import Runner

ASSETS = Path(__file__).parents[2] / "assets"
NAMES = ["boat", "mug", "vase"]


@pytest.fixture
def engine(tmp_path: Path, comfy: dict[str, Any]) -> Engine:
    """An engine, and an index named `things` in ComfyUI's models."""
    made = Engine.load("pocket", "cpu")
    home = tmp_path / "photos"
    home.mkdir()
    for name in NAMES:
        shutil.copy(ASSETS / "objects" / f"{name}.png", home)
    index = tmp_path / "models" / "indexes" / "things"
    build_index(index, home, list_pictures(home), made.stack)
    return made


def test_the_nearest_pictures_are_found_in_order(
    run: Runner, engine: Engine, tmp_path: Path
) -> None:
    given = engine.encode([ASSETS / "objects" / f"{name}.png" for name in ("mug", "boat")])
    prompt = {
        "1": {
            "class_type": "PopsFind",
            "inputs": {"stack": engine, "embeddings": given, "index": "things", "count": 2},
        }
    }
    images, scores, files = run(prompt, "1")
    assert [Path(file).name for file in files[::2]] == ["mug.png", "boat.png"]
    assert scores[0] > 0.999 and scores[0] >= scores[1]
    assert len(images) == 4 and images[0].shape[0] == 1 and images[0].shape[3] == 3


def test_an_index_that_grows_is_searched_again(
    comfy: dict[str, Any], engine: Engine, tmp_path: Path
) -> None:
    node = comfy["PopsFind"]
    before = node.fingerprint_inputs(index="things", count=1)
    home = tmp_path / "photos"
    shutil.copy(ASSETS / "objects" / "lamp.png", home)
    build_index(tmp_path / "models" / "indexes" / "things", home, list_pictures(home), engine.stack)
    assert node.fingerprint_inputs(index="things", count=1) != before


def test_what_is_wrong_with_a_search_is_said_in_a_line(
    run: Runner, comfy: dict[str, Any], engine: Engine, tmp_path: Path
) -> None:
    node = comfy["PopsFind"]
    assert node.validate_inputs("things") is True
    assert "there is no index named 'thing' in models/pops/indexes" in node.validate_inputs("thing")
    one = Embeddings(torch.randn(1, 128))
    with pytest.raises(UsageError, match=r"unknown index 'thing': did you mean things\?"):
        run.one("PopsFind", stack=engine, embeddings=one, index="thing")
    with pytest.raises(InputError, match="embeddings holds embeddings of 64 numbers"):
        run.one("PopsFind", stack=engine, embeddings=one.image_embeds[:, :64], index="things")
    for name in NAMES:
        (tmp_path / "photos" / f"{name}.png").unlink()
    with pytest.raises(InputError, match=r"photos/\w+\.png"):
        run.one("PopsFind", stack=engine, embeddings=one, index="things", count=1)
