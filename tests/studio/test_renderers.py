"""The studio's choice of renderers, on tiny random SDXL parts beside the golden stack."""

import io
import json
import shutil
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image

from benchmarks.models import tiny_sdxl
from pops.compose.parse import parse
from pops.io.loading import quietly
from pops.render import RENDERERS, find_renderer
from pops.render.depth import DepthRenderer
from pops.render.ip_adapter import IPAdapterRenderer
from pops.render.revision import RevisionRenderer
from pops.settings.rendering import PRESETS, DecoderSettings
from pops.studio.about import TAKES
from pops.studio.jobs.options import PICTURES, RENDERING, Options
from pops.studio.service import StudioService
from pops.studio.store import StoredItem
from tests.studio.studio_server import ignored, running

pytestmark = [
    *ignored,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers"),
]

GOLDEN = Path(__file__).parents[1] / "golden"
INPUTS = ["objects/mug", "textures/wood"]
# Pixels of what each draws, and what it is given beside the embedding.
SIZES = {"kandinsky": 32, "ip_adapter": 64, "depth": 64, "revision": 64, "img2img": 32}
SIZES |= {"inpaint": 32}
WOOD = "textures/wood"
GIVEN = {
    "ip_adapter": {"preset": "lcm", "prompt": "a red  cat", "ip_adapter_scale": 0.5},
    "revision": {"prompt": "a cat"},
    "img2img": {"init": WOOD, "init_strength": 0.9},
    "inpaint": {"init": WOOD, "mask": "objects/mug"},
}


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
    tiny_inpainter(stack / "inpaint_decoder")
    few = DecoderSettings(steps=2, guidance=5.0, size=64)
    with pytest.MonkeyPatch.context() as patch:
        for kind in (IPAdapterRenderer, DepthRenderer, RevisionRenderer):
            patch.setattr(kind, "settings", few)
        patch.setattr("pops.render.decoders.PUBLISHED", DecoderSettings(steps=2, size=32))
        patch.setitem(PRESETS, "lcm", replace(PRESETS["lcm"], steps=3, size=64))
        with running(stack=str(stack)) as (url, studio):
            yield url, studio


@pytest.fixture(scope="module")
def client(served: tuple[str, StudioService]) -> Client:
    return Client(served[0], verbose=False)


def picture(url: str, of: dict[str, str]) -> Image.Image:
    with urllib.request.urlopen(url + of["picture"]) as answer:
        return Image.open(io.BytesIO(answer.read())).convert("RGB")


def tiny_inpainter(folder: Path) -> None:
    """A decoder that is given a picture and a mask beside its latents."""
    shutil.copytree(GOLDEN / "kandinsky-tiny-decoder", folder)
    config = UNet2DConditionModel.load_config(folder / "unet")
    channels = 2 * config["in_channels"] + 1
    torch.manual_seed(0)
    made = UNet2DConditionModel.from_config({**config, "in_channels": channels})
    made.save_pretrained(folder / "unet")


