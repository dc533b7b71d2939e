"""A tiny random CLIP and Stable unCLIP, in the layout of the hub."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    StableUnCLIPImg2ImgPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

__all__ = ["make_clip", "make_decoder"]

DIM = 32  # numbers of an embedding
CROSS = 24  # width of the text encoder of the decoder, which is not that of the stack
SIDE = 32  # pixels that the image encoder takes
SIZE = {"shortest_edge": SIDE}


def make_clip(folder: Path, tokenizer: Path) -> Path:
    """Write a CLIP as transformers keeps it: both encoders in one file.

    Args:
        folder: The folder to write.
        tokenizer: The folder of a CLIP tokenizer.

    Returns:
        The folder.
    """
    torch.manual_seed(11)
    words = CLIPTokenizer.from_pretrained(tokenizer)
    config = CLIPConfig(
        text_config=_text_config(DIM, len(words)).to_dict(),
        vision_config=_vision_config().to_dict(),
        projection_dim=DIM,
    )
    CLIPModel(config).save_pretrained(folder)
    words.save_pretrained(folder)
    _processor().save_pretrained(folder)
    return folder


def make_decoder(folder: Path, tokenizer: Path) -> Path:
    """Write Stable unCLIP as diffusers keeps it.

    Args:
        folder: The folder to write.
        tokenizer: The folder of a CLIP tokenizer.

    Returns:
        The folder.
    """
    torch.manual_seed(12)
    words = CLIPTokenizer.from_pretrained(tokenizer)
    normalizer = StableUnCLIPImageNormalizer(DIM)
    with torch.no_grad():
        normalizer.mean.normal_(std=0.1)
        normalizer.std.uniform_(0.5, 1.5)
    StableUnCLIPImg2ImgPipeline(
        feature_extractor=_processor(),
        image_encoder=CLIPVisionModelWithProjection(_vision_config()),
        image_normalizer=normalizer,
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=words,
        text_encoder=CLIPTextModel(_text_config(CROSS, len(words))),
        unet=_unet(),
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            prediction_type="v_prediction",
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(16, 16, 16),
            latent_channels=4,
            norm_num_groups=8,
            sample_size=32,
        ),
    ).save_pretrained(folder)
    return folder


def _processor() -> CLIPImageProcessorPil:
    return CLIPImageProcessorPil(size=SIZE, crop_size={"height": SIDE, "width": SIDE})


def _text_config(width: int, words: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=DIM,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def _vision_config() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=8,
        projection_dim=DIM,
    )


def _unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(32, 64),
        layers_per_block=1,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        cross_attention_dim=CROSS,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=2 * DIM,  # the embedding, and its noise level
        norm_num_groups=8,
    )
