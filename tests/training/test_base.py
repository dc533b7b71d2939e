"""A base prior that is trained from nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import PriorTransformer

from pops.data.sources.batches import Batch
from pops.engine import Engine
from pops.errors import UsageError, WeightsError
from pops.io.formats.tensors import save_tensors
from pops.prior.conditions import Conditions
from pops.prior.model import Prior
from pops.prior.schedule import Schedule, read_schedule
from pops.settings.flags.parsing import parse
from pops.stacks.encoding import make_prompts
from pops.stacks.stack import open_stack
from pops.stacks.untrained import STATS
from pops.training.config import TrainConfig
from pops.training.model import ModelSettings, NewPrior, make_model
from pops.training.outputs.base_folder import save_base
from pops.training.step.loss import prior_loss
from pops.training.tasks import find_tasks
from pops.training.validation.measure import validate


def test_a_prior_in_training_is_diffusers_with_a_text_in_the_pooled_slot(engine: Engine) -> None:
    folder = engine.stack.prior_folder / "prior"
    theirs, ours = PriorTransformer.from_pretrained(folder), engine.stack.base_prior
    dim, slots = ours.config.embedding_dim, ours.config.num_embeddings
    x_t, pooled, t = torch.randn(3, dim), torch.randn(3, dim), torch.tensor([1, 500, 999])
    tokens = torch.zeros(3, slots, dim)
    mask = torch.zeros(3, slots, dtype=torch.bool)
    for row, length in enumerate((5, 2, 4)):
        tokens[row, :length] = torch.randn(length, dim)
        mask[row, :length] = True
    with torch.no_grad():
        wanted = theirs(x_t, t, pooled, tokens, mask).predicted_image_embedding
        made = ours(x_t, t, tokens[:, :5], mask[:, :5], pooled=pooled)
        without = ours(x_t, t, tokens[:, :5], mask[:, :5])
    torch.testing.assert_close(made, wanted, atol=1e-4, rtol=1e-4)
    assert (made - without).abs().max() > 1e-3


def test_the_loss_of_a_base_prior_sees_the_pooled_text(engine: Engine) -> None:
    prior, schedule = engine.stack.base_prior, engine.stack.schedule
    target, tokens = torch.randn(2, 32), torch.randn(2, 3, 32)
    mask, t = torch.ones(2, 3, dtype=torch.bool), torch.tensor([100, 900])
    losses = []
    for pooled in (None, torch.zeros(2, 32), torch.randn(2, 32)):
        torch.manual_seed(5)
        losses.append(prior_loss(prior, schedule, target, Conditions(tokens, mask, pooled), t))
    assert torch.equal(losses[0], losses[1]) and not torch.equal(losses[0], losses[2])


def test_a_new_prior_is_the_same_for_a_seed_and_knows_the_space(engine: Engine) -> None:
    def new(seed: int) -> Prior:
        made = make_model(ModelSettings(new=NewPrior(2, 2, 64, seed)), engine.stack)
        assert isinstance(made, Prior)
        return made

    first, again, other = new(1), new(1), new(2)
    assert (first.config.width, first.config.num_layers, first.config.embedding_dim) == (128, 2, 32)
    trained = {name for name, p in first.named_parameters() if not p.requires_grad}
    assert trained == {"clip_mean", "clip_std"}
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(first.proj_in.weight, other.proj_in.weight)
    assert torch.equal(first.clip_mean, engine.stack.clip_stats["clip_mean"])
    assert first.positional_embedding.std() > 0.01


def test_what_is_written_is_read_by_a_stack_and_by_diffusers(
    engine: Engine, tmp_path: Path
) -> None:
    prior = make_model(ModelSettings(new=NewPrior(1, 1, 64)), engine.stack)
    folder = save_base(tmp_path, prior, Schedule())
    theirs = PriorTransformer.from_pretrained(folder / "prior")
    for name, value in theirs.state_dict().items():
        if name in prior.state_dict():
            assert torch.equal(value, prior.state_dict()[name]), name
    schedule = read_schedule(folder / "scheduler")
    assert torch.equal(schedule.betas, Schedule().betas) and schedule.clip_range == 5.0


def test_validation_samples_it_as_the_engine_samples_a_text(engine: Engine) -> None:
    """Compare the sample of a held-out caption at guidance 1 with `Engine.text`, same seed."""
    (task,) = find_tasks(config("--stack=pocket"))
    prior, stats = engine.stack.base_prior, engine.stack.clip_stats
    wanted = engine.text("a red cat", seeds=[18], guidance=1.0).image_embeds
    ((prompt, _),) = make_prompts(engine.stack, ["a red cat"], [""])
    target = (wanted - stats["clip_mean"]) / stats["clip_std"]
    tokens, pooled = prompt.hidden_states[None], prompt.text_embeds[None]
    mask = torch.ones(tokens.shape[:2], dtype=torch.bool)
    held_out = Batch(target, Conditions(tokens, mask, pooled), pooled)
    found = validate(engine, task.operator, prior, held_out)
    assert found["cosine"] == pytest.approx(1.0, abs=1e-4)
    blind = replace(held_out, conditions=Conditions(tokens, mask, torch.zeros_like(pooled)))
    assert validate(engine, task.operator, prior, blind)["cosine"] < 0.9999


def config(*flags: str) -> TrainConfig:
    read = parse("train", TrainConfig, ["--mode=base", *flags])
    assert read is not None
    return read


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--init_from=texturing"], "leave out --init_from"),
        (["--lora_rank=4"], "leave out --lora_rank"),
        (["--training_mode=2_layers"], "leave out --training_mode"),
        (["--base_width=100"], "multiple of 64"),
        (["--base_layers=0"], "base_layers"),
    ],
)
def test_settings_that_do_not_fit_are_refused(flags: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        find_tasks(config("--stack=pocket", *flags))


def test_a_stack_without_statistics_says_how_they_are_made(golden: Path, tmp_path: Path) -> None:
    prior = tmp_path / "own" / "prior"
    for part in ("image_encoder", "image_processor"):
        (prior / part).parent.mkdir(parents=True, exist_ok=True)
        (prior / part).symlink_to(golden / "kandinsky-tiny-prior" / part)
    stack = open_stack(tmp_path / "own", device="cpu")
    assert stack.prior_config.embedding_dim == 32 and stack.schedule.clip_range == 5.0
    with pytest.raises(WeightsError, match="pops stats"):
        _ = stack.clip_stats
    for stats, said in (
        ({"clip_mean": torch.zeros(1, 8), "clip_std": torch.ones(1, 8)}, "of 32 numbers"),
        ({"clip_mean": torch.zeros(1, 32)}, "of 32 numbers"),
        ({"clip_mean": torch.zeros(1, 32), "clip_std": torch.zeros(1, 32)}, "not above 0"),
    ):
        save_tensors(prior / STATS, stats)
        with pytest.raises(WeightsError, match=said):
            _ = open_stack(tmp_path / "own", device="cpu").clip_stats
