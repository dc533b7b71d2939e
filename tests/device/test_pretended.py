"""The engine, renderers, training and data generation on a device that is not the CPU."""

from pathlib import Path

import pytest
import torch

from pops.engine import Engine
from pops.io.placement import Placement
from pops.stacks.stack import Stack, StackSpec
from tests.device.pretended import DEVICE, LOG, MixedDevices, pretended, reason_to_skip

pytestmark = pytest.mark.skipif(reason_to_skip() is not None, reason=str(reason_to_skip()))

HALVES = {torch.float32: 1 - 1e-5, torch.bfloat16: 0.98, torch.float16: 0.999}
Parts = dict[str, Path]


def engine_there(parts: Parts, dtype: torch.dtype = torch.float32, offload: bool = False) -> Engine:
    """An engine on the golden stack whose models run on the pretended device."""
    spec = StackSpec("pocket", **{name: str(place) for name, place in parts.items()})
    return Engine(Stack(spec, Placement(DEVICE, dtype, offload)))  # type: ignore[arg-type]


def test_operands_of_two_devices_do_not_mix():
    with pretended(), pytest.raises(MixedDevices, match="add"):
        torch.ones(2, device=DEVICE) + torch.ones(2)


def test_launches_and_waits_are_counted():
    with pretended() as log:
        x = torch.ones(3).to(DEVICE)
        y = (x * 2 + 1).view(1, 3)
        assert y.sum().item() == 9
        assert log.launches == {"mul.Tensor": 1, "add.Tensor": 1, "sum.default": 1}
        assert len(log.waits) == 2 and log.waits.total() == 2


@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("dtype", HALVES)
def test_an_operator_and_its_renders_are_those_of_the_cpu(
    stack_parts: Parts, golden: Path, engine: Engine, dtype: torch.dtype, offload: bool
):
    inputs = [tuple(golden / "inputs" / f"input_{name}.png" for name in "ab")]
    wanted = engine.apply("texturing", inputs, seeds=[18, 42])
    with pretended():
        there = engine_there(stack_parts, dtype, offload)
        made = there.apply("texturing", inputs, seeds=[18, 42])
        there.render(made, seeds=[0], steps=2, size=32)
        assert LOG.launches["attention"]
        _, prior = there.operator("texturing")
        places = {t.device.type for t in prior.state_dict().values()}
        assert places == ({"cpu"} if offload else {"pretend"})
    assert made.image_embeds.device.type == "cpu"
    assert torch.cosine_similarity(made.image_embeds, wanted.image_embeds).min() > HALVES[dtype]
