"""Adapters go to diffusers and come back, and compute the same."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from diffusers import PriorTransformer
from safetensors.torch import load_file, save_file

from pops.cli import main as cli
from pops.engine import Engine
from pops.errors import WeightsError
from pops.io.loading import quietly
from pops.operators import TEXTURING, OperatorCard, save_card
from pops.pipeline import PopsPipeline
from pops.prior.adapters import Adapter, adapter_state, add_adapter, read_lora, save_adapter
from pops.stacks.convert import convert

Parts = dict[str, Path]
RANK = 4


@pytest.fixture
def stack(tmp_path: Path, stack_parts: Parts) -> Path:
    """The golden stack as one folder, named `tiny`."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name, part in stack_parts.items():
        (folder / name).symlink_to(part)
    return folder


@pytest.fixture
def request_(golden: Path) -> Sequence[Path]:
    return [golden / "inputs" / f"input_{name}.png" for name in "ab"]


@pytest.fixture
def adapter(stack: Path, tmp_path: Path) -> Path:
    """An operator folder with an adapter whose matrices are random."""
    prior = Engine.load(stack, "cpu").stack.base_prior
    add_adapter(prior, RANK)
    for name, value in prior.named_parameters():
        if ".lora_B." in name:
            value.data.normal_(0, 0.1)
    folder = save_card(tmp_path / "adapter", OperatorCard(TEXTURING, "tiny"))
    save_adapter(folder, adapter_state(prior), RANK)
    return folder


def base(stack: Path) -> PriorTransformer:
    with quietly():
        return PriorTransformer.from_pretrained(stack / "prior" / "prior")


OURS = {"weight_name": "adapter_model.safetensors", "prefix": "base_model.model"}
THEIRS = {"weight_name": "pytorch_lora_weights.safetensors", "prefix": None}


def predict(prior: PriorTransformer) -> torch.Tensor:
    torch.manual_seed(3)
    dim = prior.config.embedding_dim
    embed, text, hidden = torch.randn(2, dim), torch.randn(2, dim), torch.randn(2, 77, dim)
    with torch.no_grad():
        out: torch.Tensor = prior(embed, 500, text, hidden).predicted_image_embedding
    return out


def test_diffusers_loads_an_adapter_and_gives_what_the_engine_gives(
    adapter: Path, stack: Path, request_: Sequence[Path]
):
    wanted = Engine.load(stack, "cpu").apply(str(adapter), request_, seeds=[18]).image_embeds
    pipe = PopsPipeline.from_operator("texturing", stack, device="cpu")
    pipe.set_progress_bar_config(disable=True)
    pipe.prior = base(stack)
    plain = pipe(request_, generator=torch.Generator().manual_seed(18)).image_embeds
    pipe.prior.load_lora_adapter(str(adapter), **OURS)
    made = pipe(request_, generator=torch.Generator().manual_seed(18)).image_embeds
    torch.testing.assert_close(made, wanted, rtol=0, atol=1e-5)
    assert (made - plain).abs().max() > 0.1
    pipe.prior.disable_lora()
    off = pipe(request_, generator=torch.Generator().manual_seed(18)).image_embeds
    torch.testing.assert_close(off, plain, rtol=0, atol=1e-5)


def test_an_exported_lora_file_is_what_diffusers_saves_itself(
    adapter: Path, stack: Path, tmp_path: Path
):
    assert cli.main(["export", str(adapter), "--format=lora", f"--out={tmp_path / 'lora'}"]) == 0
    prior, other = base(stack), base(stack)
    prior.load_lora_adapter(str(tmp_path / "lora"), **THEIRS)
    other.load_lora_adapter(str(adapter), **OURS)
    torch.testing.assert_close(predict(prior), predict(other))
    prior.save_lora_adapter(tmp_path / "theirs", adapter_name="default_0")
    name = "pytorch_lora_weights.safetensors"
    ours, theirs = (load_file(tmp_path / place / name) for place in ("lora", "theirs"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_what_diffusers_trained_becomes_an_operator_folder(
    stack: Path, tmp_path: Path, request_: Sequence[Path]
):
    from peft import LoraConfig

    pipe = PopsPipeline.from_operator("texturing", stack, device="cpu")
    pipe.set_progress_bar_config(disable=True)
    pipe.prior = base(stack)
    config = LoraConfig(r=2, lora_alpha=6, use_rslora=True, target_modules=["to_q", "proj_in"])
    pipe.prior.add_adapter(config, adapter_name="mine")
    for name, value in pipe.prior.named_parameters():
        if ".lora_B." in name:
            value.data.normal_(0, 0.1)
    pipe.prior.save_lora_adapter(tmp_path / "theirs", adapter_name="mine")
    wanted = pipe(request_, generator=torch.Generator().manual_seed(18)).image_embeds
    file = tmp_path / "theirs" / "pytorch_lora_weights.safetensors"
    folder = convert(file, tmp_path / "mine", "texturing", str(stack))
    made = Engine.load(stack, "cpu").apply(str(folder), request_, seeds=[18]).image_embeds
    torch.testing.assert_close(made, wanted, rtol=0, atol=1e-5)


def test_a_lora_file_that_does_not_fit_is_refused(adapter: Path, stack: Path, tmp_path: Path):
    state = load_file(adapter / "adapter_model.safetensors")
    assert read_lora(stack / "prior/prior/diffusion_pytorch_model.safetensors") is None
    path = tmp_path / "bad.safetensors"
    key = next(key for key in state if ".lora_B." in key)
    some = {name: value for name, value in state.items() if name != key}
    for wrong, says in (
        (some, "is not a linear layer|do not fit"),
        ({**state, key: state[key][:-1].clone()}, "do not fit"),
        ({**state, key.replace("lora_B", "lora_A"): torch.zeros(1, 8)}, "of one rank"),
        ({**state, "norm_out.lora_A.weight": torch.zeros(RANK, 8)}, "not a linear layer"),
    ):
        save_file(wrong, path)
        with pytest.raises(WeightsError, match=says):
            convert(path, tmp_path / "out", "texturing", str(stack))
    assert not (tmp_path / "out").exists()


def test_an_adapter_for_every_layer_by_name_is_read(adapter: Path):
    state, rank, layers = read_lora(adapter / "adapter_model.safetensors") or ({}, 0, [])
    save_adapter(adapter, state, rank, layers)
    assert Adapter.read(adapter).rank == RANK
