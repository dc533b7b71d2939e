"""The table of models: which answers each stage, by preset, and how it is loaded.

Imports no torch: a model is loaded when its stage is first asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from pops import __version__
from pops.datagen.models.registry import (
    FAITHFUL,
    ModelRow,
    describe_model,
    model_folder,
    read_models,
)
from pops.datagen.stages import Answer, StageModel, Stages
from pops.evaluation.config import EvalConfig, ModelsConfig
from pops.evaluation.stages import Remembering
from pops.io.hub.repositories import PART_FILES

if TYPE_CHECKING:
    from pops.io.machine.placement import Placement

__all__ = ["PRESETS", "find_stages"]

POCKET_TERMS = "Apache-2.0"


def _placement(device: str) -> Placement:
    from pops.io.machine.placement import choose_placement

    return choose_placement(device)


def _clip(place: str, device: str) -> Answer:
    from pops.evaluation.models.vision import Clip

    return Clip.load(model_folder(place, PART_FILES["clip"]), _placement(device))


def _features(place: str, device: str) -> Answer:
    from pops.evaluation.models.vision import Features

    return Features.load(model_folder(place, PART_FILES["dinov2"]), _placement(device))


def _depth(place: str, device: str) -> Answer:
    from pops.evaluation.models.vision import Depth

    return Depth.load(model_folder(place, PART_FILES["depth_anything"]), _placement(device))


def _captions(place: str, device: str) -> Answer:
    from pops.evaluation.models.vision import Captions

    return Captions.load(model_folder(place, PART_FILES["blip2"]), _placement(device))


def _sentences(place: str, device: str) -> Answer:
    from pops.evaluation.models.vision import Sentences

    return Sentences.load(model_folder(place, PART_FILES["sentences"]), _placement(device))


def _pocket_clip(place: str, device: str) -> Answer:
    from pops.evaluation.models.pocket import PocketClip

    return PocketClip.load(place, device)


def _pocket_windows(place: str, device: str) -> Answer:
    from pops.evaluation.models.pocket import pocket_windows

    return pocket_windows(place, device)


def _pocket_features(place: str, device: str) -> Answer:
    from pops.evaluation.models.pocket import PocketFeatures

    return PocketFeatures.load(place, device)


def _pocket_captions(place: str, device: str) -> Answer:
    from pops.evaluation.models.pocket import PocketCaptions

    return PocketCaptions.load(place, device)


def _pocket_sentences(place: str, device: str) -> Answer:
    from pops.evaluation.models.pocket import PocketSentences

    return PocketSentences.load(place, device)


def _pocket_drawing(place: str, device: str) -> Answer:
    from pops.datagen.pocket.stages import pocket_stages

    return pocket_stages().loaders["text2image"]()


HUB = {
    "text2image": FAITHFUL["text2image"],
    "detect": FAITHFUL["detect"],
    "depth": ModelRow("depth-anything/Depth-Anything-V2-Small-hf", _depth),
    "clip": ModelRow("openai/clip-vit-large-patch14", _clip),
    "features": ModelRow("facebook/dinov2-base", _features),
    "caption": ModelRow("Salesforce/blip2-opt-2.7b", _captions),
    "sentence": ModelRow("sentence-transformers/all-MiniLM-L6-v2", _sentences),
}

# There is no depth: what has no model is left out.
POCKET = {
    "text2image": ModelRow("pocket", _pocket_drawing),
    "detect": ModelRow("pocket", _pocket_windows),
    "clip": ModelRow("pocket", _pocket_clip),
    "features": ModelRow("pocket", _pocket_features),
    "caption": ModelRow("pocket", _pocket_captions),
    "sentence": ModelRow("pocket", _pocket_sentences),
}
POCKET_NAMES = {
    "text2image": "pocket world",
    "detect": "pocket encoders on windows",
    "clip": "pocket encoders",
    "features": "pocket classifier",
    "caption": "pocket classifier",
    "sentence": "pocket text encoder",
}

PRESETS: Mapping[str, Mapping[str, ModelRow]] = {"hub": HUB, "pocket": POCKET}


def find_stages(config: ModelsConfig) -> Stages:
    """Find the model of every stage, and how it is loaded.

    Args:
        config: The settings of the command.

    Returns:
        The stages; nothing is loaded yet.

    Raises:
        UsageError: A model is named for a stage that there is not.
    """
    rows = PRESETS[config.chosen_preset]
    own = read_models(config.models, HUB)
    loaders: dict[str, Callable[[], Answer]] = {}
    models: dict[str, StageModel] = {}
    for stage in dict.fromkeys([*rows, *own]):
        row = HUB[stage] if stage in own else rows[stage]
        place = own.get(stage, row.place)
        loaders[stage] = partial(_remembering, row.load, place, config.device)
        models[stage] = _model(stage, place)
    if config.judge is not None:
        from pops.evaluation.models.judge import PROMPT_VERSION

        loaders["judge"] = partial(_judge, config.judge, config.judge_model)
        models["judge"] = StageModel(config.judge_model, f"prompt {PROMPT_VERSION}", config.judge)
    if isinstance(config, EvalConfig):
        loaders["make"] = partial(_maker, config)
        models["make"] = StageModel(config.stack, __version__, "as its own card says")
    return Stages(loaders, models)


def _remembering(load: Callable[[str, str], Answer], place: str, device: str) -> Answer:
    return Remembering(load(place, device))


def _maker(config: EvalConfig) -> Answer:
    from pops.evaluation.models.make import Maker

    return Maker.load(config)


def _judge(address: str, model: str) -> Answer:
    from pops.evaluation.models.judge import VisionJudge

    return Remembering(VisionJudge(address, model))


def _model(stage: str, place: str) -> StageModel:
    if place == "pocket":
        return StageModel(POCKET_NAMES[stage], __version__, POCKET_TERMS)
    return describe_model(place)
