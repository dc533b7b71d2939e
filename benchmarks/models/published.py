"""The published way to sample a prior: diffusers' model and scheduler, one request at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from pops.io.loading import quietly
from pops.prior.model import Prior
from pops.prior.sampling import OnStep

with quietly():
    from diffusers import PriorTransformer, UnCLIPScheduler

__all__ = ["PublishedPrior"]


class PublishedPrior:
    """diffusers' PriorTransformer on the very weights of a prior of ours, not on a copy."""

    def __init__(self, prior: Prior, clip_range: float | None = 5.0) -> None:
        config = {k: v for k, v in prior.config.to_dict().items() if not k.startswith("_")}
        with torch.device("meta"):
            self.model = PriorTransformer(**config)
        self.model.load_state_dict(prior.state_dict(), assign=True)
        self.model.requires_grad_(False).eval()
        # A buffer that is in no state dict, and so is still without content.
        mask = torch.full(self.model.causal_attention_mask.shape, -10000.0).triu_(1)
        self.model.causal_attention_mask = mask.to(self.model.device, self.model.dtype)
        self.scheduler = UnCLIPScheduler(
            prediction_type="sample",
            clip_sample=clip_range is not None,
            clip_sample_range=clip_range or 1.0,
        )

    @torch.no_grad()
    def sample(
        self,
        tokens: Tensor,
        seed: int,
        guidance: float,
        steps: int = 25,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Sample one request.

        The tokens are padded to all slots of the prior, and guidance is one call with two rows.

        Args:
            tokens: The normalised condition tokens (k, D).
            seed: The seed of the noise.
            guidance: The scale of guidance; with at most 1 there is none.
            steps: The number of steps, at least 2.
            on_step: Called with the steps that are done and all steps.

        Returns:
            The embedding (1, D), un-normalised, in float32 on the CPU.
        """
        guided = guidance > 1
        slots, mask = self._slots(tokens, guided)
        pooled = torch.zeros_like(slots[:, 0])
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(1, tokens.shape[-1], generator=generator).to(slots)
        self.scheduler.set_timesteps(steps, device=self.model.device)
        times = self.scheduler.timesteps
        for i, t in enumerate(times):
            x0 = self.model(
                torch.cat([x, x]) if guided else x,
                timestep=t,
                proj_embedding=pooled,
                encoder_hidden_states=slots,
                attention_mask=mask,
            ).predicted_image_embedding
            if guided:
                uncond, cond = x0.chunk(2)
                x0 = uncond + guidance * (cond - uncond)
            before = times[i + 1] if i + 1 < steps else None
            x = self.scheduler.step(
                x0, timestep=t, sample=x, generator=generator, prev_timestep=before
            ).prev_sample
            if on_step is not None:
                on_step(i + 1, steps)
        made: Tensor = self.model.post_process_latents(x)
        return made.float().cpu()

    def _slots(self, tokens: Tensor, guided: bool) -> tuple[Tensor, Tensor]:
        """Fill all slots (1 or 2, slots, D), and tell which are used; first the unconditional."""
        k, dim = tokens.shape
        count = self.model.config.num_embeddings
        slots = torch.zeros(1, count, dim, device=self.model.device, dtype=self.model.dtype)
        slots[0, :k] = tokens
        mask = torch.arange(count, device=self.model.device)[None] < k
        if guided:
            slots, mask = torch.cat([torch.zeros_like(slots), slots]), torch.cat([mask, mask])
        return slots, mask
