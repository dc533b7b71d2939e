"""Words that a stack does not know are named; a stack that does not say is silent."""

import json
import random
from pathlib import Path

import pytest

from pops.engine import Engine
from pops.errors import WeightsError
from pops.pocket.build.data.families import families
from pops.pocket.build.data.pictures import cut_record
from pops.pocket.build.package import known_words, pack_known
from pops.pocket.world.scene import Swatch
from pops.pocket.world.vocabulary import MATERIALS
from pops.stacks.known import KNOWN, find_unknown, read_known, warn_of_unknown
from pops.stacks.spec import WEIGHTS

ROOT = Path(__file__).parents[2]


def test_the_pocket_stack_ships_the_words_of_its_world(tmp_path: Path) -> None:
    pack_known(tmp_path)
    known = read_known(tmp_path / "prior")
    assert known == read_known(WEIGHTS / "prior") and known is not None
    assert known.words == tuple(known_words()) and set(known.examples) <= set(known.words)


def test_every_caption_of_the_pocket_world_is_made_of_known_words() -> None:
    known = read_known(WEIGHTS / "prior")
    assert known is not None
    captions = [
        scene.caption
        for shard in range(3)
        for group in families(random.Random(shard), shard)
        for scene in group
    ]
    captions += [Swatch(material).caption for material in MATERIALS]
    captions += [cut_record("worn top", "red", "upper-clothes")["caption"]]
    assert len(captions) > 1000
    assert find_unknown(known, captions) == []


def test_words_that_are_unknown_are_named_once_with_the_nearest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    known = read_known(WEIGHTS / "prior")
    warn_of_unknown("pocket", known, ["a Shiny mug", "tiny"])
    assert not caplog.messages
    warn_of_unknown("pocket", known, ["STEAMPUNK", "a steampunk muug, 3D"])
    (line,) = caplog.messages
    assert line.startswith("pocket has never seen 'steampunk', 'muug' (did you mean mug?), 'd")
    assert "the result may mean nothing" in line and "such as tiny, enormous" in line


def test_an_instruction_in_unknown_words_is_warned_of(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, stack_parts: dict[str, Path]
) -> None:
    mug = [ROOT / "assets/objects/mug.png"]
    engine = Engine.load("pocket", "cpu")
    engine.apply("instruct", mug, text="shiny", seeds=[0], steps=1)
    assert not caplog.messages
    engine.apply("instruct", mug, text="steampunk", seeds=[0], steps=1)
    assert len(caplog.messages) == 1 and "'steampunk'" in caplog.text
    caplog.clear()
    silent = Engine.load("pocket", "cpu", **stack_parts)
    assert silent.stack.known_words is None
    silent.apply("instruct", mug, text="steampunk", seeds=[0], steps=1)
    assert not caplog.messages


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / KNOWN).write_text(json.dumps({"words": "all"}))
    with pytest.raises(WeightsError, match="known.json: words"):
        read_known(tmp_path)
