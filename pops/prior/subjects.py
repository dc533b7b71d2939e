"""λ-ECLIPSE's prior: from a text, with pictures in the place of words, to an embedding in one step.

Patel et al. 2024 (arXiv 2402.05195). The layout is that of its published weights: a prior without
time, with a slot for a picture whose outlines are to be followed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pops.prior.blocks import MOVING, Block
from pops.prior.config import PriorConfig
from pops.prior.linear import Linear

__all__ = ["SubjectTransformer"]


class SubjectTransformer(nn.Module):
    """A transformer that maps noise, a text and a control picture to an embedding.

    The sequence is `text | control | pooled text | noise | output`; attention is causal. No number
    is normalised.

    Args:
        config: The sizes, as they stand in the config.json beside the weights.
    """

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        width, dim = config.width, config.embedding_dim
        clip_dim, text_dim = config.clip_embed_dim or dim, config.embedding_proj_dim or dim
        self.proj_in = Linear(dim, width)
        self.embedding_proj = Linear(text_dim, width)
        self.embedding_control = Linear(text_dim, width)
        self.encoder_hidden_states_proj = Linear(dim, width)
        positions = config.num_embeddings + 1 + MOVING
        self.positional_embedding = nn.Parameter(torch.zeros(1, positions, width))
        self.prd_embedding = nn.Parameter(torch.zeros(1, 1, width))
        self.transformer_blocks = nn.ModuleList(
            Block(width, config.num_attention_heads, config.dropout)
            for _ in range(config.num_layers)
        )
        self.norm_out = nn.LayerNorm(width)
        self.proj_to_clip_embeddings = Linear(width, clip_dim)
        # In the published file, and not used: embeddings are given as they are.
        self.clip_mean = nn.Parameter(torch.zeros(1, clip_dim))
        self.clip_std = nn.Parameter(torch.ones(1, clip_dim))

    def forward(self, noise: Tensor, tokens: Tensor, pooled: Tensor, control: Tensor) -> Tensor:
        """Make embeddings.

        Args:
            noise: Standard normal draws (N, D).
            tokens: The tokens (K, D) of the text, with embeddings of pictures among them.
            pooled: The embedding (P,) of the text.
            control: The embedding (D,) of the control picture.

        Returns:
            Embeddings (N, D), un-normalised.
        """
        position = self.positional_embedding
        text = self.encoder_hidden_states_proj(tokens[None]) + position[:, : len(tokens)]
        ends = [
            self.embedding_control(control[None, None]).expand(len(noise), -1, -1),
            self.embedding_proj(pooled[None, None]).expand(len(noise), -1, -1),
            self.proj_in(noise[:, None]),
            self.prd_embedding.expand(len(noise), -1, -1),
        ]
        last = torch.cat(ends, dim=1) + position[:, self.config.num_embeddings :]
        x = torch.cat([text.expand(len(noise), -1, -1), last], dim=1)  # (N, K + 4, width)
        for block in self.transformer_blocks:
            x = block(x, None)
        made: Tensor = self.proj_to_clip_embeddings(self.norm_out(x[:, -1]))
        return made
