"""The benchmark of training runs; how fast it is is not tested."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from benchmarks import training
from pops.errors import UsageError

TINY = ["--layers=1", "--heads=1", "--dim=16", "--batch=2", "--steps=1", "--repeats=1"]
QUICK = ["--workers=0", "--threads=1", "--device=cpu", "--matmul_size=32"]


def test_it_ends_in_one_json_object(capsys: pytest.CaptureFixture[str]):
    assert training.main([*TINY, *QUICK, "--json"]) == 0
    values = json.loads(capsys.readouterr().out.splitlines()[-1])
    ratios = [values[f"samples_per_s_ratio_{name}"] for name in ("pocket", "mid_size")]
    assert values["samples_per_s_ratio"] == min(ratios) > 0
    assert values["fraction_of_peak_mid_size"] > 0


def test_steps_that_fp16_skips_are_counted_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    settings = training.TrainingBenchmark(layers=1, heads=1, dim=16, batch=2, device="cpu")
    accelerator = Accelerator(cpu=True)
    # So large a scale that the first gradients are infinite; it halves until they are not.
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    models = training.random_models(settings, torch.device("cpu"))
    lines: list[dict[str, float]] = []
    loop = replace(
        training.our_loop(settings, models, accelerator, tmp_path),
        log=lambda step, values: lines.append(dict(values)),
    )
    loop.settings = replace(loop.settings, steps=12, log_every=4, checkpoint_every=0)
    optimiser = loop.state.optimiser.optimizer
    accelerator.unscale_gradients = lambda *_: accelerator.scaler.unscale_(optimiser)  # as on CUDA
    before = loop.prior.proj_in.weight.detach().clone()
    loop.run()
    assert 0 < lines[0]["skipped_steps"] < 4
    assert lines[0]["grad_norm"] == pytest.approx(lines[1]["grad_norm"], rel=0.5)  # of the others
    assert all(map(math.isfinite, [number for line in lines for number in line.values()]))
    assert f"{lines[0]['skipped_steps']} of 4 steps skipped" in capsys.readouterr().out
    assert not torch.equal(loop.prior.proj_in.weight, before)


def test_settings_that_cannot_be_measured_are_refused(capsys: pytest.CaptureFixture[str]):
    assert training.main(["--batch=0"]) == UsageError("").exit_status
    assert "--batch" in capsys.readouterr().err
