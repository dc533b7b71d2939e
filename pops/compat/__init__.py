"""The published commands: an operator over folders of inputs, with the published settings.

    python -m scripts.infer_binary --config_path=configs/infer/texturing.yaml

Modules:
    config       the settings
    texts        embedding files of inputs that are given as texts
    strips       lists the strips to make: one for each way to put the inputs together
    strip_files  the files of a strip, and whether they are complete
    figure       the pictures of a strip
    grid         makes all strips in batches
    run          one command from its settings to its exit status
    generation   the published commands that make data

This module imports no torch, so that help and mistakes are instant.
"""

from collections.abc import Sequence
from importlib import import_module

from pops.compat.config import BinaryConfig, ClothesConfig, InstructConfig, PublishedConfig
from pops.settings.flags.parsing import parse, resumable, run_command

__all__ = ["infer_binary", "infer_clothes", "infer_instruct"]


def infer_binary(arguments: Sequence[str] | None = None) -> int:
    """Apply an operator to every input of one folder with every input of another.

    Args:
        arguments: the words after the command; None for those of this process.

    Returns:
        The exit status.
    """
    return _infer("infer_binary", BinaryConfig, arguments)


def infer_instruct(arguments: Sequence[str] | None = None) -> int:
    """Apply an operator to every input of a folder with every text.

    Args:
        arguments: the words after the command; None for those of this process.

    Returns:
        The exit status.
    """
    return _infer("infer_instruct", InstructConfig, arguments)


def infer_clothes(arguments: Sequence[str] | None = None) -> int:
    """Dress a person in the garments of a folder, or in every choice of one from each folder.

    Args:
        arguments: the words after the command; None for those of this process.

    Returns:
        The exit status.
    """
    return _infer("infer_clothes", ClothesConfig, arguments)


def _infer(program: str, kind: type[PublishedConfig], arguments: Sequence[str] | None) -> int:
    def run(given: list[str]) -> int:
        config = parse(f"python -m scripts.{program}", kind, given)
        if config is None:
            return 0
        with resumable(config):
            return int(import_module("pops.compat.run").run(config))

    return run_command(program, arguments, run)
