"""The SDXL renderers, end to end on tiny random models loaded as the hub's are."""

import pickle
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLPipeline,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.models import tiny_sdxl
from pops.cli import main as cli
from pops.engine import Engine
from pops.errors import UsageError, WeightsError
from pops.io.embeddings import Embeddings
from pops.io.loading import quietly
from pops.render import find_renderer
from pops.render.depth import DepthRenderer
from pops.render.ip_adapter import IPAdapterRenderer
from pops.render.sdxl import UNWANTED
from pops.settings.rendering import DecoderSettings

# diffusers' Euler scheduler makes a numpy array of a tensor in the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Parts = dict[str, Path]
FEW = DecoderSettings(steps=2, guidance=5.0, size=64)


@pytest.fixture(scope="module")
def sdxl_parts(tmp_path_factory: pytest.TempPathFactory, golden: Path) -> Parts:
    tokenizer = golden / "kandinsky-tiny-prior" / "tokenizer"
    with quietly():
        return tiny_sdxl.make_all(tmp_path_factory.mktemp("sdxl"), tokenizer)


@pytest.fixture(scope="module")
def engine(
    stack_parts: Parts, sdxl_parts: Parts, tmp_path_factory: pytest.TempPathFactory
) -> Engine:
    decoder = tmp_path_factory.mktemp("stack") / "decoder"
    shutil.copytree(stack_parts["decoder"], decoder)
    (decoder / "render.json").write_text('{"steps": 2, "size": 32}')  # not 50 steps of 512 pixels
    return Engine.load("pocket", "cpu", **stack_parts | sdxl_parts | {"decoder": decoder})


@pytest.fixture(scope="module")
def ip_adapter(engine: Engine) -> IPAdapterRenderer:
    found = engine.renderer("ip_adapter")
    assert isinstance(found, IPAdapterRenderer)
    return found


@pytest.fixture(scope="module")
def depth(engine: Engine) -> DepthRenderer:
    found = engine.renderer("depth")
    assert isinstance(found, DepthRenderer)
    return found


def noise(seed: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((50, 60))


def reference(parts: Parts, kind: type[Any], **extra: Any) -> Any:
    with quietly():
        pipeline = kind.from_pretrained(parts["sdxl"], variant="fp16", **extra)
        pipeline.load_ip_adapter(
            str(parts["ip_adapter"]),
            subfolder="sdxl_models",
            weight_name="ip-adapter_sdxl.bin",
            image_encoder_folder=None,
        )
    pipeline.set_ip_adapter_scale(1.0)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def one_by_one(
    pipeline: Any, embeds: torch.Tensor, seeds: Sequence[int], **options: Any
) -> np.ndarray:
    """As the published scripts do it: one embedding a call, guided from zeros."""
    images = options.pop("images", [None] * len(seeds))
    arrays = []
    for embed, seed, image in zip(embeds, seeds, images, strict=True):
        pair = torch.stack([torch.zeros_like(embed), embed])[:, None]  # (2, 1, D)
        given = {} if image is None else {"image": image}
        arrays += list(
            pipeline(
                prompt="",
                ip_adapter_image_embeds=[pair],
                num_inference_steps=FEW.steps,
                generator=torch.Generator().manual_seed(seed),
                height=FEW.size,
                width=FEW.size,
                output_type="np",
                **given,
                **options,
            ).images
        )
    return np.stack(arrays)


def test_the_ip_adapter_renders_as_diffusers_does_one_by_one(
    ip_adapter: IPAdapterRenderer, sdxl_parts: Parts
):
    embeds, seeds = torch.randn(3, 32), [0, 1, 1]
    pipeline = reference(sdxl_parts, StableDiffusionXLPipeline)
    theirs = one_by_one(pipeline, embeds, seeds, negative_prompt=UNWANTED)
    ours = ip_adapter.render_arrays(embeds, seeds, FEW)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def test_depth_renders_as_diffusers_does_one_by_one(depth: DepthRenderer, sdxl_parts: Parts):
    embeds, seeds, pictures = torch.randn(2, 32), [3, 4], [noise(0), noise(1)]
    pipeline = reference(
        sdxl_parts,
        StableDiffusionXLControlNetPipeline,
        controlnet=ControlNetModel.from_pretrained(sdxl_parts["controlnet"], variant="fp16"),
        vae=AutoencoderKL.from_pretrained(sdxl_parts["sdxl_vae"]),
    )
    maps = depth.depth.maps(pictures, FEW.size).permute(0, 2, 3, 1).mul(255).round().byte().numpy()
    theirs = one_by_one(
        pipeline,
        embeds,
        seeds,
        negative_prompt="",
        images=[Image.fromarray(one) for one in maps],
        controlnet_conditioning_scale=0.5,
    )
    ours = depth.render_arrays(embeds, seeds, FEW, None, pictures)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=4), st.sampled_from([0.0, 1.0, 5.0]))
