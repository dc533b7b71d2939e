"""Spell settings as the command line that gives them."""

import dataclasses
import shlex
from typing import Any

from pops.settings.flags.values import shown

__all__ = ["spell_command"]


def spell_command(command: str, config: Any) -> str:
    """Write the command line of some settings, for a shell.

    Args:
        command: what is typed before the arguments.
        config: a dataclass whose fields are `setting`s and `argument`s.

    Returns:
        The command, with every setting that is not the default.
    """
    flags: list[str] = []
    placed: list[str] = []
    for one in dataclasses.fields(config):
        value = getattr(config, one.name)
        if one.metadata.get("others"):
            flags += [f"--{name}={place}" for name, place in value.items()]
        elif one.metadata.get("positional"):
            placed += [str(v) for v in value] if one.metadata["nargs"] else [str(value)]
        elif value != one.default:
            text = str(value).lower() if isinstance(value, bool) else shown(value)
            flags.append(f"--{one.name}={text}")
    if any(word.startswith("-") for word in placed):
        placed.insert(0, "--")  # all that follows is an input
    return shlex.join([*command.split(), *flags, *placed])
