import pytest
import torch
from diffusers import UnCLIPScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pops.errors import UsageError
from pops.prior.sampling import (
    find_sampler,
    guide,
    sample_ancestral,
    sample_ddim,
    seeded_noise,
)
from pops.prior.schedule import Schedule


def some_denoiser(x: Tensor, t: int) -> Tensor:
    return torch.tanh(2 * x + t / 1000)


@given(st.integers(1, 60), st.integers(0, 2**31))
@settings(max_examples=20)
def test_a_perfect_denoiser_recovers_the_target_by_ddim(steps: int, seed: int):
    target = torch.linspace(-2, 2, 24).reshape(3, 8)
    x = sample_ddim(lambda x, t: target, seeded_noise([seed] * 3, 8), Schedule(), steps)
    torch.testing.assert_close(x, target)


def test_a_perfect_denoiser_recovers_the_target_to_float32_s_rounding_of_beta():
    target = torch.linspace(-2, 2, 24).reshape(3, 8)
    x = sample_ancestral(lambda x, t: target, seeded_noise([1, 2, 3], 8), Schedule(), 25)
    torch.testing.assert_close(x, target, rtol=1e-3, atol=0)


@pytest.mark.parametrize("steps", [2, 25, 1000])
def test_ancestral_sampling_is_that_of_diffusers(steps: int):
    theirs = UnCLIPScheduler(prediction_type="sample", clip_sample_range=5.0)
    theirs.set_timesteps(steps)
    generator = torch.Generator().manual_seed(18)
    x = torch.randn(1, 32, generator=generator)
    for t, previous in zip(theirs.timesteps, [*theirs.timesteps[1:], None], strict=True):
        x0 = some_denoiser(x, t)
        x = theirs.step(x0, t, x, prev_timestep=previous, generator=generator).prev_sample
    ours = sample_ancestral(some_denoiser, seeded_noise([18], 32), Schedule(), steps)
    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "draws"), [("ancestral", 25), ("ddim", 1)])
def test_a_sampler_draws_the_start_and_then_once_a_step_but_the_last(name: str, draws: int):
    calls = []

    def noise() -> Tensor:
        calls.append(1)
        return torch.zeros(1, 4)

    find_sampler(name)(some_denoiser, noise, Schedule(), 25, None)
    assert len(calls) == draws


def test_every_step_is_counted():
    seen: list[tuple[int, int]] = []
    sample_ancestral(
        some_denoiser, seeded_noise([0], 4), Schedule(), 3, lambda *count: seen.append(count)
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_noise_in_a_batch_is_the_noise_of_its_members(seeds: list[int]):
    batch = seeded_noise(seeds, 20)
    alone = [seeded_noise([seed], 20) for seed in seeds]
    for _ in range(3):
        torch.testing.assert_close(batch(), torch.cat([draw() for draw in alone]), rtol=0, atol=0)


def test_guidance_leads_away_from_the_unconditional_branch_in_one_call():
    calls = []

    def both(x: Tensor, t: Tensor) -> Tensor:
        calls.append(len(x))
        return torch.tensor([[1.0], [1.0], [2.0], [3.0]])

    out = guide(both, 4.0)(torch.zeros(2, 1), torch.tensor(0))
    assert out.tolist() == [[5.0], [9.0]]
    assert calls == [4]


@pytest.mark.parametrize("scale", [-1.0, 0.0, 1.0])
def test_guidance_of_one_or_less_is_the_conditional_denoiser_itself(scale: float):
    assert guide(some_denoiser, scale) is some_denoiser


def test_an_unknown_sampler_is_answered_with_the_known_ones():
    with pytest.raises(UsageError, match="ancestral, ddim"):
        find_sampler("euler")
