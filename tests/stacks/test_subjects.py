"""λ-ECLIPSE's prior on a tiny random model in its public layout, beside a plain computation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from PIL import Image
from torch import Tensor

from pops.engine import Engine
from pops.errors import UsageError, WeightsError
from pops.io.formats.tensors import read_tensors, save_tensors
from pops.prior.config import PriorConfig
from pops.prior.subjects import SubjectTransformer
from pops.stacks.spec import PRIOR_WEIGHTS
from pops.stacks.subjects import SubjectPrior

TEXT = "a red cat on a hat"
FIELDS = {
    "_class_name": "PriorTransformer",
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "num_layers": 2,
    "embedding_dim": 32,
    "num_embeddings": 77,
    "additional_embeddings": 4,
    "dropout": 0.0,
    "added_emb_type": "prd",
    "encoder_hid_proj_type": "linear",
    "norm_in_type": None,
    "embedding_proj_norm_type": None,
    "embedding_proj_dim": None,
    "clip_embed_dim": None,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights and config as the published prior has them, random and tiny."""
    torch.manual_seed(3)
    made = tmp_path_factory.mktemp("subjects")
    (made / "config.json").write_text(json.dumps(FIELDS))
    model = SubjectTransformer(PriorConfig.from_dict(FIELDS))
    for value in (model.positional_embedding, model.prd_embedding):
        torch.nn.init.normal_(value)
    save_tensors(made / PRIOR_WEIGHTS, model.state_dict())
    return made


@pytest.fixture(scope="module")
def subjects(engine: Engine, folder: Path) -> SubjectPrior:
    return SubjectPrior.load(engine.stack, folder)


def picture(seed: int) -> Image.Image:
    colour = tuple(torch.randint(0, 255, (3,), generator=torch.Generator().manual_seed(seed)))
    return Image.new("RGB", (40, 40), tuple(map(int, colour)))


def plain(weights: dict[str, Tensor], noise: Tensor, text: Tensor, *more: Tensor) -> Tensor:
    """All 81 places of the sequence in full, those without a token masked, by diffusers' blocks."""
    pooled, control = more

    def through(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    padded = torch.zeros(77, 32)
    padded[: len(text)] = text
    sequence = torch.cat(
        [
            through("encoder_hidden_states_proj", padded),
            through("embedding_control", control[None]),
            through("embedding_proj", pooled[None]),
            through("proj_in", noise[None]),
            weights["prd_embedding"][0],
        ]
    )
    x = (sequence + weights["positional_embedding"][0])[None]
    hidden = torch.zeros(81, 81).masked_fill(torch.ones(81, 81).triu(1) > 0, -10000.0)
    hidden[:, len(text) : 77] -= 10000.0
    for layer in range(2):
        block = BasicTransformerBlock(32, 2, 16, activation_fn="gelu", attention_bias=True).eval()
        own = f"transformer_blocks.{layer}."
        block.load_state_dict({k[len(own) :]: v for k, v in weights.items() if k.startswith(own)})
        x = block(x, attention_mask=hidden.expand(2, -1, -1))
    last = torch.nn.functional.layer_norm(
        x[0, -1], (32,), weights["norm_out.weight"], weights["norm_out.bias"]
    )
    return through("proj_to_clip_embeddings", last)


@torch.no_grad()
@pytest.mark.parametrize("control", [None, 9])
def test_it_computes_what_its_public_layout_says(
    engine: Engine, subjects: SubjectPrior, folder: Path, control: int | None
) -> None:
    stack, weights = engine.stack, read_tensors(folder / PRIOR_WEIGHTS)
    outlines = None if control is None else picture(control)
    shown = {"cat": picture(1), "hat": picture(2)}
    made = subjects.make(TEXT, shown, seeds=[4, 5], control=outlines)
    (encoded,) = stack.text_encoder.encode([TEXT])
    ids = stack.text_encoder.tokenizer(TEXT)["input_ids"]
    text = encoded.hidden_states.clone()
    for word, one in shown.items():
        own = stack.text_encoder.tokenizer(word)["input_ids"][1:-1]
        for place, token in enumerate(ids):
            if token in own:
                text[place] = stack.image_encoder.encode([one])[0]
    assert not torch.equal(text, encoded.hidden_states)
    encoder = stack.image_encoder
    outline = encoder.zero_embed()[0] if outlines is None else encoder.encode([outlines])[0]
    for row, seed in enumerate((4, 5)):
        noise = torch.randn(1, 32, generator=torch.Generator().manual_seed(seed))[0]
        wanted = plain(weights, noise, text, encoded.text_embeds, outline)
        torch.testing.assert_close(made.image_embeds[row], wanted, atol=1e-4, rtol=1e-4)
    assert made.stack == stack.name and made.seeds == (4, 5)


def test_what_it_makes_goes_into_operators(engine: Engine, subjects: SubjectPrior) -> None:
    made = subjects.make(TEXT, {"cat": picture(1)})
    dressed = engine.apply("texturing", (made, picture(3)), seeds=[1], steps=2)
    assert dressed.image_embeds.isfinite().all() and dressed.stack == made.stack


def test_a_word_that_the_text_does_not_say_is_refused(subjects: SubjectPrior) -> None:
    with pytest.raises(UsageError, match="does not hold the words 'dog'"):
        subjects.make(TEXT, {"dog": picture(1)})


def test_another_layout_or_length_is_refused(engine: Engine, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="of 32 numbers, but those of pocket have "):
        SubjectPrior.load(Engine.load("pocket", "cpu").stack, folder)
    state = read_tensors(folder / PRIOR_WEIGHTS)
    (tmp_path / "config.json").write_text(json.dumps(FIELDS))
    save_tensors(tmp_path / PRIOR_WEIGHTS, {k: v for k, v in state.items() if "control" not in k})
    with pytest.raises(WeightsError, match=r"missing \(embedding_control\.bias"):
        SubjectPrior.load(engine.stack, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(FIELDS | {"additional_embeddings": 3}))
    with pytest.raises(WeightsError, match="additional_embeddings is 3"):
        SubjectPrior.load(engine.stack, tmp_path)