@settings(max_examples=4, deadline=None)
def test_a_batch_renders_what_its_members_render_alone(
    engine: Engine, seeds: list[int], guidance: float
):
    embeds, pictures = torch.randn(len(seeds), 32), [noise(seed) for seed in seeds]
    few = DecoderSettings(2, guidance, 64)
    plain, deep = engine.renderer("ip_adapter"), engine.renderer("depth")
    together = plain.render(embeds, seeds, few), deep.render(embeds, seeds, few, None, pictures)
    for i, seed in enumerate(seeds):
        row = embeds[i : i + 1]
        alone = (
            plain.render(row, [seed], few),
            deep.render(row, [seed], few, None, pictures[i : i + 1]),
        )
        for many, (one,) in zip(together, alone, strict=True):
            difference = np.asarray(many[i], dtype=int) - np.asarray(one, dtype=int)
            assert abs(difference).max() <= 1


def test_the_embedding_and_the_depth_both_show(depth: DepthRenderer):
    embeds, pictures = torch.randn(2, 32), [noise(0), noise(1)]

    def render(embed: int, picture: int) -> np.ndarray:
        rows = embeds[embed : embed + 1]
        return depth.render_arrays(rows, [0], FEW, None, [pictures[picture]])

    base = render(0, 0)
    assert abs(render(1, 0) - base).max() > 0.01
    assert abs(render(0, 1) - base).max() > 0.01


def test_more_than_a_batch_is_rendered_in_turns(
    ip_adapter: IPAdapterRenderer, monkeypatch: pytest.MonkeyPatch
):
    embeds, seeds = torch.randn(3, 32), [0, 1, 2]
    whole = ip_adapter.render_arrays(embeds, seeds, FEW)
    monkeypatch.setattr("pops.render.sdxl.BATCH_PIXELS", 2 * 64 * 64)
    seen: list[tuple[str, int, int]] = []
    turns = ip_adapter.render_arrays(embeds, seeds, FEW, lambda *step: seen.append(step))
    np.testing.assert_allclose(turns, whole, rtol=0, atol=1e-4)
    assert seen == [("render", done, 4) for done in (1, 2, 3, 4)]


def test_both_renderers_share_one_sdxl(ip_adapter: IPAdapterRenderer, depth: DepthRenderer):
    assert ip_adapter.sdxl is depth.sdxl
    assert depth.pipeline.unet is ip_adapter.sdxl.pipeline.unet
    assert depth.pipeline.text_encoder is None  # the only prompt is encoded already


def test_depth_maps_fill_the_range_and_are_taken_once(
    depth: DepthRenderer, monkeypatch: pytest.MonkeyPatch
):
    calls: list[Any] = []
    take = depth.depth._map
    monkeypatch.setattr(
        depth.depth, "_map", lambda picture, size: calls.append(size) or take(picture, size)
    )
    first, second = noise(0), noise(1)
    maps = depth.depth.maps([first, first, second], 48)
    assert (maps.shape, len(calls)) == ((3, 3, 48, 48), 2)
    torch.testing.assert_close(maps[0], maps[1])
    torch.testing.assert_close(maps.amin((1, 2, 3)), torch.zeros(3))
    torch.testing.assert_close(maps.amax((1, 2, 3)), torch.ones(3))


def test_a_flat_picture_has_a_finite_depth(depth: DepthRenderer):
    assert depth.depth.maps([Image.new("RGB", (40, 40), "grey")], 64).isfinite().all()


def test_no_embeddings_are_no_pictures(engine: Engine):
    none = torch.zeros(0, 32)
    assert engine.renderer("ip_adapter").render(none, [], FEW) == []
    assert engine.renderer("depth").render(none, [], FEW, None, []) == []


@pytest.mark.parametrize(("steps", "size"), [(0, 64), (1001, 64), (2, 0), (2, 60)])
def test_steps_and_sizes_that_do_not_fit_are_refused(
    ip_adapter: IPAdapterRenderer, steps: int, size: int
):
    with pytest.raises(UsageError, match="multiple of 8|between 1 and 1000"):
        ip_adapter.render(torch.zeros(1, 32), [0], DecoderSettings(steps, 5.0, size))


