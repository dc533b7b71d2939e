"""Names of the pictures of galleries: all that can be seen in a picture of the pocket world."""

from dataclasses import dataclass

from pops.pocket.world.split import Thing

__all__ = ["Shown", "alone"]


@dataclass(frozen=True)
class Shown:
    """The name of a picture in a gallery: everything that can be seen in it."""

    things: frozenset[Thing]
    background: str
    adjective: str | None = None

    def loses(self, wanted: "Shown") -> bool:
        """Tell whether a thing that was wanted is not there, in any material.

        Args:
            wanted: the name of the right picture.

        Returns:
            True where a shape is missing.
        """
        return bool({shape for shape, _ in wanted.things} - {shape for shape, _ in self.things})

    def leaks(self, wanted: "Shown") -> bool:
        """Tell whether all is there, but something has the material that another was to have.

        Args:
            wanted: the name of the right picture.

        Returns:
            True where a material went to the wrong thing and no shape is missing.
        """
        materials = {material for _, material in wanted.things}
        wrong = self.things - wanted.things
        shapes = {shape for shape, _ in wanted.things}
        taken = any(shape in shapes and material in materials for shape, material in wrong)
        return taken and not self.loses(wanted)


def alone(shape: str, material: str, background: str, adjective: str | None = None) -> Shown:
    """Name the picture of a single thing.

    Args:
        shape: a name in `OBJECTS`.
        material: a name in `MATERIALS`.
        background: a name in `BACKGROUNDS`.
        adjective: a name in `ADJECTIVES`, or None.

    Returns:
        The name.
    """
    return Shown(frozenset({(shape, material)}), background, adjective)
