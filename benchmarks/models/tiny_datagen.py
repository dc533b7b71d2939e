"""Tiny random models of the heavy stages of data generation, in the layout of the hub."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetUnionModel,
    EulerAncestralDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    DPTConfig,
    DPTForDepthEstimation,
    DPTImageProcessorPil,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
)

__all__ = ["make_all", "write_brightness_graph"]

CROSS = 32
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def make_all(root: Path, tokenizer: Path) -> dict[str, Path]:
    """Write a tiny random model for every stage.

    Args:
        root: The folder in which they are made.
        tokenizer: The folder of a CLIP tokenizer.

    Returns:
        The folders by stage: turbo, sd2_depth, inpaint, owlv2, rmbg, birefnet, control, ...
    """
    torch.manual_seed(3)
    makers = {
        "turbo": _turbo,
        "sd2_depth": _sd2_depth,
        "inpaint": _inpaint,
        "owlv2": _owlv2,
        "control": _control,
        "depth_anything": _depth_anything,
        "z_image": _z_image,
    }
    for name, make in makers.items():
        make(root / name, CLIPTokenizer.from_pretrained(tokenizer))
    for name in ("rmbg", "birefnet"):
        write_brightness_graph(root / name / "onnx" / "model.onnx", logits=name == "birefnet")
    return {name: root / name for name in (*makers, "rmbg", "birefnet")}


def _unet(channels: int = 4, sdxl: bool = True) -> UNet2DConditionModel:
    more = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + CROSS,
    }
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        cross_attention_dim=2 * CROSS if sdxl else CROSS,
        norm_num_groups=8,
        **(more if sdxl else {}),
    )


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
    )


def _text_config() -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=76,
        hidden_size=CROSS,
        intermediate_size=37,
        num_hidden_layers=1,
        num_attention_heads=4,
        projection_dim=CROSS,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def _sdxl_parts(tokenizer: CLIPTokenizer, channels: int = 4) -> dict[str, object]:
    return {
        "vae": _vae(),
        "text_encoder": CLIPTextModel(_text_config()),
        "text_encoder_2": CLIPTextModelWithProjection(_text_config()),
        "tokenizer": tokenizer,
        "tokenizer_2": tokenizer,
        "unet": _unet(channels),
        "scheduler": EulerAncestralDiscreteScheduler(**BETAS, timestep_spacing="trailing"),
    }


def _turbo(folder: Path, tokenizer: CLIPTokenizer) -> None:
    pipeline = StableDiffusionXLPipeline(**_sdxl_parts(tokenizer), add_watermarker=False)
    pipeline.save_pretrained(folder, variant="fp16")  # named as the hub names them


def _z_image(folder: Path, tokenizer: CLIPTokenizer) -> None:
    """Write a model with a tokenizer of single bytes and the chat template of its prompts."""
    signs = [*map(chr, range(33, 127)), *map(chr, range(256, 324))]  # as byte-level BPE says bytes
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    words = Qwen2Tokenizer({sign: i for i, sign in enumerate((*special, *signs))}, [])
    words.add_special_tokens({"additional_special_tokens": list(special[1:])})
    words.chat_template = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    encoder = Qwen3Config(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        initializer_range=1.0,  # prompts are to matter
    )
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[4, 6, 6],
        axes_lens=[1024, 64, 64],
    )
    with torch.no_grad():  # some of it is made without values
        for weight in transformer.parameters():
            weight.normal_(std=0.2)
    vae = _vae()
    vae.register_to_config(shift_factor=0.1)
    ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae,
        text_encoder=Qwen3Model(encoder),
        tokenizer=words,
        transformer=transformer,
    ).save_pretrained(folder)


def _inpaint(folder: Path, tokenizer: CLIPTokenizer) -> None:
    parts = _sdxl_parts(tokenizer, channels=9)  # latents, mask, latents round the hole
    StableDiffusionXLInpaintPipeline(**parts, add_watermarker=False).save_pretrained(
        folder, variant="fp16"
    )


def _sd2_depth(folder: Path, tokenizer: CLIPTokenizer) -> None:
    """Save a pipeline part by part, with the classes that the hub's model_index.json names."""
    depth = DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
    )
    parts = {
        "unet": _unet(channels=5, sdxl=False),
        "vae": _vae(),
        "text_encoder": CLIPTextModel(_text_config()),
        "tokenizer": tokenizer,
        "depth_estimator": DPTForDepthEstimation(depth),
        "scheduler": PNDMScheduler(**BETAS, skip_prk_steps=True),
    }
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    DPTImageProcessorPil(
        size={"height": 32, "width": 32}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    ).save_pretrained(folder / "feature_extractor")
    index = {
        "_class_name": "StableDiffusionDepth2ImgPipeline",
        "_diffusers_version": "0.10.0.dev0",
        "depth_estimator": ["transformers", "DPTForDepthEstimation"],
        "feature_extractor": ["transformers", "DPTFeatureExtractor"],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))


