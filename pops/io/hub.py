"""Find and download repositories of the hub, with pinned revisions, known licences and sizes.

Nothing is asked of the network unless a repository is named, and what is here already is used
without a word.
"""

from __future__ import annotations

import fnmatch
import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pops.errors import WeightsError
from pops.io.asking import ask_hub, quiet_client, refusal

__all__ = [
    "PART_FILES",
    "REPOSITORIES",
    "Repository",
    "cached_folder",
    "fetch",
    "fetch_file",
    "is_repository",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Repository:
    """A repository of the hub: its revision, its terms and the size of a download."""

    name: str
    revision: str = "main"  # a commit where it is known: what was tested is what is fetched
    size: str = "of unknown size"
    licence: str = "licence: see the hub"

    @property
    def bytes(self) -> int:
        """The bytes of a download, as far as its size is known."""
        number = re.search(r"[\d.]+(?= GB)", self.size)
        return round(float(number[0]) * 1e9) if number else 0


REPOSITORIES = {
    repository.name: repository
    for repository in (
        Repository(
            "kandinsky-community/kandinsky-2-2-prior",
            "9fc51ad5732afc5d031724219d22e6c42179c5a8",
            "about 10.6 GB",
            "Apache-2.0",
        ),
        Repository(
            "kandinsky-community/kandinsky-2-2-decoder",
            "9ae140d347fed8ce6e8bb3005dcc1f48543bb8e3",
            "about 5.3 GB",
            "Apache-2.0",
        ),
        Repository("pOpsPaper/operators", "main", "about 4.1 GB an operator", "MIT"),
        Repository(
            "stabilityai/stable-diffusion-xl-base-1.0",
            "462165984030d82259a11f4367a4eed129e94a7b",
            "about 6.9 GB",
            "CreativeML Open RAIL++-M",
        ),
        Repository(
            "h94/IP-Adapter",
            "018e402774aeeddd60609b4ecdb7e298259dc729",
            "about 0.7 GB",
            "Apache-2.0",
        ),
        Repository(
            "diffusers/controlnet-depth-sdxl-1.0",
            "17bb97973f29801224cd66f192c5ffacf82648b4",
            "about 2.5 GB",
            "CreativeML Open RAIL++-M",
        ),
        Repository(
            "madebyollin/sdxl-vae-fp16-fix",
            "207b116dae70ace3637169f1ddd2434b91b3a8cd",
            "about 0.3 GB",
            "MIT",
        ),
        Repository(
            "Intel/dpt-hybrid-midas",
            "11eaf7a1cf4bd70740697dbc216f98980c0aeb03",
            "about 0.5 GB",
            "Apache-2.0",
        ),
        Repository(
            "stabilityai/sdxl-turbo",
            "71153311d3dbb46851df1931d3ca6e939de83304",
            "about 6.9 GB",
            "Stability AI Non-Commercial Research",
        ),
        Repository(
            "sd2-community/stable-diffusion-2-depth",
            "6cb92dd9430a7f6da8d9e99d7b60acdebcc348b7",
            "about 5 GB",
            "CreativeML Open RAIL++-M",
        ),
        Repository(
            "google/owlv2-base-patch16-ensemble",
            "cfd3195ba4ea9592eec887ded089f4c08eff231d",
            "about 0.6 GB",
            "Apache-2.0",
        ),
        Repository(
            "briaai/RMBG-1.4",
            "2ceba5a5efaec153162aedea169f76caf9b46cf8",
            "about 0.2 GB",
            "BRIA RMBG-1.4, non-commercial",
        ),
        Repository(
            "diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
            "115134f363124c53c7d878647567d04daf26e41e",
            "about 6.9 GB",
            "CreativeML Open RAIL++-M",
        ),
        Repository(
            "Tongyi-MAI/Z-Image-Turbo",
            "f332072aa78be7aecdf3ee76d5c247082da564a6",
            "about 33 GB",
            "Apache-2.0",
        ),
        Repository("xinsir/controlnet-union-sdxl-1.0", size="about 2.5 GB", licence="Apache-2.0"),
        Repository(
            "depth-anything/Depth-Anything-V2-Small-hf",
            "5426e4f0f36572d16453bbda7a8389317b1bef99",
            "about 0.1 GB",
            "Apache-2.0",
        ),
        Repository(
            "onnx-community/BiRefNet_lite-ONNX",
            "de15b22ba131738a16dff04aab8bdf8dc32e3ac1",
            "about 0.2 GB",
            "MIT",
        ),
        Repository(
            "openai/clip-vit-large-patch14",
            "32bd64288804d66eefd0ccbe215aa642df71cc41",
            "about 1.7 GB",
            "MIT",
        ),
        Repository(
            "facebook/dinov2-base",
            "f9e44c814b77203eaa57a6bdbbd535f21ede1415",
            "about 0.4 GB",
            "Apache-2.0",
        ),
        Repository(
            "Salesforce/blip2-opt-2.7b",
            "59a1ef6c1e5117b3f65523d1c6066825bcf315e3",
            "about 15 GB",
            "MIT",
        ),
        Repository(
            "sentence-transformers/all-MiniLM-L6-v2",
            "c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
            "about 0.1 GB",
            "Apache-2.0",
        ),
    )
}


# What each part of a stack needs of its repository; an interrupted download lacks some of it.
PART_FILES = {
    "prior": (
        "image_encoder/config.json",
        "image_encoder/*.safetensors",
        "image_processor/preprocessor_config.json",
        "text_encoder/config.json",
        "text_encoder/*.safetensors",
        "tokenizer/vocab.json",
        "tokenizer/merges.txt",
        "prior/config.json",
        "prior/*.safetensors",
        "scheduler/scheduler_config.json",
    ),
    "decoder": (
        "unet/config.json",
        "unet/*.safetensors",
        "movq/config.json",
        "movq/*.safetensors",
        "scheduler/scheduler_config.json",
    ),
    "sdxl": (
        "unet/config.json",
        "unet/*.fp16.safetensors",
        "vae/config.json",
        "vae/*model.fp16.safetensors",
        "text_encoder/config.json",
        "text_encoder/*.fp16.safetensors",
        "text_encoder_2/config.json",
        "text_encoder_2/*.fp16.safetensors",
        "tokenizer/vocab.json",
        "tokenizer/merges.txt",
        "tokenizer_2/vocab.json",
        "tokenizer_2/merges.txt",
        "scheduler/scheduler_config.json",
    ),
    "sdxl_vae": ("config.json", "diffusion_pytorch_model.safetensors"),
    "ip_adapter": ("sdxl_models/ip-adapter_sdxl.bin",),
    "controlnet": ("config.json", "diffusion_pytorch_model.fp16.safetensors"),
    "dpt": ("config.json", "preprocessor_config.json", "pytorch_model.bin"),
    "sd2_depth": (
        "unet/*.safetensors",
        "vae/*.safetensors",
        "text_encoder/*.safetensors",
        "depth_estimator/*.safetensors",
        "tokenizer/*",
        "feature_extractor/preprocessor_config.json",
        "scheduler/scheduler_config.json",
    ),
    "z_image": (
        "transformer/*.safetensors",
        "vae/*.safetensors",
        "text_encoder/*.safetensors",
        "tokenizer/*",
        "scheduler/scheduler_config.json",
    ),
    "owlv2": (
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
        "vocab.json",
        "*.txt",
    ),
    "onnx": ("onnx/model.onnx",),
    "rmbg": ("config.json", "*.py", "model.safetensors"),
    "controlnet_union": ("config.json", "diffusion_pytorch_model.safetensors"),
    "depth_anything": ("config.json", "preprocessor_config.json", "model.safetensors"),
    "clip": (
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
        "vocab.json",
        "merges.txt",
    ),
    "dinov2": ("config.json", "preprocessor_config.json", "model.safetensors"),
    "blip2": (
        "config.json",
        "preprocessor_config.json",
        "*.safetensors",
        "vocab.json",
        "merges.txt",
    ),
    "sentences": ("config.json", "model.safetensors", "vocab.txt", "tokenizer.json"),
}


def is_repository(place: str) -> bool:
    """Tell whether a place is spelled as a repository, `owner/name`, and not as a path.

    Args:
        place: What the user named.

    Returns:
        True for a repository.
    """
    return bool(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", place))


def fetch_file(repository: str, file: str) -> Path:
    """Find one file of a repository, downloaded first where it is not here.

    Args:
        repository: OWNER/NAME.
        file: The path of the file in the repository.

    Returns:
        The local path of the file.

    Raises:
        WeightsError: As `fetch`.
    """
    return fetch(repository, (file,)) / file


def fetch(repository: str, files: Sequence[str], instead: str = "--stack pocket") -> Path:
    """Find the local snapshot of a repository, downloaded first where it is not here.

    Before a download, one line in the log says its size, its licence and where it goes.

    Args:
        repository: OWNER/NAME.
        files: Patterns of names, each of which must match at least one file.
        instead: A way that needs no download, for the error.

    Returns:
        The folder of the snapshot.

    Raises:
        WeightsError: It is not here and no hub can be reached, or the hub does not have it.
    """
    from huggingface_hub import constants, snapshot_download

    source = REPOSITORIES.get(repository, Repository(repository))
    if (here := cached_folder(repository, files)) is not None:
        return here
    place = constants.HF_HUB_CACHE
    log.warning("downloading %s (%s, %s) to %s", repository, source.size, source.licence, place)
    try:
        ask_hub(repository, source.revision)
        with quiet_client():
            folder = Path(
                snapshot_download(
                    repository, revision=source.revision, allow_patterns=[*files, "*.json"]
                )
            )
    except Exception as error:  # of the hub's client, or of what it talks to the network with
        raise WeightsError(refusal(source, error, place, instead)) from error
    if absent := _absent(folder, files):
        raise WeightsError(f"{repository} has no {absent[0]} at revision {source.revision}")
    return folder


def cached_folder(repository: str, files: Sequence[str]) -> Path | None:
    """Find the snapshot of a repository in the cache of the hub, without any network.

    Args:
        repository: OWNER/NAME.
        files: Patterns of names, each of which must match at least one file.

    Returns:
        The folder; None where it is not here, or lacks some of the files.
    """
    from huggingface_hub import snapshot_download

    revision = REPOSITORIES.get(repository, Repository(repository)).revision
    with suppress(OSError, ValueError):  # not downloaded yet
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
        if not _absent(folder, files):
            return folder
    return None


def _absent(folder: Path, files: Sequence[str]) -> list[str]:
    here = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    return [pattern for pattern in files if not fnmatch.filter(here, pattern)]
