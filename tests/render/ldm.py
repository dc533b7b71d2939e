"""Write SDXL as one file, with the names of its original code, as checkpoints are shared."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import save_file
from torch import Tensor

State = dict[str, Tensor]
RESNET = (
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
)
# Of a UNet with one plain and one attending block of one layer each.
UNET = (
    ("conv_in.", "input_blocks.0.0."),
    ("time_embedding.linear_1.", "time_embed.0."),
    ("time_embedding.linear_2.", "time_embed.2."),
    ("add_embedding.linear_1.", "label_emb.0.0."),
    ("add_embedding.linear_2.", "label_emb.0.2."),
    ("down_blocks.0.resnets.0.", "input_blocks.1.0."),
    ("down_blocks.0.downsamplers.0.conv.", "input_blocks.2.0.op."),
    ("down_blocks.1.resnets.0.", "input_blocks.3.0."),
    ("down_blocks.1.attentions.0.", "input_blocks.3.1."),
    ("mid_block.resnets.0.", "middle_block.0."),
    ("mid_block.attentions.0.", "middle_block.1."),
    ("mid_block.resnets.1.", "middle_block.2."),
    ("up_blocks.0.resnets.0.", "output_blocks.0.0."),
    ("up_blocks.0.attentions.0.", "output_blocks.0.1."),
    ("up_blocks.0.resnets.1.", "output_blocks.1.0."),
    ("up_blocks.0.attentions.1.", "output_blocks.1.1."),
    ("up_blocks.0.upsamplers.0.conv.", "output_blocks.1.2.conv."),
    ("up_blocks.1.resnets.0.", "output_blocks.2.0."),
    ("up_blocks.1.resnets.1.", "output_blocks.3.0."),
    ("conv_norm_out.", "out.0."),
    ("conv_out.", "out.2."),
)
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
OPEN_CLIP = (
    ("self_attn.out_proj", "attn.out_proj"),
    ("layer_norm1", "ln_1"),
    ("layer_norm2", "ln_2"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
)


def write_checkpoint(pipeline: StableDiffusionXLPipeline, path: Path) -> Path:
    """Write a pipeline of tiny models as a single file."""
    parts = {
        "model.diffusion_model.": _unet(pipeline.unet.state_dict()),
        "first_stage_model.": _vae(pipeline.vae.state_dict()),
        "conditioner.embedders.0.transformer.": _clip(pipeline.text_encoder.state_dict()),
        "conditioner.embedders.1.model.": _open_clip(pipeline.text_encoder_2.state_dict()),
    }
    state = {prefix + name: v for prefix, part in parts.items() for name, v in part.items()}
    save_file({name: value.contiguous().clone() for name, value in state.items()}, path)
    return path


def _replaced(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for theirs, original in pairs:
        name = name.replace(theirs, original)
    return name


def _unet(state: State) -> State:
    found = {}
    for name, value in state.items():
        ours, original = next(pair for pair in UNET if name.startswith(pair[0]))
        rest = name.removeprefix(ours)
        found[original + (_replaced(rest, RESNET) if "resnets" in ours else rest)] = value
    return found


def _vae(state: State) -> State:
    found = {}
    for name, value in state.items():
        if "mid_block.attentions" in name:
            for theirs, original in ATTENTION.items():
                name = name.replace(f"attentions.0.{theirs}.", f"attentions.0.{original}.")
            if value.dim() == 2:
                value = value[:, :, None, None]
        name = re.sub(r"decoder\.up_blocks\.(\d)", lambda m: f"decoder.up.{3 - int(m[1])}", name)
        name = _replaced(
            name.replace("encoder.down_blocks.", "encoder.down."),
            (
                ("mid_block.resnets.0", "mid.block_1"),
                ("mid_block.resnets.1", "mid.block_2"),
                ("mid_block.attentions.0", "mid.attn_1"),
                ("resnets.", "block."),
                ("downsamplers.0", "downsample"),
                ("upsamplers.0", "upsample"),
                ("conv_shortcut", "nin_shortcut"),
                ("conv_norm_out", "norm_out"),
            ),
        )
        found[name] = value
    return found


def _clip(state: State) -> State:
    return {f"text_model.{name.removeprefix('text_model.')}": v for name, v in state.items()}


def _open_clip(state: State) -> State:
    plain = {name.removeprefix("text_model."): value for name, value in state.items()}
    found = {
        "positional_embedding": plain["embeddings.position_embedding.weight"],
        "token_embedding.weight": plain["embeddings.token_embedding.weight"],
        "ln_final.weight": plain["final_layer_norm.weight"],
        "ln_final.bias": plain["final_layer_norm.bias"],
        "text_projection": plain["text_projection.weight"].T,
    }
    for name, value in plain.items():
        layer = re.match(r"encoder\.layers\.(\d+)\.(.*)", name)
        if layer is None:
            continue
        block, rest = f"transformer.resblocks.{layer[1]}.", layer[2]
        if joined := re.match(r"self_attn\.q_proj\.(\w+)", rest):
            kind = joined[1]
            three = [plain[name.replace("q_proj", f"{one}_proj")] for one in "qkv"]
            found[f"{block}attn.in_proj_{kind}"] = torch.cat(three)
        elif not rest.startswith(("self_attn.k_proj", "self_attn.v_proj")):
            found[block + _replaced(rest, OPEN_CLIP)] = value
    return found
