"""The folders of models: `stacks`, `operators` and `indexes` in `models/pops` of ComfyUI.

Others are named in `extra_model_paths.yaml`, under `pops_stacks`, `pops_operators` and
`pops_indexes`.
"""

import hashlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path

import folder_paths

from pops.errors import PopsError
from pops.operators import read_operator_card
from pops.stacks.spec import STACKS

__all__ = ["add_folders", "fingerprint", "index_places", "own_operators", "stack_places"]

STACK_FOLDERS = "pops_stacks"
OPERATOR_FOLDERS = "pops_operators"
INDEX_FOLDERS = "pops_indexes"
INDEX_FILE = "index.json"

logger = logging.getLogger(__name__)


def add_folders() -> None:
    """Tell ComfyUI of the folders, so that its own settings can name others beside them."""
    models = Path(folder_paths.models_dir) / "pops"
    for kind in (STACK_FOLDERS, OPERATOR_FOLDERS, INDEX_FOLDERS):
        folder_paths.add_model_folder_path(kind, str(models / kind.removeprefix("pops_")))


def stack_places() -> dict[str, str]:
    """List the stacks that can be loaded.

    Returns:
        By name the name of a known stack, or a folder, which takes the place of one of its name.
    """
    found = {path.name: str(path) for path in _children(STACK_FOLDERS) if (path / "prior").is_dir()}
    return {**{name: name for name in STACKS}, **found}


def own_operators() -> list[Path]:
    """List the folders of operators of your own; one that cannot be read is told in the log.

    Returns:
        Operator folders with operators of different names.
    """
    found: dict[str, Path] = {}
    for folder in _children(OPERATOR_FOLDERS):
        if not (folder / "operator.json").is_file():
            continue
        try:
            name = read_operator_card(folder).operator.name
        except PopsError as error:
            logger.warning("pOps: %s", error)
            continue
        if found.setdefault(name, folder) != folder:
            logger.warning(
                "pOps: %s and %s both hold %s: the first is used", found[name], folder, name
            )
    return list(found.values())


def index_places() -> dict[str, Path]:
    """List the indexes of pictures that can be searched.

    Returns:
        The folders by name.
    """
    return {path.name: path for path in _children(INDEX_FOLDERS) if (path / INDEX_FILE).is_file()}


def fingerprint(places: Iterable[str | Path]) -> str:
    """Tell by a short text whether the files of folders are the same as before.

    Args:
        places: files or folders.

    Returns:
        A hash of the names, sizes and times of all the files in them.
    """
    files = sorted(file for place in places for file in _files(Path(place)))
    told = "\n".join(
        f"{path} {os.stat(path).st_size} {os.stat(path).st_mtime_ns}" for path in files
    )
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()


def _files(place: Path) -> list[str]:
    if place.is_file():
        return [str(place)]
    return [os.path.join(at, name) for at, _, names in os.walk(place) for name in names]


def _children(kind: str) -> list[Path]:
    """List the folders in the folders of a kind, in the order of ComfyUI's settings and by name."""
    homes = (Path(home) for home in folder_paths.get_folder_paths(kind))
    return [child for home in homes if home.is_dir() for child in sorted(home.iterdir())]