def test_what_renderers_take_is_what_their_classes_say() -> None:
    for name in RENDERERS:
        own = getattr(find_renderer(name), "takes", ())
        assert TAKES.get(name, ()) == tuple(one for one in own if one in RENDERING), name


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
    more = GIVEN.get(renderer, {})
    settings = {"seeds": [7], "renderer": renderer, **more}
    last = client.predict("texturing", INPUTS, "", settings, api_name="/apply")
    shown = picture(url, last["results"][0])
    mug, wood = (studio.store.get(name).source for name in INPUTS)
    made = studio.engine.apply("texturing", [(mug, wood)], seeds=[7])
    depth_of = [mug] if renderer == "depth" else None
    given = {
        name: studio.store.get(value).drawn if name in PICTURES else value
        for name, value in more.items()
    }
    if "prompt" in given:
        given["prompt"] = " ".join(given["prompt"].split())
    (wanted,) = studio.engine.render(made, seeds=[0], renderer=renderer, depth_of=depth_of, **given)
    assert shown.size == (SIZES[renderer],) * 2
    pairs = zip(shown.tobytes(), wanted.convert("RGB").tobytes(), strict=True)
    assert max(abs(a - b) for a, b in pairs) <= 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"renderer": "img2img"}, "starts from a picture"),
        ({"renderer": "img2img", "init": "nobody-knows"}, "no longer here"),
        ({"renderer": "img2img", "init": "/etc/passwd"}, "no longer here"),
        ({"renderer": "img2img", "init": WOOD, "init_strength": 2}, "must be from 0 to 1"),
        ({"renderer": "inpaint", "init": WOOD}, "a part of a picture"),
        ({"renderer": "kandinsky", "init": WOOD}, "does not take --init"),
        ({"renderer": "ip_adapter", "prompt": "x" * 501}, "at most 500 letters"),
        ({"renderer": "ip_adapter", "preset": "slow"}, "turbo, lightning, lcm"),
        ({"renderer": "ip_adapter", "preset": ["turbo"]}, "turbo, lightning, lcm"),
        ({"renderer": "kandinsky", "preset": "turbo"}, "does not take --preset"),
    ],
)
def test_a_renderer_is_given_what_it_takes_or_says_so(
    settings: dict[str, object], said: str, client: Client
) -> None:
    with pytest.raises(AppError, match=said):
        client.predict("texturing", INPUTS, "", {"seeds": [7], **settings}, api_name="/apply")


def test_presets_are_offered_with_their_steps_and_pixels(
    served: tuple[str, StudioService],
) -> None:
    with urllib.request.urlopen(f"{served[0]}/stack") as answer:
        told = json.load(answer)
    assert {"name": "lightning", "steps": 4, "size": 1024} in told["presets"]
    takes = {one["name"]: one["takes"] for one in told["renderers"]}
    assert "preset" in takes["revision"] and "preset" not in takes["img2img"]


def test_a_preset_and_a_checkpoint_are_spelled(served: tuple[str, StudioService]) -> None:
    speller = replace(served[1].speller, sdxl="somebody/sdxl-lightning")
    node = parse("texturing('mug.png', 'wood.png')")
    told = speller.spell(node, Options.read({"renderer": "revision", "preset": "lightning"}))
    assert "--preset lightning" in told["command"]
    assert "--sdxl somebody/sdxl-lightning" in told["command"]
    assert "preset='lightning'" in told["python"]
    assert "sdxl='somebody/sdxl-lightning'" in told["python"]
    plain = speller.spell(node, Options())
    assert "--sdxl" not in plain["command"] and "sdxl=" not in plain["python"]


def test_a_picture_to_start_from_is_spelled_by_its_place_and_kept_whole(
    served: tuple[str, StudioService],
) -> None:
    _, studio = served
    text = "texturing('mug.png', 'wood.png')"
    settings = {"renderer": "inpaint", **GIVEN["inpaint"]}
    told = studio.check(text, {}, settings)
    wood, mug = (studio.speller.examples[name] for name in ("wood.png", "mug.png"))
    assert Path(wood).is_file() and Path(mug).is_file()
    assert f"--init {wood}" in told["command"] and f"--mask {mug}" in told["command"]
    assert f"init={wood!r}" in told["python"] and told["own"] == []
    with Image.open(mug) as shown:
        sent = studio.store.add(StoredItem.of_picture("my cat.png", shown.convert("RGB")))
    told = studio.check(text, {}, {"renderer": "img2img", "init": sent.id})
    assert "--init 'my cat.png'" in told["command"] and told["own"] == ["my cat.png"]
    saved = studio.save(text, {}, settings)
    assert saved["settings"]["renderer"] == "inpaint"
    assert not {"init", "mask"} & saved["settings"].keys()
    opened = studio.open(json.dumps(saved).encode())
    again = Options.read(opened["settings"], lambda name: studio.store.get(str(name)))
    before = Options.read(settings, lambda name: studio.store.get(str(name)))
    for name in PICTURES:
        kept, given = again.pictures[name], before.pictures[name]
        assert kept.name == given.name and opened["pictures"][name]["id"] == kept.id
        assert kept.drawn.tobytes() == given.drawn.tobytes()


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
