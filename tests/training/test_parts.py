"""The parts of training: what a step takes, its loss, its learning rate, state and metrics."""

import json
import math
import os
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st

from pops.data.cache.fingerprints import operator_traits
from pops.data.cache.format import CacheIndex, DatasetTraits, write_index
from pops.data.sources.batches import Batch
from pops.engine import Engine
from pops.errors import DataError, UsageError, WeightsError
from pops.operators import INSTRUCT, OPERATORS, TEXTURING
from pops.prior.conditions import Conditions
from pops.prior.model import Prior, PriorConfig
from pops.prior.schedule import Schedule, add_noise
from pops.settings.flags.parsing import parse
from pops.training.config import TrainConfig
from pops.training.outputs.metrics import MetricsLog, choose_trackers, read_metrics
from pops.training.run import train
from pops.training.state import State, latest_checkpoint, read_state, save_checkpoint
from pops.training.step.batch_sampler import BatchSampler, StepNoise
from pops.training.step.learning_rate import LearningRate, Shape
from pops.training.step.loss import operator_losses
from pops.training.tasks import find_tasks, with_stack
from pops.training.validation.measure import band_losses, mean_of_inputs, validate
from pops.training.validation.retrieval import cosine_ranks, measure_retrieval
from tests.training import training_run

SMALL = PriorConfig(num_attention_heads=2, attention_head_dim=8, num_layers=2, embedding_dim=16)


def settings(**values: object) -> TrainConfig:
    return TrainConfig(stack="pocket", **values)  # type: ignore[arg-type]


# --- what a step takes


@given(
    st.integers(1, 5), st.sampled_from([(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)]), st.integers(0, 9)
)
def test_processes_and_accumulation_share_one_order_of_rows(
    batch: int, split: tuple[int, int], first: int
):
    processes, accumulation = split
    whole = BatchSampler(batch * processes * accumulation)
    parts = [BatchSampler(batch, accumulation, rank, processes) for rank in range(processes)]
    batches = [list(part.batches(lambda at: (0, at), first, first + 2)) for part in parts]
    taken = [row for step in zip(*batches, strict=True) for rows in step for row in rows]
    assert all(part.total == whole.total for part in parts)
    assert sorted(taken) == [
        row for rows in whole.batches(lambda at: (0, at), first, first + 2) for row in rows
    ]


def test_noise_belongs_to_the_row_and_not_to_the_process():
    draws = StepNoise.of_step(seed=3, step=5, rows=8, dim=4, timesteps=1000)
    second = draws.of_rows(BatchSampler(2, 2, rank=1, processes=2).rows(1))
    torch.testing.assert_close(second.noise, draws.noise[6:8])
    again = StepNoise.of_step(seed=3, step=5, rows=8, dim=4, timesteps=1000)
    other = StepNoise.of_step(seed=3, step=6, rows=8, dim=4, timesteps=1000)
    torch.testing.assert_close(again.noise, draws.noise, rtol=0, atol=0)
    assert not torch.equal(other.noise, draws.noise)


@pytest.mark.parametrize(
    ("kind", "rates"),
    [
        ("constant", [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]),
        ("linear", [0.25, 0.5, 0.75, 1.0, 0.75, 0.5]),
        ("cosine", [0.25, 0.5, 0.75, 1.0, (1 + math.cos(math.pi / 4)) / 2, 0.5]),
    ],
)
def test_the_learning_rate_rises_and_falls(kind: Shape, rates: list[float]):
    rate = LearningRate(1.0, kind, warmup=3, steps=7)
    assert [rate.at(step) for step in range(6)] == pytest.approx(rates)


# --- the loss


def small_batch(rows: int) -> tuple[torch.Tensor, Conditions, torch.Tensor, torch.Tensor]:
    tokens = torch.randn(rows, 3, 16)
    mask = torch.tensor([[True, True, at % 2 == 0] for at in range(rows)])
    return torch.randn(rows, 16), Conditions(tokens, mask), torch.randn(rows, 16), torch.rand(rows)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_the_loss_of_a_batch_is_the_mean_of_its_members(rows: int):
    prior = Prior(SMALL)
    target, conditions, noise, t = small_batch(rows)
    t = (1000 * t).long()
    texts = torch.randn(rows, 16)

    def loss(at: torch.Tensor) -> torch.Tensor:
        parts = operator_losses(
            prior, prior.denormalise, Schedule(), target[at], conditions.rows(at), texts[at],
            noise[at], t[at], torch.tensor(10.0),
        )  # fmt: skip
        return torch.stack([parts["mse"], parts["text"]])

    alone = torch.stack([loss(torch.tensor([at])) for at in range(rows)]).mean(0)
    torch.testing.assert_close(loss(torch.arange(rows)), alone)


