"""An operator of one's own in the studio: shown, applied, composed and put into grids."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from gradio_client import Client

from pops.operators import Operator, OperatorCard, save_operator
from pops.stacks.stack import open_stack
from pops.studio.service import StudioService
from tests.studio.studio_server import ignored, running

pytestmark = ignored

QUICK = {"seeds": [3], "steps": 2, "render_steps": 1}
TEXT = Operator("rusty-look", ("object",), takes_text=True)
PAIR = Operator("iron-on", ("object", "iron-part"))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("operators")
    state = open_stack("pocket", device="cpu").base_prior_state()
    for row in (TEXT, PAIR):
        save_operator(folder / row.name, OperatorCard(row, "pocket"), state)
    return folder


@pytest.fixture(scope="module")
def served(own: Path) -> Iterator[tuple[str, StudioService]]:
    with running(operators=(str(own),)) as (url, studio):
        yield url, studio


@pytest.fixture(scope="module")
def client(served: tuple[str, StudioService]) -> Client:
    return Client(served[0], verbose=False)


def test_it_is_offered_beside_the_stack_s(served: tuple[str, StudioService]) -> None:
    with urllib.request.urlopen(f"{served[0]}/stack") as answer:
        rows = {row["name"]: row for row in json.load(answer)["operators"]}
    assert list(rows)[:5] == ["texturing", "union", "scene", "instruct", "clothes"]
    assert set(rows) - set(list(rows)[:5]) == {"rusty-look", "iron-on"}
    row = rows["iron-on"]
    assert row["function"] == "iron_on" and row["says"] == "An operator of your own."
    assert [slot["name"] for slot in row["slots"]] == ["object", "iron-part"]


def test_it_is_applied(served: tuple[str, StudioService], client: Client) -> None:
    last = client.predict("rusty-look", ["objects/mug"], "old", QUICK, api_name="/apply")
    (result,) = last["results"]
    assert result["expression"] == "rusty_look('mug.png', 'old')"
    studio = served[1]
    made = studio.engine.apply(
        "rusty-look", (studio.store.get("objects/mug").source,), text="old", seeds=[3], steps=2
    )
    found = studio.store.get(result["id"]).embedding
    assert found is not None
    torch.testing.assert_close(found.image_embeds, made.image_embeds)


def test_it_is_part_of_a_composition(served: tuple[str, StudioService], client: Client) -> None:
    text = "texturing(iron_on('mug.png', rusty_look('car.png', 'old')), 'wood.png')"
    last = client.predict(text, {}, QUICK, api_name="/compose")
    assert last["result"]["expression"] == text
    told = served[1].check(text, {}, QUICK)
    inner = told["tree"]["inputs"][0]
    assert (inner["operator"], inner["function"]) == ("iron-on", "iron_on")
    assert [one["slot"] for one in inner["inputs"]] == ["object", "iron-part"]


def test_it_is_the_operator_of_a_grid(client: Client) -> None:
    given = ["objects/mug"], ["objects/car", "objects/hat"], True, QUICK
    events = list(client.submit("iron-on", *given, api_name="/grid"))
    cells = [event for event in events if event["state"] == "result"]
    assert [cell["table"] for cell in cells] == ["iron-on"] * 2 + ["mean"] * 2
    assert cells[1]["result"]["expression"] == "iron_on('mug.png', 'hat.png')"


def test_it_is_saved_opened_and_copied(served: tuple[str, StudioService], own: Path) -> None:
    studio = served[1]
    saved = studio.save("iron_on('mug.png', 'car.png')", {}, QUICK)
    opened = studio.open(json.dumps(saved).encode())
    assert opened["expression"] == "iron_on('mug.png', 'car.png')"
    told = studio.check("iron_on('mug.png', 'car.png')", {}, QUICK)
    assert f"--operators {own / 'iron-on'}" in told["command"]
    assert f"operator_folders=[{str(own / 'iron-on')!r}]" in told["python"]
