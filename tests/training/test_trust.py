"""Runs that diverge, run out of room or meet each other: what is written stays good."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pops.errors import DataError, PopsError, UsageError, WeightsError
from pops.operators import TEXTURING, OperatorCard
from pops.prior.model import Prior, PriorConfig
from pops.settings.fields import Settings
from pops.training.outputs.metrics import read_metrics
from pops.training.outputs.operator_folder import save_operators
from pops.training.state import State, latest_checkpoint, save_checkpoint
from tests.training import training_run
from tests.training.test_run import SCRIPT, flags, metrics, wait_for_step

HUGE = "--lr=1e30"  # weights stay finite, but what they predict does not


@pytest.fixture
def any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let settings be out of range: within their ranges, no run of a few steps diverges."""
    monkeypatch.setattr(Settings, "__post_init__", lambda _: None)


def numbers(out: Path) -> list[torch.Tensor]:
    return [
        tensor
        for file in out.glob("checkpoints/*/*.safetensors")
        for tensor in load_file(file).values()
    ]


# --- what is not finite -----------------------------------------------------------------------


@pytest.mark.usefixtures("any_number")
@pytest.mark.parametrize("every", [1, 7, 100])
def test_a_run_that_diverges_writes_no_operator_and_no_bad_checkpoint(
    every: int, tmp_path: Path, golden: Path
):
    more = (HUGE, f"--checkpointing_steps={every}", "--max_train_steps=14", "--lr_warmup_steps=0")
    with pytest.raises(PopsError, match="lower --lr"):
        training_run.main(flags(tmp_path, golden, *more))
    assert not (tmp_path / "operator").exists()
    assert latest_checkpoint(tmp_path / "checkpoints") is None
    assert all(line["loss"] < 1e9 for line in read_metrics(tmp_path / "metrics.jsonl"))


@pytest.mark.usefixtures("any_number")
def test_a_run_whose_last_update_is_the_bad_one_fails_and_can_go_on_with_a_lower_rate(
    tmp_path: Path, golden: Path
):
    short = ("--max_train_steps=4", "--lr_warmup_steps=0", "--lr_scheduler=constant")
    assert training_run.main(flags(tmp_path, golden, *short)) == 0
    before = (tmp_path / "operator" / "prior.safetensors").read_bytes()
    longer = (*short, "--max_train_steps=5", HUGE)
    with pytest.raises(PopsError, match=r"after the update at step 5.*step-000000004 is from"):
        training_run.main(flags(tmp_path, golden, *longer))
    assert (tmp_path / "operator" / "prior.safetensors").read_bytes() == before
    assert all(tensor.isfinite().all() for tensor in numbers(tmp_path))
    assert training_run.main(flags(tmp_path, golden, *short, "--max_train_steps=6")) == 0
    assert latest_checkpoint(tmp_path / "checkpoints") == tmp_path / "checkpoints/step-000000006"


