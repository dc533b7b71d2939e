"""The published commands that make data: the same settings, under their published names."""

from collections.abc import Sequence
from importlib import import_module

from pops.datagen.config import (
    ClothesConfig,
    CutoutsConfig,
    GenerateConfig,
    RandomConfig,
    ScenesConfig,
    TexturesConfig,
    UnionsConfig,
)
from pops.settings.flags.parsing import parse, resumable, run_command

__all__ = [
    "generate_clothes",
    "generate_random_images",
    "generate_scenes",
    "generate_textures",
    "generate_unions",
    "remove_backgrounds",
]


def generate_textures(arguments: Sequence[str] | None = None) -> int:
    """Make data for texturing, by the published name of the command.

    Args:
        arguments: the words after the command; None for those of this process.

    Returns:
        The exit status.
    """
    return _run("generate_textures", TexturesConfig, arguments)


def generate_scenes(arguments: Sequence[str] | None = None) -> int:
    """Make data for scene, by the published name of the command.

    Args:
        arguments: the words after the command; None for those of this process.

    Returns:
        The exit status.
    """
    return _run("generate_scenes", ScenesConfig, arguments)


def generate_unions(arguments: Sequence[str] | None = None) -> int:
    """Make data for union, by the published name of the command.

    Args:
        arguments: the words after the command; None for those of this process.

    Returns:
        The exit status.
    """
    return _run("generate_unions", UnionsConfig, arguments)


def generate_clothes(arguments: Sequence[str] | None = None) -> int:
    """Make data for clothes, by the published name of the command.

    Args:
        arguments: the words after the command; None for those of this process.

    Returns:
        The exit status.
    """
    return _run("generate_clothes", ClothesConfig, arguments)


def generate_random_images(arguments: Sequence[str] | None = None) -> int:
    """Make pictures of random things or places, by the published name of the command.

    Args:
        arguments: the words after the command; None for those of this process.

    Returns:
        The exit status.
    """
    return _run("generate_random_images", RandomConfig, arguments)


def remove_backgrounds(arguments: Sequence[str] | None = None) -> int:
    """Remove the backgrounds of pictures, by the published name of the command.

    Args:
        arguments: the words after the command; None for those of this process.

    Returns:
        The exit status.
    """
    return _run("remove_backgrounds", CutoutsConfig, arguments)


# Where a published name is not that of the command.
_COMMANDS = {"generate_random_images": "generate_random", "remove_backgrounds": "generate_cutouts"}


def _run(program: str, kind: type[GenerateConfig], arguments: Sequence[str] | None) -> int:
    def run(given: list[str]) -> int:
        config = parse(f"python -m data_generation.{program}", kind, given)
        if config is None:
            return 0
        commands = import_module("pops.datagen.commands")
        with resumable(config):
            return int(getattr(commands, _COMMANDS.get(program, program))(config))

    return run_command(program, arguments, run)
