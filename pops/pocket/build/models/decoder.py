"""Stage `decoder`: the diffusion model that draws latents from an image embedding.

It predicts the velocity (Salimans and Ho 2022, arXiv 2202.00512) on a squared-cosine schedule. For
guidance, some embeddings are replaced by that of an all-zero picture, as the pipeline does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from pops.pocket.build.data.pictures import SIZE, load_pictures
from pops.pocket.build.fit import Fit, device, in_processes
from pops.pocket.build.models.autoencoder import LATENTS, PATCH, PatchBasis
from pops.pocket.build.models.clip import DIM

__all__ = ["SHARES", "Drawn", "decoder_fit", "decoder_scheduler", "train_decoder"]

BATCH = 64  # pictures in a step, over all processes
DROP = 0.1  # share of embeddings that are replaced by that of an all-zero picture
# The share of the training that each kind of picture gets.
SHARES = {
    "single": 0.42,
    "adjective": 0.16,
    "pair": 0.2,
    "outfit": 0.17,
    "swatch": 0.02,
    "empty": 0.03,
}


def make_unet() -> UNet2DConditionModel:
    """Make an untrained model: wide on grids of 8 x 8 and 4 x 4, narrow on the finest one."""
    return UNet2DConditionModel(
        sample_size=SIZE // PATCH,
        in_channels=LATENTS,
        out_channels=2 * LATENTS,  # the pipeline expects a variance too; this scheduler ignores it
        down_block_types=(
            "ResnetDownsampleBlock2D",
            "SimpleCrossAttnDownBlock2D",
            "SimpleCrossAttnDownBlock2D",
        ),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=(
            "SimpleCrossAttnUpBlock2D",
            "SimpleCrossAttnUpBlock2D",
            "ResnetUpsampleBlock2D",
        ),
        block_out_channels=(64, 160, 192),
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
    """Make the scheduler of the decoder.

    Returns:
        The scheduler, for training and for the pipeline.
    """
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
    """Compute the MSE of the velocity; latents are (N, 16, 16, 16), embeds (N, D), t (N,)."""
    noise = torch.randn_like(latents)
    noisy = scheduler.add_noise(latents, noise, t)
    target = scheduler.get_velocity(latents, noise, t)
    drawn = unet(noisy, t, None, added_cond_kwargs={"image_embeds": embeds}).sample
    return nn.functional.mse_loss(drawn[:, :LATENTS].float(), target)


def decoder_fit(folder: Path) -> Fit:
    """Open the training of the decoder.

    Args:
        folder: the folder of its state.

    Returns:
        The training, as it stands.
    """
    return Fit(
        folder,
        make_unet().to(memory_format=torch.channels_last),
        lr=1e-3,
        weight_decay=0.01,
        average=0.9995,
        half=True,
    )


@dataclass(frozen=True)
class Drawn:
    """The training data of the decoder, as it is sent to other processes.

    Args:
        pictures: the folder of the pictures.
        shards: the names of the shards that have been encoded.
        embeds: (N, D), the embeddings of their pictures.
        zero: (D,), the embedding of an all-zero picture.
        basis: the basis of the latents.
    """

    pictures: Path
    shards: Sequence[str]
    embeds: Tensor
    zero: Tensor
    basis: PatchBasis


def _chances(kinds: Sequence[str]) -> Tensor:
    """Sum up the chances of pictures to be drawn: (N,), of each and all before it."""
    count = {kind: kinds.count(kind) for kind in SHARES}
    weights = torch.tensor([SHARES[kind] / count[kind] for kind in kinds], dtype=torch.float64)
    return weights.cumsum(0)


def _work(rank: int, world: int, folder: Path, drawn: Drawn, seconds: float) -> None:
    torch.manual_seed(0)
    fit = decoder_fit(folder)
    # Each process has its own noise, and other noise after every resume.
    torch.manual_seed(1 + fit.step * world + rank)
    data = load_pictures(drawn.pictures, drawn.shards)
    scheduler = decoder_scheduler()
    table = _chances([record["kind"] for record in data.records])

    def step(number: int) -> dict[str, Tensor]:
        rng = torch.Generator().manual_seed(number * world + rank)
        n = BATCH // world
        draw = torch.rand(n, generator=rng, dtype=torch.float64) * table[-1]
        rows = torch.searchsorted(table, draw).clamp_max(len(table) - 1)
        given = drawn.embeds[rows].float()
        given[torch.rand(n, generator=rng) < DROP] = drawn.zero
        # The noise levels of a batch are spread evenly.
        level = (torch.arange(n) + torch.rand(n, generator=rng)) / n
        t = (level * 1000).long()
        where = device()
        x = drawn.basis.latents(data.batch(rows.tolist()))
        x = x.to(where, memory_format=torch.channels_last)
        return {"velocity": loss(fit.module, scheduler, x, given.to(where), t.to(where))}

    fit.run(seconds, step)


def train_decoder(folder: Path, drawn: Drawn, seconds: float, world: int) -> None:
    """Train the decoder for some time.

    Args:
        folder: the folder of its state.
        drawn: the training data.
        seconds: the time.
        world: the number of processes.
    """
    in_processes(_work, world, folder, drawn, seconds)