def test_an_operator_too_large_for_its_number_format_is_not_written(tmp_path: Path):
    prior = Prior(PriorConfig(num_attention_heads=1, attention_head_dim=8, num_layers=1))
    prior.proj_in.weight.data[0, 0] = 1e6
    card = OperatorCard(TEXTURING, "pocket")
    with pytest.raises(PopsError, match=r"proj_in\.weight is too large for torch\.float16"):
        save_operators(tmp_path, prior, [card], dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


def state(values: torch.Tensor) -> State:
    parameter = torch.nn.Parameter(values.clone())
    return State({"w": parameter}, torch.optim.AdamW([parameter]), ema_decay=0.9)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("where", ["weights", "average", "moments"])
def test_a_state_that_is_not_finite_is_never_saved(bad: float, where: str, tmp_path: Path):
    own = state(torch.ones(3))
    own.parameters["w"].sum().backward()
    own.optimiser.step()
    tensor = {
        "weights": own.parameters["w"].data,
        "average": own.ema["w"],
        "moments": own.optimiser.state[own.parameters["w"]]["exp_avg"],
    }[where]
    tensor[1] = bad
    with pytest.raises(PopsError, match="not finite, and is not saved"):
        save_checkpoint(own, tmp_path, keep=2)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_was_once_written_stays_as_it_is(tmp_path: Path):
    own = state(torch.ones(3))
    path = save_checkpoint(own, tmp_path, keep=2)
    before = (path / "model.safetensors").read_bytes()
    own.parameters["w"].data.fill_(7)
    assert save_checkpoint(own, tmp_path, keep=2) == path
    assert (path / "model.safetensors").read_bytes() == before


def test_a_poisoned_checkpoint_of_an_older_version_is_named(tmp_path: Path):
    path = save_checkpoint(state(torch.ones(3)), tmp_path, keep=2)
    content = bytearray((path / "model.safetensors").read_bytes())
    content[-4:] = torch.tensor([torch.nan]).numpy().tobytes()
    (path / "model.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match="step-000000000 holds numbers that are not finite"):
        state(torch.ones(3)).load(path)


@pytest.mark.parametrize(
    "content",
    [
        {},
        [1],
        {"step": "1", "optimiser": {}},
        {"step": -1, "optimiser": {}},
        {"step": 1, "optimiser": {}, "settings": 3},
        {"step": 1, "optimiser": {"state": {0: {"exp_avg": torch.zeros(1)}}, "param_groups": []}},
        {"step": 1, "optimiser": {"state": {9: {"exp_avg": torch.zeros(3)}}, "param_groups": []}},
        {"step": 1, "optimiser": {"state": {0: {"x": torch.zeros(1).expand(10**9)}}}},
    ],
)
def test_a_state_that_cannot_be_is_refused_by_name(content: object, tmp_path: Path):
    path = save_checkpoint(state(torch.ones(3)), tmp_path, keep=2)
    torch.save(content, path / "state.pt")
    with pytest.raises(WeightsError, match=r"state\.pt"):
        state(torch.ones(3)).load(path)


def test_a_line_of_metrics_that_cannot_be_is_named(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": "two"}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl, line 2"):
        read_metrics(path)


# --- room, and other runs ---------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="limits files as POSIX systems do")
def test_no_room_is_one_line_that_names_the_file(tmp_path: Path, golden: Path):
    """Files may grow to 100 kB: the system refuses more, as a full disk does."""
    program = (
        "import runpy, sys\n"
        "from tests.io.limits import no_larger_than\n"
        "sys.argv = sys.argv[1:]\n"
        "with no_larger_than(100_000):\n"
        "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", program, str(SCRIPT), *flags(tmp_path, golden)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "train: error: cannot write" in last and "model.safetensors" in last
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="holds a process as POSIX systems do")
def test_a_second_run_on_a_folder_is_refused_until_the_first_has_died(tmp_path: Path, golden: Path):
    process = subprocess.Popen([sys.executable, SCRIPT, *flags(tmp_path, golden)])
    wait_for_step(tmp_path, 2)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(UsageError, match=f"another run is at work in {tmp_path}"):
            training_run.main(flags(tmp_path, golden))
    finally:
        process.kill()
        process.wait()
    assert training_run.main(flags(tmp_path, golden)) == 0
    steps = [line["step"] for line in metrics(tmp_path)]
    assert steps == sorted(set(steps))


def test_what_a_killed_run_left_half_written_is_removed_by_the_next(tmp_path: Path, golden: Path):
    for name in (".pops-a1b2c3d4/part.yaml", "operator/.pops-a1b2c3d4/part.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("half")
    (tmp_path / "checkpoints" / ".part-7").mkdir(parents=True)
    (tmp_path / ".mine").write_text("a file of the user")
    assert training_run.main(flags(tmp_path, golden, "--max_train_steps=1")) == 0
    left = {path.name for path in tmp_path.rglob(".*")}
    assert left <= {".mine", ".lock"}
