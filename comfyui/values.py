"""The values on the wires between nodes, and how each node takes them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from comfy_api.latest import io
from PIL import Image
from torch import Tensor

from pops import Embeddings
from pops.engine import Engine
from pops.errors import InputError
from pops.settings.fields import LARGEST_SEED
from pops.settings.progress import Progress
from pops.stacks.encoding import check_stack

__all__ = [
    "Embeds",
    "IPAdapterEmbeds",
    "StackType",
    "as_embeddings",
    "as_image",
    "embeddings_input",
    "joined",
    "paired",
    "seed_inputs",
    "seeds_from",
    "stack_input",
]

StackType = io.Custom("POPS_STACK")  # a pops.Engine
Embeds = io.Custom("POPS_EMBEDDINGS")  # a pops.Embeddings
IPAdapterEmbeds = io.Custom("EMBEDS")  # a tensor (N, D), as ComfyUI_IPAdapter_plus has it

TAKEN = (
    "An embedding or a picture: pOps embeddings, an IMAGE, a CLIP_VISION_OUTPUT, or IPAdapter's "
    "EMBEDS. Of a batch each row is used by itself; a single one goes with all rows of the others."
)


def stack_input() -> io.Input:
    """Declare the input for the stack that does the work.

    Returns:
        The input.
    """
    return StackType.Input("stack", tooltip="The models that do the work, from Load stack.")


def embeddings_input(
    name: str, says: str = "", *, optional: bool = False, pictures: bool = True
) -> io.Input:
    """Declare an input that takes whatever is an embedding or can be made one.

    Args:
        name: the name of the input.
        says: the beginning of its tooltip.
        optional: whether it may be left out.
        pictures: whether pictures are taken, which a node without a stack cannot encode.

    Returns:
        The input.
    """
    types = [Embeds, io.ClipVisionOutput, IPAdapterEmbeds]
    taken = TAKEN if pictures else "pOps embeddings, a CLIP_VISION_OUTPUT, or IPAdapter's EMBEDS."
    return io.MultiType.Input(
        name,
        [*types, io.Image] if pictures else types,
        optional=optional,
        tooltip=f"{says} {taken}".strip(),
    )


def seed_inputs(seed: int) -> list[io.Input]:
    """Declare the inputs for the seeds of a node.

    Args:
        seed: the seed where none is chosen.

    Returns:
        The first seed, and the number of seeds.
    """
    return [
        io.Int.Input(
            "seed",
            default=seed,
            min=0,
            max=LARGEST_SEED,
            control_after_generate=True,
            tooltip="The seed of the noise: the same seed gives the same result, "
            "alone or in a batch.",
        ),
        io.Int.Input(
            "variations",
            default=1,
            min=1,
            max=256,
            tooltip="How many seeds are used, one after the other from `seed` on. The result has "
            "all variations of the first row, then all of the next.",
        ),
    ]


def seeds_from(seed: int, variations: int) -> tuple[int, ...]:
    """List the seeds that a node works with.

    Args:
        seed: the first; one that is too large for pops, from another node, starts again from 0.
        variations: how many.

    Returns:
        The seeds.
    """
    return tuple((seed + at) % (LARGEST_SEED + 1) for at in range(variations))


def as_embeddings(
    value: Any, name: str, engine: Engine | None = None, progress: Progress | None = None
) -> Embeddings:
    """Take what is on a wire as embeddings.

    Args:
        value: pOps embeddings, an IMAGE (N, H, W, C), a CLIP_VISION_OUTPUT, or EMBEDS (N, D).
        name: the name of the input, for errors.
        engine: what encodes pictures and knows the embeddings' length; None where there is none.
        progress: called with the name of the work, what is done, and all that is to be done.

    Returns:
        One embedding or more.

    Raises:
        InputError: the value is nothing of the kind, is empty, or is of another stack.
    """
    if isinstance(value, Tensor) and value.ndim == 4 and engine is not None:
        return engine.encode(_pictures(value, name), progress)
    made = value if isinstance(value, Embeddings) else Embeddings(_matrix(value, name))
    if not len(made):
        raise InputError(f"{name} is an empty batch: it holds no embedding")
    if engine is not None:
        check_stack(engine.stack, made.image_embeds, made.stack, name)
    return made


def _matrix(value: Any, name: str) -> Tensor:
    """Read the embeddings (N, D) of a tensor or of a CLIP vision output."""
    rows = value if isinstance(value, Tensor) else getattr(value, "image_embeds", None)
    if not isinstance(rows, Tensor):
        raise InputError(
            f"{name} is {type(value).__name__}, which holds no image embedding: connect pOps "
            "embeddings, an IMAGE, a CLIP_VISION_OUTPUT, or IPAdapter's EMBEDS"
        )
    if rows.ndim != 2:
        raise InputError(
            f"{name} has the shape {tuple(rows.shape)}: embeddings are (number, length), one row a "
            "picture; those of IPAdapter's plus and FaceID models are of another kind"
        )
    return rows.detach().float().cpu()


def _pictures(image: Tensor, name: str) -> list[Image.Image]:
    """List the pictures of an IMAGE (N, H, W, C)."""
    count, height, width, channels = image.shape
    if not count or not height or not width or channels not in (1, 3, 4):
        raise InputError(
            f"{name} has the shape {tuple(image.shape)}, which is not a batch of pictures"
        )
    if not image.isfinite().all():
        raise InputError(f"{name} holds a number that is not finite: a node before it has failed")
    pixels = (image.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return [Image.fromarray(one[..., 0] if channels == 1 else one) for one in pixels]


def as_image(pictures: Sequence[Image.Image]) -> Tensor:
    """Turn pictures of one size into an IMAGE.

    Args:
        pictures: N pictures.

    Returns:
        A tensor (N, H, W, 3) float32 in [0, 1].
    """
    arrays = [np.asarray(picture.convert("RGB"), dtype=np.float32) / 255 for picture in pictures]
    return torch.from_numpy(np.stack(arrays))


def paired(given: Mapping[str, Embeddings]) -> dict[str, Embeddings]:
    """Pair batches row by row; a single row goes with each row of the others.

    Args:
        given: the embeddings of each input.

    Returns:
        The same with equally many rows each.

    Raises:
        InputError: two have different numbers of rows, and neither is one.
    """
    counts = {name: len(rows) for name, rows in given.items() if len(rows) > 1}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise InputError(
            f"the batches do not fit: {told} rows; give all the same number, or a single row"
        )
    count = max(counts.values(), default=1)
    return {name: rows if len(rows) == count else rows[[0] * count] for name, rows in given.items()}


def joined(parts: Mapping[str, Embeddings]) -> Embeddings:
    """Put embeddings one after the other.

    Args:
        parts: embeddings by the names of their inputs.

    Returns:
        All their rows. What only some of them know, such as seeds, is left out.

    Raises:
        InputError: they are of different stacks or lengths.
    """
    rows = list(parts.values())
    stacks = {one.stack for one in rows} - {None}
    if len(stacks) > 1 or len({one.image_embeds.shape[1] for one in rows}) > 1:
        told = ", ".join(
            f"{name} has {one.image_embeds.shape[1]} numbers of the stack {one.stack or 'unknown'}"
            for name, one in parts.items()
        )
        raise InputError(f"embeddings of different kinds make no batch: {told}")
    guidance = {one.guidance for one in rows}
    return Embeddings(
        torch.cat([one.image_embeds for one in rows]),
        next(iter(stacks), None),
        tuple(name for one in rows for name in one.expressions)
        if all(one.expressions for one in rows)
        else (),
        tuple(seed for one in rows for seed in one.seeds) if all(one.seeds for one in rows) else (),
        guidance.pop() if len(guidance) == 1 else None,
    )
