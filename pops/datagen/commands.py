"""The functions of the commands that make data."""

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
    """Make data for texturing.

    Args:
        config: The settings of the command.

    Returns:
        The exit status.
    """
    return generate(config, "textures")


def generate_scenes(config: ScenesConfig) -> int:
    """Make data for scene.

    Args:
        config: The settings of the command.

    Returns:
        The exit status.
    """
    return generate(config, "scenes")


def generate_unions(config: UnionsConfig) -> int:
    """Make data for union.

    Args:
        config: The settings of the command.

    Returns:
        The exit status.
    """
    return generate(config, "unions")


def generate_random(config: RandomConfig) -> int:
    """Make pictures of random things or places.

    Args:
        config: The settings of the command.

    Returns:
        The exit status.
    """
    return generate(config, f"random {config.type}")


def generate_clothes(config: ClothesConfig) -> int:
    """Make data for clothes.

    Args:
        config: The settings of the command.

    Returns:
        The exit status.
    """
    return generate(config, "clothes")
