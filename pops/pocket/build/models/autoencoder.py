"""Stage `autoencoder`: the model from pictures to a 16 x 16 grid of latents and back (MoVQ).

The latents are fixed before any training. They are the leading principal components of patches of
8 x 8 pixels, scaled to a mean variance of 1. The encoder learns to compute them, and the decoder
learns to draw more from them than the components alone hold. So the diffusion model need not wait
for either. The pipeline neither quantises nor scales the latents that it decodes, and neither is
done here.
"""

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import VQModel
from torch import Tensor
from torch.nn import functional as F

from pops.io.files import atomic_path
from pops.pocket.build.data.pictures import SIZE, load_pictures
from pops.pocket.build.fit import Fit, device
from pops.pocket.build.models.components import softened_components

__all__ = ["LATENTS", "PatchBasis", "autoencoder_fit", "patch_basis", "train_autoencoder"]

LATENTS = 16
PATCH = 8
WHOLE, CROPS = 6, 24  # a step decodes so many whole pictures, or so many quarters of pictures
ENCODED = 8  # pictures or quarters that a step encodes, at most
SHAKE = 0.3  # the most noise on the latents, as a diffusion model never draws exact ones


@dataclass(frozen=True)
class PatchBasis:
    """The latents of pictures, which are scaled principal components of their patches.

    Args:
        mean: (192,), the mean patch.
        components: (192, 16).
    """

    mean: Tensor
    components: Tensor

    def latents(self, pictures: Tensor) -> Tensor:
        """Compute the latents of pictures.

        Args:
            pictures: (N, 3, H, W) in [0, 1].

        Returns:
            (N, 16, H / 8, W / 8).
        """
        n, _, height, width = pictures.shape
        patches = F.unfold(pictures, PATCH, stride=PATCH).transpose(1, 2)
        found = (patches - self.mean) @ self.components
        return found.transpose(1, 2).reshape(n, LATENTS, height // PATCH, width // PATCH)


def _find_basis(pictures: Tensor) -> PatchBasis:
    patches = F.unfold(pictures, PATCH, stride=PATCH).transpose(1, 2).flatten(0, 1)
    return PatchBasis(*softened_components(patches, LATENTS))


def patch_basis(folder: Path, pictures: Path) -> PatchBasis:
    """Read the basis of a build, or find it in the pictures and keep it.

    Args:
        folder: the folder where it is kept.
        pictures: the folder of pictures.

    Returns:
        The basis.
    """
    path = folder / "basis.pt"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        data = load_pictures(pictures)
        step = max(1, len(data.records) // 1000)
        basis = _find_basis(data.batch(range(0, len(data.records), step)))
        with atomic_path(path) as part:
            torch.save({"mean": basis.mean, "components": basis.components}, part)
    return PatchBasis(**torch.load(path, weights_only=True))


def make_autoencoder() -> VQModel:
    """Make an untrained autoencoder."""
    return VQModel(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        # Narrow where there are many pixels: the spatial norms show every level the latents.
        block_out_channels=(32, 32, 32, 128),
        layers_per_block=1,
        latent_channels=LATENTS,
        vq_embed_dim=LATENTS,
        num_vq_embeddings=16,  # the pipeline never quantises
        norm_num_groups=8,
        norm_type="spatial",
        sample_size=SIZE,
    )


def encode(model: VQModel, pictures: Tensor) -> Tensor:
    """Encode pictures (N, 3, H, W) in [0, 1] as latents (N, 16, H / 8, W / 8)."""
    out: Tensor = model.encode(pictures * 2 - 1).latents
    return out


def decode(model: VQModel, latents: Tensor) -> Tensor:
    """Decode latents to pictures, whose values are about in [0, 1]."""
    out: Tensor = model.decode(latents, force_not_quantize=True).sample
    return out / 2 + 0.5


def _edges(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]


def _contrast(edges: Tensor) -> Tensor:
    return F.avg_pool2d(edges.abs(), 4)


def losses(model: VQModel, basis: PatchBasis, pictures: Tensor) -> dict[str, Tensor]:
    """Compute the losses of a step on pictures (N, 3, H, W) in [0, 1]."""
    latents = basis.latents(pictures)
    level = SHAKE * torch.rand(len(latents), 1, 1, 1, device=latents.device)
    drawn = decode(model, latents + level * torch.randn_like(latents)).float()
    edges = list(zip(_edges(drawn), _edges(pictures), strict=True))
    across, down = (F.l1_loss(a, b) for a, b in edges)
    # These two blur what the latents leave open, such as the phase of a fine pattern. How much
    # changes near a pixel is compared too, so that it is drawn at all, if not at the same place.
    contrasts = [F.l1_loss(_contrast(a), _contrast(b)) for a, b in edges]
    # Brown for green costs little per pixel: colours are compared on a coarse grid as well.
    coarse = F.l1_loss(F.avg_pool2d(drawn, 4), F.avg_pool2d(pictures, 4))
    found = encode(model, pictures[:ENCODED]).float()
    return {
        "pixel": F.l1_loss(drawn, pictures),
        "edge": across + down,
        "contrast": 5 * (contrasts[0] + contrasts[1]),
        "coarse": coarse,
        "encoder": 0.2 * F.mse_loss(found, latents[:ENCODED]),
    }


def autoencoder_fit(folder: Path) -> Fit:
    """Open the training of the autoencoder.

    Args:
        folder: the folder of its state.

    Returns:
        The training, as it stands.
    """
    model = make_autoencoder().to(memory_format=torch.channels_last)
    return Fit(folder, model, lr=1.5e-3, weight_decay=0.0, average=0.995)


def train_autoencoder(folder: Path, pictures: Path, seconds: float) -> None:
    """Train the autoencoder for some time.

    Args:
        folder: the folder of its state.
        pictures: the folder of pictures.
        seconds: the time.
    """
    torch.manual_seed(0)
    fit = autoencoder_fit(folder)
    model = fit.module
    assert isinstance(model, VQModel)
    # The codebook is part of the format, but nothing of it is used.
    model.quantize.requires_grad_(False)
    data = load_pictures(pictures)
    basis = patch_basis(folder, pictures)
    basis = PatchBasis(basis.mean.to(device()), basis.components.to(device()))
    many = range(len(data.records))

    def step(number: int) -> dict[str, Tensor]:
        # Quarters cost a quarter and show more kinds of picture in a step; whole pictures keep
        # the statistics of the norms honest.
        rng = random.Random(f"autoencoder/{number}")
        whole = number % 3 == 2
        shown = data.batch(rng.sample(many, WHOLE if whole else CROPS))
        if not whole:
            x, y = (PATCH * rng.randrange(SIZE // 2 // PATCH + 1) for _ in "xy")
            shown = shown[..., y : y + SIZE // 2, x : x + SIZE // 2]
        return losses(model, basis, shown.to(device()).contiguous())

    fit.run(seconds, step)
