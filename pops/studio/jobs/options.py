"""The settings of a job, as other programs send them: checked by name, kind and range."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pops.errors import UsageError
from pops.operators import Operator
from pops.render import find_renderer
from pops.settings.fields import Range
from pops.settings.rendering import OPTIONS, PRESETS, RENDERERS, RenderSettings
from pops.settings.sampling import SAMPLERS, SamplingSettings

if TYPE_CHECKING:
    from pops.studio.store import StoredItem

__all__ = [
    "MOST_RESULTS",
    "PICTURES",
    "Options",
    "read_count",
    "read_instruction",
    "read_list",
    "read_slots",
]

MOST_RESULTS = 16  # of one job
MOST_STEPS = 250
LONGEST_TEXT = 500  # letters of an instruction
FOUND = 12  # pictures, where nothing is said
Number = int | float

# Names of the settings, as they are sent -> fields of `SamplingSettings` and of `RenderSettings`.
SAMPLING = {name: name for name in ("seeds", "guidance", "steps", "sampler")}
RENDERING = {
    "render_seeds": "seeds",
    "render_steps": "steps",
    "render_guidance": "guidance",
    "renderer": "renderer",
    **{name: name for name in OPTIONS},
}
PICTURES = ("init", "mask")  # settings that are pictures, sent as the ids of items
Find = Callable[[object], "StoredItem"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How operators are sampled and results rendered.

    Args:
        sampling: How operators are sampled; each seed makes one result.
        rendering: How results are rendered; each seed makes one picture of a result.
        pictures: By the names of settings, the items whose pictures `rendering` holds.

    Raises:
        UsageError: There are too many results.
    """

    sampling: SamplingSettings = SamplingSettings(seeds=(18,))
    rendering: RenderSettings = RenderSettings(seeds=(0,))
    pictures: Mapping[str, StoredItem] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.results > MOST_RESULTS:
            raise UsageError(f"at most {MOST_RESULTS} pictures are made at a time: use fewer seeds")

    @classmethod
    def read(cls, given: Mapping[str, Any] | None, find: Find | None = None) -> Options:
        """Read settings as they were sent.

        Args:
            given: The settings by their names; what is left out has its default.
            find: Finds an item by its id; None where no picture may be among the settings.

        Returns:
            The settings.

        Raises:
            UsageError: A setting is unknown, of another kind or out of range; it is named.
            InputError: A picture is no longer there.
        """
        given = given or {}
        if not isinstance(given, Mapping):
            raise UsageError("the settings must be an object, as in {'seeds': [18, 42]}")
        known = {**SAMPLING, **RENDERING}
        unknown = [name for name in given if name not in known]
        if unknown:
            raise UsageError(
                f"unknown setting {unknown[0]!r} (the settings are {', '.join(sorted(known))})"
            )
        items = _read_pictures(given, find)
        plain = {name: value for name, value in given.items() if name not in PICTURES}
        values = {**cls().told, **{name: _read(name, value) for name, value in plain.items()}}
        values |= {name: item.drawn for name, item in items.items()}
        return cls(
            pictures=items,
            sampling=SamplingSettings(**{field: values[name] for name, field in SAMPLING.items()}),
            rendering=RenderSettings(**{field: values[name] for name, field in RENDERING.items()}),
        )

    @property
    def told(self) -> dict[str, Any]:
        """The settings by the names by which `read` takes them."""
        sampled = {name: getattr(self.sampling, field) for name, field in SAMPLING.items()}
        return {**sampled, **self.told_rendering}

    @property
    def told_rendering(self) -> dict[str, Any]:
        """The settings that the renderer is given; pictures by the ids of their items."""
        ids = {name: item.id for name, item in self.pictures.items()}
        rendered = {name: getattr(self.rendering, field) for name, field in RENDERING.items()}
        return {**rendered, **ids}

    @property
    def results(self) -> int:
        """How many pictures one request makes."""
        return len(self.sampling.seeds) * len(self.rendering.seeds)

    @property
    def takes_depth(self) -> bool:
        """Whether the renderer keeps the depth of an input."""
        return find_renderer(self.rendering.renderer).takes_depth


