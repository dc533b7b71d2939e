"""Checkpoints of SDXL of one's own, prompts, presets and the revision renderer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionXLPipeline
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from benchmarks.models import tiny_sdxl
from pops.engine import Engine
from pops.errors import UsageError, WeightsError
from pops.io.embeddings import Embeddings
from pops.io.loading import quietly
from pops.render.sdxl import UNWANTED
from pops.settings.rendering import PRESETS, DecoderSettings, RenderSettings
from tests.render.ldm import write_checkpoint
from tests.render.test_sdxl import reference

# diffusers' Euler scheduler makes a numpy array of a tensor in the old way.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*upcast_vae.*:FutureWarning"),
]

Parts = dict[str, Path]
SIZE = 64
PROMPT = "a shiny cat"


@pytest.fixture(scope="module")
def sdxl_parts(tmp_path_factory: pytest.TempPathFactory, golden: Path) -> Parts:
    """Parts as the hub lays them out; the two text encoders differ in width, as SDXL's do."""
    tokenizer = golden / "kandinsky-tiny-prior" / "tokenizer"
    root = tmp_path_factory.mktemp("sdxl")
    with quietly():
        parts = tiny_sdxl.make_all(root, tokenizer)
        pipeline = StableDiffusionXLPipeline.from_pretrained(parts["sdxl"], variant="fp16")
        first, second = (text_config(width) for width in (24, 40))
        pipeline.register_modules(
            text_encoder=CLIPTextModel(first).eval(),
            text_encoder_2=CLIPTextModelWithProjection(second).eval(),
        )
        pipeline.save_pretrained(parts["sdxl"], variant="fp16")
    write_checkpoint(pipeline, root / "mine.safetensors")
    return parts | {"sdxl_config": parts["sdxl"]}


def text_config(width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=76,
        hidden_size=width,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=tiny_sdxl.DIM,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


@pytest.fixture(scope="module")
def engine(stack_parts: Parts, sdxl_parts: Parts) -> Engine:
    return Engine.load("pocket", "cpu", **stack_parts | sdxl_parts)


def settings(**options: Any) -> DecoderSettings:
    return DecoderSettings(2, 5.0, SIZE, **options)


def arrays(engine: Engine, name: str, *given: Any) -> np.ndarray:
    chosen: Any = engine.renderer(name)
    made: np.ndarray = chosen.render_arrays(*given)
    return made


def plain(parts: Parts) -> Any:
    with quietly():
        pipeline = StableDiffusionXLPipeline.from_pretrained(
            parts["sdxl"], variant="fp16", add_watermarker=False
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def adapted(pipeline: Any, embed: torch.Tensor, guidance: float = 5.0, **options: Any) -> Any:
    pair = torch.stack([torch.zeros_like(embed), embed])[:, None]  # (2, 1, D)
    return pipeline(
        ip_adapter_image_embeds=[pair if guidance > 1 else pair[1:]],
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(3),
        height=SIZE,
        width=SIZE,
        output_type="np",
        **options,
    ).images


def same(ours: np.ndarray, theirs: np.ndarray) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def test_prompt_and_scale_are_those_of_diffusers(engine: Engine, sdxl_parts: Parts):
    embeds = torch.randn(2, 32)
    pipeline = reference(sdxl_parts, StableDiffusionXLPipeline)
    pipeline.set_ip_adapter_scale(0.4)
    options = {"prompt": PROMPT, "negative_prompt": UNWANTED, "num_inference_steps": 2}
    theirs = np.concatenate([adapted(pipeline, embed, **options) for embed in embeds])
    few = settings(prompt=PROMPT, ip_adapter_scale=0.4)
    same(arrays(engine, "ip_adapter", embeds, [3, 3], few), theirs)
    same(arrays(engine, "ip_adapter", embeds[:1], [3], settings()), _published(sdxl_parts, embeds))


def _published(parts: Parts, embeds: torch.Tensor) -> Any:
    """Draw without either, to see that neither has stayed behind."""
    pipeline = reference(parts, StableDiffusionXLPipeline)
    options = {"prompt": "", "negative_prompt": UNWANTED, "num_inference_steps": 2}
    return adapted(pipeline, embeds[0], **options)


def test_a_preset_has_the_steps_and_the_scheduler_of_its_checkpoints(
    engine: Engine, sdxl_parts: Parts
):
    asked = RenderSettings(renderer="ip_adapter", preset="turbo", size=SIZE)
    filled = asked.over(engine.renderer("ip_adapter").settings)
    assert (filled.steps, filled.guidance, filled.size) == (6, 0.0, SIZE)
    embeds = torch.randn(1, 32)
    pipeline = reference(sdxl_parts, StableDiffusionXLPipeline)
    pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="trailing"
    )
    theirs = adapted(pipeline, embeds[0], 0.0, prompt="", num_inference_steps=6)
    before = engine.renderer("ip_adapter").sdxl.scheduler  # type: ignore[attr-defined]
    same(arrays(engine, "ip_adapter", embeds, [3], filled), theirs)
    pipe = engine.renderer("ip_adapter").sdxl.pipeline  # type: ignore[attr-defined]
    assert pipe.scheduler is before
    for name in PRESETS:
        few = RenderSettings(renderer="ip_adapter", preset=name, size=SIZE, steps=2)
        filled = few.over(engine.renderer("ip_adapter").settings)
        assert np.isfinite(arrays(engine, "ip_adapter", embeds, [3], filled)).all()


@pytest.mark.parametrize("prompt", ["", PROMPT])
def test_revision_puts_the_embedding_where_diffusers_takes_the_prompt_s(
    engine: Engine, sdxl_parts: Parts, prompt: str
):
    embeds, seeds = torch.randn(2, 32), [3, 4]
    pipeline = plain(sdxl_parts)
    tokens = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False)[0]
    zeros = torch.zeros_like(tokens)
    theirs = [
        pipeline(
            prompt_embeds=tokens if prompt else zeros,
            negative_prompt_embeds=zeros,
            pooled_prompt_embeds=embed[None],
            negative_pooled_prompt_embeds=torch.zeros_like(embed)[None],
            guidance_scale=5.0,
            num_inference_steps=2,
            height=SIZE,
            width=SIZE,
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
        ).images[0]
        for embed, seed in zip(embeds, seeds, strict=True)
    ]
    few = settings(prompt=prompt)
    same(arrays(engine, "revision", embeds, seeds, few), np.stack(theirs))
    engine.renderer("ip_adapter")  # which puts its adapter into the shared UNet
    same(arrays(engine, "revision", embeds, seeds, few), np.stack(theirs))


