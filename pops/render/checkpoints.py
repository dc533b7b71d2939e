"""Load SDXL: of a folder, of a repository or of a single file, with an IP-Adapter or without."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from pops.errors import UsageError, WeightsError
from pops.io.formats.tensors import check_finite
from pops.io.hub.repositories import PART_FILES
from pops.io.hub.snapshots import fetch_first, is_repository, local_path
from pops.io.loading import can_load_cheaply, quietly, reading
from pops.io.names import expand_home
from pops.render.sdxl import SDXL, Pipeline

if TYPE_CHECKING:
    from pops.stacks.stack import Stack

__all__ = ["check_dim", "load_base", "load_sdxl"]

ADAPTER = ("sdxl_models", "ip-adapter_sdxl.bin")
EMBEDDING_DIM = 1280  # of CLIP ViT-bigG/14, which the published IP-Adapter was trained on


def load_base(stack: Stack) -> SDXL:
    """Load the SDXL of a stack, without an adapter.

    Args:
        stack: The stack; its `sdxl` is a folder or repository in the layout of diffusers, or a
            single .safetensors file, as checkpoints are shared.

    Returns:
        The pipeline.

    Raises:
        WeightsError: A part is missing, damaged or does not fit.
    """
    single = stack.spec.sdxl.endswith(".safetensors")
    pipeline = _load_file(stack) if single else _load_folder(stack)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.unet.requires_grad_(False).eval()
    pipeline.vae.enable_slicing()  # decoding at 1024 pixels is what takes most memory
    return SDXL(pipeline, stack.placement)


def load_sdxl(stack: Stack) -> SDXL:
    """Load SDXL with the IP-Adapter of a stack.

    Args:
        stack: The stack.

    Returns:
        The pipeline with the adapter in its UNet.

    Raises:
        UsageError: The adapter is for embeddings of another length than the stack's.
        WeightsError: A part is missing, damaged or does not fit.
    """
    if not Path(stack.spec.ip_adapter).is_dir():  # before anything is downloaded
        check_dim("IP-Adapter", EMBEDDING_DIM, stack)
    adapter, sdxl = stack.folder("ip_adapter"), stack.shared(load_base)
    _load_adapter(sdxl.pipeline, adapter)
    (projection,) = sdxl.pipeline.unet.encoder_hid_proj.image_projection_layers
    check_dim("IP-Adapter", projection.image_embeds.in_features, stack)
    sdxl.pipeline.unet.requires_grad_(False).eval()
    return sdxl


def _folder(stack: Stack) -> Path:
    """Find the folder of SDXL, with those files that its repository has."""
    place = stack.spec.sdxl
    other = is_repository(place) and not expand_home(place).is_dir()
    if not other or place == type(stack.spec).sdxl:
        return stack.folder("sdxl")
    return fetch_first(place, [PART_FILES["sdxl"], PART_FILES["sdxl_plain"]])


def _load_folder(stack: Stack) -> Pipeline:
    folder = _folder(stack)
    kinds = {
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": CLIPTextModelWithProjection,
        "unet": UNet2DConditionModel,
    }
    models = {name: stack.model(kind, folder / name) for name, kind in kinds.items()}
    with reading(folder), quietly():
        return Pipeline(
            **models,
            tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
            tokenizer_2=CLIPTokenizer.from_pretrained(folder / "tokenizer_2"),
            scheduler=EulerDiscreteScheduler.from_pretrained(folder / "scheduler"),
            feature_extractor=CLIPImageProcessorPil(),  # never used; the loader makes one otherwise
            add_watermarker=False,
        )


def _load_file(stack: Stack) -> Pipeline:
    """Load a checkpoint of one file; its sizes and tokenizers are those of the published SDXL."""
    path, sizes = local_path(stack.spec.sdxl), stack.folder("sdxl_config")
    if not path.is_file():
        raise WeightsError(f"{path} is missing: name a checkpoint of SDXL with --sdxl")
    with reading(sizes):
        pass
    with reading(path), quietly():
        pipeline = Pipeline.from_single_file(
            str(path),
            config=str(sizes),
            torch_dtype=stack.placement.dtype,
            local_files_only=True,
            feature_extractor=CLIPImageProcessorPil(),
            image_encoder=None,
            add_watermarker=False,
        )
    models = (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2)
    for model in models:
        absent = [name for name, tensor in model.named_parameters() if tensor.is_meta]
        if absent:
            raise WeightsError(f"{path} is not a checkpoint of SDXL: it has no {absent[0]}")
        check_finite(dict(model.named_parameters()), str(path), WeightsError)
        stack.at_rest(model.requires_grad_(False).eval())
    return pipeline


def _load_adapter(pipeline: Pipeline, folder: Path) -> None:
    subfolder, name = ADAPTER
    with reading(folder / subfolder / name), quietly():
        pipeline.load_ip_adapter(
            str(folder),
            subfolder=subfolder,
            weight_name=name,
            image_encoder_folder=None,  # the embeddings are made already
            local_files_only=True,
            low_cpu_mem_usage=can_load_cheaply(),
        )


def check_dim(part: str, dim: int, stack: Stack) -> None:
    """Check that a part takes the embeddings of a stack.

    Args:
        part: The name of the part, for the message.
        dim: The length of the embeddings that it takes.
        stack: The stack.

    Raises:
        UsageError: It takes others.
    """
    own = stack.prior_config.embedding_dim
    if dim != own:
        raise UsageError(
            f"the {part} takes embeddings of {dim} numbers, but those of {stack.name} have "
            f"{own}: use --renderer kandinsky, the stack's own decoder"
        )
