"""The image encoder and its processor give what those of transformers give, key for key."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

from pops.errors import WeightsError
from pops.stacks.clip import ImageEncoder, picture_pixels
from pops.stacks.vision import ImageProcessor, VisionConfig, VisionEncoder

PUBLISHED = Path(__file__).parents[1] / "data" / "kandinsky-2.2" / "prior"


@pytest.mark.parametrize("act", ["gelu", "quick_gelu"])
@torch.inference_mode()
def test_pictures_are_encoded_as_transformers_does(act: str):
    config = {
        "hidden_size": 24,
        "intermediate_size": 40,
        "projection_dim": 10,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "image_size": 20,
        "patch_size": 6,  # which does not divide it
        "hidden_act": act,
    }
    theirs = CLIPVisionModelWithProjection(CLIPVisionConfig(**config)).eval()
    for weights in theirs.parameters():
        weights.data.normal_(0, 0.3)
    ours = VisionEncoder(VisionConfig(**config)).eval()  # type: ignore[arg-type]
    ours.load_state_dict(theirs.state_dict())
    pixels = torch.randn(3, 3, 20, 20)
    wanted = theirs(pixel_values=pixels).image_embeds
    torch.testing.assert_close(ours(pixels).image_embeds, wanted, rtol=1e-5, atol=1e-5)
    by_either = [ImageEncoder(model, ImageProcessor()).zero_embed() for model in (ours, theirs)]
    torch.testing.assert_close(*by_either, rtol=1e-5, atol=1e-5)


@given(
    size=st.sampled_from([32, {"shortest_edge": 48}, {"height": 40, "width": 40}]),
    crop=st.sampled_from([32, 47, {"height": 64, "width": 64}]),  # smaller and larger than it
    resample=st.sampled_from([0, 2, 3]),
    flags=st.lists(st.booleans(), min_size=4, max_size=4),
    factor=st.sampled_from([1 / 255, 0.01]),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_pictures_are_prepared_as_transformers_does(
    size: Any, crop: Any, resample: int, flags: list[bool], factor: float, seed: int
):
    names = ("do_resize", "do_center_crop", "do_rescale", "do_normalize")
    options = dict(zip(names, flags, strict=True))
    options |= {"size": size, "crop_size": crop, "resample": resample, "rescale_factor": factor}
    noise = torch.randint(0, 256, (30, 50, 3), generator=torch.Generator().manual_seed(seed))
    pictures = [Image.fromarray(noise.byte().numpy()), Image.new("RGB", (9, 9), "red")]
    kinds = (ImageProcessor, CLIPImageProcessorPil)
    ours, theirs = (picture_pixels(kind(**options), pictures) for kind in kinds)
    assert ours.dtype == theirs.dtype
    torch.testing.assert_close(ours.double(), theirs.double(), rtol=0, atol=1e-6)


def test_the_published_configs_are_read():
    config = VisionConfig.read(PUBLISHED / "image_encoder")
    assert (config.hidden_size, config.projection_dim, config.hidden_act) == (1664, 1280, "gelu")
    with torch.device("meta"):
        assert sum(p.numel() for p in VisionEncoder(config).parameters()) == 1_844_907_264
    picture = [Image.effect_noise((40, 30), 80).convert("RGB")]
    ours = ImageProcessor.read(PUBLISHED / "image_processor")
    theirs = CLIPImageProcessorPil.from_pretrained(PUBLISHED / "image_processor")
    both = [picture_pixels(processor, picture) for processor in (ours, theirs)]
    assert both[0].shape == (1, 3, 224, 224)
    torch.testing.assert_close(*both, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("part", "values", "said"),
    [
        ("image_encoder", {"hidden_act": "relu"}, "hidden_act"),
        ("image_encoder", {"num_channels": 4}, "num_channels"),
        ("image_encoder", {"patch_size": 0}, "patch_size"),
        ("image_processor", {"resample": 9}, "resample"),
        ("image_processor", {"size": {"height": 32, "width": 40}}, "size"),
        ("image_processor", {"image_std": [0.0, 1.0, 1.0]}, "image_std"),
    ],
)
def test_a_variant_that_is_not_supported_is_named(
    tmp_path: Path, golden: Path, part: str, values: dict[str, object], said: str
):
    (path,) = (golden / "kandinsky-tiny-prior" / part).glob("*config.json")
    config = json.loads(path.read_text())
    (tmp_path / path.name).write_text(json.dumps(config | values))
    kind = VisionConfig if part == "image_encoder" else ImageProcessor
    with pytest.raises(WeightsError, match=rf"config\.json: .*{said}"):
        kind.read(tmp_path)
