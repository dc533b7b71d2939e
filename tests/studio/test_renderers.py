"""The studio's choice of renderers, on tiny random SDXL parts beside the golden stack."""

import io
import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image

from benchmarks.models import tiny_sdxl
from pops.io.loading import quietly
from pops.render.depth import DepthRenderer
from pops.render.ip_adapter import IPAdapterRenderer
from pops.render.revision import RevisionRenderer
from pops.settings.rendering import DecoderSettings
from pops.studio.service import StudioService
from tests.studio.studio_server import ignored, running

pytestmark = [
    *ignored,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers"),
]

GOLDEN = Path(__file__).parents[1] / "golden"
INPUTS = ["objects/mug", "textures/wood"]
SIZES = {"kandinsky": 32, "ip_adapter": 64, "depth": 64, "revision": 64}  # pixels


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, StudioService]]:
    """A studio on a stack in a folder, its SDXL, IP-Adapter, ControlNet and DPT models beside it.

    The renderers' own settings are 50 steps of 1024 pixels.
    """
    stack = tmp_path_factory.mktemp("sdxl") / "stack"
    with quietly():
        tiny_sdxl.make_all(stack, GOLDEN / "kandinsky-tiny-prior" / "tokenizer")
    (stack / "prior").symlink_to(GOLDEN / "kandinsky-tiny-prior")
    (stack / "operators").symlink_to(GOLDEN / "operators")
    shutil.copytree(GOLDEN / "kandinsky-tiny-decoder", stack / "decoder")
    (stack / "decoder" / "render.json").write_text('{"steps": 2, "size": 32}')
    few = DecoderSettings(steps=2, guidance=5.0, size=64)
    with pytest.MonkeyPatch.context() as patch:
        for kind in (IPAdapterRenderer, DepthRenderer, RevisionRenderer):
            patch.setattr(kind, "settings", few)
        with running(stack=str(stack)) as (url, studio):
            yield url, studio


@pytest.fixture(scope="module")
def client(served: tuple[str, StudioService]) -> Client:
    return Client(served[0], verbose=False)


def picture(url: str, of: dict[str, str]) -> Image.Image:
    with urllib.request.urlopen(url + of["picture"]) as answer:
        return Image.open(io.BytesIO(answer.read())).convert("RGB")


def test_renderers_that_a_stack_brings_are_offered(served: tuple[str, StudioService]) -> None:
    with urllib.request.urlopen(f"{served[0]}/stack") as answer:
        told = json.load(answer)
    assert [one["name"] for one in told["renderers"]] == list(SIZES)
    (instruct,) = [row for row in told["operators"] if row["takes_text"]]
    assert "golden" in instruct["words"] and not instruct["words_known"]


@pytest.mark.parametrize("renderer", SIZES)
def test_each_renderer_draws_what_the_engine_draws_with_it(
    renderer: str, served: tuple[str, StudioService], client: Client
) -> None:
    url, studio = served
    settings = {"seeds": [7], "renderer": renderer}
    last = client.predict("texturing", INPUTS, "", settings, api_name="/apply")
    shown = picture(url, last["results"][0])
    mug, wood = (studio.store.get(name).source for name in INPUTS)
    made = studio.engine.apply("texturing", [(mug, wood)], seeds=[7])
    depth_of = [mug] if renderer == "depth" else None
    (wanted,) = studio.engine.render(made, seeds=[0], renderer=renderer, depth_of=depth_of)
    assert shown.size == (SIZES[renderer],) * 2
    pairs = zip(shown.tobytes(), wanted.convert("RGB").tobytes(), strict=True)
    assert max(abs(a - b) for a, b in pairs) <= 2


def test_the_depth_of_an_input_changes_the_drawing(
    served: tuple[str, StudioService], client: Client
) -> None:
    drawn = []
    for name in ("ip_adapter", "depth"):
        settings = {"seeds": [7], "renderer": name}
        last = client.predict("texturing", INPUTS, "", settings, api_name="/apply")
        drawn.append(picture(served[0], last["results"][0]).tobytes())
    assert drawn[0] != drawn[1]


def test_a_composition_and_a_grid_are_drawn_by_the_renderer_chosen(client: Client) -> None:
    settings = {"seeds": [7], "renderer": "ip_adapter"}
    whole = client.predict("texturing('mug.png', 'wood.png')", {}, settings, api_name="/compose")
    assert whole["state"] == "done"
    given = ["objects/mug"], ["textures/wood"], False, {"seeds": [7], "renderer": "depth"}
    assert client.predict("texturing", *given, api_name="/grid")["state"] == "done"


@pytest.mark.parametrize(
    "name, data, said",
    [
        ("/apply", ("texturing", [None, "textures/wood"], ""), "keeps the depth of the first"),
        ("/compose", ("texturing('mug.png', 'wood.png')", {}), "no single shape to keep"),
    ],
)
def test_depth_without_a_shape_is_refused_in_one_line(
    name: str, data: tuple[object, ...], said: str, client: Client
) -> None:
    with pytest.raises(AppError, match=said):
        client.predict(*data, {"renderer": "depth"}, api_name=name)
