"""How operators are sampled: the settings with their defaults, and the table of samplers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pops.errors import check_known
from pops.settings.fields import GUIDANCE, SEED, STEPS

__all__ = ["SAMPLERS", "SamplingSettings"]

# A row is a function, or "module:function" for one whose module is imported when it is first used.
SAMPLERS: dict[str, str | Callable[..., Any]] = {
    "ancestral": "pops.prior.sampling:sample_ancestral",
    "ddim": "pops.prior.sampling:sample_ddim",
}


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How an operator is sampled; the defaults are the published ones.

    `vars(settings)` are keyword arguments of `Engine.apply` and `Engine.run`.

    Args:
        seeds: the seeds of the noise; each makes one embedding.
        guidance: the scale of classifier-free guidance; None stands for the operator's own.
        steps: the number of sampling steps.
        sampler: the name of a row of `SAMPLERS`.

    Raises:
        UsageError: a value is out of range, or the sampler is unknown.
    """

    seeds: tuple[int, ...] = (18, 42)
    guidance: float | None = None
    steps: int = 25
    sampler: str = "ancestral"

    def __post_init__(self) -> None:
        SEED.check("seeds", self.seeds)
        GUIDANCE.check("guidance", self.guidance)
        STEPS.check("steps", self.steps)
        check_known("sampler", self.sampler, SAMPLERS)
