"""The work folder of a build, and what its stages find there."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from pops.errors import UsageError
from pops.operators import OPERATORS
from pops.pocket.build.data import pictures
from pops.pocket.build.data.embeds import Embeds, load_embeds
from pops.pocket.build.data.pool import Pool, make_pool
from pops.pocket.build.fit import Fit, device
from pops.pocket.build.models import autoencoder, clip_training, decoder, judge, priors
from pops.stacks.stack import Stack, open_stack

__all__ = ["Build"]


@dataclass(frozen=True)
class Build:
    """A build: its settings, and where its stages find each other's results.

    Args:
        runs: the work folder.
        out: the stack folder that the stage `pack` writes.
        shards: the number of shards of training pictures.
        configs: the folder of the training configs of the operators.
        processes: the number of processes that work at once.
        operators: the operators that are trained.
        steps: the steps of every operator; None for as many as its config says.
    """

    runs: Path
    out: Path
    shards: int
    configs: Path
    processes: int
    operators: tuple[str, ...] = tuple(OPERATORS)
    steps: int | None = None

    @property
    def world(self) -> int:
        """The number of processes that train one model together."""
        return 1 if device().type == "cuda" else self.processes

    @property
    def pictures(self) -> Path:
        """The folder of the training pictures."""
        return self.runs / "pictures"

    @property
    def garments(self) -> Path:
        """The folder of the pictures of garments without a wearer."""
        return self.runs / "garments"

    @property
    def stack(self) -> Path:
        """The stack folder in half precision, into which every stage writes the part it trains."""
        return self.runs / "stack"

    def part(self, name: str, stage: str) -> Path:
        """Find a part of the stack: that of this build, or else that of the packed stack.

        Args:
            name: the path of the part in a stack folder, such as "prior/image_encoder".
            stage: the stage that makes it.

        Returns:
            The path of the part.

        Raises:
            UsageError: it is in neither; names the stage that makes it.
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
        """The encoders of the stack, and its base prior where that is there already."""
        folder = self.part("prior/image_encoder", "clip").parent
        return open_stack("pocket", device="cpu", prior=folder)

    @cached_property
    def embeds(self) -> tuple[list[str], Embeds]:
        """The names of the shards that have been encoded, and their embeddings."""
        return load_embeds(self.runs / "embeds", self.pictures)

    def pool(self) -> Pool:
        """Read all that the operators learn from, normalised for the base prior.

        Returns:
            The pool of records and embeddings.
        """
        self.part("prior/prior", "prior")
        names, embeds = self.embeds
        alone, garments = load_embeds(self.runs / "embeds-garments", self.garments)
        pool = make_pool(
            pictures.load_records(self.pictures, names),
            embeds,
            pictures.load_records(self.garments, alone),
            garments.pictures,
        )
        return pool.normalised(self.encoders.clip_stats)

    def basis(self) -> autoencoder.PatchBasis:
        """Read the basis of the autoencoder's latents, or find it in the training pictures.

        Returns:
            The basis.
        """
        return autoencoder.patch_basis(self.runs / "autoencoder", self.pictures)

    def _embeddings(self) -> Tensor:
        return self.embeds[1].pictures

    def fits(self) -> dict[str, Fit]:
        """Load the training states of the build's own models.

        Returns:
            Name of the stage -> its state, for the stages that have begun.
        """
        every: dict[str, Callable[[Path], Fit]] = {
            "clip": lambda folder: clip_training.clip_fit(folder, ()),
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
