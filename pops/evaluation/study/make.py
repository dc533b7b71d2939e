"""Write the page of a study: blinded pairs of pictures, and apart from it the key to them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from pops.errors import InputError, UsageError
from pops.evaluation.config import EvalStudyConfig
from pops.io.files import atomic_path, folder_lock, make_folder, staged_folder
from pops.io.names import shown_files
from pops.io.pictures import open_picture, picture_suffixes, save_picture

__all__ = ["ANSWERS", "KEY", "PAGE", "find_pairs", "make_study"]

TEMPLATE = Path(__file__).parent / "page" / "study.html"
PLACE = "/*STUDY*/null"  # where the template takes the study
KEY, PAGE, ANSWERS = "key.json", "page", "answers"


@dataclass(frozen=True)
class _Pair:
    name: str
    first: Path
    second: Path
    input: Path | None


def find_pairs(config: EvalStudyConfig) -> list[str]:
    """Find the pictures that both folders have.

    Args:
        config: The settings of the command.

    Returns:
        Their paths in the folders, without endings, in order; a `count` draws some at random.

    Raises:
        InputError: A folder is missing, or they have no picture in common.
    """
    both = sorted(set(_pictures(config.first)) & set(_pictures(config.second)))
    if not both:
        raise InputError(
            f"{config.first} and {config.second} hold no pictures of the same name, of which a "
            "pair is made"
        )
    if config.count is not None and config.count < len(both):
        both = sorted(Random(f"{config.seed}/pairs").sample(both, config.count))
    return both


def make_study(config: EvalStudyConfig) -> list[Path]:
    """Write a study: the page for raters, the key, and a folder for answers.

    Args:
        config: The settings of the command.

    Returns:
        The page and the folder for answers.

    Raises:
        UsageError: The folder has a study already, or another run is at work in it.
        InputError: A picture cannot be read, or there are no pairs.
        OutputError: A file cannot be written.
    """
    with folder_lock(config.out):
        if (config.out / KEY).exists():
            raise UsageError(f"{config.out} holds a study already: name another folder by --out")
        with staged_folder(config.out) as stage:
            _write_study(config, stage)
    return [config.out / PAGE / "index.html", config.out / ANSWERS]


def _write_study(config: EvalStudyConfig, folder: Path) -> None:
    first, second = _pictures(config.first), _pictures(config.second)
    inputs = {} if config.inputs is None else _pictures(config.inputs)
    pairs = [
        _Pair(name, first[name], second[name], inputs.get(name)) for name in find_pairs(config)
    ]
    rng = Random(f"{config.seed}/sides")
    pictures = make_folder(folder / PAGE / "pictures")
    shown: list[dict[str, str]] = []
    sides: dict[str, dict[str, str]] = {}
    for number, pair in enumerate(pairs):
        files = {"first": pair.first, "second": pair.second}
        left, right = rng.sample(("first", "second"), 2)
        one = {"id": f"p{number:04d}"}
        for side, method in (("left", left), ("right", right)):
            one[side] = f"{rng.getrandbits(64):016x}.png"  # a name that tells nothing
            save_picture(open_picture(files[method]), pictures / one[side])
        if pair.input is not None:
            one["input"] = f"{rng.getrandbits(64):016x}.png"
            save_picture(open_picture(pair.input), pictures / one["input"])
        shown.append(one)
        sides[one["id"]] = {"name": pair.name, "left": left, "right": right}
    study = {"id": _digest(shown), "question": config.question, "pairs": shown}
    key: dict[str, Any] = {
        "study": study["id"],
        "question": config.question,
        "first": str(config.first),
        "second": str(config.second),
        "pairs": sides,
    }
    make_folder(folder / ANSWERS)
    _write(folder / PAGE / "index.html", _fill(study))
    _write(folder / KEY, json.dumps(key, indent=1) + "\n")


def _pictures(folder: Path) -> dict[str, Path]:
    """List the pictures of a folder and of those in it, by path without ending."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: name one of pictures")
    suffixes = picture_suffixes()
    found: dict[str, Path] = {}
    for path in shown_files(folder.rglob("*")):
        if path.suffix.lower() in suffixes and path.is_file():
            other = found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
            if other != path:
                raise InputError(f"{other} and {path} have one name but for its ending: remove one")
    return found


def _digest(shown: list[dict[str, str]]) -> str:
    return hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:12]


def _fill(study: dict[str, Any]) -> str:
    """Put a study into the template. No text of the user can end the script that holds it."""
    data = json.dumps(study).replace("<", "\\u003c")
    return TEMPLATE.read_text(encoding="utf-8").replace(PLACE, data)


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")
