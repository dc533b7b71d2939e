"""The CLIP image encoder and its image processor, key for key those of transformers.

Importing transformers takes longer than encoding a picture by the pocket stack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from pops.decoder.layers import attend, split_heads
from pops.errors import WeightsError
from pops.io.formats.configs import Size, fit_fields
from pops.io.formats.schema import Finite, Meta
from pops.io.loading import check_code

__all__ = ["ImageProcessor", "VisionConfig", "VisionEncoder", "VisionOutput"]

Side = Annotated[int, Meta(ge=1, le=4096)]
Sides = Side | dict[Literal["shortest_edge", "height", "width"], Side]
Channels = Annotated[tuple[Finite, ...], Meta(min_length=3, max_length=3)]


def quick_gelu(x: Tensor) -> Tensor:
    """Compute OpenAI's approximation of GELU.

    Args:
        x: Numbers of any shape.

    Returns:
        Numbers of the same shape.
    """
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "quick_gelu": quick_gelu}


@dataclass(frozen=True)
class VisionConfig:
    """The fields of a CLIPVisionConfig that vary, with its values where they are left out."""

    ONLY: ClassVar[Mapping[str, Any]] = {"num_channels": 3}

    hidden_size: Size = 768
    intermediate_size: Size = 3072
    projection_dim: Size = 512
    num_hidden_layers: Annotated[int, Meta(ge=1, le=512)] = 12
    num_attention_heads: Annotated[int, Meta(ge=1, le=1024)] = 12
    image_size: Side = 224
    patch_size: Side = 32
    hidden_act: Literal["gelu", "quick_gelu"] = "quick_gelu"
    layer_norm_eps: Annotated[float, Meta(gt=0, le=1)] = 1e-5

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the config of an image encoder's folder.

        Args:
            folder: The folder.

        Returns:
            The fields that vary.

        Raises:
            WeightsError: The file is missing, or is of a variant that is not supported.
        """
        path = folder / "config.json"
        return fit_fields(check_code(path), cls, str(path))


class VisionOutput(NamedTuple):
    """Holds the output of an image encoder, by the name that it has in transformers.

    Attributes:
        image_embeds: Un-normalised embeddings (N, D).
    """

    image_embeds: Tensor


class VisionEncoder(nn.Module):
    """Encodes prepared pictures, as transformers' CLIPVisionModelWithProjection does.

    Args:
        config: The sizes of the encoder.
    """

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.vision_model = _Transformer(config)
        self.visual_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return self.visual_projection.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format that it computes in."""
        return self.visual_projection.weight.dtype

    def forward(self, pixel_values: Tensor) -> VisionOutput:
        """Encode prepared pictures.

        Args:
            pixel_values: Normalised pixels (N, 3, S, S).

        Returns:
            Their embeddings.
        """
        return VisionOutput(self.visual_projection(self.vision_model(pixel_values)))


class _Transformer(nn.Module):
    """Turns pixels (N, 3, S, S) into the first token of the last layer (N, width)."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.embeddings = _Embeddings(config)
        self.pre_layrnorm = nn.LayerNorm(width, eps)  # spelled so in the files
        self.encoder = nn.ModuleDict(
            {"layers": nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))}
        )
        self.post_layernorm = nn.LayerNorm(width, eps)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.pre_layrnorm(self.embeddings(pixels))
        for layer in self.encoder["layers"].children():
            x = layer(x)
        made: Tensor = self.post_layernorm(x[:, 0])
        return made


class _Embeddings(nn.Module):
    """Turns pixels into a token of their class and one of each patch."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.patch_embedding = nn.Conv2d(3, width, patch, patch, bias=False)
        # An nn.Embedding would draw random numbers, for which torch imports its compiler on "meta".
        positions = torch.zeros((config.image_size // patch) ** 2 + 1, width)
        self.position_embedding = nn.ParameterDict({"weight": positions})

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(pixels), 1, -1)
        return torch.cat([first, patches], dim=1) + self.position_embedding["weight"]


class _Layer(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.self_attn = _Attention(width, config.num_attention_heads)
        self.layer_norm1 = nn.LayerNorm(width, eps)
        self.mlp = _MLP(config)
        self.layer_norm2 = nn.LayerNorm(width, eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        made: Tensor = x + self.mlp(self.layer_norm2(x))
        return made


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            nn.Linear(width, width) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = (
            split_heads(layer(x), self.heads) for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        made: Tensor = self.out_proj(attend(queries, keys, values))
        return made


class _MLP(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.fc2(self.activation(self.fc1(x)))
        return made


@dataclass(frozen=True)
class ImageProcessor:
    """Prepares square pictures for an image encoder, as transformers' CLIPImageProcessorPil does.

    Attributes:
        size: The pixels of a side that pictures are resized to.
        crop_size: The pixels of a side that are cut out of their middle.
        do_resize: Whether pictures are resized.
        do_center_crop: Whether their middle is cut out.
        do_rescale: Whether levels are multiplied by `rescale_factor`.
        do_normalize: Whether `image_mean` is taken away, and the rest divided by `image_std`.
        resample: The filter of resizing, by Pillow's number.
        rescale_factor: What levels are multiplied by.
        image_mean: A number for each channel.
        image_std: A number for each channel.
    """

    ONLY: ClassVar[Mapping[str, Any]] = {}

    size: Sides = 224
    crop_size: Sides = 224
    do_resize: bool = True
    do_center_crop: bool = True
    do_rescale: bool = True
    do_normalize: bool = True
    resample: Literal[0, 1, 2, 3, 4, 5] = 3
    rescale_factor: Finite = 1 / 255
    image_mean: Channels = (0.48145466, 0.4578275, 0.40821073)
    image_std: Channels = (0.26862954, 0.26130258, 0.27577711)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the image processor of a stack's `image_processor` folder.

        Args:
            folder: The folder.

        Returns:
            The image processor.

        Raises:
            WeightsError: The file is missing, or has a value that is not supported.
        """
        path = folder / "preprocessor_config.json"
        made = fit_fields(check_code(path), cls, str(path))
        if 0 in made.image_std:
            raise WeightsError(f"{path}: image_std is {made.image_std}, but none of it may be 0")
        for name in ("size", "crop_size"):
            sides = getattr(made, name)
            if isinstance(sides, dict) and len(set(sides.values())) != 1:
                raise WeightsError(f"{path}: {name} is {sides}, but pictures must become square")
        return made

    def __call__(
        self, pictures: Sequence[Image.Image], return_tensors: str = "pt"
    ) -> dict[str, Tensor]:
        """Prepare pictures.

        Args:
            pictures: N square pictures in RGB.
            return_tensors: The library whose tensors are returned: "pt", for torch, alone.

        Returns:
            Under `pixel_values` normalised pixels (N, 3, S, S).
        """
        return {"pixel_values": torch.stack([self._prepare(picture) for picture in pictures])}

    def _prepare(self, picture: Image.Image) -> Tensor:
        if self.do_resize:
            picture = picture.resize([_side(self.size)] * 2, self.resample)
        if self.do_center_crop:
            side = _side(self.crop_size)
            left, top = ((whole - side) // 2 for whole in picture.size)
            picture = picture.crop((left, top, left + side, top + side))
        values = np.asarray(picture)
        if self.do_rescale:
            values = (values * np.float64(self.rescale_factor)).astype(np.float32)
        if self.do_normalize:
            mean, std = (np.array(e, np.float32) for e in (self.image_mean, self.image_std))
            values = (values.astype(np.float32) - mean) / std
        return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))


def _side(sides: Any) -> int:
    return sides if isinstance(sides, int) else next(iter(sides.values()))
