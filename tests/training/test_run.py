"""Whole runs of `pops train`: interrupted, killed, on two processes; each ends as one that was not.

Runs on a tiny random prior, on the examples of `training_run.py`.
"""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pops.errors import UsageError
from pops.operators import read_operator_card
from pops.settings.flags.parsing import parse
from pops.training.config import TrainConfig
from tests.training import training_run

STEPS = 30
SCRIPT = Path(training_run.__file__)


def flags(out: Path, golden: Path, *more: str, batch: int = 4) -> list[str]:
    return [
        "--stack=pocket",
        f"--pretrained_prior_path={golden / 'kandinsky-tiny-prior'}",
        *(f"--output_dir={out}", f"--train_batch_size={batch}", "--lr=1e-3", "--use_ema"),
        *("--device=cpu", "--report_to=none", "--log_every=1", "--checkpointing_steps=4"),
        *(f"--max_train_steps={STEPS}", "--lr_scheduler=cosine", "--lr_warmup_steps=3", *more),
    ]


def metrics(out: Path) -> list[dict[str, float]]:
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def curve(out: Path) -> list[tuple[float, ...]]:
    return [(line["step"], line["loss"], line["grad_norm"], line["lr"]) for line in metrics(out)]


def wait_for_step(out: Path, step: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (out / "metrics.jsonl").exists() and len(metrics(out)) >= step:
            return
        time.sleep(0.005)
    raise AssertionError(f"no step {step} within a minute")


def assert_same_end(out: Path, other: Path) -> None:
    """Bit for bit: weights, their average, the optimiser, the operator, and the curve."""
    name = f"checkpoints/step-{STEPS:09d}"
    for file in (
        f"{name}/model.safetensors",
        f"{name}/ema.safetensors",
        "operator/prior.safetensors",
    ):
        own, others = load_file(out / file), load_file(other / file)
        assert own.keys() == others.keys()
        assert all(torch.equal(own[key], others[key]) for key in own), file
        assert (out / file).read_bytes() == (other / file).read_bytes()
    states = [torch.load(path / name / "state.pt", weights_only=True) for path in (out, other)]
    moments = [state["optimiser"]["state"] for state in states]
    for key, values in moments[0].items():
        assert all(torch.equal(value, moments[1][key][kind]) for kind, value in values.items())
    assert (out / name / "state.pt").read_bytes() == (other / name / "state.pt").read_bytes()
    assert curve(out) == curve(other)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, golden: Path) -> Path:
    """A run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole")
    assert training_run.main(flags(out, golden)) == 0
    return out


def test_a_run_killed_at_a_random_step_ends_bit_identical(
    whole: Path, tmp_path: Path, golden: Path
):
    process = subprocess.Popen([sys.executable, SCRIPT, *flags(tmp_path, golden)])
    wait_for_step(tmp_path, random.randint(5, STEPS - 5))
    process.kill()
    assert process.wait() != 0
    assert len(metrics(tmp_path)) < STEPS
    assert training_run.main(flags(tmp_path, golden)) == 0
    assert_same_end(tmp_path, whole)


@pytest.mark.parametrize(
    ("sent", "status"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_a_signal_leaves_a_checkpoint_of_the_very_step(
    sent: signal.Signals, status: int, whole: Path, tmp_path: Path, golden: Path
):
    process = subprocess.Popen([sys.executable, SCRIPT, *flags(tmp_path, golden)])
    wait_for_step(tmp_path, 5)
    process.send_signal(sent)
    assert process.wait() == status
    newest = max((tmp_path / "checkpoints").iterdir())
    assert newest.name == f"step-{len(metrics(tmp_path)):09d}"
    assert not (tmp_path / "operator").exists()
    assert training_run.main(flags(tmp_path, golden)) == 0
    assert_same_end(tmp_path, whole)


def test_two_processes_give_the_curve_of_one_with_the_doubled_batch(
    whole: Path, tmp_path: Path, golden: Path
):
    launch = ["--multi_gpu", "--num_processes=2", "--num_machines=1", "--mixed_precision=no"]
    command = [sys.executable, "-m", "accelerate.commands.launch", *launch]
    command += ["--dynamo_backend=no", "--main_process_port=0", str(SCRIPT)]
    command += flags(tmp_path, golden, batch=2)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert torch.tensor(curve(tmp_path)) == pytest.approx(torch.tensor(curve(whole)), abs=1e-4)
    assert len(curve(tmp_path)) == STEPS


def test_accumulated_batches_give_the_curve_of_a_large_one(
    whole: Path, tmp_path: Path, golden: Path
):
    more = "--gradient_accumulation_steps=2"
    assert training_run.main(flags(tmp_path, golden, more, batch=2)) == 0
    assert torch.tensor(curve(tmp_path)) == pytest.approx(torch.tensor(curve(whole)), abs=1e-4)


def test_only_the_newest_checkpoints_are_kept(whole: Path):
    names = sorted(path.name for path in (whole / "checkpoints").iterdir())
    assert names == ["step-000000028", "step-000000030"]


def test_a_run_that_would_go_on_otherwise_is_refused(whole: Path, golden: Path):
    with pytest.raises(UsageError, match="seed 0, not 7"):
        training_run.main(flags(whole, golden, "--seed=7"))


def test_a_finished_run_can_go_on_to_more_steps(whole: Path, tmp_path: Path, golden: Path):
    source = whole / "checkpoints" / "step-000000028"
    more = (f"--resume_from_path={source}", f"--max_train_steps={STEPS + 2}")
    assert training_run.main(flags(tmp_path, golden, *more)) == 0
    assert [line["step"] for line in metrics(tmp_path)] == [29, 30, 31, 32]


def test_the_settings_that_are_saved_can_be_read_again(whole: Path, golden: Path):
    again = parse("train", TrainConfig, [f"--config_path={whole / 'config.yaml'}"])
    assert again == parse("train", TrainConfig, flags(whole, golden))


def test_what_is_not_installed_is_named(
    tmp_path: Path, golden: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UsageError, match="bitsandbytes"):
        training_run.main(flags(tmp_path, golden, "--use_8bit_adam"))


def test_a_finished_run_can_be_asked_again(whole: Path, golden: Path):
    before = curve(whole)
    assert training_run.main(flags(whole, golden, "--guidance=3")) == 0
    assert curve(whole) == before
    assert read_operator_card(whole / "operator").operator.guidance == 3


@pytest.mark.slow
def test_half_precision_trains_nearly_the_same(whole: Path, tmp_path: Path, golden: Path):
    more = ("--mixed_precision=bf16", "--gradient_checkpointing")
    command = [sys.executable, str(SCRIPT), *flags(tmp_path, golden, *more)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    losses = [[line["loss"] for line in metrics(out)][:5] for out in (tmp_path, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]
