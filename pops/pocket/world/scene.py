"""The content of a picture of the pocket world: plain, frozen records with a caption each.

A `Scene` says everything about its picture; the same scene gives the same picture.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pops.pocket.world.vocabulary import BACKGROUND_WORDS, MATERIAL_WORDS

__all__ = [
    "Item",
    "Scene",
    "Swatch",
    "View",
    "outfit",
    "pair",
    "plural",
    "random_view",
    "single",
    "with_adjective",
    "with_article",
]


def with_article(phrase: str) -> str:
    """Put "a" or "an" before a phrase.

    Args:
        phrase: a noun with the words before it, such as "wooden mug".

    Returns:
        The phrase with its article; garments that come in pairs take none.
    """
    if phrase.endswith(("trousers", "shoes")):
        return phrase
    return f"an {phrase}" if phrase[0] in "aeio" else f"a {phrase}"


def plural(phrase: str) -> str:
    """Make the plural of a phrase.

    Args:
        phrase: a noun with the words before it.

    Returns:
        The phrase in the plural.
    """
    return phrase if phrase.endswith("fish") else f"{phrase}s"


@dataclass(frozen=True)
class Item:
    """A solid thing: which shape, of what, and where it stands on the ground plane."""

    shape: str
    material: str
    x: float = 0.0
    z: float = 0.0
    yaw: float = 25.0  # degrees about the upright axis
    size: float = 1.0
    phase: float = 0.0  # which part of the material's block it is cut from

    @property
    def phrase(self) -> str:
        """The item in words: its material and its shape, such as "wooden mug"."""
        return f"{MATERIAL_WORDS[self.material]} {self.shape.removeprefix('worn ')}"


@dataclass(frozen=True)
class View:
    """The camera and the light; angles in degrees, lengths in the units of the shapes."""

    elevation: float = 12.0
    distance: float = 3.5
    look_x: float = 0.0
    look_y: float = 0.68
    light_azimuth: float = -50.0
    light_elevation: float = 50.0


@dataclass(frozen=True)
class Scene:
    """One picture: things, a background, a view, and perhaps an adjective for the things."""

    items: tuple[Item, ...]
    background: str
    view: View = View()
    adjective: str | None = None
    phase: float = 0.0  # which part of the background is seen

    @property
    def things(self) -> tuple[Item, ...]:
        """The items worth naming: no mannequin, and copies of one thing once."""
        named = {i.phrase: i for i in self.items if i.shape != "mannequin"}
        return tuple(named.values())

    @property
    def caption(self) -> str:
        """Such as "a shiny wooden mug on the beach" or "a red car and a blue hat at night"."""
        place = BACKGROUND_WORDS[self.background]
        if not self.things:
            return f"an empty place {place}"
        if self.adjective == "many":
            return f"many {plural(self.things[0].phrase)} {place}"
        word = f"{self.adjective} " if self.adjective else ""
        names = " and ".join(with_article(word + thing.phrase) for thing in self.things)
        wearer = "a person wearing " if any(i.shape == "mannequin" for i in self.items) else ""
        return f"{wearer}{names} {place}"

    def record(self) -> dict[str, Any]:
        """Write down everything about the picture.

        Returns:
            Plain data: the caption and all fields of the scene.
        """
        return {"caption": self.caption, **asdict(self)}


@dataclass(frozen=True)
class Swatch:
    """A flat sample of a material, as a texture exemplar."""

    material: str
    phase: float = 0.0
    scale: float = 1.6  # units of the material across the picture
    light: float = 1.0

    @property
    def caption(self) -> str:
        """The swatch in words, such as "a wooden texture"."""
        return with_article(f"{MATERIAL_WORDS[self.material]} texture")

    def record(self) -> dict[str, Any]:
        """Write down everything about the swatch.

        Returns:
            Plain data: the caption and all fields of the swatch.
        """
        return {"caption": self.caption, **asdict(self)}


# --- random scenes --------------------------------------------------------------------------


def random_view(rng: random.Random) -> View:
    """Draw a view near the canonical one.

    Args:
        rng: chooses camera and light.

    Returns:
        The view.
    """
    return View(
        elevation=rng.uniform(10.0, 14.0),
        look_x=rng.uniform(-0.1, 0.1),
        look_y=rng.uniform(0.63, 0.75),
        light_azimuth=rng.uniform(-75.0, -25.0),
        light_elevation=rng.uniform(42.0, 58.0),
    )


def single(shape: str, material: str, background: str, rng: random.Random) -> Scene:
    """Show one large object near the canonical three-quarter view.

    Args:
        shape: a name in `OBJECTS`.
        material: a name in `MATERIALS`.
        background: a name in `BACKGROUNDS`.
        rng: chooses where it stands, how it is turned and lit.

    Returns:
        The scene.
    """
    item = Item(
        shape,
        material,
        x=rng.uniform(-0.08, 0.08),
        z=rng.uniform(-0.08, 0.08),
        yaw=25.0 + rng.uniform(-12.0, 12.0),
        size=rng.uniform(0.93, 1.07),
        phase=rng.uniform(0.0, 20.0),
    )
    return Scene((item,), background, random_view(rng), phase=rng.uniform(0.0, 20.0))


def pair(
    left: tuple[str, str], right: tuple[str, str], background: str, rng: random.Random
) -> Scene:
    """Show two things side by side.

    Args:
        left: (object, material) of the thing on the left.
        right: the same of the thing on the right.
        background: a name in `BACKGROUNDS`.
        rng: chooses where they stand, how they are turned and lit.

    Returns:
        The scene.
    """
    items = tuple(
        Item(
            shape,
            material,
            x=side * rng.uniform(0.6, 0.68),
            z=rng.uniform(-0.12, 0.12),
            yaw=25.0 + rng.uniform(-12.0, 12.0),
            size=rng.uniform(0.58, 0.66),
            phase=rng.uniform(0.0, 20.0),
        )
        for side, (shape, material) in ((-1, left), (1, right))
    )
    view = replace(random_view(rng), look_y=rng.uniform(0.45, 0.55))
    return Scene(items, background, view, phase=rng.uniform(0.0, 20.0))


def outfit(garments: Sequence[tuple[str, str]], background: str, rng: random.Random) -> Scene:
    """Show garments on a mannequin.

    Args:
        garments: (garment, material) of each garment.
        background: a name in `BACKGROUNDS`.
        rng: chooses how the mannequin is turned and lit.

    Returns:
        The scene; its first item is the mannequin.
    """
    yaw, size = rng.uniform(-10.0, 22.0), rng.uniform(1.08, 1.16)
    worn = [Item("mannequin", "clay", yaw=yaw, size=size)] + [
        Item(f"worn {name}", material, yaw=yaw, size=size, phase=rng.uniform(0.0, 20.0))
        for name, material in garments
    ]
    view = replace(random_view(rng), look_y=rng.uniform(1.02, 1.1), elevation=8.0)
    return Scene(tuple(worn), background, view, phase=rng.uniform(0.0, 20.0))


def with_adjective(scene: Scene, adjective: str, rng: random.Random) -> Scene:
    """Change a scene so that an adjective fits its single thing.

    Args:
        scene: a scene of one thing.
        adjective: a name in `ADJECTIVES`.
        rng: chooses where the copies stand, where there are many.

    Returns:
        The changed scene.
    """
    thing = scene.items[0]
    if adjective == "tiny":
        items: tuple[Item, ...] = (replace(thing, size=thing.size * 0.42),)
    elif adjective == "enormous":
        items = (replace(thing, size=thing.size * 1.6, z=-0.25),)
    elif adjective == "many":
        places = ((-0.95, -0.5), (0.0, -0.75), (0.95, -0.5), (-0.5, 0.4), (0.55, 0.4))
        items = tuple(
            replace(
                thing,
                x=x + rng.uniform(-0.08, 0.08),
                z=z + rng.uniform(-0.08, 0.08),
                yaw=thing.yaw + rng.uniform(-8.0, 8.0),
                size=thing.size * 0.42,
            )
            for x, z in places
        )
    else:
        items = scene.items
    return replace(scene, items=items, adjective=adjective)