def test_the_loss_of_instruct_is_the_published_one():
    prior = Prior(SMALL)
    prior.clip_std.data.fill_(2.0)
    target, conditions, noise, t = small_batch(2)
    t, texts = (1000 * t).long(), torch.randn(2, 16)
    parts = operator_losses(
        prior, prior.denormalise, Schedule(), target, conditions, texts, noise, t,
        torch.tensor(INSTRUCT.text_loss),
    )  # fmt: skip
    x_t = add_noise(target, noise, t, Schedule())
    x0 = prior(x_t, t, conditions.tokens, conditions.mask)
    cosines = torch.nn.functional.cosine_similarity(2.0 * x0, texts)
    torch.testing.assert_close(parts["mse"], (x0 - target).square().mean())
    torch.testing.assert_close(parts["text"], 10 * (1 - cosines.mean()))


def test_gradient_checkpointing_changes_no_gradient():
    prior = Prior(SMALL)
    target, conditions, noise, t = small_batch(3)

    def gradients(on: bool) -> list[torch.Tensor]:
        prior.gradient_checkpointing = on
        prior.zero_grad()
        made = prior(noise, (1000 * t).long(), conditions.tokens, conditions.mask)
        (made - target).square().mean().backward()
        return [p.grad.clone() for p in prior.parameters() if p.grad is not None]

    plain, less_memory = gradients(False), gradients(True)
    assert len(plain) == len(less_memory) > 20
    assert all(torch.equal(a, b) for a, b in zip(plain, less_memory, strict=True))


# --- state


def one_parameter(value: float, ema_decay: float | None = None) -> State:
    parameter = torch.nn.Parameter(torch.full((2,), value))
    optimiser = torch.optim.AdamW([parameter], lr=0.1)
    return State({"w": parameter}, optimiser, ema_decay=ema_decay)


def test_the_average_follows_the_parameters():
    state = one_parameter(0.0, ema_decay=0.5)
    state.parameters["w"].data.fill_(1.0)
    state.advance()  # keeps 2 / 11 of what was
    torch.testing.assert_close(state.ema["w"], torch.full((2,), 9 / 11))
    for _ in range(20):
        state.advance()
    torch.testing.assert_close(state.ema["w"], torch.ones(2), atol=1e-3, rtol=0)


def test_the_averaged_parameters_are_there_inside_the_block_alone():
    state = one_parameter(0.0, ema_decay=0.5)
    state.parameters["w"].data.fill_(1.0)
    with state.averaged():
        assert state.parameters["w"].tolist() == [0.0, 0.0]
    assert state.parameters["w"].tolist() == [1.0, 1.0]


def test_a_checkpoint_gives_back_what_it_was_made_of(tmp_path: Path):
    state = one_parameter(0.5, ema_decay=0.9)
    state.parameters["w"].square().sum().backward()
    state.optimiser.step()
    state.advance()
    path = save_checkpoint(state, tmp_path, keep=2, extra={"settings": {"seed": 3}})
    other = one_parameter(9.0, ema_decay=0.9)
    assert other.load(path)["settings"] == {"seed": 3}
    assert other.step == 1
    assert torch.equal(other.parameters["w"], state.parameters["w"])
    assert torch.equal(other.ema["w"], state.ema["w"])
    moments = [s.optimiser.state_dict()["state"][0]["exp_avg"] for s in (state, other)]
    assert torch.equal(*moments)


def test_what_a_killed_run_left_half_written_is_no_checkpoint(tmp_path: Path):
    (tmp_path / ".part-12").mkdir()
    assert latest_checkpoint(tmp_path) is None
    path = save_checkpoint(one_parameter(0.0), tmp_path, keep=1)
    assert latest_checkpoint(tmp_path) == path
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("file", ["state.pt", "model.safetensors"])
def test_a_damaged_checkpoint_is_named(file: str, tmp_path: Path):
    path = save_checkpoint(one_parameter(0.0), tmp_path, keep=1)
    whole = (path / file).read_bytes()
    (path / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=f"{file} is damaged"):
        one_parameter(0.0).load(path)


def test_a_checkpoint_of_other_parameters_is_refused(tmp_path: Path):
    path = save_checkpoint(one_parameter(0.0), tmp_path, keep=1)
    parameter = torch.nn.Parameter(torch.zeros(2))
    other = State({"v": parameter}, torch.optim.AdamW([parameter]))
    with pytest.raises(WeightsError, match="other parameters"):
        other.load(path)
    assert read_state(path)["step"] == 0


# --- the metrics


