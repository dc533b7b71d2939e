"""Weights of 8 bits: how they are rounded, what is computed with them, and who shares them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pops.engine import Engine
from pops.errors import UsageError
from pops.io.machine.placement import Placement, choose_placement
from pops.operators import TEXTURING, OperatorCard, save_card
from pops.pipeline import PopsPipeline
from pops.prior import int8
from pops.prior.adapters import adapter_state, add_adapter, save_adapter
from pops.prior.int8 import Int8Conv2d, Int8Linear, round_to_int8
from tests.device.pretended import DEVICE, pretended, reason_to_skip

Parts = dict[str, Path]


def widened(layer: nn.Module) -> Tensor:
    return layer.weight.float() * layer.scale.float()  # type: ignore[operator, union-attr]


def held_bytes(model: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in model.state_dict().values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_weight_is_at_most_half_a_step_from_where_it_was(dtype: torch.dtype):
    layer = nn.Linear(48, 40).to(dtype)
    layer.weight.data[3] = 0
    layer.weight.data[4] *= 1e-3
    rounded = Int8Linear(layer)
    away = (widened(rounded) - layer.weight.float()).abs()
    # The largest of a row may also be cut off where its scale was rounded down.
    assert (away <= rounded.scale.float() * (0.5 if dtype == torch.float32 else 1.0) + 1e-9).all()
    assert rounded.weight.dtype == torch.int8 and rounded.scale.dtype == dtype
    assert (widened(rounded)[3] == 0).all()


@given(rows=st.integers(1, 300), outputs=st.integers(1, 300), bias=st.booleans())
def test_panels_of_weights_give_what_all_weights_give(rows: int, outputs: int, bias: bool):
    layer = Int8Linear(nn.Linear(24, outputs, bias=bias))
    x = torch.randn(rows, 1, 24)
    wanted = nn.functional.linear(x, widened(layer), layer.bias)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), wanted)
    torch.testing.assert_close(layer(x), wanted)


def test_a_convolution_keeps_its_stride_and_padding():
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 24, 3, stride=2, padding=1, padding_mode="circular").eval()
    x = torch.randn(2, 16, 9, 9)
    rounded = Int8Conv2d(layer)
    layer.weight.data = widened(rounded)
    torch.testing.assert_close(rounded(x), layer(x))
    assert not isinstance(rounded.weight, nn.Parameter)


def test_only_large_layers_of_blocks_are_rounded_and_only_once():
    model = nn.Module()
    model.first, model.last = nn.Linear(64, 64), nn.Conv2d(64, 64, 3)
    model.blocks = nn.ModuleList([nn.Sequential(nn.Linear(64, 64), nn.Linear(8, 8)), nn.ReLU()])
    model.more = nn.ModuleList([nn.ModuleList([nn.Conv2d(64, 64, 3)])])
    round_to_int8(model)
    kept = model.blocks[0][0]
    round_to_int8(model)
    kinds = {name: type(part) for name, part in model.named_modules()}
    assert kinds["blocks.0.0"] is Int8Linear and kinds["more.0.0"] is Int8Conv2d
    assert {kinds["first"], kinds["blocks.0.1"]} == {nn.Linear} and kinds["last"] is nn.Conv2d
    assert model.blocks[0][0] is kept


@pytest.fixture(scope="module")
def pocket() -> Iterator[tuple[Engine, Engine]]:
    """The pocket stack in float32 and in 8 bits."""
    yield Engine.load("pocket", "cpu"), Engine.load("pocket", "cpu", "int8")


def test_the_pocket_stack_takes_less_memory_and_gives_nearly_the_same(
    pocket: tuple[Engine, Engine], golden: Path
):
    exact, small = pocket
    assert small.stack.placement == Placement(int8=True)
    assert small.stack.prior_bytes * 4 == exact.stack.prior_bytes
    pair = tuple(golden / "inputs" / f"input_{name}.png" for name in "ab")
    made, wanted = (e.apply("texturing", [pair], seeds=[1, 2]).image_embeds for e in pocket)
    assert torch.cosine_similarity(made, wanted).min() > 0.999
    assert (made != wanted).any()
    for model, other, share in (
        (small.operator("texturing")[1], exact.operator("texturing")[1], 0.4),
        (small.stack.unet, exact.stack.unet, 0.4),
        (small.stack.image_encoder.model, exact.stack.image_encoder.model, 0.4),
    ):
        assert held_bytes(model) < share * held_bytes(other)


def test_adapters_stand_beside_weights_of_8_bits_that_they_share(
    stack_parts: Parts, golden: Path, tmp_path: Path
):
    pair = [tuple(golden / "inputs" / f"input_{name}.png" for name in "ab")]
    exact, small = (Engine.load("pocket", "cpu", d, **stack_parts) for d in ("float32", "int8"))
    trained = exact.stack.base_prior.sharing()
    add_adapter(trained, 4)
    for name, value in trained.named_parameters():
        if ".lora_B." in name:
            value.data.normal_(0, 0.1)
    folder = save_card(tmp_path / "adapter", OperatorCard(TEXTURING, "pocket"))
    save_adapter(folder, adapter_state(trained), 4)
    plain = exact.sample(exact.stack.base_prior, [torch.ones(2, exact.dim)], [[18]], 1.0)
    changed, near = (
        e.sample(e.operator(str(folder))[1], [torch.ones(2, e.dim)], [[18]], 1.0)
        for e in (exact, small)
    )
    assert torch.cosine_similarity(near, changed) > 0.99 > torch.cosine_similarity(plain, changed)
    layer = small.operator(str(folder))[1].transformer_blocks[0].ff.net[2].base_layer
    assert layer.weight.data_ptr() == (
        small.stack.base_prior.transformer_blocks[0].ff.net[2].weight.data_ptr()
    )
    assert small.apply(str(folder), pair).image_embeds.isfinite().all()


@pytest.mark.skipif(reason_to_skip() is not None, reason=str(reason_to_skip()))
@pytest.mark.parametrize("offload", [False, True])
def test_on_a_device_it_computes_in_half_precision(
    stack_parts: Parts, golden: Path, monkeypatch: pytest.MonkeyPatch, offload: bool
):
    pair = [tuple(golden / "inputs" / f"input_{name}.png" for name in "ab")]
    wanted = Engine.load("pocket", "cpu", "int8", **stack_parts).apply("texturing", pair, seeds=[1])
    with pretended():
        monkeypatch.setattr("pops.io.machine.placement.choose_device", lambda _: DEVICE)
        there = Engine.load(
            "pocket", "x", "int8", offload="model" if offload else "none", **stack_parts
        )
        assert there.stack.placement.dtype == torch.float16
        made = there.apply("texturing", pair, seeds=[1])
        there.render(made, seeds=[0], steps=2, size=32)
        layer = there.operator("texturing")[1].transformer_blocks[0].ff.net[2]
        assert layer.weight.device.type == ("cpu" if offload else "pretend")
        assert layer.weight.dtype == torch.int8 and layer.scale.dtype == torch.float16
    assert torch.cosine_similarity(made.image_embeds, wanted.image_embeds).min() > 0.999


def test_a_pipeline_of_diffusers_is_refused(stack_parts: Parts):
    stack = Engine.load("pocket", "cpu", "int8", **stack_parts).stack
    with pytest.raises(UsageError, match="8 bits"):
        PopsPipeline.from_operator("texturing", stack)


def test_the_format_has_a_name_of_its_own():
    assert choose_placement("cpu", "int8").number_format == "int8"
    assert choose_placement("cpu", "int8").weight_bytes == 1
    assert Placement(dtype=torch.bfloat16).number_format == "bfloat16"
    assert Placement(dtype=torch.bfloat16).weight_bytes == 2
    assert torch.iinfo(torch.int8).max == int8.LARGEST
