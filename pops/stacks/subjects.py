"""Pictures in the place of words: λ-ECLIPSE's prior on a stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pops.errors import UsageError, WeightsError
from pops.io.embeddings import Embeddings
from pops.io.formats.tensors import check_finite, read_tensors
from pops.io.hub.repositories import PART_FILES
from pops.io.hub.snapshots import fetch
from pops.io.names import expand_home
from pops.io.sources import Source
from pops.operators import check_state_dict
from pops.prior.config import read_prior_config
from pops.prior.subjects import SubjectTransformer
from pops.stacks.encoding import encode_sources, encode_texts
from pops.stacks.spec import PRIOR_WEIGHTS
from pops.stacks.stack import Stack

__all__ = ["PUBLISHED", "SubjectPrior"]

PUBLISHED = "ECLIPSE-Community/Lambda-ECLIPSE-Prior-v1.0"  # for the embeddings of kandinsky-2.2


class SubjectPrior:
    """Makes embeddings of a text in which pictures stand for words.

    Args:
        stack: The stack, whose encoders read the pictures and the text.
        model: The prior, at rest.
    """

    def __init__(self, stack: Stack, model: SubjectTransformer) -> None:
        self.stack = stack
        self.model = model

    @classmethod
    def load(cls, stack: Stack, place: str | Path = PUBLISHED) -> SubjectPrior:
        """Load the prior.

        Args:
            stack: The stack whose embeddings it makes.
            place: A folder with config.json and weights, or a repository of the hub.

        Returns:
            The prior.

        Raises:
            UsageError: It makes embeddings of another length than the stack's.
            WeightsError: A file is missing, damaged, or of another layout.
        """
        folder = expand_home(place)
        if not folder.is_dir():
            folder = fetch(str(place), PART_FILES["subjects"])
        config = read_prior_config(folder)
        dim = stack.prior_config.embedding_dim
        if config.embedding_dim != dim:
            raise UsageError(
                f"{place} makes embeddings of {config.embedding_dim} numbers, but those of "
                f"{stack.name} have {dim}"
            )
        state = read_tensors(folder / PRIOR_WEIGHTS)
        with torch.device("meta"):
            model = SubjectTransformer(config)
        check_state_dict(state, model.state_dict(), str(folder))
        model.load_state_dict(state, assign=True)
        model.requires_grad_(False).eval().to(dtype=stack.placement.dtype)
        check_finite(dict(model.named_parameters()), str(folder), WeightsError)
        return cls(stack, stack.at_rest(model))

    @torch.inference_mode()
    def make(
        self,
        text: str,
        subjects: Mapping[str, Source],
        *,
        seeds: Sequence[int] = (18,),
        control: Source | None = None,
    ) -> Embeddings:
        """Make embeddings of a text in which pictures stand for words.

        Args:
            text: The text, such as "a cat wearing glasses at a park".
            subjects: By words of the text, the pictures or embeddings that stand for them.
            seeds: The seeds of the noise; each makes an embedding.
            control: A picture of outlines that are to be followed; None for none.

        Returns:
            One embedding for each seed.

        Raises:
            UsageError: The text is too long, or does not say one of the words.
            InputError: A picture cannot be read.
        """
        (encoded,) = encode_texts(self.stack, [text])
        tokens = encoded.hidden_states.clone()
        shown = encode_sources(self.stack, list(subjects.values()))
        for word, embed in zip(subjects, shown, strict=True):
            tokens[self._places(text, word)] = embed
        draws = [
            torch.randn(1, tokens.shape[1], generator=torch.Generator().manual_seed(seed))
            for seed in seeds
        ]
        given = torch.cat(draws), tokens, encoded.text_embeds, self._control(control)
        weight = self.model.proj_in.weight
        with self.stack.placement.using(self.model):
            there = (one.to(self.stack.device, weight.dtype) for one in given)
            made: Tensor = self.model(*there).float().cpu()
        named = ", ".join(f"{word}={source}" for word, source in subjects.items())
        names = (f"subjects({text!r}, {named})",) * len(made)
        return Embeddings(made, self.stack.name, names, tuple(seeds))

    def _places(self, text: str, word: str) -> list[int]:
        """Find the tokens of a word among those of a text."""
        read = self.stack.text_encoder.tokenizer
        said, wanted = read(text)["input_ids"], read(word)["input_ids"][1:-1]
        if not wanted or not set(wanted) <= set(said):
            raise UsageError(
                f"the text {text[:60]!r} does not hold the words {word!r}: name words that it holds"
            )
        return [at for at, token in enumerate(said) if token in wanted]

    def _control(self, control: Source | None) -> Tensor:
        """Compute the embedding (D,) of the control picture, or of an all-zero one."""
        if control is not None:
            return encode_sources(self.stack, [control])[0]
        encoder = self.stack.image_encoder
        with self.stack.placement.using(encoder.model):
            return encoder.zero_embed()[0]