def test_lines_that_a_killed_run_lost_are_taken_out(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": n, "loss": 1.0}) + "\n" for n in range(5)) + '{"st')
    log = MetricsLog(path, Accelerator(cpu=True), step=2)
    log.write(3, {"loss": 0.5})
    assert [line["step"] for line in read_metrics(path)] == [0, 1, 2, 3]
    assert path.read_text().startswith('{"step": 0, "loss": 1.0}\n')  # as it was written


def test_an_unknown_tracker_is_refused():
    assert choose_trackers(("none",)) == []
    with pytest.raises(UsageError, match="tensorboard"):
        choose_trackers(("tensorbored",))


# --- settings


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--lr=0", "--lr must be from 1e-12 to 100, not 0"),
        ("--lr=.inf", "--lr must be from 1e-12 to 100, not inf"),
        ("--max_grad_norm=1e400", "--max_grad_norm must be from 1e-09 to 1000000000, not inf"),
        ("--adam_weight_decay=nan", "--adam_weight_decay must be from 0 to 100, not nan"),
        ("--training_mode=99999_layers", "full or N_layers"),
        ("--training_mode=all", "full or N_layers"),
        ("--train_batch_sise=4", "did you mean --train_batch_size"),
        ("--adam_beta1=1", "--adam_beta1"),
        ("--device=gpu", "cuda"),
        ("--lora_rank=0", "--lora_rank"),
    ],
)
def test_a_wrong_setting_is_named(flag: str, said: str):
    with pytest.raises(UsageError, match=said):
        parse("train", TrainConfig, [flag])


def test_names_that_are_no_utf_8_are_refused_before_a_run_has_to_keep_them():
    name = os.fsdecode(b"caf\xe9")
    for flag in ("dataset_path", "init_from", "output_dir", "mode", "cache"):
        with pytest.raises(UsageError, match=rf"--{flag}: 'caf.udce9' is not UTF-8"):
            parse("train", TrainConfig, [f"--{flag}={name}"])


@pytest.mark.parametrize("flag", ["dataset_path", "val_dataset_path", "randoms_dir"])
def test_a_run_is_not_written_into_a_folder_of_its_data(flag: str, tmp_path: Path):
    given = [f"--dataset_path={tmp_path / 'more'}", f"--{flag}={tmp_path}", "--stack=pocket"]
    config = parse("train", TrainConfig, [*given, f"--output_dir={tmp_path}"])
    assert config is not None
    with pytest.raises(UsageError, match="--output_dir .* is a folder that is read"):
        train(config)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["", "pocket/"])
@pytest.mark.parametrize("mode", ["texturing", "scene", "union", "instruct", "clothes"])
def test_the_settings_files_are_read(kind: str, mode: str):
    path = Path(__file__).parents[2] / "configs" / "training" / f"{kind}{mode}.yaml"
    config = parse("train", TrainConfig, [f"--config_path={path}"])
    assert config is not None
    assert config.mode == mode
    assert (config.stack == "pocket") == bool(kind)
    assert kind or (config.lr, config.train_batch_size, config.max_train_steps) == (
        1e-5,
        1,
        500_000,
    )