def test_a_single_file_draws_what_its_folder_draws(
    engine: Engine, stack_parts: Parts, sdxl_parts: Parts
):
    file = sdxl_parts["sdxl"].parent / "mine.safetensors"
    single = Engine.load("pocket", "cpu", **stack_parts | sdxl_parts | {"sdxl": file})
    embeds = torch.randn(1, 32)
    for name in ("revision", "ip_adapter"):
        few = settings(prompt=PROMPT)
        wanted = arrays(engine, name, embeds, [5], few)
        same(arrays(single, name, embeds, [5], few), wanted)


def test_a_file_that_is_no_checkpoint_is_named(stack_parts: Parts, sdxl_parts: Parts):
    root = sdxl_parts["sdxl"].parent
    (root / "cut.safetensors").write_bytes((root / "mine.safetensors").read_bytes()[:9000])
    weights = stack_parts["decoder"] / "unet" / "diffusion_pytorch_model.safetensors"
    for file in (root / "cut.safetensors", root / "none.safetensors", weights):
        single = Engine.load("pocket", "cpu", **stack_parts | sdxl_parts | {"sdxl": file})
        with pytest.raises(WeightsError, match=file.name):
            single.renderer("revision")


def test_revision_of_a_stack_of_other_embeddings_asks_no_hub(
    stack_parts: Parts, monkeypatch: pytest.MonkeyPatch
):
    def asked(*_: object) -> Path:
        raise AssertionError("asked the hub")

    monkeypatch.setattr("pops.stacks.models.fetch", asked)
    with pytest.raises(UsageError, match="pooled prompt of SDXL takes embeddings of 1280"):
        Engine.load("pocket", "cpu", **stack_parts).renderer("revision")


def test_options_are_refused_by_renderers_that_do_not_follow_them(engine: Engine):
    made = Embeddings(torch.randn(1, 32))
    with pytest.raises(
        UsageError, match="revision does not take --ip_adapter_scale: it takes preset"
    ):
        engine.render(made, renderer="revision", ip_adapter_scale=0.5)
    with pytest.raises(
        UsageError, match="kandinsky does not take --preset: it takes no such options"
    ):
        engine.render(made, preset="turbo")
