"""The noise of the decoder's latents: DDPM (arXiv 2006.11239), as in diffusers' DDPMScheduler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from pops.io.formats.configs import fit_fields
from pops.io.formats.schema import Meta
from pops.io.loading import check_code
from pops.prior.schedule import betas

__all__ = ["DecoderScheduler"]

SMALLEST = 1e-20  # variance, so that it has a logarithm
Variance = Annotated[float, Meta(gt=0, lt=1)]


@dataclass(frozen=True)
class DecoderScheduler:
    """The fields of a DDPMScheduler's config, and the steps that they mean.

    Attributes:
        num_train_timesteps: The number T of noise levels.
        beta_schedule: How the variance grows that each level adds.
        beta_start: The variance of the first level.
        beta_end: The variance of the last level.
        prediction_type: What the UNet predicts: the noise, the clean latents or the velocity.
        variance_type: The variance of a step: one of two bounds, or as the UNet predicts it.
        clip_sample: Whether clean latents are clipped.
        clip_sample_range: The largest number of clipped latents.
        timestep_spacing: How the levels of a run are chosen.
        steps_offset: What is added to each of them where the spacing is leading.
    """

    # The fields that may have this value alone, or be left out.
    ONLY: ClassVar[Mapping[str, Any]] = {
        "trained_betas": None,
        "thresholding": False,
        "rescale_betas_zero_snr": False,
    }

    num_train_timesteps: Annotated[int, Meta(ge=2, le=100_000)] = 1000
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    beta_start: Variance = 0.0001
    beta_end: Variance = 0.02
    prediction_type: Literal["epsilon", "sample", "v_prediction"] = "epsilon"
    variance_type: Literal[
        "fixed_small", "fixed_small_log", "fixed_large", "learned", "learned_range"
    ] = "fixed_small"
    clip_sample: bool = True
    clip_sample_range: Annotated[float, Meta(gt=0, le=1e6)] = 1.0
    timestep_spacing: Literal["linspace", "leading", "trailing"] = "leading"
    steps_offset: Annotated[int, Meta(ge=0, le=100)] = 0

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the scheduler of a decoder's `scheduler` folder.

        Args:
            folder: The folder.

        Returns:
            The scheduler.

        Raises:
            WeightsError: The file is missing, or is of a variant that is not supported.
        """
        path = folder / "scheduler_config.json"
        return cls.from_dict(check_code(path), str(path))

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], source: str = "scheduler config") -> Self:
        """Read a config.

        Args:
            config: The fields of a DDPMScheduler's config; those of other schedulers are ignored.
            source: The name of the file, for messages.

        Returns:
            The scheduler.

        Raises:
            WeightsError: The config is of a variant that is not supported.
        """
        return fit_fields(config, cls, source)

    @property
    def learns_variance(self) -> bool:
        """Whether the UNet's prediction of the variance is used."""
        return self.variance_type in ("learned", "learned_range")

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        """The share (T,) of the clean latents' variance that is left at every level."""
        count = self.num_train_timesteps
        if self.beta_schedule == "linear":
            added = torch.linspace(self.beta_start, self.beta_end, count)
        elif self.beta_schedule == "scaled_linear":
            added = torch.linspace(self.beta_start**0.5, self.beta_end**0.5, count) ** 2
        else:
            added = betas(count)
        return torch.cumprod(1.0 - added, dim=0)

    def timesteps(self, steps: int) -> list[int]:
        """Choose the noise levels of a run.

        Args:
            steps: The number of steps, from 1 to T.

        Returns:
            The levels, from the noisiest.
        """
        count = self.num_train_timesteps
        if self.timestep_spacing == "linspace":
            chosen = np.linspace(0, count - 1, steps).round()[::-1]
        elif self.timestep_spacing == "leading":
            chosen = (np.arange(steps, dtype=float) * (count // steps))[::-1] + self.steps_offset
        else:
            chosen = np.round(np.arange(count, 0, -count / steps)) - 1
        return [min(int(t), count - 1) for t in chosen]

    def step(self, output: Tensor, t: int, before: int, x: Tensor, noise: Tensor | None) -> Tensor:
        """Take a step from one noise level to the next.

        Args:
            output: What the UNet predicts (N, C, h, w), or (N, 2 C, h, w) with a learned variance.
            t: The level of the latents.
            before: The next level; below 0 where there is none.
            x: Latents (N, C, h, w).
            noise: Standard normal draws (N, C, h, w); None: no noise is added.

        Returns:
            Latents (N, C, h, w) of the next level.
        """
        prediction = output[:, : x.shape[1]]
        kept = self.alphas_cumprod[t]
        kept_before = self.alphas_cumprod[before] if before >= 0 else torch.tensor(1.0)
        alpha = kept / kept_before
        clean = self._clean(prediction, kept, x)
        if self.clip_sample:
            clean = clean.clamp(-self.clip_sample_range, self.clip_sample_range)
        # Equation 7 of the paper.
        made = (kept_before**0.5 * (1 - alpha)) / (1 - kept) * clean
        made = made + alpha**0.5 * (1 - kept_before) / (1 - kept) * x
        if noise is None:
            return made
        return made + self._deviation(output[:, x.shape[1] :], kept, kept_before) * noise

    def _clean(self, prediction: Tensor, kept: Tensor, x: Tensor) -> Tensor:
        if self.prediction_type == "epsilon":
            return (x - (1 - kept) ** 0.5 * prediction) / kept**0.5
        if self.prediction_type == "v_prediction":
            return kept**0.5 * x - (1 - kept) ** 0.5 * prediction
        return prediction

    def _deviation(self, predicted: Tensor, kept: Tensor, kept_before: Tensor) -> Tensor:
        largest = 1 - kept / kept_before
        smallest = ((1 - kept_before) / (1 - kept) * largest).clamp(min=SMALLEST)
        if self.variance_type == "learned_range":
            share = (predicted + 1) / 2
            logarithm = share * largest.log() + (1 - share) * smallest.log()
            return torch.exp(0.5 * logarithm)
        if self.variance_type == "learned":
            return predicted**0.5
        return (largest if self.variance_type == "fixed_large" else smallest) ** 0.5
