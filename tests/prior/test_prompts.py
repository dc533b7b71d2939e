"""Texts become embeddings as in diffusers' prior pipeline: same noise, same embedding."""

import pytest
import torch
from diffusers import KandinskyV22PriorPipeline, PriorTransformer, UnCLIPScheduler
from transformers import CLIPVisionModelWithProjection

from pops.engine import Engine

WORDS = ["a wooden mug on the beach", "fish"]
SEEDS = [18, 42]


def pipeline(engine: Engine) -> KandinskyV22PriorPipeline:
    folder = engine.stack.prior_folder
    encoder = engine.stack.text_encoder
    encoder.tokenizer.model_max_length = encoder.model.config.max_position_embeddings
    made = KandinskyV22PriorPipeline(
        prior=PriorTransformer.from_pretrained(folder / "prior"),
        image_encoder=CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder"),
        text_encoder=encoder.model,
        tokenizer=encoder.tokenizer,
        scheduler=UnCLIPScheduler.from_pretrained(folder / "scheduler"),
        image_processor=None,
    )
    made.set_progress_bar_config(disable=True)
    return made


@pytest.mark.parametrize("negative", [None, "a golden hat"])
@pytest.mark.parametrize("guidance", [4.0, 1.0])
@pytest.mark.parametrize("shipped", [False, True])
def test_texts_give_the_embeddings_of_the_pipeline(
    engine: Engine, shipped: bool, guidance: float, negative: str | None
) -> None:
    engine = Engine.load("pocket", "cpu") if shipped else engine
    theirs = pipeline(engine)
    wanted = []
    for words in WORDS:
        for seed in SEEDS:
            # With a negative prompt the pipeline samples that too, with noise of its own.
            noise = [torch.Generator().manual_seed(one) for one in (seed, 7)[: 1 + bool(negative)]]
            made = theirs(words, negative, generator=noise, guidance_scale=guidance)
            wanted.append(made.image_embeds)
    made = engine.text(WORDS, negative=negative or "", seeds=SEEDS, guidance=guidance)
    torch.testing.assert_close(made.image_embeds, torch.cat(wanted), rtol=0, atol=1e-4)
