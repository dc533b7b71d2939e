"""Stage `decoder`: the diffusion model that draws latents from an image embedding.

v-prediction (Salimans and Ho 2022, arXiv 2202.00512) on a squared-cosine schedule, the embedding
dropped for guidance by the encoding of an all-zero picture, as the pipeline does.
"""

import os
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from pops.io.processes import end_with_parent
from pops.pocket.build.autoencoder import LATENTS
from pops.pocket.build.clip import DIM
from pops.pocket.build.fit import Fit, device

__all__ = ["decoder_fit", "decoder_scheduler", "train_decoder"]

BATCH = 64  # over all processes
DROP = 0.1


def make_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=LATENTS,
        out_channels=2 * LATENTS,  # the pipeline expects a variance too; this scheduler ignores it
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        block_out_channels=(64, 128),
        layers_per_block=1,
        cross_attention_dim=64,
        attention_head_dim=32,
        norm_num_groups=16,
        resnet_time_scale_shift="scale_shift",
        encoder_hid_dim=DIM,
        encoder_hid_dim_type="image_proj",
        addition_embed_type="image",
        act_fn="silu",
    )


def decoder_scheduler() -> DDPMScheduler:
    return DDPMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        variance_type="fixed_small",
        clip_sample=False,
        timestep_spacing="trailing",
    )


def loss(
    unet: nn.Module, scheduler: DDPMScheduler, latents: Tensor, embeds: Tensor, t: Tensor
) -> Tensor:
    """MSE of the predicted velocity; latents (N, 24, 8, 8), embeds (N, D), t (N,)."""
    noise = torch.randn_like(latents)
    noisy = scheduler.add_noise(latents, noise, t)
    target = scheduler.get_velocity(latents, noise, t)
    drawn = unet(noisy, t, None, added_cond_kwargs={"image_embeds": embeds}).sample
    return nn.functional.mse_loss(drawn[:, :LATENTS], target)


def decoder_fit(folder: Path) -> Fit:
    return Fit(
        folder,
        make_unet().to(memory_format=torch.channels_last),
        lr=1e-3,
        weight_decay=0.01,
        average=0.9995,
    )


def _work(rank: int, world: int, folder: Path, seconds: float) -> None:
    if world > 1:
        end_with_parent()
        torch.set_num_threads(1)
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        os.environ.setdefault("MASTER_PORT", "29511")
        dist.init_process_group("gloo", rank=rank, world_size=world)
    torch.manual_seed(0)
    fit = decoder_fit(folder)
    # Each process its own noise, and another after every resume.
    torch.manual_seed(1 + fit.step * world + rank)
    scheduler = decoder_scheduler()
    latents = torch.from_numpy(np.load(folder / "latents.npy", mmap_mode="r"))
    embeds = torch.from_numpy(np.load(folder / "embeds.npy"))
    zero, weights = embeds[-1].float(), torch.from_numpy(np.load(folder / "weights.npy"))
    table = weights.double().cumsum(0)

    def step(number: int) -> dict[str, Tensor]:
        rng = torch.Generator().manual_seed(number * world + rank)
        n = BATCH // world
        draw = torch.rand(n, generator=rng, dtype=torch.float64) * table[-1]
        rows = torch.searchsorted(table, draw).clamp_max(len(table) - 1)
        given = embeds[rows].float()
        given[torch.rand(n, generator=rng) < DROP] = zero
        # Every batch covers all noise levels evenly.
        level = (torch.arange(n) + torch.rand(n, generator=rng)) / n
        t = (level * 1000).long()
        where = device()
        x = latents[rows].float().to(where, memory_format=torch.channels_last)
        return {"velocity": loss(fit.module, scheduler, x, given.to(where), t.to(where))}

    fit.run(seconds, step, average_gradients=world > 1, writes=rank == 0)
    if world > 1:
        dist.destroy_process_group()


def train_decoder(folder: Path, seconds: float) -> None:
    """Train on `latents.npy`, `embeds.npy` (last row: the zero picture) and `weights.npy`.

    On a CPU one single-threaded process per core is much faster than one with many threads.
    """
    world = 1 if device().type == "cuda" else (os.cpu_count() or 1)
    if world == 1:
        _work(0, 1, folder, seconds)
        return
    torch.multiprocessing.spawn(_work, args=(world, folder, seconds), nprocs=world)
