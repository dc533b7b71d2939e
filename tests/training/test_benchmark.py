"""The benchmark of training runs; how fast it is is not tested."""

import json

import pytest

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


def test_settings_that_cannot_be_measured_are_refused(capsys: pytest.CaptureFixture[str]):
    assert training.main(["--batch=0"]) == UsageError("").exit_status
    assert "--batch" in capsys.readouterr().err
