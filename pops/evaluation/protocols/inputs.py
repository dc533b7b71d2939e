"""The inputs of a protocol: pictures of the user, or pictures that are drawn from words once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pops.data.records.layouts import find_pictures
from pops.data.word_lists import read_word_list
from pops.datagen.engines.local import Local
from pops.datagen.stages import Stages, Text2Image
from pops.datagen.words import file_word, with_article
from pops.errors import InputError, UsageError
from pops.evaluation.config import EvalConfig
from pops.io.assets import assets_folder
from pops.io.files import make_folder
from pops.io.pictures import save_picture
from pops.operators import GARMENTS
from pops.settings.progress import Progress

__all__ = ["Input", "draw_inputs", "list_garments", "list_inputs", "list_words"]

WORDS = Path(__file__).parents[1] / "words"
SEED = 0  # of the drawings

PROMPTS: dict[str, Callable[[str], str]] = {
    "objects": lambda word: f"a photo of {with_article(word)} in a white studio",
    "textures": lambda word: f"a close-up photo of {word}, a texture that fills the picture",
    "places": lambda word: f"a photo of {word} with nothing in it",
    "garments": lambda word: f"a photo of {with_article(word)} on a white background",
}
POCKET_FOLDERS = {"objects": "objects", "textures": "textures", "places": "backgrounds"}


@dataclass(frozen=True)
class Input:
    """An input: what it shows in words, its picture, and the prompt that the picture is made of.

    Args:
        word: what it shows.
        path: the file of its picture.
        prompt: what it is drawn from where the file is not there; None for a user's own.
        slot: for a garment, the slot that it goes into.
    """

    word: str
    path: Path
    prompt: str | None = None
    slot: str = ""


def list_words(kind: str, given: str | None) -> tuple[str, ...]:
    """Read a list of words.

    Args:
        kind: The name of a list that comes with pops.
        given: The user's own file in its place; None for none.

    Returns:
        The words in order.

    Raises:
        InputError: The file cannot be read or holds no words.
    """
    path = WORDS / f"{kind}.txt" if given is None else Path(given)
    words = read_word_list(path)
    if not words:
        raise InputError(f"{path} holds no words: write one a line")
    return words


def list_inputs(kind: str, given: str | None, config: EvalConfig) -> list[Input]:
    """List the inputs of a kind; nothing is drawn yet.

    Args:
        kind: `objects`, `textures` or `places`.
        given: A folder of pictures or a list of words; None for those of pops.
        config: The settings of the command.

    Returns:
        The inputs in order.

    Raises:
        InputError: The folder or file cannot be read or holds nothing.
    """
    if given is None and config.chosen_preset == "pocket":
        given = str(assets_folder() / POCKET_FOLDERS[kind])
    if given is not None and Path(given).is_dir():
        return [Input(path.stem.replace("-", " "), path) for path in _pictures(Path(given))]
    return [
        Input(word, config.out / "inputs" / kind / f"{file_word(word)}.png", PROMPTS[kind](word))
        for word in list_words(kind, given)
    ]


def list_garments(given: str | None, config: EvalConfig) -> list[Input]:
    """List the garments; nothing is drawn yet.

    Args:
        given: A folder of pictures, each named by its slot or SLOT_NAME, or a list of
            `SLOT: GARMENT`; None for those of pops.
        config: The settings of the command.

    Returns:
        The garments, each with its slot.

    Raises:
        InputError: The folder or file cannot be read or holds nothing.
        UsageError: A slot is unknown.
    """
    if given is None and config.chosen_preset == "pocket":
        given = str(assets_folder() / "garments")
    if given is not None and Path(given).is_dir():
        found = []
        for path in _pictures(Path(given)):
            slot, _, name = path.stem.partition("_")
            found.append(Input(name or slot.replace("-", " "), path, slot=slot))
    else:
        found = [_garment(line, config) for line in list_words("garments", given)]
    for one in found:
        if one.slot not in GARMENTS:
            raise UsageError(
                f"--objects: {one.slot!r} is not a slot of clothes (the slots are "
                f"{', '.join(GARMENTS)})"
            )
    return found


def _garment(line: str, config: EvalConfig) -> Input:
    slot, _, word = (part.strip() for part in line.partition(":"))
    name = f"{file_word(slot)}_{file_word(word)}.png"
    return Input(word, config.out / "inputs" / "garments" / name, PROMPTS["garments"](word), slot)


def _pictures(folder: Path) -> list[Path]:
    found = [path for path in find_pictures(folder) if path.is_file()]
    if not found:
        raise InputError(f"{folder} holds no pictures: name another folder, or a list of words")
    return found


def draw_inputs(
    inputs: Sequence[Input], stages: Stages, batch_size: int, progress: Progress | None = None
) -> None:
    """Draw the pictures that are not there yet, from their prompts.

    Args:
        inputs: The inputs.
        stages: The stages, of which `text2image` draws.
        batch_size: The most pictures that are drawn at once.
        progress: Told how far it is.

    Raises:
        OutputError: A picture cannot be written.
    """
    missing = {one.path: one for one in inputs if one.prompt and not one.path.exists()}
    left = list(missing.values())
    artist = Local(stages)
    for start in range(0, len(left), batch_size):
        batch = left[start : start + batch_size]
        drawn = artist.answer("text2image", [Text2Image(str(one.prompt), SEED) for one in batch])
        for one, picture in zip(batch, drawn, strict=True):
            make_folder(one.path.parent)
            save_picture(picture.image, one.path)
        if progress:
            progress("draw inputs", start + len(batch), len(left))
