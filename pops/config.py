"""The settings of each command: one frozen dataclass, and so its flags, its YAML and its help."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from pops.errors import UsageError

__all__ = [
    "ApplyConfig",
    "ConvertConfig",
    "DemoConfig",
    "EvalPocketConfig",
    "PocketAssetsConfig",
    "PocketSheetConfig",
    "RunConfig",
    "whole_numbers",
]

MOST_STEPS = 1000  # the schedule's training steps
LARGEST_SEED = 2**63 - 1
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Offload = Literal["none", "model"]
RendererName = Literal["kandinsky", "ip_adapter", "depth"]


def whole_numbers(value: str | int | Iterable[int]) -> tuple[int, ...]:
    """`18,42`, `[18,42]`, `18` or a YAML list, as a tuple; ValueError for anything else."""
    if isinstance(value, str):
        value = [int(part) for part in value.strip().removeprefix("[").removesuffix("]").split(",")]
    return (value,) if isinstance(value, int) else tuple(int(part) for part in value)


def setting(default: Any, says: str) -> Any:
    """A field that is a flag; `says` is its help."""
    return field(default=default, metadata={"help": says})


def argument(says: str, nargs: str | None = None) -> Any:
    """A field without default that is given by place."""
    return field(metadata={"help": says, "nargs": nargs, "positional": True})


@dataclass(frozen=True, kw_only=True)
class NamedStack:
    """Which models."""

    stack: str = setting("pocket", "pocket, kandinsky-2.2, or a folder in its layout")


@dataclass(frozen=True, kw_only=True)
class PlacementConfig:
    """Where and how models run."""

    device: str = setting("auto", "auto, cpu, cuda or mps")
    dtype: Dtype = setting("auto", "number format of the models")
    offload: Offload = setting("none", "model: each is on the device only while it is used")


@dataclass(frozen=True, kw_only=True)
class StackConfig(PlacementConfig, NamedStack):  # whose fields come first
    """Which models, and where and how they run."""


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(StackConfig):
    """How an operator is sampled and its result rendered."""

    seeds: tuple[int, ...] = setting((18, 42), "seeds of the operator, one embedding each")
    render_seeds: tuple[int, ...] = setting((0,), "seeds of the renderer, one picture each")
    guidance: float | None = setting(None, "guidance of the operator; null: its own")
    steps: int = setting(25, "sampling steps of the operator")
    sampler: str = setting("ancestral", "ancestral or ddim")
    render_guidance: float | None = setting(None, "guidance of the renderer; null: its own")
    render_steps: int | None = setting(None, "steps of the renderer; null: its own")
    render_size: int | None = setting(
        None, "pixels of a side of a picture; null: the renderer's own"
    )

    def __post_init__(self) -> None:
        check_seeds("seeds", self.seeds)
        check_seeds("render_seeds", self.render_seeds)
        check_range("steps", self.steps, 1, MOST_STEPS)
        check_range("render_steps", self.render_steps, 1, MOST_STEPS)
        for name in ("guidance", "render_guidance"):
            if not isfinite(getattr(self, name) or 0.0):
                raise UsageError(f"--{name} must be a finite number")


@dataclass(frozen=True, kw_only=True)
class DrawnConfig(SamplingConfig):
    """And what renders it."""

    renderer: RendererName = setting(
        "kandinsky", "what draws the results; depth keeps the depth of the first input"
    )


@dataclass(frozen=True, kw_only=True)
class ApplyConfig(DrawnConfig):
    """Apply an operator to pictures or embedding files.

    Writes a captioned strip, the pictures and the embeddings into a folder; an embedding file
    can be the input of the next operator.
    """

    operator: str = argument("texturing, union, scene, instruct, clothes, or an operator folder")
    inputs: tuple[str, ...] = argument(
        "pictures or embedding files in the order of the operator's slots; _ leaves one out", "*"
    )
    text: str | None = setting(None, "the instruction, for an operator that takes one")
    weights: str | None = setting(
        None, "operator folder, weights file or REPOSITORY:FILE in place of the stack's own"
    )
    out: Path = setting(Path("out/apply"), "folder to write into")

    examples = (
        "pops apply texturing assets/objects/mug.png assets/textures/wood.png",
        "pops apply texturing mug.jpg wood.jpg --seeds 1,2,3,4 --guidance 4 --out out/mugs",
        "pops apply texturing _ wood.jpg            # the first input left out",
    )


@dataclass(frozen=True, kw_only=True)
class RunConfig(DrawnConfig):
    """Run a composition: operators applied to what operators made.

    It is made of operators, quoted files and texts, mean(a, b, 0.3), where 0.3 is the weight of
    b, and _ for an input left out; a folder in place of a file makes a grid. Writes the embedding
    of every part, pictures of the results, and for each seed a tree that shows how it was made,
    or the grid.
    """

    composition: str = argument("the composition, in quotes")
    weights: tuple[str, ...] = setting(
        (), "OPERATOR=PLACE, each: weights in place of the stack's own, as apply takes them"
    )
    trees: Literal["auto", "all", "none"] = setting(
        "auto", "trees to draw, one for a result and seed; auto: all but those of a grid"
    )
    out: Path = setting(Path("out/run"), "folder to write into")

    examples = (
        "pops run \"scene(texturing('mug.jpg', 'wood.jpg'), 'beach.jpg')\" --seeds 18,42",
        "pops run \"instruct(union('mug.jpg', 'hat.jpg'), 'shiny')\"",
        "pops run \"texturing('assets/objects', 'assets/textures')\"      # a grid",
    )

    @property
    def weights_of(self) -> dict[str, str]:
        """`weights` by operator. UsageError for one that is not OPERATOR=PLACE."""
        parts = [given.partition("=") for given in self.weights]
        for given, (_, _, place) in zip(self.weights, parts, strict=True):
            if not place:
                raise UsageError(
                    f"--weights wants OPERATOR=PLACE, as in scene=operators/scene, not {given!r}"
                )
        return {name: place for name, _, place in parts}


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """Convert an operator between the published weights file and an operator folder.

    A weights file becomes a folder of safetensors with a model card, an operator folder becomes a
    .pth file. Keys and shapes are checked against the stack first.
    """

    source: str = argument("weights file, REPOSITORY:FILE on the hub, or operator folder")
    out: str = argument("the folder to write, or a file that ends in .pth")
    operator: str | None = setting(
        None, "which operator a weights file holds; null: as its path says"
    )
    stack: str | None = setting(
        None, "the stack it is of, by name or folder; null: as its card says, or kandinsky-2.2"
    )

    examples = (
        "pops convert pOpsPaper/operators:models/scene/learned_prior.pth operators/scene",
        "pops convert runs/texturing/learned_prior.pth operators/texturing",
        "pops convert operators/texturing texturing.pth",
    )


@dataclass(frozen=True, kw_only=True)
class DemoConfig(SamplingConfig):
    """Show the texturing operator on pictures that come with pops."""

    pairs: tuple[str, ...] = setting(
        ("mug+wood", "rabbit+gold", "chair+rainbow", "tree+knit", "car+leopard", "vase+lava"),
        "OBJECT+TEXTURE names of pictures in assets/objects and assets/textures",
    )
    out: Path = setting(Path("out/demo"), "folder to write into")

    examples = ("pops demo", "pops demo --pairs mug+brick,house+ice --seeds 1,2,3")


@dataclass(frozen=True, kw_only=True)
class PocketSheetConfig:
    """Draw contact sheets of the pocket world."""

    out: Path = setting(Path("out/pocket"), "folder to write into")
    seed: int = setting(0, "seed of the world")

    examples = ("pops pocket sheet", "pops pocket sheet --seed 7 --out out/another-world")

    def __post_init__(self) -> None:
        check_seeds("seed", (self.seed,))


@dataclass(frozen=True, kw_only=True)
class PocketAssetsConfig:
    """Render the default input pictures: objects, materials, backgrounds and garments."""

    out: Path = setting(Path("out/assets"), "folder to write into")

    examples = ("pops pocket assets", "pops pocket assets --out assets")


@dataclass(frozen=True, kw_only=True)
class EvalPocketConfig:
    """Measure the operators of the pocket stack on combinations they have never seen."""

    operator: str = setting("all", "the operator to measure, or all")
    weights: tuple[str, ...] = setting(
        (), "operator folders to measure, on the same pictures, in place of those that ship"
    )
    json: bool = setting(False, "print the numbers as one JSON object, on the last line")

    examples = (
        "pops eval pocket",
        "pops eval pocket --operator texturing --json",
        "pops eval pocket --weights texturing,results/pocket/texturing/operator",
    )


def check_seeds(name: str, seeds: tuple[int, ...]) -> None:
    """UsageError naming the flag unless there are seeds and a generator takes each."""
    if not seeds:
        raise UsageError(f"--{name} is empty: give one or more whole numbers, as in 18,42")
    for seed in seeds:
        check_range(name, seed, 0, LARGEST_SEED)


def check_range(name: str, value: int | None, least: int, most: int) -> None:
    """UsageError naming the flag unless `value` is None or within [least, most]."""
    if value is not None and not least <= value <= most:
        raise UsageError(f"--{name} must be from {least} to {most}, not {value}")
