from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, KandinskyV22Pipeline, UNet2DConditionModel, VQModel
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pops.decoder.movq import MoVQ, MoVQConfig
from pops.decoder.scheduler import DecoderScheduler
from pops.decoder.unet import UNet, UNetConfig
from pops.engine import Engine
from pops.errors import UsageError, WeightsError
from pops.io.machine.placement import Placement
from pops.render.kandinsky import KandinskyRenderer
from pops.settings.rendering import DecoderSettings
from pops.stacks.stack import open_stack

Expected = dict[str, torch.Tensor]
FEW = DecoderSettings(steps=2, guidance=4.0, size=32)


@pytest.fixture(scope="module")
def renderer(engine: Engine) -> KandinskyRenderer:
    found = engine.renderer()
    assert isinstance(found, KandinskyRenderer)
    return found


def test_golden_renders_come_out(
    renderer: KandinskyRenderer, cases: dict[str, list[dict[str, Any]]], expected: Expected
):
    renders = cases["renders"]
    embeds = torch.cat([expected[case["embedding"]] for case in renders])
    arrays = renderer.render_arrays(
        embeds,
        [case["unet_seed"] for case in renders],
        DecoderSettings(steps=10, guidance=4.0, size=32),
    )
    for array, case in zip(arrays, renders, strict=True):
        np.testing.assert_allclose(array, expected[case["name"]].numpy(), rtol=0, atol=1e-3)


def test_a_golden_render_alone_comes_out(renderer: KandinskyRenderer, expected: Expected):
    (array,) = renderer.render_arrays(expected["mean/ab"], [1], DecoderSettings(10, 4.0, 32))
    np.testing.assert_allclose(array, expected["render/ab_u1"].numpy(), rtol=0, atol=1e-3)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4))
@settings(max_examples=4, deadline=None)
def test_a_batch_renders_what_its_members_render_alone(engine: Engine, seeds: list[int]):
    renderer = engine.renderer()
    assert isinstance(renderer, KandinskyRenderer)
    embeds = torch.randn(len(seeds), 32)
    together = renderer.render_arrays(embeds, seeds, FEW)
    for i, seed in enumerate(seeds):
        alone = renderer.render_arrays(embeds[i : i + 1], [seed], FEW)
        np.testing.assert_allclose(together[i], alone[0], rtol=0, atol=1e-4)


def test_more_than_a_batch_is_rendered_in_turns(
    renderer: KandinskyRenderer, monkeypatch: pytest.MonkeyPatch
):
    embeds, seeds = torch.randn(3, 32), [0, 1, 2]
    whole = renderer.render_arrays(embeds, seeds, FEW)
    monkeypatch.setattr("pops.render.kandinsky.MOST_IN_A_BATCH", 2)
    seen: list[tuple[str, int, int]] = []
    turns = renderer.render_arrays(embeds, seeds, FEW, lambda *step: seen.append(step))
    np.testing.assert_allclose(turns, whole, rtol=0, atol=1e-4)
    assert seen == [("render", done, 4) for done in (1, 2, 3, 4)]