def _owlv2(folder: Path, tokenizer: CLIPTokenizer) -> None:
    config = Owlv2Config(
        text_config={
            "vocab_size": 76,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 16,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 1,
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        },
        projection_dim=16,
    )
    Owlv2ForObjectDetection(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    preprocessor = {
        "image_processor_type": "Owlv2ImageProcessor",
        "size": {"height": 32, "width": 32},
        "image_mean": [0.48, 0.46, 0.41],
        "image_std": [0.27, 0.26, 0.28],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))


def _control(folder: Path, tokenizer: CLIPTokenizer) -> None:
    unet = _unet().config
    shared = (
        "block_out_channels",
        "layers_per_block",
        "attention_head_dim",
        "down_block_types",
        "use_linear_projection",
        "cross_attention_dim",
        "norm_num_groups",
        "addition_embed_type",
        "addition_time_embed_dim",
        "projection_class_embeddings_input_dim",
    )
    control = ControlNetUnionModel(
        **{name: unet[name] for name in shared},
        conditioning_embedding_out_channels=(8, 8, 8, 8),
        num_trans_channel=16,
        num_proj_channel=16,
        num_trans_head=2,
    )
    with torch.no_grad():  # it starts from zero convolutions, which would change nothing
        for weight in control.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    control.save_pretrained(folder)


def _depth_anything(folder: Path, tokenizer: CLIPTokenizer) -> None:
    config = DepthAnythingConfig(
        backbone_config={
            "model_type": "dinov2",
            "hidden_size": 16,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
            "reshape_hidden_states": False,
        },
        reassemble_hidden_size=16,
        patch_size=14,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=8,
    )
    DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    DPTImageProcessorPil(size={"height": 56, "width": 56}).save_pretrained(folder)


# --- an ONNX graph by hand ------------------------------------------------------------------


def write_brightness_graph(path: Path, logits: bool) -> None:
    """Write an ONNX graph that calls bright places foreground: (1, 3, H, W) -> (1, 1, H, W).

    It takes the mean over the channels.

    Args:
        path: The file, whose folder is made.
        logits: Whether it gives logits, far from 0 where there is any brightness.
    """
    node = _text(1, "pixels") + _text(2, "share") + _text(4, "ReduceMean")
    node += _message(5, _text(1, "axes") + _int(8, 1) + _int(20, 7))  # axes = [1], an INTS
    graph = _message(1, node) + _text(2, "brightness")
    graph += _message(11, _value("pixels", 3)) + _message(12, _value("share", 1))
    opset = _message(8, _int(2, 13))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_int(1, 8) + _message(7, graph) + opset)


def _value(name: str, channels: int) -> bytes:
    dims = (_int(1, 1), _int(1, channels), _text(2, "h"), _text(2, "w"))
    shape = b"".join(_message(1, dim) for dim in dims)
    return _text(1, name) + _message(2, _message(1, _int(1, 1) + _message(2, shape)))


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())
