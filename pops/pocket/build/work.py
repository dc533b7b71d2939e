"""The work folder of a build, and the results of its stages in it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from pops.errors import UsageError
from pops.operators import OPERATORS
from pops.pocket.build.data import pictures, recipes
from pops.pocket.build.data.embeds import Embeds, load_embeds
from pops.pocket.build.fit import Fit, device
from pops.pocket.build.models import autoencoder, clip, decoder, judge, priors
from pops.stacks.stack import Stack, open_stack

__all__ = ["Build"]


@dataclass(frozen=True)
class Build:
    """Where the build keeps its work and how its stages find each other's results.

    runs: the work folder. out: the stack folder that `pack` writes. configs: the folder of the
    training configs of the operators. processes: how many work at once.
    """

    runs: Path
    out: Path
    shards: int
    configs: Path
    processes: int
    operators: tuple[str, ...] = tuple(OPERATORS)
    steps: int | None = None  # of every operator; None: as its config says

    @property
    def world(self) -> int:
        """How many processes train one model together."""
        return 1 if device().type == "cuda" else self.processes

    @property
    def pictures(self) -> Path:
        return self.runs / "pictures"

    @property
    def garments(self) -> Path:
        return self.runs / "garments"

    @property
    def stack(self) -> Path:
        """The stack as it stands, in half precision: every stage that trains writes its part."""
        return self.runs / "stack"

    def part(self, name: str, stage: str) -> Path:
        """A part of the stack, such as "prior/image_encoder": of this build, else the packed one's.

        Raises:
            UsageError: neither has it; names the stage that makes it.
        """
        for folder in (self.stack, self.out):
            if (folder / name).exists():
                return folder / name
        raise UsageError(
            f"{self.stack / name} is missing: run the stage {stage} first "
            f"(python -m pops.pocket.build --stages {stage})"
        )

    @cached_property
    def encoders(self) -> Stack:
        """The stack's encoders, and its base prior where that is there already."""
        folder = self.part("prior/image_encoder", "clip").parent
        return open_stack("pocket", device="cpu", prior=folder)

    @cached_property
    def embeds(self) -> tuple[list[str], Embeds]:
        """The shards that have been encoded, and their embeddings."""
        return load_embeds(self.runs / "embeds", self.pictures)

    def pool(self) -> recipes.Pool:
        """All that the operators learn from, normalised for the base prior."""
        self.part("prior/prior", "prior")
        names, embeds = self.embeds
        alone, garments = load_embeds(self.runs / "embeds-garments", self.garments)
        pool = recipes.make_pool(
            pictures.load_records(self.pictures, names),
            embeds,
            pictures.load_records(self.garments, alone),
            garments.pictures,
        )
        return pool.normalised(self.encoders.clip_stats)

    def basis(self) -> autoencoder.PatchBasis:
        return autoencoder.patch_basis(self.runs / "autoencoder", self.pictures)

    def _embeddings(self) -> Tensor:
        return self.embeds[1].pictures

    def fits(self) -> dict[str, Fit]:
        """Every stage of its own that has trained, as it stands."""
        every: dict[str, Callable[[Path], Fit]] = {
            "clip": lambda folder: clip.clip_fit(folder, ()),
            "autoencoder": autoencoder.autoencoder_fit,
            "judge": judge.judge_fit,
            "prior": lambda folder: priors.prior_fit(folder, self._embeddings()),
            "decoder": decoder.decoder_fit,
        }
        return {
            name: fit(self.runs / name)
            for name, fit in every.items()
            if (self.runs / name / "state.pt").exists()
        }
