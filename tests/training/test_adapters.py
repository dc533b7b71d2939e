"""Adapters: small, exact, and operators on one base prior."""

import json
import re
import sys
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file

from pops.engine import Engine
from pops.errors import UsageError, WeightsError, install_hint
from pops.prior.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Adapter, add_adapter, merge_adapter
from pops.prior.model import Prior, PriorConfig
from pops.stacks.convert import convert
from pops.stacks.stack import open_stack
from pops.training.model import Footprint, ModelSettings, make_model, trained_parameters
from tests.training import training_run

SMALL = PriorConfig(num_attention_heads=2, attention_head_dim=8, num_layers=2, embedding_dim=16)


def flags(out: Path, golden: Path, *more: str) -> list[str]:
    return [
        *("--stack=pocket", f"--pretrained_prior_path={golden / 'kandinsky-tiny-prior'}"),
        *(f"--output_dir={out}", "--train_batch_size=4", "--lr=1e-2", "--device=cpu"),
        *("--report_to=none", "--max_train_steps=4", *more),
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, golden: Path) -> Path:
    """The operator folder of an adapter."""
    out = tmp_path_factory.mktemp("adapter")
    assert training_run.main(flags(out, golden, "--lora_rank=2", "--save_dtype=float32")) == 0
    return out / "operator"


def example(dim: int) -> tuple[torch.Tensor, ...]:
    return torch.randn(3, dim), torch.tensor([1, 500, 999]), torch.randn(3, 2, dim)


def test_an_adapter_converts_to_a_weights_file_that_gives_the_same(
    trained: Path, stack_parts: dict[str, Path], tmp_path: Path
):
    (tmp_path / "pocket").mkdir()  # a stack has the name of its folder
    for part, place in stack_parts.items():
        (tmp_path / "pocket" / part).symlink_to(place)
    stack = open_stack(tmp_path / "pocket", device="cpu")
    made = convert(trained, tmp_path / "texturing.pth", stack=str(tmp_path / "pocket"))
    inputs = example(stack.prior_config.embedding_dim)
    own, whole = stack.tuned_prior(trained), stack.tuned_prior(made)
    torch.testing.assert_close(whole(*inputs), own(*inputs), atol=1e-5, rtol=0)


def test_a_fresh_adapter_changes_nothing():
    prior = Prior(SMALL).eval()
    inputs = example(16)
    before = prior(*inputs)
    add_adapter(prior, 4)
    torch.testing.assert_close(prior(*inputs), before, rtol=0, atol=0)


def test_only_the_adapter_is_trained():
    prior = Prior(SMALL)
    add_adapter(prior, 4)
    assert all("lora_" in name for name in trained_parameters(prior))
    assert len(trained_parameters(prior)) == 2 * 6 * SMALL.num_layers


def test_an_adapter_of_rank_16_of_the_full_size_prior_is_at_most_40_mb():
    with torch.device("meta"):
        prior = Prior(PriorConfig())
        add_adapter(prior, 16)
    saved = sum(2 * p.numel() for p in trained_parameters(prior).values())  # in half precision
    assert saved <= 40e6


def test_a_folder_holds_the_adapter_alone(trained: Path):
    names = {path.name for path in trained.iterdir()}
    assert names >= {ADAPTER_CONFIG, ADAPTER_WEIGHTS, "operator.json", "README.md"}
    assert "prior.safetensors" not in names
    assert json.loads((trained / ADAPTER_CONFIG).read_text())["r"] == 2
    assert all("lora_" in name for name in load_file(trained / ADAPTER_WEIGHTS))


def test_the_folder_gives_what_was_trained(trained: Path, golden: Path):
    settings = ModelSettings(lora_rank=2, init_from=str(trained))
    parts = {"prior": str(golden / "kandinsky-tiny-prior")}
    stack = open_stack("pocket", device="cpu", **parts)
    inputs = example(32)
    continued = make_model(settings, stack).eval()(*inputs)
    loaded = stack.operator("texturing", trained)[1](*inputs)
    base = stack.base_prior(*inputs)
    torch.testing.assert_close(loaded, continued, rtol=0, atol=0)
    assert (loaded - base).abs().max() > 1e-3


