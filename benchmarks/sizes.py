"""The sizes of the models of kandinsky-2.2 and of the SDXL renderers, and what fits where.

    python -m benchmarks.sizes

Every model is built from its published configuration without its content, so this needs neither
the weights nor much memory.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from pops.io.loading import quietly
from pops.prior.int8 import round_to_int8
from pops.prior.model import Prior, PriorConfig

with quietly():
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel, VQModel
    from transformers import (
        CLIPTextConfig,
        CLIPTextModelWithProjection,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

__all__ = [
    "CONTROLNET",
    "IMAGE_ENCODER",
    "KANDINSKY_UNET",
    "MOVQ",
    "SDXL_VAE",
    "TEXT_ENCODER",
    "UP_BLOCKS",
    "int8_bytes",
    "main",
    "make_models",
    "parameters",
]

IMAGE_ENCODER = CLIPVisionConfig(  # CLIP ViT-bigG/14
    hidden_size=1664,
    intermediate_size=8192,
    num_hidden_layers=48,
    num_attention_heads=16,
    patch_size=14,
    projection_dim=1280,
)
TEXT_ENCODER = CLIPTextConfig(
    hidden_size=1280,
    intermediate_size=5120,
    num_hidden_layers=32,
    num_attention_heads=20,
    projection_dim=1280,
)
KANDINSKY_UNET = {
    "in_channels": 4,
    "out_channels": 8,
    "down_block_types": ("ResnetDownsampleBlock2D", *["SimpleCrossAttnDownBlock2D"] * 3),
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "up_block_types": (*["SimpleCrossAttnUpBlock2D"] * 3, "ResnetUpsampleBlock2D"),
    "block_out_channels": (384, 768, 1152, 1536),
    "layers_per_block": 3,
    "attention_head_dim": 64,
    "cross_attention_dim": 768,
    "encoder_hid_dim": 1280,
    "encoder_hid_dim_type": "image_proj",
    "addition_embed_type": "image",
    "resnet_time_scale_shift": "scale_shift",
}
MOVQ = {
    "down_block_types": (*["DownEncoderBlock2D"] * 3, "AttnDownEncoderBlock2D"),
    "up_block_types": ("AttnUpDecoderBlock2D", *["UpDecoderBlock2D"] * 3),
    "block_out_channels": (128, 256, 256, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "vq_embed_dim": 4,
    "num_vq_embeddings": 16384,
    "norm_type": "spatial",
}
CONTROLNET = {
    "in_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "layers_per_block": 2,
    "attention_head_dim": (5, 10, 20),
    "transformer_layers_per_block": (1, 2, 10),
    "use_linear_projection": True,
    "cross_attention_dim": 2048,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
UP_BLOCKS = ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")
SDXL_VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
}
ADAPTER_TOKENS = 4
DPT_PARAMETERS = 122_400_000  # dpt-hybrid-midas, from the size of its float32 file

# What is on the device at once. Two priors stay loaded, in float32 one.
RESIDENT = {
    "encode, sample, render": ("image_encoder", "text_encoder", "priors", "unet", "movq"),
    "the same, and ip_adapter": (
        *("image_encoder", "text_encoder", "priors", "unet", "movq"),
        *("sdxl_unet", "ip_adapter", "sdxl_vae"),
    ),
    "offload: encode": ("image_encoder",),
    "offload: sample": ("prior",),
    "offload: render": ("unet",),
    "offload: ip_adapter": ("sdxl_unet", "ip_adapter", "sdxl_vae"),
    "offload: depth": ("sdxl_unet", "ip_adapter", "controlnet", "sdxl_vae"),
}


def make_models() -> dict[str, nn.Module]:
    """Make every model whose sizes are known, without its weights.

    Returns:
        The models, on the meta device, by name.
    """
    with torch.device("meta"):
        sdxl = UNet2DConditionModel(**CONTROLNET, out_channels=4, up_block_types=UP_BLOCKS)
        return {
            "image_encoder": CLIPVisionModelWithProjection(IMAGE_ENCODER),
            "text_encoder": CLIPTextModelWithProjection(TEXT_ENCODER),
            "prior": Prior(PriorConfig()),
            "unet": UNet2DConditionModel(**KANDINSKY_UNET),
            "movq": VQModel(**MOVQ),
            "sdxl_unet": sdxl,
            "controlnet": ControlNetModel(**CONTROLNET),
            "sdxl_vae": AutoencoderKL(**SDXL_VAE),
        }


def parameters(models: Mapping[str, nn.Module]) -> dict[str, int]:
    """Count the parameters of every model.

    Args:
        models: What `make_models` gives.

    Returns:
        The numbers by the name of the model, also of the adapter and of dpt.
    """
    counts = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
    counts["ip_adapter"] = _adapter_parameters(models["sdxl_unet"])
    counts["dpt"] = DPT_PARAMETERS
    return counts


def int8_bytes(models: Mapping[str, nn.Module], counts: Mapping[str, int]) -> dict[str, int]:
    """Count the bytes of every model whose blocks are held in 8 bits, the rest of it in half.

    Args:
        models: What `make_models` gives; they are rounded.
        counts: What `parameters` gave of them.

    Returns:
        The bytes by the name of the model. Those that are never rounded are counted in half.
    """
    found = {name: 2 * count for name, count in counts.items()}
    for name, model in models.items():
        round_to_int8(model.half())
        tensors = model.state_dict().values()
        found[name] = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return found


def _adapter_parameters(unet: UNet2DConditionModel) -> int:
    """Count a projection to a few tokens with its norm, and keys and values of cross-attentions."""
    width = unet.config.cross_attention_dim
    places = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    layers = [unet.get_submodule(name.removesuffix(".processor")) for name in places]
    projection = (1280 + 1) * ADAPTER_TOKENS * width + 2 * width
    return projection + sum(2 * width * layer.to_k.out_features for layer in layers)


def main() -> None:
    """Print what every model weighs, and what is on the device at once."""
    models = make_models()
    counts = parameters(models)
    held = {
        "float32": ({name: 4 * count for name, count in counts.items()}, 1),
        "half": ({name: 2 * count for name, count in counts.items()}, 2),
        "int8": (int8_bytes(models, counts), 2),
    }  # the bytes of each model, and how many priors stay loaded
    print(f"{'model':<28}{'parameters':>16}" + "".join(f"{kind:>10}" for kind in held) + "   (GB)")
    for name, count in counts.items():
        sizes = "".join(f"{own[name] / 1e9:>10.2f}" for own, _ in held.values())
        print(f"{name:<28}{count:>16,}{sizes}")
    print()
    for what, names in RESIDENT.items():
        whole = [
            sum((own | {"priors": priors * own["prior"]})[name] for name in names) / 1e9
            for own, priors in held.values()
        ]
        print(f"{what:<44}" + "".join(f"{gigabytes:>10.2f}" for gigabytes in whole))


if __name__ == "__main__":
    main()
