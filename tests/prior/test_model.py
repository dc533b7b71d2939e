from pathlib import Path

import pytest
import torch
from diffusers import PriorTransformer
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from pops.errors import WeightsError
from pops.prior.model import ConditionCache, Prior, PriorConfig, read_prior_config

CONFIG = PriorConfig(
    num_attention_heads=2,
    attention_head_dim=8,
    num_layers=3,
    embedding_dim=12,
    num_embeddings=10,
)


def random_prior(config: PriorConfig = CONFIG) -> Prior:
    torch.manual_seed(1)
    prior = Prior(config).eval()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return prior


def inputs(n: int, k: int, dim: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(n, dim), torch.randint(0, 1000, (n,)), torch.randn(n, k, dim)


def denoise(prior: Prior, x: Tensor, t: Tensor, cache: ConditionCache) -> Tensor:
    """One step of every row at the timestep t ()."""
    return prior.denoise(x, prior.time_tokens(t[None])[0], cache)


def theirs_predicts(
    theirs: PriorTransformer, x: Tensor, t: Tensor, tokens: Tensor, mask: Tensor | None = None
) -> Tensor:
    """diffusers' prior on packed tokens: all its slots, the unused ones masked."""
    n, k, dim = tokens.shape
    slots = theirs.config.num_embeddings
    padded = torch.zeros(n, slots, dim)
    padded[:, :k] = tokens
    visible = torch.zeros(n, slots, dtype=torch.bool)
    visible[:, :k] = True if mask is None else mask
    zeros = torch.zeros(n, theirs.embedding_proj.in_features)
    with torch.no_grad():
        out: Tensor = theirs(x, t, zeros, padded, visible).predicted_image_embedding
    return out


def to_diffusers(prior: Prior) -> PriorTransformer:
    config = {k: v for k, v in prior.config.to_dict().items() if not k.startswith("_")}
    theirs = PriorTransformer(**config).eval()
    theirs.load_state_dict(prior.state_dict())  # strict: key for key
    return theirs


@pytest.mark.parametrize("k", [1, 2, 7, 10])
def test_our_weights_in_diffusers_predict_the_same(k: int):
    prior = random_prior()
    x, t, tokens = inputs(4, k)
    theirs = theirs_predicts(to_diffusers(prior), x, t, tokens)
    with torch.no_grad():
        torch.testing.assert_close(prior(x, t, tokens), theirs, rtol=1e-5, atol=1e-5)


def test_their_weights_in_ours_predict_the_same(golden: Path):
    folder = golden / "kandinsky-tiny-prior" / "prior"
    theirs = PriorTransformer.from_pretrained(folder)
    prior = Prior(read_prior_config(folder)).eval()
    prior.load_state_dict(theirs.state_dict())
    x, t, tokens = inputs(3, 2, dim=32)
    cache = prior.condition(tokens)
    wanted = theirs_predicts(theirs, x, t, tokens)
    with torch.no_grad():
        torch.testing.assert_close(prior(x, t, tokens), wanted, rtol=1e-5, atol=1e-5)
    for row in range(3):  # every row at its own timestep
        alone = denoise(prior, x, t[row], cache)[row]
        torch.testing.assert_close(alone, wanted[row], rtol=1e-5, atol=1e-5)


def test_odd_widths_of_diffusers_fit_too():
    config = PriorConfig(2, 8, 1, 12, 5, time_embed_dim=20, embedding_proj_dim=9)
    prior = random_prior(config)
    x, t, tokens = inputs(2, 3)
    theirs = theirs_predicts(to_diffusers(prior), x, t, tokens)
    with torch.no_grad():
        torch.testing.assert_close(prior(x, t, tokens), theirs, rtol=1e-5, atol=1e-5)


lengths_of_rows = st.lists(st.integers(0, 6), min_size=1, max_size=4)


@given(lengths_of_rows, st.integers(0, 999))
@settings(max_examples=20, deadline=None)
def test_rows_of_different_length_predict_what_they_predict_alone(lengths: list[int], step: int):
    prior, t = random_prior(), torch.tensor(step)
    x, _, tokens = inputs(len(lengths), max(lengths))
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    together = denoise(prior, x, t, prior.condition(tokens, mask))
    with torch.no_grad():
        torch.testing.assert_close(prior(x, t, tokens, mask), together, rtol=1e-5, atol=1e-5)
    for row, k in enumerate(lengths):
        cache = prior.condition(tokens[row : row + 1, :k])
        alone = denoise(prior, x[row : row + 1], t, cache)
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-5, atol=1e-5)


@given(st.lists(st.booleans(), min_size=1, max_size=6))
@settings(max_examples=20, deadline=None)
def test_a_masked_token_anywhere_changes_nothing(visible: list[bool]):
    prior = random_prior()
    x, t, tokens = inputs(2, len(visible))
    mask = torch.tensor([visible, visible])
    other = torch.where(mask[..., None], tokens, torch.randn_like(tokens) * 100)
    with torch.no_grad():
        torch.testing.assert_close(
            prior(x, t, tokens, mask), prior(x, t, other, mask), rtol=0, atol=0
        )
        wanted = theirs_predicts(to_diffusers(prior), x, t, tokens, mask)
        torch.testing.assert_close(prior(x, t, tokens, mask), wanted, rtol=1e-5, atol=1e-5)


def test_a_dropped_token_is_seen_unlike_a_masked_one():
    prior = random_prior()
    x, t, tokens = inputs(1, 2)
    tokens[:, 1] = 0
    with torch.no_grad():
        dropped = prior(x, t, tokens)
        masked = prior(x, t, tokens, torch.tensor([[True, False]]))
    assert (dropped - masked).abs().max() > 1e-3


