"""The operators: one table row each, and the folders and files their weights come in.

The table costs nothing to import: torch is imported by the functions that read and write weights.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pops.errors import UsageError, WeightsError, check_known
from pops.io.files import atomic_path, make_folder
from pops.io.formats.schema import write_json
from pops.io.hub.model_card import model_card
from pops.io.hub.sharing import Shareable
from pops.io.names import expand_home

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "CLOTHES",
    "GARMENTS",
    "INSTRUCT",
    "OPERATORS",
    "SCENE",
    "TEXTURING",
    "UNION",
    "Operator",
    "OperatorCard",
    "check_state_dict",
    "find_operator",
    "find_operator_folders",
    "known_operators",
    "read_operator_card",
    "read_state_dict",
    "save_card",
    "save_operator",
    "without_stats",
]

# Labels 1-10, 16 and 17 of ATR human parsing, in the order of their numbers.
GARMENTS = (
    "hat",
    "hair",
    "sunglasses",
    "upper-clothes",
    "skirt",
    "pants",
    "dress",
    "belt",
    "left-shoe",
    "right-shoe",
    "bag",
    "scarf",
)


@dataclass(frozen=True)
class Operator(Shareable):
    """One operator: what it takes, how strongly it is guided, how its inputs drop in training.

    Args:
        name: its name.
        inputs: the names of its slots for pictures, in the order of their tokens.
        takes_text: whether it takes a text, too.
        min_inputs: the fewest inputs that may be given; None where every slot must be given.
        guidance: the scale of classifier-free guidance that it is applied with.
        drop_each: the chance in training to drop each condition alone.
        drop_all: the chance in training to drop all conditions together.
        text_loss: the weight of 1 - cos(prediction, text embedding) beside the squared error.
        folder: the operator folder that it was read from by `from_pretrained`.
    """

    name: str
    inputs: tuple[str, ...]  # image slots, in token order
    takes_text: bool = False
    min_inputs: int | None = None  # None: every slot must be given (or dropped by name)
    guidance: float = 1.0
    drop_each: float = 0.0  # chance to drop each condition alone
    drop_all: float = 0.0  # chance to drop all together
    text_loss: float = 0.0  # weight of 1 - cos(prediction, text embedding), beside the MSE
    folder: Path | None = field(default=None, compare=False, repr=False)

    @classmethod
    def _of_folder(cls, folder: Path) -> Self:
        return replace(read_operator_card(folder).operator, folder=folder)  # type: ignore[return-value]

    @property
    def place(self) -> str:
        """Its folder where it has one, or its name: what the engine takes for it."""
        return str(self.folder or self.name)

    def row(self) -> dict[str, Any]:
        """Give its fields as they stand in a file.

        Returns:
            The fields by name.
        """
        return {key: value for key, value in asdict(self).items() if key != "folder"}

    def check_inputs(self, given: int, text: str | None) -> None:
        """Check that inputs fit the slots.

        Args:
            given: the number of inputs.
            text: the text, or None.

        Raises:
            UsageError: they do not fit; the error names the slots.
        """
        least = len(self.inputs) if self.min_inputs is None else self.min_inputs
        if not least <= given <= len(self.inputs):
            wanted = f"{least}" if least == len(self.inputs) else f"{least} to {len(self.inputs)}"
            raise UsageError(
                f"{self.name} takes {wanted} input{'s' * (wanted != '1')} "
                f"({', '.join(self.inputs)}), not {given}"
            )
        if self.takes_text and text is None:
            raise UsageError(f"{self.name} needs a text beside its {' and '.join(self.inputs)}")
        if text is not None and not self.takes_text:
            raise UsageError(f"{self.name} takes no text; its inputs are {', '.join(self.inputs)}")


TEXTURING = Operator("texturing", ("object", "texture"), guidance=8.0, drop_each=0.25)
UNION = Operator("union", ("first", "second"), guidance=8.0, drop_all=0.2)
SCENE = Operator("scene", ("object", "background"), drop_all=0.1)
INSTRUCT = Operator("instruct", ("object",), takes_text=True, drop_all=0.2, text_loss=10.0)
CLOTHES = Operator("clothes", GARMENTS, min_inputs=1, guidance=4.0, drop_all=0.2)

OPERATORS: dict[str, Operator] = {
    operator.name: operator for operator in (TEXTURING, UNION, SCENE, INSTRUCT, CLOTHES)
}


def find_operator(name: str) -> Operator:
    """Find an operator of the table.

    Args:
        name: its name.

    Returns:
        Its row.

    Raises:
        UsageError: the name is unknown; the error suggests the nearest.
    """
    check_known("operator", name, OPERATORS)
    return OPERATORS[name]


def find_operator_folders(places: Iterable[str | Path]) -> dict[str, Path]:
    """Find the operator folders that are named, or that lie in folders that are named.

    Args:
        places: operator folders, or folders that hold operator folders.

    Returns:
        The operator folders by the names of their operators.

    Raises:
        UsageError: a place is or holds no operator folder, or two hold operators of one name.
        WeightsError: an operator card cannot be read.
    """
    found: dict[str, Path] = {}
    for place in places:
        folder = expand_home(place)
        cards = list(folder.glob("operator.json")) or sorted(folder.glob("*/operator.json"))
        if not cards:
            raise UsageError(f"{folder} is not an operator folder, and holds none: name another")
        for card in cards:
            name = read_operator_card(card.parent).operator.name
            if found.setdefault(name, card.parent) != card.parent:
                raise UsageError(
                    f"{found[name]} and {card.parent} both hold an operator named {name}: "
                    "name one of them"
                )
    return found


def known_operators(places: Iterable[str | Path]) -> dict[str, Operator]:
    """Collect the rows of all operators that are known by name.

    Args:
        places: operator folders, or folders that hold operator folders; an operator in them takes
            the place of one of that name in the table.

    Returns:
        The rows of the table and of the folders, by name.

    Raises:
        UsageError: as `find_operator_folders`.
        WeightsError: an operator card cannot be read.
    """
    folders = find_operator_folders(places)
    own = {name: read_operator_card(folder).operator for name, folder in folders.items()}
    return {**OPERATORS, **own}


@dataclass(frozen=True)
class OperatorCard:
    """The content of `operator.json`.

    Args:
        operator: the row of the operator.
        stack: the name of the stack that it is of.
        training: how it was trained.
    """

    operator: Operator
    stack: str
    training: dict[str, Any] = field(default_factory=dict)


def save_operator(
    folder: str | Path,
    card: OperatorCard,
    state: Mapping[str, Tensor],
    pictures: Sequence[str] = (),
) -> Path:
    """Write an operator folder: operator.json, prior.safetensors and README.md, a model card.

    Each file appears whole or not at all, the weights last.

    Args:
        folder: the folder to write.
        card: what the operator is.
        state: the tensors of its prior by name; `clip_mean` and `clip_std` belong to the stack and
            are left out.
        pictures: files of the folder that the model card shows.

    Returns:
        The folder.

    Raises:
        OutputError: it cannot be written.
    """
    from pops.io.formats.tensors import save_tensors

    folder = save_card(folder, card, pictures)
    metadata = {"format": "pt", "operator": card.operator.name}
    save_tensors(folder / "prior.safetensors", without_stats(state), metadata)
    return folder


def save_card(folder: str | Path, card: OperatorCard, pictures: Sequence[str] = ()) -> Path:
    """Write an operator folder without its weights: operator.json and README.md, a model card.

    Args:
        folder: the folder to write.
        card: what the operator is.
        pictures: files of the folder that the model card shows.

    Returns:
        The folder.

    Raises:
        OutputError: it cannot be written.
    """
    folder = make_folder(folder)
    row = {"operator": card.operator.row(), "stack": card.stack, "training": card.training}
    write_json(folder / "operator.json", row)
    with atomic_path(folder / "README.md") as part:
        part.write_text(model_card(card, pictures), encoding="utf-8")
    return folder


def read_operator_card(folder: str | Path) -> OperatorCard:
    """Read `operator.json` of an operator folder.

    Args:
        folder: The operator folder.

    Returns:
        The card.

    Raises:
        WeightsError: The card is missing, or a field of it is unknown or of another kind.
    """
    from msgspec.structs import asdict as fields_of

    from pops.io.formats.schema import OperatorFile, read_json

    path = Path(folder) / "operator.json"
    if not os.path.exists(path):  # nor does one whose name no file can have
        raise WeightsError(f"{path} is missing: {path.parent} is not an operator folder")
    found = read_json(path, OperatorFile, WeightsError)
    return OperatorCard(Operator(**fields_of(found.operator)), found.stack, found.training)


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the prior's tensors of a .safetensors or a published .pth file.

    Args:
        path: The weights file. No code in it can run.

    Returns:
        The tensors by name, without the clip statistics.

    Raises:
        WeightsError: The file is missing or damaged, or holds anything but finite tensors by name.
    """
    from pops.io.formats.tensors import read_tensors

    return without_stats(read_tensors(path))


def check_state_dict(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str
) -> None:
    """Check that tensors have the names and shapes that are expected.

    Args:
        found: the tensors by name.
        expected: tensors of the expected names and shapes.
        source: what the tensors are called in the error.

    Raises:
        WeightsError: they have not; the error names those that do not fit.
    """
    missing = sorted(set(expected) - set(found))
    extra = sorted(set(found) - set(expected))
    shapes = [
        f"{key} is {tuple(found[key].shape)}, not {tuple(expected[key].shape)}"
        for key in sorted(set(expected) & set(found))
        if found[key].shape != expected[key].shape
    ]
    faults = [
        f"{len(keys)} {kind} ({', '.join(keys[:4])}{', ...' if len(keys) > 4 else ''})"
        for kind, keys in (("missing", missing), ("unknown", extra), ("of another shape", shapes))
        if keys
    ]
    if faults:
        raise WeightsError(f"{source}: weights do not fit this stack's prior: {'; '.join(faults)}")


def without_stats(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the clip statistics, which are the stack's.

    Args:
        state: the tensors of a prior by name.

    Returns:
        The tensors that are the operator's own.
    """
    return {key: value for key, value in state.items() if key not in ("clip_mean", "clip_std")}