def test_operators_that_are_adapters_share_the_tensors_of_the_base(trained: Path, golden: Path):
    stack = open_stack("pocket", device="cpu", prior=str(golden / "kandinsky-tiny-prior"))
    first, second = (stack.operator("texturing", trained)[1] for _ in range(2))
    name = "transformer_blocks.0.attn1.to_q.base_layer.weight"
    places = {prior.get_parameter(name).data_ptr() for prior in (first, second)}
    assert places == {stack.base_prior.transformer_blocks[0].attn1.to_q.weight.data_ptr()}


def test_a_merged_adapter_gives_the_same_and_leaves_the_base_alone(trained: Path, golden: Path):
    stack = open_stack("pocket", device="cpu", prior=str(golden / "kandinsky-tiny-prior"))
    inputs = example(32)
    base = stack.base_prior(*inputs)
    prior = stack.operator("texturing", trained)[1]
    apart = prior(*inputs)
    merge_adapter(prior)
    assert prior.state_dict().keys() == stack.base_prior.state_dict().keys()
    torch.testing.assert_close(prior(*inputs), apart, rtol=0, atol=1e-5)
    torch.testing.assert_close(stack.base_prior(*inputs), base, rtol=0, atol=0)


def test_an_engine_applies_an_adapter(trained: Path, stack_parts: dict[str, Path], golden: Path):
    engine = Engine.load("pocket", "cpu", **stack_parts)
    pictures = [str(golden / "inputs" / f"input_{name}.png") for name in "ab"]
    made = engine.apply(str(trained), [pictures], seeds=[18], steps=3)
    plain = engine.apply("texturing", [pictures], seeds=[18], steps=3)
    assert made.image_embeds.shape == plain.image_embeds.shape
    assert not torch.equal(made.image_embeds, plain.image_embeds)


def test_a_whole_prior_can_start_from_an_adapter(trained: Path, golden: Path, tmp_path: Path):
    assert training_run.main(flags(tmp_path, golden, f"--init_from={trained}")) == 0
    assert (tmp_path / "operator" / "prior.safetensors").exists()


@pytest.mark.parametrize(
    ("setting", "said"),
    [({"lora_rank": 3}, "rank 2"), ({"lora_rank": 2, "init_from": "texturing"}, "base prior")],
)
def test_an_adapter_that_cannot_start_there_is_refused(
    setting: dict[str, object], said: str, trained: Path, stack_parts: dict[str, Path]
):
    stack = open_stack("pocket", device="cpu", **stack_parts)
    values: dict[str, object] = {"init_from": str(trained), **setting}
    with pytest.raises(UsageError, match=said):
        make_model(ModelSettings(**values), stack)  # type: ignore[arg-type]


def test_an_adapter_of_another_prior_is_refused(trained: Path):
    with pytest.raises(WeightsError, match="does not fit"):
        Adapter.read(trained).put_into(Prior(SMALL))


@pytest.mark.parametrize("layers", [None, 1])
def test_the_estimate_counts_what_is_trained(layers: int | None, golden: Path):
    stack = open_stack("pocket", device="cpu", prior=str(golden / "kandinsky-tiny-prior"))
    prior = make_model(ModelSettings(layers=layers), stack)
    found = Footprint.of(prior, tokens=2, batch=32, use_ema=True)
    trained = sum(p.numel() for p in trained_parameters(prior).values())
    assert (found.trained, found.gradients, found.optimiser) == (trained, 4 * trained, 8 * trained)
    half = Footprint.of(prior, tokens=2, batch=32, use_ema=True, half=True)
    assert half.total - found.total == half.copies == 2 * trained  # what autocast keeps
    assert not {"clip_mean", "clip_std"} & trained_parameters(prior).keys()
    blocks = {name.split(".")[1] for name in trained_parameters(prior) if "blocks" in name}
    assert blocks == ({"0", "1", "2"} if layers is None else {"2"})


def test_peft_itself_reads_the_folder(trained: Path, golden: Path):
    stack = open_stack("pocket", device="cpu", prior=str(golden / "kandinsky-tiny-prior"))
    base = stack.prior(stack.base_prior_state(), "base")
    model = peft.PeftModel.from_pretrained(base, trained).eval()
    inputs = example(32)
    ours = stack.operator("texturing", trained)[1]
    torch.testing.assert_close(model(*inputs), ours(*inputs), rtol=0, atol=0)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UsageError, match=re.escape(install_hint("train"))):
        add_adapter(Prior(SMALL), 4)