def test_attention_is_causal():
    prior = random_prior()
    _, _, tokens = inputs(1, 4)
    changed = tokens.clone()
    changed[:, 2:] += 1
    before, after = prior.condition(tokens), prior.condition(changed)
    seen = (slice(None), slice(None), slice(None), slice(None), slice(2))
    torch.testing.assert_close(before.kv[seen], after.kv[seen], rtol=0, atol=0)
    assert (before.kv[-1, 0, 0, :, 2] - after.kv[-1, 0, 0, :, 2]).abs().max() > 1e-3


def test_a_cache_s_rows_can_be_repeated_and_reordered():
    prior = random_prior()
    x, t, tokens = inputs(3, 2)
    index = torch.tensor([2, 0, 2, 1])
    t = t[0]
    direct = denoise(prior, x[index], t, prior.condition(tokens[index]))
    picked = denoise(prior, x[index], t, prior.condition(tokens).rows(index))
    torch.testing.assert_close(picked, direct)


def test_samples_of_one_request_share_its_time_token():
    prior = random_prior()
    _, _, tokens = inputs(2, 2)
    cache = prior.condition(tokens).rows(torch.tensor([1, 0, 1, 1]))
    assert len(cache.example) == 2
    assert cache.rows(torch.tensor([0, 2, 3])).request.tolist() == [0, 0, 0]


def test_rows_of_requests_of_their_own_share_nothing():
    prior = random_prior()
    _, _, tokens = inputs(2, 2)
    assert prior.condition(tokens).rows(torch.tensor([1, 0])).example is None


def test_joined_projections_are_one_product_with_the_same_names_and_numbers():
    prior = random_prior()
    x, t, tokens = inputs(3, 2)
    before = denoise(prior, x, t[0], prior.condition(tokens))
    state = {name: tensor.clone() for name, tensor in prior.state_dict().items()}
    assert prior.condition(tokens).joined == (None,) * CONFIG.num_layers
    prior.join_projections()
    cache = prior.condition(tokens)
    assert all(joined is not None for joined in cache.joined)
    torch.testing.assert_close(denoise(prior, x, t[0], cache), before)
    torch.testing.assert_close(prior.state_dict(), state, rtol=0, atol=0)
    assert all(joined is not None for joined in prior.sharing().condition(tokens).joined)


def test_a_replaced_projection_is_not_computed_from_the_joined_ones():
    prior = random_prior().join_projections()
    x, t, tokens = inputs(3, 2)
    key = prior.transformer_blocks[1].attn1.to_k
    key.weight = torch.nn.Parameter(key.weight + 1, requires_grad=False)
    cache = prior.condition(tokens)
    assert [joined is None for joined in cache.joined] == [False, True, False]
    with torch.no_grad():
        wanted = prior(x, t[0], tokens)
    torch.testing.assert_close(denoise(prior, x, t[0], cache), wanted, rtol=1e-5, atol=1e-5)


def test_joined_projections_are_saved_each_under_its_own_name(tmp_path: Path):
    prior = random_prior().join_projections()
    save_file(prior.state_dict(), tmp_path / "prior.safetensors")
    torch.testing.assert_close(load_file(tmp_path / "prior.safetensors"), prior.state_dict())


def test_a_cache_serves_every_step():
    prior = random_prior()
    x, _, tokens = inputs(1, 2)
    cache = prior.condition(tokens)
    first = denoise(prior, x, torch.tensor(999), cache)
    denoise(prior, x * 2, torch.tensor(3), cache)
    torch.testing.assert_close(denoise(prior, x, torch.tensor(999), cache), first, rtol=0, atol=0)


def test_gradients_reach_every_weight_but_the_clip_statistics():
    prior = random_prior().train()
    x, t, tokens = inputs(2, 2)
    prior(x, t, tokens, torch.ones(2, 2)).square().mean().backward()
    without = {name for name, p in prior.named_parameters() if p.grad is None}
    assert without == {"clip_mean", "clip_std"}


@pytest.mark.parametrize("masked", [False, True])
def test_half_precision_stays_close(masked: bool):
    prior = random_prior()
    x, t, tokens = inputs(2, 3)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]]) if masked else None
    with torch.no_grad():
        full = prior(x, t, tokens, mask)
        half = random_prior().bfloat16()(x, t, tokens, mask)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), full, rtol=0.1, atol=0.1)


def test_normalising_is_undone_by_denormalising():
    prior = random_prior()
    e = torch.randn(4, 12)
    torch.testing.assert_close(prior.denormalise(prior.normalise(e)), e)
    wanted = (e - prior.clip_mean) / prior.clip_std
    torch.testing.assert_close(prior.normalise(e), wanted)


def test_more_tokens_than_slots_are_refused():
    with pytest.raises(ValueError, match="11 condition tokens"):
        random_prior().condition(torch.zeros(1, 11, 12))


@pytest.mark.parametrize("change", [{"added_emb_type": None}, {"norm_in_type": "layer"}])
def test_another_variant_of_the_prior_is_refused_by_name(change: dict[str, str | None]):
    with pytest.raises(WeightsError, match=next(iter(change))):
        PriorConfig.from_dict(CONFIG.to_dict() | change)


def test_an_unknown_config_field_is_refused():
    with pytest.raises(WeightsError, match="'widht'"):
        PriorConfig.from_dict({"widht": 3})


def test_the_config_survives_the_way_there_and_back():
    assert PriorConfig.from_dict(CONFIG.to_dict()) == CONFIG