def test_the_published_settings_are_its_own(ip_adapter: IPAdapterRenderer):
    assert ip_adapter.settings == DecoderSettings(50, 5.0, 1024)


def test_an_unknown_renderer_is_answered_with_the_nearest(engine: Engine):
    with pytest.raises(UsageError, match="did you mean ip_adapter"):
        find_renderer("ipadapter")


def test_the_engine_wants_a_picture_for_each_depth_and_none_otherwise(engine: Engine):
    made = Embeddings(torch.zeros(2, 32))
    with pytest.raises(UsageError, match="takes no depth"):
        engine.render(made, renderer="ip_adapter", depth_of=[noise(0)] * 2)
    with pytest.raises(UsageError, match="1 were given for 2"):
        engine.render(made, renderer="depth", depth_of=[noise(0)])
    with pytest.raises(UsageError, match="0 were given for 2"):
        engine.render(made, renderer="depth")


def test_the_depth_of_an_embedding_is_that_of_its_render(engine: Engine):
    made, source = Embeddings(torch.randn(1, 32)), torch.randn(32)
    drawn = engine.render(Embeddings(source[None]), seeds=[0])
    pictures = [
        engine.render(made, seeds=[5], steps=2, size=64, renderer="depth", depth_of=[of])[0]
        for of in (source, drawn[0])
    ]
    assert pictures[0].tobytes() == pictures[1].tobytes()


def test_every_seed_keeps_the_depth_of_its_own_input(engine: Engine):
    made, sources = Embeddings(torch.randn(2, 32)), [noise(0), noise(1)]
    options: dict[str, Any] = {"steps": 2, "size": 64, "renderer": "depth"}
    many = engine.render(made, seeds=[0, 1], depth_of=sources, **options)
    for i in range(2):
        (one,) = engine.render(made[i], seeds=[1], depth_of=[sources[i]], **options)
        assert abs(np.asarray(many[2 * i + 1], int) - np.asarray(one, int)).max() <= 1


@pytest.fixture
def own_parts(tmp_path: Path, sdxl_parts: Parts) -> Parts:
    """Parts that a test may damage."""
    return {name: Path(shutil.copytree(part, tmp_path / name)) for name, part in sdxl_parts.items()}


@pytest.fixture
def load(stack_parts: Parts) -> Iterator[Any]:
    def loaded(parts: Parts, renderer: str = "ip_adapter") -> Any:
        return Engine.load("pocket", "cpu", **stack_parts, **parts).renderer(renderer)

    yield loaded


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.target,)


def test_a_malicious_adapter_is_refused_and_nothing_runs(
    own_parts: Parts, tmp_path: Path, load: Any
):
    path = own_parts["ip_adapter"] / "sdxl_models" / "ip-adapter_sdxl.bin"
    for write in (torch.save, lambda evil, at: at.write_bytes(pickle.dumps(evil))):
        write({"image_proj": Malicious(tmp_path / "touched"), "ip_adapter": {}}, path)
        with pytest.raises(WeightsError, match=r"ip-adapter_sdxl\.bin"):
            load(own_parts)
    assert not (tmp_path / "touched").exists()


def test_a_malicious_depth_model_is_refused_and_nothing_runs(
    own_parts: Parts, tmp_path: Path, load: Any
):
    torch.save({"w": Malicious(tmp_path / "touched")}, own_parts["dpt"] / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="dpt"):
        load(own_parts, "depth")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("renderer", "file"),
    [
        ("ip_adapter", "ip_adapter/sdxl_models/ip-adapter_sdxl.bin"),
        ("ip_adapter", "sdxl/unet/diffusion_pytorch_model.fp16.safetensors"),
        ("ip_adapter", "sdxl/text_encoder_2/model.fp16.safetensors"),
        ("ip_adapter", "sdxl/tokenizer/tokenizer.json"),
        ("ip_adapter", "sdxl/scheduler/scheduler_config.json"),
        ("depth", "controlnet/config.json"),
        ("depth", "dpt/pytorch_model.bin"),
        ("depth", "dpt/preprocessor_config.json"),
        ("depth", "sdxl_vae/diffusion_pytorch_model.safetensors"),
    ],
)
def test_a_part_cut_short_is_named(
    own_parts: Parts, tmp_path: Path, load: Any, renderer: str, file: str
):
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match=str(tmp_path / file.split("/")[0])):
        load(own_parts, renderer)


