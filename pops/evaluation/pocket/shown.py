"""What can be seen in a picture of the pocket world: how galleries name their pictures."""

from dataclasses import dataclass

from pops.pocket.world.split import Thing

__all__ = ["Shown", "alone"]


@dataclass(frozen=True)
class Shown:
    """What can be seen in a picture: its name in the gallery."""

    things: frozenset[Thing]
    background: str
    adjective: str | None = None

    def loses(self, wanted: "Shown") -> bool:
        """Whether something that was wanted is not there, of whatever material."""
        return bool({shape for shape, _ in wanted.things} - {shape for shape, _ in self.things})

    def leaks(self, wanted: "Shown") -> bool:
        """Whether all is there, but something has the material that another was to have."""
        materials = {material for _, material in wanted.things}
        wrong = self.things - wanted.things
        shapes = {shape for shape, _ in wanted.things}
        taken = any(shape in shapes and material in materials for shape, material in wrong)
        return taken and not self.loses(wanted)


def alone(shape: str, material: str, background: str, adjective: str | None = None) -> Shown:
    return Shown(frozenset({(shape, material)}), background, adjective)
