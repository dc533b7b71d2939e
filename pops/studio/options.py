"""The settings of a job, as other programs send them: checked by name, kind and range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pops.errors import UsageError
from pops.render import find_renderer
from pops.settings.fields import check_range, check_seeds
from pops.settings.rendering import RENDERERS, RenderSettings
from pops.settings.sampling import SAMPLERS, SamplingSettings

__all__ = ["Options"]

MOST_RESULTS = 16  # of one job
MOST_STEPS = 250
Number = int | float


@dataclass(frozen=True)
class Options:
    """How operators are sampled and results rendered; None stands for their own values.

    Args:
        seeds: The seeds of the operator, one result each.
        guidance: The guidance of the operator.
        steps: The sampling steps of the operator.
        sampler: The name of its sampler.
        render_seeds: The seeds of the renderer, one picture of each result each.
        render_steps: The steps of the renderer.
        render_guidance: The guidance of the renderer.
        renderer: The name of the renderer.

    Raises:
        UsageError: A value is of another kind, unknown or out of range.
    """

    seeds: tuple[int, ...] = (18,)
    guidance: float | None = None
    steps: int = SamplingSettings.steps
    sampler: str = SamplingSettings.sampler
    render_seeds: tuple[int, ...] = (0,)
    render_steps: int | None = None
    render_guidance: float | None = None
    renderer: str = RenderSettings.renderer

    @classmethod
    def read(cls, given: Mapping[str, Any] | None) -> Options:
        """Read settings as they were sent.

        Args:
            given: The settings by their names; what is left out has its default.

        Returns:
            The settings.

        Raises:
            UsageError: A setting is unknown, of another kind or out of range; it is named.
        """
        given = given or {}
        if not isinstance(given, Mapping):
            raise UsageError("the settings are an object, as in {'seeds': [18, 42]}")
        known = {field.name for field in fields(cls)}
        unknown = [name for name in given if name not in known]
        if unknown:
            raise UsageError(f"unknown setting {unknown[0]!r}: they are {', '.join(sorted(known))}")
        values: dict[str, Any] = {
            name: _whole_numbers(name, value) if name.endswith("seeds") else value
            for name, value in given.items()
        }
        return cls(**values)

    def __post_init__(self) -> None:
        for name in ("seeds", "render_seeds"):
            check_seeds(name, getattr(self, name))
        if len(self.seeds) * len(self.render_seeds) > MOST_RESULTS:
            raise UsageError(f"at most {MOST_RESULTS} results at a time: use fewer seeds")
        for name, optional in (("steps", False), ("render_steps", True)):
            value = getattr(self, name)
            if not (_is_number(value, int) or (optional and value is None)):
                raise UsageError(f"{name} is a whole number")
            check_range(name, value, 1, MOST_STEPS)
        for name in ("guidance", "render_guidance"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value, Number) and 0 <= value <= 100):
                raise UsageError(f"{name} is a number from 0 to 100")
        for name, table in (("sampler", SAMPLERS), ("renderer", RENDERERS)):
            value = getattr(self, name)
            if not isinstance(value, str) or value not in table:
                raise UsageError(f"{name} is one of {', '.join(table)}")

    @property
    def takes_depth(self) -> bool:
        """Whether the renderer keeps the depth of an input."""
        return find_renderer(self.renderer).takes_depth


def _whole_numbers(name: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or not all(_is_number(one, int) for one in value):
        raise UsageError(f"{name} is a list of whole numbers, as in [18, 42]")
    return tuple(value)


def _is_number(value: object, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and value == value