def _read_pictures(given: Mapping[str, Any], find: Find | None) -> dict[str, StoredItem]:
    """Find the items of the pictures among the settings."""
    named = {name: given[name] for name in PICTURES if given.get(name) is not None}
    if named and find is None:
        raise UsageError(
            f"{next(iter(named))} is a picture, which cannot be among these settings: leave it out"
        )
    return {name: find(value) for name, value in named.items()} if find else {}


def _read(name: str, value: object) -> Any:
    """Check the kind of a setting and the limits of the studio; other limits are its class's."""
    if name.endswith("seeds"):
        if not isinstance(value, list | tuple) or not all(_is_number(one, int) for one in value):
            raise UsageError(f"{name} must be a list of whole numbers, as in [18, 42]")
        return tuple(value)
    if name.endswith("steps"):
        if not (_is_number(value, int) or (value is None and name in RENDERING)):
            raise UsageError(f"{name} must be a whole number")
        Range(1, MOST_STEPS).check(name, value)  # type: ignore[arg-type]
    elif name == "prompt":
        return value if value is None else read_instruction(value)
    elif name.endswith(("guidance", "scale", "strength")):
        if value is not None and not (_is_number(value, Number) and 0 <= value <= 100):  # type: ignore[operator]
            raise UsageError(f"{name} must be a number from 0 to 100")
    elif name == "preset":
        if not isinstance(value, str | None):
            raise UsageError(f"preset must be one of {', '.join(PRESETS)}")
    elif not isinstance(value, str):
        table = RENDERERS if name in RENDERING else SAMPLERS
        raise UsageError(f"{name} must be one of {', '.join(table)}")
    return value


def _is_number(value: object, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and value == value


def read_list(name: str, value: object) -> list[Any]:
    """Check that something is a list.

    Args:
        name: What it is called.
        value: What was sent.

    Returns:
        The list.

    Raises:
        UsageError: It is not a list.
    """
    if not isinstance(value, list | tuple):
        raise UsageError(f"{name} must be a list")
    return list(value)


def read_count(name: str, value: object, most: int) -> int:
    """Check how many things are asked for.

    Args:
        name: What the number is called.
        value: What was sent; None where nothing was said.
        most: The largest number.

    Returns:
        The number.

    Raises:
        UsageError: It is not a whole number from 1 to `most`.
    """
    count = FOUND if value is None else value
    if not _is_number(count, int) or not 1 <= count <= most:  # type: ignore[operator]
        raise UsageError(f"{name} must be a whole number from 1 to {most}")
    return int(count)  # type: ignore[call-overload]


def read_instruction(text: object) -> str:
    """Check the instruction of an operator.

    Args:
        text: What was sent.

    Returns:
        Its words, with single spaces.

    Raises:
        UsageError: There are none, or too many.
    """
    words = " ".join(text.split()) if isinstance(text, str) else ""
    if not words:
        raise UsageError("write a word or two of instruction")
    if len(words) > LONGEST_TEXT:
        raise UsageError(f"an instruction has at most {LONGEST_TEXT} letters")
    return words


def read_slots(row: Operator, slots: Sequence[str] | None) -> tuple[int, ...]:
    """Find the slots that the rows and the columns of a grid go into.

    Args:
        row: The operator.
        slots: Their names; the first ones if left out.

    Returns:
        Where in a request the row's input stands and, unless it is a text, the column's.

    Raises:
        UsageError: They are not slots of the operator.
    """
    wanted = 1 if row.takes_text else 2
    names = row.inputs[:wanted] if slots is None else tuple(read_list("slots", slots))
    if not all(isinstance(name, str) for name in names):
        raise UsageError("slots must be names")
    if len(set(names)) != wanted or not set(names) <= set(row.inputs):
        raise UsageError(f"slots must be {wanted} of those of {row.name}: {', '.join(row.inputs)}")
    return tuple(row.inputs.index(name) for name in names)
