"""The decoders that start from a picture draw what diffusers' own pipelines draw."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    KandinskyV22ControlnetPipeline,
    KandinskyV22Img2ImgPipeline,
    KandinskyV22InpaintPipeline,
    UNet2DConditionModel,
    VQModel,
)
from PIL import Image

from benchmarks.models import tiny_sdxl
from pops.cli import main as cli
from pops.engine import Engine
from pops.errors import InputError, UsageError, WeightsError
from pops.io.embeddings import Embeddings
from pops.io.loading import quietly
from pops.settings.rendering import DecoderSettings

Parts = dict[str, Path]
SIZE = 64
FEW = DecoderSettings(steps=4, guidance=4.0, size=SIZE)


def noise(seed: int, size: int = SIZE) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(values)


def half_mask() -> Image.Image:
    mask = np.zeros((SIZE, SIZE), dtype=np.uint8)
    mask[:, SIZE // 2 :] = 255
    return Image.fromarray(mask)


@pytest.fixture(scope="module")
def decoder_parts(
    tmp_path_factory: pytest.TempPathFactory, stack_parts: Parts, golden: Path
) -> Parts:
    """Random decoders for inpainting and depth, as the hub lays them out, and a depth model."""
    root = tmp_path_factory.mktemp("decoders")
    torch.manual_seed(5)
    own = UNet2DConditionModel.load_config(stack_parts["decoder"] / "unet")
    deep = VQModel.load_config(stack_parts["decoder"] / "movq")
    deep |= {  # the hint of a picture's depth is an eighth of its size, and so are latents then
        "block_out_channels": [32] * 4,
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
    }
    parts = {}
    for name, changed in (
        ("inpaint_decoder", {"in_channels": 9}),
        ("depth_decoder", {"addition_embed_type": "image_hint", "in_channels": 8}),
    ):
        parts[name] = root / name
        shutil.copytree(stack_parts["decoder"], parts[name], ignore=lambda *_: ["unet"])
        UNet2DConditionModel.from_config({**own, **changed}).save_pretrained(parts[name] / "unet")
    VQModel.from_config(deep).save_pretrained(parts["depth_decoder"] / "movq")
    parts["dpt"] = root / "dpt"
    with quietly():
        tiny_sdxl._dpt(parts["dpt"])
    return parts


@pytest.fixture(scope="module")
def engine(stack_parts: Parts, decoder_parts: Parts) -> Engine:
    return Engine.load("pocket", "cpu", **stack_parts, **decoder_parts)


def renderer(engine: Engine, name: str) -> Any:
    return engine.renderer(name)


def one_by_one(
    pipeline: Any, engine: Engine, embeds: torch.Tensor, seeds: Sequence[int], **options: Any
) -> np.ndarray:
    negative = engine.stack.image_encoder.zero_embed()
    pipeline.set_progress_bar_config(disable=True)
    hints = options.pop("hints", [None] * len(seeds))
    return np.stack(
        [
            pipeline(
                image_embeds=embed[None],
                negative_image_embeds=negative,
                num_inference_steps=FEW.steps,
                guidance_scale=FEW.guidance,
                height=SIZE,
                width=SIZE,
                generator=torch.Generator().manual_seed(seed),
                output_type="np",
                **({} if hint is None else {"hint": hint}),
                **options,
            ).images[0]
            for embed, seed, hint in zip(embeds, seeds, hints, strict=True)
        ]
    )


def same(ours: np.ndarray, theirs: np.ndarray) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def settings(**options: Any) -> DecoderSettings:
    return DecoderSettings(FEW.steps, FEW.guidance, SIZE, **options)


def test_img2img_draws_as_diffusers_does(engine: Engine):
    embeds, seeds = torch.randn(3, 32), [0, 1, 1]
    stack = engine.stack
    pipeline = KandinskyV22Img2ImgPipeline(*stack.diffusers_decoder())
    theirs = one_by_one(pipeline, engine, embeds, seeds, image=noise(0), strength=0.5)
    ours = renderer(engine, "img2img").render_arrays(
        embeds, seeds, settings(init=noise(0), init_strength=0.5)
    )
    same(ours, theirs)


def test_inpaint_draws_as_diffusers_does(engine: Engine, decoder_parts: Parts):
    embeds, seeds = torch.randn(2, 32), [3, 4]
    with quietly():
        pipeline = KandinskyV22InpaintPipeline.from_pretrained(decoder_parts["inpaint_decoder"])
    pipeline._warn_has_been_called = True
    mask = np.asarray(half_mask(), dtype=np.float32) / 255
    theirs = one_by_one(pipeline, engine, embeds, seeds, image=noise(0), mask_image=mask)
    ours = renderer(engine, "inpaint").render_arrays(
        embeds, seeds, settings(init=noise(0), mask=half_mask())
    )
    same(ours, theirs)


def test_kandinsky_depth_draws_as_diffusers_does(engine: Engine, decoder_parts: Parts):
    embeds, seeds, pictures = torch.randn(2, 32), [5, 6], [noise(0), noise(1)]
    with quietly():
        pipeline = KandinskyV22ControlnetPipeline.from_pretrained(decoder_parts["depth_decoder"])
    ours = renderer(engine, "kandinsky_depth")
    hints = [hint[None] for hint in ours.depth.maps(pictures, SIZE)]
    theirs = one_by_one(pipeline, engine, embeds, seeds, hints=hints)
    same(ours.render_arrays(embeds, seeds, settings(), None, pictures), theirs)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("name", ["img2img", "inpaint", "kandinsky_depth"])
def test_a_batch_draws_what_its_members_draw_alone_in_turns(
    engine: Engine, name: str, guidance: float, monkeypatch: pytest.MonkeyPatch
):
    embeds, seeds, pictures = torch.randn(3, 32), [7, 8, 7], [noise(seed) for seed in range(3)]
    chosen = renderer(engine, name)
    options = {
        "img2img": {"init": noise(9)},
        "inpaint": {"init": noise(9), "mask": half_mask()},
        "kandinsky_depth": {},
    }[name]
    few = DecoderSettings(2, guidance, SIZE, **options)  # type: ignore[arg-type]
    whole = chosen.render_arrays(embeds, seeds, few, None, pictures)
    alone = [
        chosen.render_arrays(embeds[i : i + 1], seeds[i : i + 1], few, None, pictures[i : i + 1])[0]
        for i in range(3)
    ]
    same(whole, np.stack(alone))
    seen: list[tuple[str, int, int]] = []
    monkeypatch.setattr("pops.render.decoders.BATCH_PIXELS", 2 * SIZE**2)
    same(chosen.render_arrays(embeds, seeds, few, lambda *step: seen.append(step), pictures), whole)
    steps = 1 if name == "img2img" else 2
    assert seen == [("render", done, 2 * steps) for done in range(1, 2 * steps + 1)]


def test_little_strength_stays_near_the_picture_and_the_embedding_counts(engine: Engine):
    embeds, init = torch.randn(2, 32), noise(0)
    chosen = renderer(engine, "img2img")

    def draw(row: int, strength: float) -> np.ndarray:
        few = settings(init=init, init_strength=strength)
        made: np.ndarray = chosen.render_arrays(embeds[row : row + 1], [0], few)
        return made

    stack = engine.stack
    pixels = torch.from_numpy(np.asarray(init, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)
    with torch.no_grad():
        *_, movq = stack.diffusers_decoder()
        kept = movq.decode(movq.encode(pixels[None]).latents, force_not_quantize=True)
    there = (kept.sample * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    near, far = (abs(draw(0, s) - there).mean() for s in (0.25, 1.0))
    assert near < far
    assert abs(draw(0, 1.0) - draw(1, 1.0)).max() > 0.01


def test_inpaint_keeps_what_the_mask_does_not_cover(engine: Engine):
    embeds = torch.randn(2, 32)
    few = settings(init=noise(0), mask=half_mask())
    a, b = (
        renderer(engine, "inpaint").render_arrays(embeds[i : i + 1], [i], few)[0] for i in range(2)
    )
    left, right = (
        abs(a - b)[:, part].mean() for part in (slice(SIZE // 4), slice(-SIZE // 4, None))
    )
    assert left < right / 2


def test_what_is_not_given_is_asked_for(engine: Engine):
    made = Embeddings(torch.randn(1, 32))
    for name, options, says in (
        ("img2img", {}, "--init"),
        ("inpaint", {"init": noise(0)}, "--mask"),
        ("img2img", {"init": noise(0), "init_strength": 0.1}, "leaves no step"),
        (
            "img2img",
            {"init": noise(0), "mask": noise(1)},
            "img2img does not take --mask: it takes init",
        ),
        ("kandinsky", {"prompt": "a cat"}, "kandinsky does not take --prompt"),
        ("kandinsky_depth", {}, "keeps the depth of one input"),
        ("img2img", {"init": noise(0), "init_strength": 1.5}, "from 0 to 1"),
        ("img2img", {"init": noise(0), "preset": "turbe"}, "did you mean turbo"),
    ):
        with pytest.raises(UsageError, match=says):
            engine.render(made, renderer=name, steps=2, size=SIZE, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no such file"):
        engine.render(made, renderer="img2img", init="nowhere.png")


def test_a_decoder_for_other_embeddings_is_refused(
    stack_parts: Parts, decoder_parts: Parts, golden: Path, monkeypatch: pytest.MonkeyPatch
):
    def asked(*_: object) -> Path:
        raise AssertionError("asked the hub")

    monkeypatch.setattr("pops.stacks.models.fetch", asked)
    for name in ("inpaint", "kandinsky_depth"):
        with pytest.raises(UsageError, match="takes embeddings of 1280 numbers"):
            Engine.load("pocket", "cpu", **stack_parts).renderer(name)
    shipped = Engine.load("pocket", "cpu", **decoder_parts)
    with pytest.raises(WeightsError, match="takes embeddings of 32 numbers"):
        shipped.renderer("inpaint")


def test_half_precision_draws(stack_parts: Parts, decoder_parts: Parts):
    engine = Engine.load("pocket", "cpu", "bfloat16", **stack_parts, **decoder_parts)
    made = Embeddings(torch.randn(1, 32))
    for name, options in (
        ("img2img", {"init": noise(0)}),
        ("inpaint", {"init": noise(0), "mask": half_mask()}),
        ("kandinsky_depth", {"depth_of": [noise(0)]}),
    ):
        (picture,) = engine.render(
            made,
            renderer=name,
            seeds=[0],
            steps=2,
            size=SIZE,
            **options,  # type: ignore[arg-type]
        )
        assert picture.size == (SIZE, SIZE)


def test_the_pocket_stack_changes_a_picture_by_the_command(tmp_path: Path):
    inputs = ["assets/objects/mug.png", "assets/textures/wood.png"]
    init = "assets/objects/mug.png"
    flags = ["--seeds=1", "--render_steps=4", f"--init={init}", "--init_strength=0.5"]
    out = [f"--out={tmp_path}", "--renderer=img2img", "--device=cpu"]
    assert cli.main(["apply", "texturing", *inputs, *flags, *out]) == 0
    assert [p.suffix for p in sorted(tmp_path.iterdir())] == [".jpg", ".safetensors", ".png"]
    assert cli.main(["apply", "texturing", *inputs, *out, "--init=nowhere.png"]) == 1