def small_decoder(variance_type: str, prediction_type: str) -> tuple[Any, ...]:
    """A decoder with four MoVQ levels, 64 pixels to 8 x 8 latents."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=8,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        block_out_channels=(32, 32),
        layers_per_block=1,
        attention_head_dim=8,
        cross_attention_dim=16,
        encoder_hid_dim=16,
        encoder_hid_dim_type="image_proj",
        addition_embed_type="image",
        resnet_time_scale_shift="scale_shift",
    )
    movq = VQModel(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 32, 32),
        latent_channels=4,
        vq_embed_dim=4,
        num_vq_embeddings=8,
        norm_num_groups=8,
        norm_type="spatial",
    )
    scheduler = DDPMScheduler(
        variance_type=variance_type,
        prediction_type=prediction_type,
        clip_sample=False,
        beta_start=0.00085,  # as published
        beta_end=0.012,
    )
    return unet.eval(), movq.eval(), scheduler


def own(parts: tuple[Any, ...]) -> tuple[UNet, MoVQ, DecoderScheduler]:
    """Make the models of pops from those of diffusers."""
    unet, movq, scheduler = parts
    ours = UNet(UNetConfig.from_dict(unet.config)), MoVQ(MoVQConfig.from_dict(movq.config))
    for model, other in zip(ours, (unet, movq), strict=True):
        state = other.state_dict()
        model.load_state_dict({key: state[key] for key in model.state_dict()})
        model.eval().to(other.dtype)
    return *ours, DecoderScheduler.from_dict(scheduler.config)


def by_diffusers(parts: tuple[Any, ...], embeds: torch.Tensor, seeds: Sequence[int]) -> np.ndarray:
    unet, movq, scheduler = parts
    for model in (unet, movq):  # sums are taken in another order there
        model.to(memory_format=torch.channels_last)
    pipeline = KandinskyV22Pipeline(unet, scheduler, movq)
    pipeline.set_progress_bar_config(disable=True)
    arrays: np.ndarray = pipeline(
        image_embeds=embeds,
        negative_image_embeds=torch.zeros(len(embeds), 16),
        height=64,
        width=64,
        num_inference_steps=3,
        guidance_scale=4.0,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        output_type="np",
    ).images
    return arrays


@pytest.mark.parametrize("variance_type", ["learned_range", "fixed_small"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_any_scheduler_renders_as_diffusers_does(variance_type: str, prediction_type: str):
    parts = small_decoder(variance_type, prediction_type)
    embeds, seeds = torch.randn(2, 16), [3, 4]
    ours = KandinskyRenderer(*own(parts), torch.zeros(1, 16))
    arrays = ours.render_arrays(embeds, seeds, DecoderSettings(3, 4.0, 64))
    np.testing.assert_allclose(arrays, by_diffusers(parts, embeds, seeds), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("device", "last"), [("cpu", True), ("cuda", True), ("mps", False)])
def test_convolutions_read_the_channels_of_a_pixel_side_by_side_where_it_pays(
    device: str, last: bool
):
    unet, movq, scheduler = own(small_decoder("fixed_small", "epsilon"))
    placement = Placement(torch.device(device))  # nothing is moved until it is used
    ours = KandinskyRenderer(unet, movq, scheduler, torch.zeros(1, 16), placement=placement)
    for model in (ours.unet, ours.movq):
        wide = [p for p in model.parameters() if p.ndim == 4 and p.shape[1] > 1 < p.shape[2]]
        assert wide
        assert {p.is_contiguous(memory_format=torch.channels_last) for p in wide} == {last}


@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_guidance_of_one_or_less_never_asks_for_the_negative(guidance: float):
    unet, movq, scheduler = own(small_decoder("fixed_small", "v_prediction"))
    settings = DecoderSettings(2, guidance, 64)
    renders = [
        KandinskyRenderer(unet, movq, scheduler, negative).render_arrays(
            torch.ones(1, 16), [0], settings
        )
        for negative in (torch.zeros(1, 16), torch.full((1, 16), 9.0))
    ]
    np.testing.assert_allclose(*renders, rtol=0, atol=0)


def test_a_unet_that_predicts_no_variance_does_not_fit_a_scheduler_that_takes_it():
    unet, movq, scheduler = own(small_decoder("learned_range", "epsilon"))
    unet.config = replace(unet.config, out_channels=4)
    with pytest.raises(WeightsError, match="predicts 4 channels, but its scheduler needs 8"):
        KandinskyRenderer(unet, movq, scheduler, torch.zeros(1, 16))


def test_pictures_are_of_the_size_asked_for(renderer: KandinskyRenderer):
    (picture,) = renderer.render(torch.zeros(1, 32), [0], DecoderSettings(1, 1.0, 48))
    assert (picture.size, picture.mode) == ((48, 48), "RGB")


def test_a_size_that_the_decoder_does_not_know_is_made_of_one_that_it_knows(
    renderer: KandinskyRenderer, caplog: pytest.LogCaptureFixture
):
    parts = (renderer.unet, renderer.movq, renderer.scheduler, renderer.negative)
    own = KandinskyRenderer(*parts, sizes=(32, 48))
    embeds, few = torch.randn(2, 32), DecoderSettings(steps=2, guidance=4.0, size=40)
    large = own.render_arrays(embeds, [0, 1], few)
    assert large.shape == (2, 40, 40, 3) and large.min() >= 0 and large.max() <= 1
    assert caplog.messages == [
        "rendered at 32 pixels, which this decoder was trained to draw, and scaled"
    ]
    known = own.render_arrays(embeds, [0, 1], replace(few, size=32))
    assert len(caplog.messages) == 1
    for one, small in zip(large, known, strict=True):
        channels = [Image.fromarray(small[..., c]).resize((40, 40)) for c in range(3)]
        by_pillow = np.stack([np.asarray(channel) for channel in channels], -1).clip(0, 1)
        assert np.abs(one - by_pillow).mean() < 0.02


def test_the_pocket_decoder_says_that_it_draws_one_size():
    stack = open_stack("pocket", device="cpu")
    assert stack.render_sizes == (stack.render_settings.size,)


@pytest.mark.parametrize("size", [0, -4, 33])
def test_a_size_the_decoder_cannot_make_is_refused(renderer: KandinskyRenderer, size: int):
    with pytest.raises(UsageError, match="multiple of 4"):
        renderer.render(torch.zeros(1, 32), [0], DecoderSettings(2, 4.0, size))


@pytest.mark.parametrize("steps", [0, 1001])
def test_steps_out_of_range_are_refused(renderer: KandinskyRenderer, steps: int):
    with pytest.raises(UsageError, match="between 1 and 1000"):
        renderer.render(torch.zeros(1, 32), [0], DecoderSettings(steps, 4.0, 32))


def test_no_embeddings_are_no_pictures(renderer: KandinskyRenderer):
    assert renderer.render(torch.zeros(0, 32), [], FEW) == []


def test_one_seed_for_each_embedding_is_asked_for(renderer: KandinskyRenderer):
    with pytest.raises(ValueError, match="1 seeds for 2 embeddings"):
        renderer.render(torch.zeros(2, 32), [0], FEW)


def test_batches_halve_where_the_memory_is_too_small(
    renderer: KandinskyRenderer, monkeypatch: pytest.MonkeyPatch
):
    embeds, seeds = torch.randn(4, 32), [0, 1, 2, 3]
    whole = renderer.render_arrays(embeds, seeds, FEW)
    latents, drawn = KandinskyRenderer._latents, []

    def at_most_two(self: KandinskyRenderer, rows: torch.Tensor, *rest: Any) -> torch.Tensor:
        drawn.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return latents(self, rows, *rest)

    monkeypatch.setattr(KandinskyRenderer, "_latents", at_most_two)
    np.testing.assert_allclose(renderer.render_arrays(embeds, seeds, FEW), whole, rtol=0, atol=1e-4)
    assert drawn == [4, 2, 2]