def test_a_missing_adapter_is_named(own_parts: Parts, load: Any):
    shutil.rmtree(own_parts["ip_adapter"] / "sdxl_models")
    with pytest.raises(WeightsError, match=r"ip-adapter_sdxl\.bin"):
        load(own_parts)


def test_an_adapter_for_other_embeddings_is_refused(own_parts: Parts, load: Any):
    folder = own_parts["ip_adapter"]
    shutil.rmtree(folder)
    tiny_sdxl.write_adapter(folder, tiny_sdxl.make_unet(), dim=48)
    with pytest.raises(UsageError, match="takes embeddings of 48 numbers, but those of pocket"):
        load(own_parts)


def test_a_stack_of_other_embeddings_is_refused_before_a_download(
    stack_parts: Parts, monkeypatch: pytest.MonkeyPatch
):
    def asked(*_: object) -> Path:
        raise AssertionError("asked the hub")

    monkeypatch.setattr("pops.stacks.models.fetch", asked)
    with pytest.raises(UsageError, match="takes embeddings of 1280 numbers"):
        Engine.load("pocket", "cpu", **stack_parts).renderer("depth")


def test_half_precision_renders(stack_parts: Parts, sdxl_parts: Parts):
    engine = Engine.load("pocket", "cpu", "bfloat16", **stack_parts, **sdxl_parts)
    made = Embeddings(torch.randn(1, 32))
    options: dict[str, Any] = {"seeds": [0], "steps": 1, "size": 64}
    (picture,) = engine.render(made, renderer="depth", depth_of=[noise(0)], **options)
    assert picture.size == (64, 64)


@pytest.mark.parametrize("renderer", ["ip_adapter", "depth"])
def test_apply_draws_with_any_renderer(
    renderer: str,
    stack_parts: Parts,
    sdxl_parts: Parts,
    golden: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
):
    stack = tmp_path / "stack"
    stack.mkdir()
    for name, part in (stack_parts | sdxl_parts).items():
        (stack / name).symlink_to(part)
    inputs = [str(golden / "inputs" / f"input_{name}.png") for name in "ab"]
    flags = ["--seeds=1", "--steps=2", "--render-steps=2", "--render-size=64", f"--out={tmp_path}"]
    chosen = [f"--stack={stack}", "--device=cpu", f"--renderer={renderer}"]
    assert cli.main(["apply", "scene", *inputs, *flags, *chosen]) == 0
    assert (tmp_path / "scene_input_a_input_b_s1_r0.png").is_file()
    assert capfd.readouterr().err.count("\n") == 1  # loading, and nothing else


@pytest.mark.parametrize("renderer", ["ip_adapter", "depth"])
def test_run_draws_with_any_renderer(
    renderer: str, stack_parts: Parts, sdxl_parts: Parts, golden: Path, tmp_path: Path
):
    stack = tmp_path / "stack"
    stack.mkdir()
    for name, part in (stack_parts | sdxl_parts).items():
        (stack / name).symlink_to(part)
    a, b = (golden / "inputs" / f"input_{name}.png" for name in "ab")
    text = f"scene(texturing('{a}', '{b}'), '{b}')"
    flags = ["--seeds=1", "--steps=2", "--render-steps=2", "--render-size=64", f"--out={tmp_path}"]
    chosen = [f"--stack={stack}", "--device=cpu", f"--renderer={renderer}"]
    assert cli.main(["run", text, *flags, *chosen]) == 0
    name = "scene_texturing_input_a_input_b_input_b_s1"
    assert (tmp_path / f"{name}_tree.jpg").is_file()
    engine = Engine.load(stack, "cpu")
    made = engine.run(text, seeds=[1], steps=2).embeddings
    depth_of = [a] if renderer == "depth" else None
    (wanted,) = engine.render(
        made, seeds=[0], steps=2, size=64, renderer=renderer, depth_of=depth_of
    )
    with Image.open(tmp_path / f"{name}_r0.png") as drawn:
        assert abs(np.asarray(drawn, int) - np.asarray(wanted, int)).max() <= 1


def test_the_depth_of_a_left_out_input_is_refused(tmp_path: Path, golden: Path):
    picture = str(golden / "inputs" / "input_a.png")
    assert cli.main(["apply", "scene", "_", picture, "--renderer=depth", f"--out={tmp_path}"]) == 2
