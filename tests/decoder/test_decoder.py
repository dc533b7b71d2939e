"""The decoder gives what diffusers' models and scheduler give, key for key."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel, VQModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pops.decoder.movq import MoVQ, MoVQConfig
from pops.decoder.scheduler import DecoderScheduler
from pops.decoder.unet import UNet, UNetConfig
from pops.errors import WeightsError

DOWN = ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D")
UP = ("ResnetUpsampleBlock2D", "SimpleCrossAttnUpBlock2D")


def unets(down: tuple[int, ...], up: tuple[int, ...], layers: int) -> tuple[UNet, Any]:
    theirs = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=8,
        down_block_types=tuple(DOWN[i] for i in down),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=tuple(UP[i] for i in up),
        block_out_channels=(32, 64, 96)[: len(down)],
        layers_per_block=layers,
        attention_head_dim=8,
        cross_attention_dim=16,
        encoder_hid_dim=12,
        encoder_hid_dim_type="image_proj",
        addition_embed_type="image",
        resnet_time_scale_shift="scale_shift",
    ).eval()
    ours = UNet(UNetConfig.from_dict(json.loads(theirs.to_json_string()))).eval()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize(
    ("down", "up", "layers"), [((0, 1, 1), (1, 1, 0), 2), ((1, 0), (0, 1), 1), ((1,), (1,), 3)]
)
@torch.inference_mode()
def test_the_unet_predicts_what_that_of_diffusers_does(
    down: tuple[int, ...], up: tuple[int, ...], layers: int
):
    ours, theirs = unets(down, up, layers)
    x, embeds = torch.randn(2, 4, 8, 8), torch.randn(2, 12)
    condition = ours.condition(embeds)
    for t in (0, 37, 999):
        wanted = theirs(
            x, t, encoder_hidden_states=None, added_cond_kwargs={"image_embeds": embeds}
        ).sample
        torch.testing.assert_close(
            ours(x, torch.tensor(t), condition), wanted, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("kinds", [("Up", "AttnUp", "Up"), ("AttnUp",)])
@torch.inference_mode()
def test_the_movq_draws_what_that_of_diffusers_does(kinds: tuple[str, ...]):
    theirs = VQModel(
        down_block_types=("DownEncoderBlock2D",) * len(kinds),
        up_block_types=tuple(f"{kind}DecoderBlock2D" for kind in kinds),
        block_out_channels=(32, 64, 96)[: len(kinds)],
        latent_channels=5,
        num_vq_embeddings=8,
        layers_per_block=2,
        norm_type="spatial",
    ).eval()
    ours = MoVQ(MoVQConfig.from_dict(json.loads(theirs.to_json_string()))).eval()
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith(MoVQ.ENCODER)}
    ours.load_state_dict(state)
    latents = torch.randn(2, 5, 4, 4)
    wanted = theirs.decode(latents, force_not_quantize=True).sample
    torch.testing.assert_close(ours(latents), wanted, rtol=1e-5, atol=1e-5)


CONFIGS = st.fixed_dictionaries(
    {
        "num_train_timesteps": st.sampled_from([50, 1000]),
        "beta_schedule": st.sampled_from(["linear", "scaled_linear", "squaredcos_cap_v2"]),
        "prediction_type": st.sampled_from(["epsilon", "sample", "v_prediction"]),
        "variance_type": st.sampled_from(
            ["fixed_small", "fixed_small_log", "fixed_large", "learned", "learned_range"]
        ),
        "clip_sample": st.booleans(),
        "clip_sample_range": st.floats(0.1, 3),
        "timestep_spacing": st.sampled_from(["linspace", "leading", "trailing"]),
        "steps_offset": st.sampled_from([0, 1]),
    }
)


@given(config=CONFIGS, steps=st.integers(1, 20), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_scheduler_steps_as_that_of_diffusers_does(
    config: dict[str, Any], steps: int, seed: int
):
    theirs = DDPMScheduler(**config)
    ours = DecoderScheduler.from_dict(theirs.config)
    theirs.set_timesteps(steps)
    levels = ours.timesteps(steps)
    assert levels == theirs.timesteps.tolist()
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 3, 4, 4, generator=generator)
    outputs = [torch.rand(2, 6, 4, 4, generator=generator) for _ in levels]
    mine = yours = x
    draws = torch.Generator().manual_seed(seed)
    for t, before, output in zip(levels, [*levels[1:], -1], outputs, strict=True):
        noise = torch.randn(x.shape, generator=generator) if t > 0 else None
        mine = ours.step(output, t, before, mine, noise)
        yours = by_diffusers(theirs, output, t, yours, noise, draws)
    torch.testing.assert_close(mine, yours, rtol=1e-5, atol=1e-5)


def by_diffusers(
    scheduler: DDPMScheduler,
    output: Tensor,
    t: int,
    x: Tensor,
    noise: Tensor | None,
    draws: torch.Generator,
) -> Tensor:
    """Take a step of diffusers' scheduler, whose noise is that given."""
    if scheduler.variance_type not in ("learned", "learned_range"):
        output = output[:, :3]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: noise)
        made: Tensor = scheduler.step(output, t, x, generator=draws, return_dict=False)[0]
    return made


PUBLISHED = Path(__file__).parents[1] / "data" / "kandinsky-2.2" / "decoder"


def test_the_published_configs_are_read():
    unet, movq = UNetConfig.read(PUBLISHED / "unet"), MoVQConfig.read(PUBLISHED / "movq")
    assert (unet.encoder_hid_dim, unet.cross_attention_dim, unet.layers_per_block) == (1280, 768, 3)
    assert unet.attends("down_block_types") == [False, True, True, True]
    assert movq.attends("up_block_types") == [True, False, False, False]
    scheduler = DecoderScheduler.read(PUBLISHED / "scheduler")
    assert (scheduler.beta_end, scheduler.clip_sample, scheduler.steps_offset) == (0.012, True, 1)
    with torch.device("meta"):
        assert sum(p.numel() for p in UNet(unet).parameters()) == 1_253_057_288


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (UNetConfig, "act_fn", "gelu"),
        (UNetConfig, "addition_embed_type", "image_hint"),
        (UNetConfig, "attention_head_dim", [8, 8]),
        (UNetConfig, "up_block_types", ["UpBlock2D", "UpBlock2D"]),
        (UNetConfig, "block_out_channels", [32]),
        (MoVQConfig, "norm_type", "group"),
        (MoVQConfig, "layers_per_block", 0),
        (DecoderScheduler, "thresholding", True),
        (DecoderScheduler, "beta_schedule", "sigmoid"),
        (DecoderScheduler, "num_train_timesteps", 10**9),
    ],
)
def test_a_variant_that_is_not_supported_is_named(
    golden: Path, kind: Any, field: str, value: object
):
    name = {UNetConfig: "unet", MoVQConfig: "movq", DecoderScheduler: "scheduler"}[kind]
    (path,) = (golden / "kandinsky-tiny-decoder" / name).glob("*config.json")
    config = json.loads(path.read_text())
    assert kind.from_dict(config)
    with pytest.raises(WeightsError, match=rf"some\.json: .*{field}|some\.json: .* levels"):
        kind.from_dict(config | {field: value}, "some.json")
