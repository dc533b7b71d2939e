"""The settings of the commands that make data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pops.settings.fields import (
    ACTORS,
    AMOUNT,
    BATCH,
    SEED,
    PathOrName,
    Range,
    Settings,
    argument,
    setting,
)

if TYPE_CHECKING:
    from pops.datagen.stages import Stages

__all__ = [
    "ClothesConfig",
    "CutoutsConfig",
    "ExportConfig",
    "GenerateConfig",
    "InspectConfig",
    "RandomConfig",
    "ScenesConfig",
    "TexturesConfig",
    "UnionsConfig",
]

PresetName = Literal["faithful", "permissive", "pocket"]


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(Settings):
    """Settings that all commands that make data share."""

    output_dir: Path = setting(Path("datasets/data"), "folder to write into, or to go on with")
    count: int = setting(50_000, "samples in all, over all shards", within=AMOUNT)
    seed: int = setting(
        0,
        "seed of the run; each sample depends on it and on its own number alone",
        within=SEED,
    )
    preset: PresetName = setting(
        "faithful",
        "faithful: published models; permissive: free for commercial use; pocket: no model",
    )
    batch_size: int = setting(16, "requests that a model answers at once", within=BATCH)
    device: str = setting("auto", "auto, cpu, cuda or mps")
    shard: str = setting("0/1", "i/n: this is machine i of n, counted from 0")
    size: int | None = setting(
        None, "pixels of a side of a pocket picture; null: 64", within=Range(16, 4096)
    )
    trust_remote_code: bool = setting(
        False, "run RMBG-1.4 by the code of its repository in place of its ONNX graph"
    )
    models: tuple[str, ...] = setting(
        (),
        "STAGE=REPOSITORY or STAGE=FOLDER, models in place of the preset's; the stages are "
        "text2image, depth2image, detect, segment, inpaint and people",
    )
    engine: Literal["local", "ray"] = setting(
        "local", "where the work is done; local: in this process; ray: on a Ray cluster"
    )
    actors: int = setting(1, "processes of each stage on a Ray cluster", within=ACTORS)
    ray_address: str | None = setting(
        None, "address of a running Ray cluster; null: start one on this machine"
    )
    dry_run: bool = setting(
        False, "print what would be made, with the first prompts, and make nothing"
    )

    resumes = True

    def __post_init__(self) -> None:
        from pops.settings.shard import Shard

        super().__post_init__()
        Shard.parse(self.shard)

    def load_stages(self) -> Stages:
        """Find the stages of the preset; none of their models is loaded yet.

        Returns:
            The stages.
        """
        from pops.datagen.presets import load_preset

        return load_preset(self).stages


@dataclass(frozen=True, kw_only=True)
class WordsConfig(GenerateConfig):
    """The settings of commands whose prompts are made of words."""

    objects_path: Path | None = setting(
        None, "file of things, one a line, or a class list of Open Images; null: the list of pops"
    )
    placements_path: Path | None = setting(
        None, "file of places, one a line; null: the list of pops"
    )


@dataclass(frozen=True, kw_only=True)
class TexturesConfig(WordsConfig):
    """Make data for texturing: a thing, and the same thing in five other materials."""

    output_dir: Path = setting(Path("datasets/textures"), "folder to write into")
    attributes_path: Path | None = setting(
        None, "file of materials and looks; null: the list of pops"
    )

    examples = (
        "pops generate textures --preset pocket --count 200",
        "pops generate textures --output_dir D --count 50000 --shard 0/4    # of four machines",
    )


@dataclass(frozen=True, kw_only=True)
class ScenesConfig(WordsConfig):
    """Make data for scene: a thing in a place, and the place without it."""

    output_dir: Path = setting(Path("datasets/scenes"), "folder to write into")

    examples = ("pops generate scenes --preset pocket --count 200",)


@dataclass(frozen=True, kw_only=True)
class UnionsConfig(WordsConfig):
    """Make data for union: two things in one picture, and each of them cut out."""

    output_dir: Path = setting(Path("datasets/unions"), "folder to write into")

    examples = ("pops generate unions --preset pocket --count 200",)


@dataclass(frozen=True, kw_only=True)
class RandomConfig(WordsConfig):
    """Make pictures of random things or places, for instruct and to train beside other data."""

    output_dir: Path = setting(Path("datasets/random_images"), "folder to write into")
    type: Literal["objects", "scenes"] = setting("objects", "what is in the pictures")

    examples = (
        "pops generate random --preset pocket --count 500",
        "pops generate random --type scenes --output_dir datasets/random_scenes",
    )


@dataclass(frozen=True, kw_only=True)
class ClothesConfig(GenerateConfig):
    """Cut the garments out of pictures of people, by their human-parsing labels.

    The people are those of the ATR dataset, or with --models people=FOLDER those of a folder of
    NAME.jpg and NAME_mask.png.
    """

    output_dir: Path = setting(Path("datasets/clothes"), "folder to write into")

    examples = ("pops generate clothes --preset pocket --count 200",)


@dataclass(frozen=True, kw_only=True)
class CutoutsConfig(GenerateConfig):
    """Remove the backgrounds of the pictures of a folder; the foreground is put on white.

    The pocket preset cuts out pictures that it has made itself.
    """

    input_dir: Path = setting(Path("datasets/random_images"), "folder of pictures")
    output_dir: Path = setting(Path("datasets/cutouts"), "folder to write into")

    examples = ("pops generate cutouts --input_dir photos --output_dir photos-cut",)


@dataclass(frozen=True, kw_only=True)
class InspectConfig(Settings):
    """Show what is in a folder of generated data: counts, rejections, broken records.

    Draws a contact sheet with boxes and masks.
    """

    folder: PathOrName = argument("folder of generated data")
    out: Path | None = setting(None, "picture to write; null: FOLDER-inspect.jpg beside the folder")
    samples: int = setting(12, "samples on the contact sheet", within=Range(1, 200))

    examples = ("pops generate inspect datasets/textures",)


@dataclass(frozen=True, kw_only=True)
class ExportConfig(Settings):
    """Pack a folder of generated data into tar files, for pipelines that read WebDataset."""

    folder: PathOrName = argument("folder of generated data")
    format: Literal["webdataset"] = setting("webdataset", "format to write")
    out: Path = setting(Path("out/export"), "folder to write into")
    samples_per_shard: int = setting(1000, "samples in each tar file", within=Range(1, 1_000_000))

    examples = ("pops generate export datasets/scenes --out tars/scenes",)
