import json
from pathlib import Path

import pytest
import torch
from diffusers import UnCLIPScheduler
from hypothesis import given
from hypothesis import strategies as st

from pops.errors import UsageError, WeightsError
from pops.prior.schedule import Schedule, add_noise, read_schedule, schedule_from_config, timesteps


def test_the_schedule_is_that_of_diffusers():
    theirs = UnCLIPScheduler()
    torch.testing.assert_close(Schedule().betas, theirs.betas, rtol=0, atol=0)
    torch.testing.assert_close(Schedule().alphas_cumprod, theirs.alphas_cumprod, rtol=0, atol=0)


@given(st.integers(2, 1000))
def test_timesteps_are_those_of_diffusers(steps: int):
    theirs = UnCLIPScheduler()
    theirs.set_timesteps(steps)
    assert timesteps(steps) == theirs.timesteps.tolist()


@given(st.integers(1, 1000))
def test_timesteps_fall_from_the_noisiest(steps: int):
    ts = timesteps(steps)
    assert len(ts) == steps
    assert ts[0] == 999
    assert ts == sorted(set(ts), reverse=True)


@pytest.mark.parametrize("steps", [-1, 0, 1001])
def test_steps_out_of_range_are_refused(steps: int):
    with pytest.raises(UsageError, match="between 1 and 1000"):
        timesteps(steps)


def test_noise_is_added_as_diffusers_adds_it():
    x0, noise = torch.randn(5, 8), torch.randn(5, 8)
    t = torch.tensor([0, 1, 500, 998, 999])
    theirs = UnCLIPScheduler().add_noise(x0, noise, t)
    torch.testing.assert_close(add_noise(x0, noise, t, Schedule()), theirs)


def test_a_stack_s_own_clipping_is_read(golden: Path):
    schedule = read_schedule(golden / "kandinsky-tiny-prior" / "scheduler")
    assert schedule.clip_range == 5.0
    assert schedule.clip(torch.tensor([-9.0, 1.0, 9.0])).tolist() == [-5.0, 1.0, 5.0]


def test_no_clipping_where_the_config_says_so():
    schedule = schedule_from_config({"clip_sample": False, "prediction_type": "sample"})
    assert schedule.clip(torch.tensor([99.0])).tolist() == [99.0]


@pytest.mark.parametrize(
    "change",
    [
        {"prediction_type": "epsilon"},
        {"beta_schedule": "linear"},
        {"variance_type": "learned_range"},
    ],
)
def test_another_kind_of_schedule_is_refused_by_name(tmp_path: Path, change: dict[str, str]):
    config = {"prediction_type": "sample"} | change
    (tmp_path / "scheduler_config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=next(iter(change))):
        read_schedule(tmp_path)


@pytest.mark.parametrize("content", [None, "{cut sho"])
def test_an_unreadable_scheduler_config_is_named(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / "scheduler_config.json").write_text(content)
    with pytest.raises(WeightsError, match=r"scheduler_config\.json"):
        read_schedule(tmp_path)
