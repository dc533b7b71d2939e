"""The studio's search: what a composition gives, found in an index of pictures."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from pops import __file__ as package
from pops.engine import Engine
from pops.errors import DataError, UsageError
from pops.search.build import build_index, list_pictures
from pops.search.exact import Index
from pops.studio.app import start
from pops.studio.config import StudioConfig
from pops.studio.service import StudioService
from tests.studio.studio_server import ignored, running

pytestmark = ignored

ASSETS = Path(package).parents[1] / "assets"
NAMES = ("objects/mug", "objects/car", "textures/wood", "textures/gold")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of four of the shipped pictures, in their folders."""
    home = tmp_path_factory.mktemp("find")
    for name in NAMES:
        (home / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ASSETS / f"{name}.png", home / "pictures" / f"{name}.png")
    stack = Engine.load(device="cpu").stack
    build_index(home / "i", home / "pictures", list_pictures(home / "pictures"), stack)
    return home / "i"


@pytest.fixture(scope="module")
def served(index: Path) -> Iterator[tuple[str, StudioService]]:
    with running(index=index) as (url, studio):
        yield url, studio


@pytest.fixture(scope="module")
def client(served: tuple[str, StudioService]) -> Client:
    return Client(served[0], verbose=False)


def found(client: Client, expression: str, **more: object) -> dict[str, object]:
    last = client.predict(expression, **more, api_name="/find")
    assert last["state"] == "done"
    return dict(last)


def test_what_the_engine_finds_is_found_in_its_order(
    served: tuple[str, StudioService], client: Client, index: Path
) -> None:
    last = found(client, "texturing('mug.png', 'wood.png')", settings={"seeds": [7]}, k=3)
    studio = served[1]
    mug, wood = (studio.store.get(name).source for name in ("objects/mug", "textures/wood"))
    made = studio.engine.apply("texturing", [mug, wood], seeds=[7])
    ((*hits,),) = Index(index).find(made.image_embeds, 3)
    told = last["results"]
    assert [one["found"] for one in told] == ["/".join(hit.path.parts[-2:]) for hit in hits]
    assert [one["score"] for one in told] == pytest.approx([hit.score for hit in hits], abs=1e-4)
    assert [one["rank"] for one in told] == [1, 2, 3] and last["of"] == len(NAMES)


def test_what_is_found_can_be_an_input_and_nobody_is_told_where_it_lies(
    client: Client, index: Path
) -> None:
    last = found(client, "'mug.png'")
    nearest = last["results"][0]
    assert nearest["found"] == "objects/mug.png" and nearest["score"] == pytest.approx(1, abs=1e-3)
    assert len(last["results"]) == len(NAMES)  # fewer than the twelve that are asked for
    assert str(index.parent) not in json.dumps(last)
    done = client.predict("texturing", [nearest["id"], None], "", {"seeds": [7]}, api_name="/apply")
    assert done["results"][0]["expression"] == "texturing('mug.png', _)"


def test_a_picture_that_is_gone_is_named_and_the_others_are_told(
    client: Client, index: Path
) -> None:
    path = index.parent / "pictures" / "objects" / "car.png"
    content = path.read_bytes()
    path.unlink()
    try:
        job = client.submit("'car.png'", api_name="/find")
        job.result()
    finally:
        path.write_bytes(content)
    warnings = [one["warning"] for one in job.outputs() if one["state"] == "warning"]
    assert len(warnings) == 1 and warnings[0].startswith("objects/car.png is gone")
    assert len(job.outputs()[-1]["results"]) == len(NAMES) - 1


@pytest.mark.parametrize(
    "data, said",
    [
        (("'mug.png'", {}, {}, 0), "k must be a whole number from 1 to 48"),
        (("'mug.png'", {}, {}, 49), "k must be a whole number from 1 to 48"),
        (("'mug.png'", {}, {}, True), "k must be a whole number from 1 to 48"),
        (("'mgu.png'",), "there is no picture 'mgu.png': did you mean mug.png"),
        (("'mug.png'", {}, {"seed": 1}), "unknown setting 'seed'"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    data: tuple[object, ...], said: str, client: Client
) -> None:
    with pytest.raises(AppError, match=said):
        client.predict(*data, api_name="/find")


def test_a_studio_without_an_index_says_how_to_name_one(engine: Engine) -> None:
    studio = StudioService(engine, 4, 2**20)
    assert studio.describe()["finds"] is False
    with pytest.raises(UsageError, match="no pictures to find: start it with --index"):
        studio.find("'mug.png'", {}, {})
    studio.queue.close()


def test_a_wrong_index_ends_the_command_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing"):
        start(StudioConfig(device="cpu", index=tmp_path / "nothing", browser=False))
