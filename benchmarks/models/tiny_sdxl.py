"""Tiny random SDXL, IP-Adapter, ControlNet and DPT folders, in the layout of the hub."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    DPTConfig,
    DPTForDepthEstimation,
    DPTImageProcessorPil,
)

__all__ = ["make_all", "make_unet", "write_adapter"]

DIM = 32  # of the golden stack's embeddings
CROSS = 64  # both text encoders side by side
CHANNELS = (32, 64)
IMAGE_TOKENS = 4


def make_all(root: Path, tokenizer: Path) -> dict[str, Path]:
    """Write every part that the SDXL renderers load.

    Args:
        root: The folder in which they are made.
        tokenizer: The folder of a CLIP tokenizer.

    Returns:
        The folders by the part's name in a stack.
    """
    torch.manual_seed(7)
    parts = {part: root / part for part in ("sdxl", "sdxl_vae", "ip_adapter", "controlnet", "dpt")}
    unet = make_unet()
    text_encoder, text_encoder_2 = _text_encoders()
    pipeline = StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=text_encoder,
        text_encoder_2=text_encoder_2,
        tokenizer=CLIPTokenizer.from_pretrained(tokenizer),
        tokenizer_2=CLIPTokenizer.from_pretrained(tokenizer),
        unet=unet,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="leading",
            steps_offset=1,
        ),
        add_watermarker=False,
    )
    pipeline.save_pretrained(parts["sdxl"], variant="fp16")  # named as the hub names them
    _vae().save_pretrained(parts["sdxl_vae"])
    write_adapter(parts["ip_adapter"], unet)
    controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16,) * 4)
    _shake(controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block)
    _shake(controlnet.controlnet_cond_embedding)
    controlnet.save_pretrained(parts["controlnet"], variant="fp16")
    _dpt(parts["dpt"])
    return parts


def write_adapter(folder: Path, unet: UNet2DConditionModel, dim: int = DIM) -> None:
    """Write `ip-adapter_sdxl.bin` with the keys of the published one.

    Args:
        folder: The folder of the adapter, which is made.
        unet: The UNet that it fits.
        dim: The length of the embeddings that it takes.
    """
    (folder / "sdxl_models").mkdir(parents=True)
    state: dict[str, dict[str, Tensor]] = {
        "image_proj": {
            "proj.weight": torch.randn(IMAGE_TOKENS * CROSS, dim) * 0.3,
            "proj.bias": torch.zeros(IMAGE_TOKENS * CROSS),
            "norm.weight": torch.ones(CROSS),
            "norm.bias": torch.zeros(CROSS),
        },
        "ip_adapter": {},
    }
    for i, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):  # cross-attention, at every second place
            width = unet.get_submodule(name.removesuffix(".processor")).to_k.out_features
            for key in ("to_k_ip", "to_v_ip"):
                state["ip_adapter"][f"{i}.{key}.weight"] = torch.randn(width, CROSS) * 0.3
    torch.save(state, folder / "sdxl_models" / "ip-adapter_sdxl.bin")


def make_unet() -> UNet2DConditionModel:
    """Make a tiny random UNet in the layout of SDXL's.

    Returns:
        The UNet.
    """
    return UNet2DConditionModel(
        sample_size=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=CHANNELS,
        layers_per_block=1,
        attention_head_dim=(2, 4),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        cross_attention_dim=CROSS,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + DIM,
        norm_num_groups=8,
    )


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 16, 16, 16),
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
    )


def _text_encoders() -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    config = CLIPTextConfig(
        vocab_size=76,
        hidden_size=CROSS // 2,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=DIM,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return CLIPTextModel(config), CLIPTextModelWithProjection(config)


def _dpt(folder: Path) -> None:
    """Write a model as `Intel/dpt-hybrid-midas` is: BiT under a ViT, and pickled tensors."""
    config = DPTConfig(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=37,
        image_size=64,
        patch_size=16,
        is_hybrid=True,
        backbone_out_indices=[0, 1, 2, 3],
        backbone_featmap_shape=[1, 32, 4, 4],
        backbone_config={
            "model_type": "bit",
            "global_padding": "same",
            "layer_type": "bottleneck",
            "embedding_size": 8,
            "hidden_sizes": [16, 16, 32, 64],
            "depths": [1, 1, 1, 1],
            "out_features": ["stage1", "stage2", "stage3"],
            "num_groups": 2,
        },
        neck_hidden_sizes=[16, 16, 32, 32],
        fusion_hidden_size=16,
    )
    model = DPTForDepthEstimation(config)
    model.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    size = {"height": 64, "width": 64}
    DPTImageProcessorPil(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3).save_pretrained(
        folder
    )


def _shake(*modules: torch.nn.Module) -> None:
    """Change all weights: a ControlNet starts from zero convolutions, which change nothing."""
    with torch.no_grad():
        for module in modules:
            for weight in module.parameters():
                weight.add_(torch.randn_like(weight) * 0.2)
