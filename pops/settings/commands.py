"""The settings of each command: one frozen dataclass, and so its flags, its YAML and its help."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pops.errors import UsageError, check_known
from pops.io.names import expand_home
from pops.settings.fields import (
    SEED,
    SHARE,
    PathOrName,
    PathsOrNames,
    Range,
    Settings,
    argument,
    others,
    setting,
)
from pops.settings.groups import DrawnConfig, SamplingConfig, StackConfig
from pops.settings.rendering import RENDERERS, RenderSettings

__all__ = [
    "ApplyConfig",
    "ConvertConfig",
    "DemoConfig",
    "DoctorConfig",
    "EvalPocketConfig",
    "PocketAssetsConfig",
    "PocketResultsConfig",
    "PocketSheetConfig",
    "RunConfig",
]


@dataclass(frozen=True, kw_only=True)
class ApplyConfig(DrawnConfig):
    """Apply an operator to pictures or embedding files.

    Writes a captioned strip, the pictures and the embeddings into a folder; an embedding file
    can be the input of the next operator. An input may also be given by the name of its slot, as
    in --hat hat.png, and made from a text, as in "text:rusty iron".
    """

    operator: PathOrName = argument(
        "texturing, union, scene, instruct, clothes, or an operator folder"
    )
    inputs: PathsOrNames = argument(
        "pictures, embedding files or text:WORDS in the order of the slots; _ leaves one out",
        "*",
    )
    slots: Mapping[str, str | list[str] | None] = others("inputs by the names of their slots")
    text: str | None = setting(None, "the instruction, for an operator that takes one")
    strength: float = setting(1.0, "how far to go from the first input, from 0 to 1", within=SHARE)
    weights: PathOrName | None = setting(
        None, "operator folder, weights file or REPOSITORY:FILE in place of the stack's own"
    )
    out: Path = setting(Path("out/apply"), "folder to write into")

    examples = (
        "pops apply texturing assets/objects/mug.png assets/textures/wood.png",
        "pops apply texturing mug.jpg wood.jpg --seeds 1,2,3,4 --guidance 4 --out out/mugs",
        "pops apply texturing _ wood.jpg            # the first input left out",
        'pops apply texturing mug.jpg "text:rusty iron" --strength 0.7',
        "pops apply clothes --hat assets/garments/hat.png --bag assets/garments/bag.png",
    )


@dataclass(frozen=True, kw_only=True)
class RunConfig(DrawnConfig):
    """Run a composition: operators applied to what operators made.

    It is made of operators, quoted files, and _ for an input left out; a folder in place of a file
    makes a grid. Writes the embedding of every part, pictures of the results, and for each seed a
    tree that shows how it was made, or the grid.

    A strength tells how far an operator goes: texturing(a, b, strength=0.6). These need no
    training:
      text('rusty iron', negative='')    an embedding made from a text by the stack's base prior
      mean(a, b, 0.3)                    0.7 a + 0.3 b
      mix(a, b, c, weights=[2, 1, 1])    the weighted mean of any number
      slerp(a, b, 0.3)                   the way from a to b on an arc
      add(a, b, -0.5)                    a with half of b taken away; b may be a direction
      direction(a, b)                    the way from a to b, for add
      swap(a, b, 'pattern')              a with the pattern of b; a word list, a file, or texts

    A range in place of a number makes a strip, two a grid: strength=0..1:6 is six values.
    """

    composition: str = argument("the composition, in quotes")
    weights: tuple[str, ...] = setting(
        (), "OPERATOR=PLACE, each: weights in place of the stack's own, as apply takes them"
    )
    trees: Literal["auto", "all", "none"] = setting(
        "auto", "trees to draw, one for a result and seed; auto: all but those of a grid"
    )
    animate: Literal["none", "webp", "gif"] = setting(
        "none", "also show the last range of the composition as a moving picture of this kind"
    )
    out: Path = setting(Path("out/run"), "folder to write into")

    examples = (
        "pops run \"scene(texturing('mug.jpg', 'wood.jpg'), 'beach.jpg')\" --seeds 18,42",
        "pops run \"instruct(union('mug.jpg', 'hat.jpg'), 'shiny')\"",
        "pops run \"texturing('assets/objects', 'assets/textures')\"      # a grid",
        "pops run \"texturing('mug.jpg', text('rusty iron'), strength=0..1:6)\" --animate webp",
    )

    @property
    def weights_of(self) -> dict[str, str]:
        """The weights by the name of the operator.

        Raises:
            UsageError: one is not written as OPERATOR=PLACE.
        """
        parts = [given.partition("=") for given in self.weights]
        for given, (_, _, place) in zip(self.weights, parts, strict=True):
            if not place:
                raise UsageError(
                    f"--weights takes OPERATOR=PLACE, as in scene=operators/scene, not {given!r}"
                )
        return {name: str(expand_home(place)) for name, _, place in parts}


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """Convert an operator between the published weights file and an operator folder.

    A weights file becomes a folder of safetensors with a model card, an operator folder becomes a
    .pth file. Keys and shapes are checked against the stack first.
    """

    source: PathOrName = argument("weights file, REPOSITORY:FILE on the hub, or operator folder")
    out: PathOrName = argument("the folder to write, or a file that ends in .pth")
    operator: str | None = setting(
        None, "which operator a weights file holds; null: as its path says"
    )
    stack: PathOrName | None = setting(
        None,
        "the stack of the operator, by name or folder; null: as its card says, or kandinsky-2.2",
    )

    examples = (
        "pops convert pOpsPaper/operators:models/scene/learned_prior.pth operators/scene",
        "pops convert runs/texturing/learned_prior.pth operators/texturing",
        "pops convert operators/texturing texturing.pth",
    )


@dataclass(frozen=True, kw_only=True)
class DemoConfig(SamplingConfig):
    """Show all five operators on pictures that come with pops.

    Writes a figure of each, a composition as a tree, and index.html, which shows them together.
    """

    pairs: tuple[str, ...] = setting(
        ("mug+wood", "rabbit+gold", "chair+rainbow", "tree+knit", "car+leopard", "vase+lava"),
        "pairs for texturing, as OBJECT+TEXTURE: names of pictures in assets/objects and "
        "assets/textures",
    )
    out: Path = setting(Path("out/demo"), "folder to write into")

    examples = ("pops demo", "pops demo --pairs mug+brick,house+ice --seeds 1,2,3")


@dataclass(frozen=True, kw_only=True)
class DoctorConfig(StackConfig):
    """Tell whether this machine is ready for a stack, and what to do where it is not.

    Looks at versions, device, number format, memory and disk, at the models that are here and
    those that would be fetched, and tries one sampling step on random weights of the real size.
    Nothing is downloaded. The exit status is 1 where something has to be done.
    """

    renderer: str = setting(
        RenderSettings.renderer, "what will draw the results", choices=RENDERERS
    )
    step: bool = setting(True, "try one sampling step, where the memory allows it")
    json: bool = setting(False, "print the lines as one JSON list")

    examples = ("pops doctor", "pops doctor --stack kandinsky-2.2 --step false --json")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_known("renderer", self.renderer, RENDERERS)


@dataclass(frozen=True, kw_only=True)
class PocketSheetConfig(Settings):
    """Draw contact sheets of the pocket world."""

    out: Path = setting(Path("out/pocket"), "folder to write into")
    seed: int = setting(0, "seed of the world", within=SEED)

    examples = ("pops pocket sheet", "pops pocket sheet --seed 7 --out out/another-world")


@dataclass(frozen=True, kw_only=True)
class PocketAssetsConfig:
    """Render the default input pictures: objects, materials, backgrounds and garments."""

    out: Path = setting(Path("out/assets"), "folder to write into")

    examples = ("pops pocket assets", "pops pocket assets --out assets")


@dataclass(frozen=True, kw_only=True)
class PocketResultsConfig(StackConfig):
    """Draw what the operators make of the first requests of the pocket benchmark.

    One contact sheet for each operator, of results that nobody picked.
    """

    operator: str = setting("all", "the operator, or all")
    count: int = setting(40, "requests on a sheet", within=Range(1, 1000))
    out: Path = setting(Path("out/pocket-results"), "folder to write into")

    examples = (
        "pops pocket results",
        "pops pocket results --operator union --count 16 --out out/unions",
    )


@dataclass(frozen=True, kw_only=True)
class EvalPocketConfig:
    """Measure the operators of the pocket stack on combinations they have never seen."""

    operator: str = setting("all", "the operator to measure, or all")
    weights: PathsOrNames = setting(
        (), "operator folders to measure, on the same pictures, in place of those that ship"
    )
    json: bool = setting(False, "print the numbers as one JSON object, on the last line")

    examples = (
        "pops eval pocket",
        "pops eval pocket --operator texturing --json",
        "pops eval pocket --weights texturing,results/pocket/texturing/operator",
    )
