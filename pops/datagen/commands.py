"""What each command that makes data does; the exit status of each."""

from pops.datagen.config import (
    ClothesConfig,
    RandomConfig,
    ScenesConfig,
    TexturesConfig,
    UnionsConfig,
)
from pops.datagen.cutouts import generate_cutouts
from pops.datagen.run import generate

__all__ = [
    "generate_clothes",
    "generate_cutouts",
    "generate_random",
    "generate_scenes",
    "generate_textures",
    "generate_unions",
]


def generate_textures(config: TexturesConfig) -> int:
    return generate(config, "textures")


def generate_scenes(config: ScenesConfig) -> int:
    return generate(config, "scenes")


def generate_unions(config: UnionsConfig) -> int:
    return generate(config, "unions")


def generate_random(config: RandomConfig) -> int:
    return generate(config, f"random {config.type}")


def generate_clothes(config: ClothesConfig) -> int:
    return generate(config, "clothes")
