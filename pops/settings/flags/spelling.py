"""Spell settings as the command line that gives them."""

import dataclasses
import re
import shlex
from typing import Any

import yaml

from pops.settings.flags.values import shown

__all__ = ["spell_command"]

PLAIN = re.compile(r"[\w./+:=~-]+")  # an item of a list that needs no quotes


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
            flags.append(f"--{one.name}={_spelled(value)}")
    if any(word.startswith("-") for word in placed):
        placed.insert(0, "--")  # all that follows is an input
    return shlex.join([*command.split(), *flags, *placed])


def _spelled(value: object) -> str:
    """Write a value as it can be given; texts that a comma would part as a list in quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    words = [str(item) for item in value] if isinstance(value, tuple) else []
    if words == ["null"] or any(PLAIN.fullmatch(word) is None for word in words):
        listed = yaml.safe_dump(
            words, default_flow_style=True, allow_unicode=True, width=float("inf")
        )
        return str(listed).strip()
    return shown(value)