@pytest.mark.parametrize("kind", ["", "pocket/"])
def test_the_joint_settings_join_all_five(kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    config = parse("train", TrainConfig, [f"--config_path=configs/training/{kind}joint.yaml"])
    assert config is not None
    assert {task.operator.name for task in find_tasks(config)} == set(OPERATORS)


def test_a_wrong_folder_to_validate_on_is_told_before_a_step_is_trained(
    golden: Path, tmp_path: Path
):
    flags = ["--stack=pocket", f"--pretrained_prior_path={golden / 'kandinsky-tiny-prior'}"]
    flags += [f"--val_dataset_path={tmp_path / 'nowhere'}", f"--output_dir={tmp_path / 'run'}"]
    with pytest.raises(DataError, match="--val_dataset_path: no such folder: .*nowhere; name a"):
        training_run.main(flags)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("none", ["null", ""])
def test_a_list_can_be_emptied(none: str):
    config = parse("train", TrainConfig, ["--val_dataset_path=a,b", f"--val_dataset_path={none}"])
    assert config is not None
    assert config.val_dataset_path == ()


def test_a_dry_run_tells_and_writes_nothing(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "run"
    prior = f"--pretrained_prior_path={golden / 'kandinsky-tiny-prior'}"
    flags = ["--stack=pocket", prior, f"--output_dir={out}", "--device=cpu", "--dry_run"]
    assert training_run.main(flags) == 0
    said = capsys.readouterr().out
    assert "records: 12" in said
    assert "parameters: 47,136 of 47,200 are trained" in said
    assert "memory of each process" in said
    assert not out.exists()


# --- validation


def held_out(rows: int, dim: int, texts: bool = False) -> Batch:
    tokens = torch.randn(rows, 2, dim)
    mask = torch.ones(rows, 2, dtype=torch.bool)
    return Batch(
        tokens.mean(1), Conditions(tokens, mask), torch.randn(rows, dim) if texts else None
    )


class Perfect(Prior):
    """Predicts the mean of its conditions."""

    def forward(
        self,
        x_t: torch.Tensor,
        t: torch.Tensor,
        tokens: torch.Tensor,
        mask: object = None,
        *,
        pooled: object = None,
    ) -> torch.Tensor:
        return tokens.mean(1)


def test_a_perfect_prior_has_no_loss_in_any_band():
    losses = band_losses(Perfect(SMALL), Schedule(), held_out(5, 16))
    assert list(losses) == [f"loss_t{t}-{t + 199}" for t in range(0, 1000, 200)]
    assert max(losses.values()) < 1e-12


def test_ranks_count_the_targets_that_are_nearer():
    targets = torch.eye(4)
    made = torch.tensor([[1.0, 0, 0, 0], [1, 0.5, 0, 0], [0, 0, 1, 0], [0.9, 0.8, 0.7, 0.1]])
    found = measure_retrieval(made, targets)
    assert (found.top1, found.top5, found.mean_rank) == (0.5, 1.0, (1 + 2 + 1 + 4) / 4)


def test_ranks_leave_out_the_other_rows_that_are_right():
    gallery = torch.eye(3)
    right = torch.tensor([[True, True, False], [False, False, True]])
    queries = torch.tensor([[0.9, 1.0, 0.95], [1.0, 0.5, 0.7]])
    best, rank, nearest = cosine_ranks(queries, gallery, right)
    assert rank.tolist() == [1, 2]
    assert nearest.tolist() == [1, 0]
    torch.testing.assert_close(best[0], 1 / queries[0].norm())


def test_the_mean_of_inputs_leaves_out_what_is_dropped():
    tokens = torch.randn(2, 3, 16)
    tokens[1, 0] = 0
    conditions = Conditions(tokens, torch.ones(2, 3, dtype=torch.bool))
    mean = mean_of_inputs(TEXTURING, conditions)  # of two slots; the third is a text
    torch.testing.assert_close(mean, torch.stack([tokens[0, :2].mean(0), tokens[1, 1]]))


def test_validation_tells_the_same_every_time(engine: Engine):
    prior = engine.stack.operator("texturing")[1]
    records = held_out(4, 32, texts=True)
    numbers = validate(engine, TEXTURING, prior, records)
    assert numbers == validate(engine, TEXTURING, prior, records)
    wanted = {"cosine", "top1", "mean_rank", "baseline_cosine", "text_cosine"}
    assert wanted < numbers.keys()
    assert numbers["baseline_top1"] == 1.0  # the target is the mean


# --- the stack


@pytest.mark.parametrize(
    ("stacks", "flags", "wanted"),
    [
        (["pocket"], [], "pocket"),
        (["kandinsky-2.2"], [], "kandinsky-2.2"),
        (["pocket"], ["--stack=kandinsky-2.2"], "kandinsky-2.2"),
        (["pocket"], ["--online"], "kandinsky-2.2"),
        ([], [], "kandinsky-2.2"),
    ],
)
def test_a_run_takes_its_stack_from_its_cache(
    stacks: list[str], flags: list[str], wanted: str, tmp_path: Path
):
    config = parse("train", TrainConfig, [cache_flag(tmp_path, stacks), *flags])
    assert config is not None
    assert with_stack(config).stack == wanted


@pytest.mark.parametrize(
    ("stacks", "said"),
    [(["pocket", "kandinsky-2.2"], "several stacks, pocket and kan"), (["mine"], "by --stack")],
)
def test_a_stack_that_caches_do_not_tell_is_asked_for(stacks: list[str], said: str, tmp_path: Path):
    config = parse("train", TrainConfig, [cache_flag(tmp_path, stacks)])
    assert config is not None
    with pytest.raises(UsageError, match=said):
        with_stack(config)


def cache_flag(folder: Path, stacks: list[str]) -> str:
    """Write the indexes of empty caches of some stacks."""
    for stack in stacks:
        (folder / stack).mkdir()
        write_index(
            folder / stack,
            CacheIndex(
                stack=stack,
                encoders={},
                clip_stats="",
                dim=1,
                operator=operator_traits(TEXTURING),
                recipe="texturing",
                recipe_version=1,
                settings={},
                datasets=[DatasetTraits(place="", records=1, listing="")],
                variants=1,
                seed=0,
                shard_records=1,
            ),
        )
    return f"--cache={','.join(str(folder / stack) for stack in stacks)}"
