"""Read settings files: YAML in which every value is the word that is written there.

YAML turns words into other things: `on` into true, `010` into 8, `1e3` into a number. A value is
kept as it is written, and the setting that it is for says what it means.
"""

from pathlib import Path

import yaml

from pops.errors import UsageError
from pops.io.formats.schema import read_text

__all__ = ["Given", "Written", "read_items", "read_settings"]


class Written(str):
    """A text of a settings file; it stands for itself even where it reads `null`."""


Given = str | list[str] | None  # one value as it is given: in a settings file, or by a flag


def read_settings(path: str | Path) -> dict[str, Given]:
    """Read a settings file.

    Args:
        path: a YAML file in UTF-8, with or without a byte-order mark, with one mapping in it.

    Returns:
        By the name of each setting its value: the text that is written, a list of such texts, or
        None for a plain `null`.

    Raises:
        UsageError: the file cannot be read, or holds anything else than settings.
    """
    text = read_text(path, UsageError)
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not YAML: {error}") from error
    except RecursionError as error:
        raise UsageError(
            f"{path} is nested too deeply: write each setting as NAME: VALUE, one a line"
        ) from error
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise UsageError(f"{path} holds no settings: write them as NAME: VALUE, one a line")
    found: dict[str, Given] = {}
    for key, value in root.value:
        where = f"{path}, line {key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise UsageError(f"{where}: the name of a setting must be a plain word")
        if key.value in found:
            raise UsageError(f"{where}: {key.value} is given twice: remove one")
        try:
            found[key.value] = _value(value)
        except ValueError as error:
            raise UsageError(f"{where}: --{key.value} {error}") from error
    return found


def read_items(text: str) -> list[str]:
    """Read `[a, 'b, c']`, a list in YAML's short form, as the texts that are written in it.

    Args:
        text: the list.

    Returns:
        The texts.

    Raises:
        ValueError: the text is not such a list.
    """
    try:
        value = _value(yaml.compose(text, yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{text!r} is not a plain list") from error
    if not isinstance(value, list):
        raise ValueError(f"{text!r} is not a plain list")
    return value


def _value(node: yaml.Node | None) -> Given:
    if isinstance(node, yaml.ScalarNode):
        return None if node.tag == "tag:yaml.org,2002:null" else Written(node.value)
    items: list[yaml.Node | None] = (
        list(node.value) if isinstance(node, yaml.SequenceNode) else [node]
    )
    values: list[str] = [Written(item.value) for item in items if isinstance(item, yaml.ScalarNode)]
    if len(values) < len(items):
        raise ValueError("takes a single value or a plain list of values, nothing within them")
    return values
