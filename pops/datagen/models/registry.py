"""The models that answer the stages of each preset, and how each is loaded.

Imports no torch: a stage is loaded when it is first asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pops.datagen.stages import Answer, StageModel
from pops.errors import UsageError
from pops.io.hub.repositories import PART_FILES, REPOSITORIES, Repository
from pops.io.hub.snapshots import fetch, is_repository

if TYPE_CHECKING:
    from pops.io.machine.placement import Placement

__all__ = [
    "FAITHFUL",
    "PERMISSIVE",
    "PICTURE_SIDE",
    "RMBG_BY_ITS_OWN_CODE",
    "ModelRow",
    "describe_model",
    "model_folder",
    "read_models",
]

PICTURE_SIDE = 512
INSTEAD = "--preset pocket"  # the flag that needs no download, for messages
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SDXL_BASE = "stabilityai/stable-diffusion-xl-base-1.0"
DEPTH_ANYTHING = "depth-anything/Depth-Anything-V2-Small-hf"


@dataclass(frozen=True)
class ModelRow:
    """A model of a stage: where it is, and the function (place, device) -> Answer that loads it."""

    place: str  # a repository, or a folder in its layout
    load: Callable[[str, str], Answer]


def read_models(models: Sequence[str], stages: Collection[str]) -> dict[str, str]:
    """Read the models that a user names in place of those of a preset.

    Args:
        models: One text STAGE=REPOSITORY or STAGE=FOLDER for each.
        stages: The names of the stages that there are.

    Returns:
        The repository or folder of each stage that is named.

    Raises:
        UsageError: A text has another form, or names a stage that there is not.
    """
    own = {}
    for text in models:
        stage, equals, place = text.partition("=")
        if not equals or not place or stage not in stages:
            raise UsageError(
                f"--models takes STAGE=REPOSITORY or STAGE=FOLDER, not {text!r} "
                f"(the stages are {', '.join(stages)})"
            )
        own[stage] = place
    return own


def describe_model(place: str) -> StageModel:
    """Describe a model as the manifest names it.

    Args:
        place: Its repository or folder.

    Returns:
        The place, with the revision and the licence where it is a known repository.
    """
    known = REPOSITORIES.get(place, Repository(place))
    return StageModel(place, known.revision, known.licence)


def model_folder(place: str, files: Sequence[str]) -> Path:
    """Find the folder of a model, which is downloaded where it has to be.

    Args:
        place: A folder, or a repository.
        files: The files of a repository that are needed.

    Returns:
        The folder.

    Raises:
        UsageError: It is neither a folder nor spelled as a repository.
        WeightsError: It cannot be downloaded.
    """
    if Path(place).is_dir():
        return Path(place)
    if not is_repository(place):
        raise UsageError(f"--models: there is no folder {place}")
    return fetch(place, files, INSTEAD)


def _placement(device: str) -> Placement:
    from pops.io.machine.placement import choose_placement

    return choose_placement(device)


def _turbo(place: str, device: str) -> Answer:
    from pops.datagen.models.diffusion import Sampling, TextToImage

    folder = model_folder(place, PART_FILES["sdxl"])
    return TextToImage.load(folder, _placement(device), Sampling(4, 0.0, PICTURE_SIDE))


def _z_image(place: str, device: str) -> Answer:
    from pops.datagen.models.diffusion import Sampling, TextToImage

    folder = model_folder(place, PART_FILES["z_image"])
    return TextToImage.load(folder, _placement(device), Sampling(9, 0.0, PICTURE_SIDE))


def _depth_diffusion(place: str, device: str) -> Answer:
    from pops.datagen.models.diffusion import DepthDiffusion, Sampling

    folder = model_folder(place, PART_FILES["sd2_depth"])
    return DepthDiffusion.load(folder, _placement(device), Sampling(50, 7.5, PICTURE_SIDE))


def _controlnet_union(place: str, device: str) -> Answer:
    from pops.datagen.models.diffusion import ControlNetUnion, Sampling

    control = model_folder(place, PART_FILES["controlnet_union"])
    base = model_folder(SDXL_BASE, PART_FILES["sdxl"])
    depth = model_folder(DEPTH_ANYTHING, PART_FILES["depth_anything"])
    return ControlNetUnion.load(base, control, depth, _placement(device), Sampling(30, 6.0, 1024))


def _owl(place: str, device: str) -> Answer:
    from pops.datagen.models.vision import Owl

    return Owl.load(model_folder(place, PART_FILES["owlv2"]), _placement(device))


def _rmbg(place: str, device: str) -> Answer:
    from pops.datagen.models.vision import Foreground, OnnxForeground

    file = model_folder(place, PART_FILES["onnx"]) / "onnx" / "model.onnx"
    return OnnxForeground.load(file, _placement(device), Foreground())


def _rmbg_by_its_own_code(place: str, device: str) -> Answer:
    from pops.datagen.models.vision import Foreground, RemoteForeground

    folder = model_folder(place, PART_FILES["rmbg"])
    return RemoteForeground.load(folder, _placement(device), Foreground())


def _birefnet(place: str, device: str) -> Answer:
    from pops.datagen.models.vision import Foreground, OnnxForeground

    mean, std = IMAGENET
    file = model_folder(place, PART_FILES["onnx"]) / "onnx" / "model.onnx"
    return OnnxForeground.load(file, _placement(device), Foreground(1024, mean, std, logits=True))


def _inpainter(place: str, device: str) -> Answer:
    from pops.datagen.models.diffusion import Inpainter, Sampling

    folder = model_folder(place, PART_FILES["sdxl"])
    return Inpainter.load(folder, _placement(device), Sampling(25, 8.0, 1024))


def _people(place: str, device: str) -> Answer:
    from pops.datagen.models.people import People

    return People.load(place)


RMBG = "briaai/RMBG-1.4"
RMBG_BY_ITS_OWN_CODE = ModelRow(RMBG, _rmbg_by_its_own_code)

_INPAINTER = ModelRow("diffusers/stable-diffusion-xl-1.0-inpainting-0.1", _inpainter)
_OWL = ModelRow("google/owlv2-base-patch16-ensemble", _owl)
_PEOPLE = ModelRow("mattmdjaga/human_parsing_dataset", _people)

# The published models.
FAITHFUL = {
    "text2image": ModelRow("stabilityai/sdxl-turbo", _turbo),
    "depth2image": ModelRow("sd2-community/stable-diffusion-2-depth", _depth_diffusion),
    "detect": _OWL,
    "segment": ModelRow(RMBG, _rmbg),
    "inpaint": _INPAINTER,
    "people": _PEOPLE,
}

# Models whose licences allow commercial use.
PERMISSIVE = {
    "text2image": ModelRow("Tongyi-MAI/Z-Image-Turbo", _z_image),
    "depth2image": ModelRow("xinsir/controlnet-union-sdxl-1.0", _controlnet_union),
    "detect": _OWL,
    "segment": ModelRow("onnx-community/BiRefNet_lite-ONNX", _birefnet),
    "inpaint": _INPAINTER,
    "people": _PEOPLE,
}
