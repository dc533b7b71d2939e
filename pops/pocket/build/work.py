"""The work folder of a build, and the results of its stages in it."""

from dataclasses import dataclass
from pathlib import Path

from diffusers import UNet2DConditionModel, VQModel

from pops.operators import OPERATORS
from pops.pocket.build import (
    autoencoder,
    clip,
    cutouts,
    decoder,
    embeds,
    judge,
    pictures,
    priors,
    recipes,
)
from pops.pocket.build.fit import Fit
from pops.prior.model import Prior

__all__ = ["EXAMPLES", "Build"]

EXAMPLES = ("examples", "adjectives")  # folders of pictures for the operators


@dataclass(frozen=True)
class Build:
    """Where the build keeps its work and how its stages find each other's results."""

    runs: Path
    out: Path
    shards: int
    operators: tuple[str, ...] = tuple(OPERATORS)

    @property
    def data(self) -> pictures.Pictures:
        return pictures.load_pictures(self.runs / "pictures")

    @property
    def clip(self) -> clip.Clip:
        model = clip.clip_fit(self.runs / "clip", ()).smooth
        assert isinstance(model, clip.Clip)
        return model

    @property
    def autoencoder(self) -> VQModel:
        model = autoencoder.autoencoder_fit(self.runs / "autoencoder").smooth
        assert isinstance(model, VQModel)
        return model

    @property
    def embeds(self) -> embeds.Embeds:
        return embeds.load_embeds(self.runs / "embeds.npz")

    @property
    def pool(self) -> recipes.Pool:
        """All that the operators learn from."""
        sources = [
            (
                pictures.load_records(self.runs / name),
                embeds.load_embeds(self.runs / path),
                cutouts.load_cutouts(self.runs / "cutouts" / f"{name}.npz"),
            )
            for name, path in (("pictures", "embeds.npz"), *((n, f"{n}.npz") for n in EXAMPLES))
        ]
        return recipes.join(sources, cutouts.load_cutouts(self.runs / "cutouts" / "garments.npz"))

    @property
    def base(self) -> Prior:
        return priors.smooth(priors.prior_fit(self.runs / "prior", self.embeds))

    @property
    def unet(self) -> UNet2DConditionModel:
        model = decoder.decoder_fit(self.runs / "decoder").smooth
        assert isinstance(model, UNet2DConditionModel)
        return model

    def fits(self) -> dict[str, Fit]:
        """Every stage that trains, as it stands."""
        return {
            "clip": clip.clip_fit(self.runs / "clip", ()),
            "autoencoder": autoencoder.autoencoder_fit(self.runs / "autoencoder"),
            "judge": judge.judge_fit(self.runs / "judge"),
            "prior": priors.prior_fit(self.runs / "prior", self.embeds),
            **{name: priors.prior_fit(self.runs / name, self.embeds) for name in OPERATORS},
            "decoder": decoder.decoder_fit(self.runs / "decoder"),
        }
