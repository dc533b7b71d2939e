"""How many operations a step launches on a device, and how often the host waits: no more than this.

A batch of one is bound by launches, and every wait stops the host from running ahead.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks.models.published import PublishedPrior
from benchmarks.prior import OPERATOR, RandomStack, random_prior
from pops.engine import Engine
from pops.io.loading import quietly
from pops.io.machine.placement import Placement
from pops.prior.adapters import add_adapter
from pops.prior.conditions import Conditions
from pops.prior.joint import JointPrior
from pops.prior.model import PriorConfig
from pops.prior.schedule import Schedule
from pops.render.kandinsky import KandinskyRenderer
from pops.settings.rendering import DecoderSettings
from pops.stacks.spec import StackSpec
from pops.stacks.stack import Stack
from pops.training.step.loss import operator_losses
from tests.device.pretended import DEVICE, LOG, pretended, reason_to_skip
from tests.render.test_render import own, small_decoder

pytestmark = pytest.mark.skipif(reason_to_skip() is not None, reason=str(reason_to_skip()))

LAYERS = 20  # as many as the full-size prior has
DIM = 32


def of_a_step(run: Callable[[int], object]) -> tuple[Counter[str], Counter[str]]:
    """The launches and waits that a further step adds to a run of some steps."""
    counts = []
    for steps in (3, 4):
        LOG.clear()
        run(steps)
        counts.append((LOG.launches.copy(), LOG.waits.copy()))
    (launches, waits), (more_launches, more_waits) = counts
    more_launches.subtract(launches)
    more_waits.subtract(waits)
    return +more_launches, +more_waits


def random_engine(dtype: torch.dtype = torch.float16) -> Engine:
    prior = random_prior(PriorConfig(2, 16, LAYERS, DIM), torch.device("cpu"), torch.float32)
    prior = prior.to(DEVICE, dtype).join_projections()
    placement = Placement(DEVICE, dtype)  # type: ignore[arg-type]
    return Engine(RandomStack(StackSpec("random", "", "", ""), placement, random_prior=prior))


@pytest.mark.parametrize("batch", [1, 8])
def test_a_sampling_step_launches_little_and_waits_for_nothing(batch: int):
    with pretended():
        engine = random_engine()
        pairs = [tuple(pair) for pair in torch.randn(batch, 2, DIM)]
        seeds = [[seed] for seed in range(batch)]
        launches, waits = of_a_step(
            lambda steps: engine.apply(OPERATOR.name, pairs, seeds=seeds, steps=steps)
        )
    assert waits == Counter()
    assert launches.total() <= 240
    assert launches["attention"] == LAYERS


def test_the_published_way_launches_more_and_waits():
    with pretended():
        published = PublishedPrior(random_engine().operator("texturing")[1])
        tokens = torch.randn(2, DIM)
        launches, waits = of_a_step(
            lambda steps: published.sample(tokens.to(DEVICE), 18, 8.0, steps)
        )
    assert launches.total() > 240
    assert waits.total() > 5


def test_a_rendering_step_waits_for_nothing():
    unet, movq, scheduler = own(small_decoder("learned_range", "epsilon"))
    placement = Placement(DEVICE, torch.float16)  # type: ignore[arg-type]
    with pretended(), quietly():
        for model in (unet, movq):
            model.to(DEVICE, torch.float16)
        renderer = KandinskyRenderer(unet, movq, scheduler, torch.zeros(1, 16), placement=placement)
        launches, waits = of_a_step(
            lambda steps: renderer.render_arrays(
                torch.ones(2, 16), [0, 1], DecoderSettings(steps, 4.0, 64)
            )
        )
    assert waits == Counter()
    assert launches.total() <= 265


@pytest.mark.parametrize("joint", [False, True])
def test_what_a_training_step_computes_waits_for_nothing(joint: bool):
    with pretended() as log:
        prior = random_prior(PriorConfig(2, 16, LAYERS, DIM), torch.device("cpu"), torch.float32)
        trained = (JointPrior(prior, 3) if joint else prior).to(DEVICE).requires_grad_(True)
        target, tokens, noise = (
            torch.randn(*shape).to(DEVICE) for shape in ((4, DIM), (4, 2, DIM), (4, DIM))
        )
        conditions = Conditions(tokens, torch.ones(4, 2, dtype=torch.bool).to(DEVICE))
        t, weight = torch.arange(4).to(DEVICE), torch.zeros(()).to(DEVICE)
        predict = partial(trained, operator=t % 3) if joint else trained
        schedule = Schedule()
        for _ in range(2):  # the first copies the schedule to the device
            trained.zero_grad(set_to_none=True)
            log.clear()
            losses = operator_losses(
                predict, prior.denormalise, schedule, target, conditions, None, noise, t, weight
            )
            losses["mse"].backward()
    assert log.waits == Counter()
    assert log.launches.total() <= 1040


def test_an_offloaded_encoder_moves_once_for_all_pictures(
    stack_parts: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pops.stacks.encoding.OPENED", 2)
    spec = StackSpec("pocket", **{name: str(place) for name, place in stack_parts.items()})
    moved = []
    for count in (1, 5):
        pictures = [Image.new("RGB", (8, 8), (shade, 40, 90)) for shade in range(count)]
        with pretended() as log:
            engine = Engine(Stack(spec, Placement(DEVICE, offload=True)))  # type: ignore[arg-type]
            tensors = len(engine.stack.image_encoder.model.state_dict())
            log.clear()
            engine.encode(pictures)
            moved.append(sum(n for place, n in log.waits.items() if "placement.py" in place))
    assert moved[0] == moved[1] >= tensors


def test_an_offloaded_decoder_moves_once_for_all_batches(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pops.render.kandinsky.MOST_IN_A_BATCH", 1)
    monkeypatch.setattr("pops.render.kandinsky.DECODE_PIXELS", 1)
    unet, movq, scheduler = own(small_decoder("learned_range", "epsilon"))
    placement = Placement(DEVICE, offload=True)  # type: ignore[arg-type]
    moved = []
    for count in (1, 3):
        with pretended() as log, quietly():
            negative = torch.zeros(1, 16)
            renderer = KandinskyRenderer(unet, movq, scheduler, negative, placement=placement)
            log.clear()
            renderer.render_arrays(
                torch.ones(count, 16), list(range(count)), DecoderSettings(2, 4.0, 64)
            )
            moved.append(sum(n for place, n in log.waits.items() if "placement.py" in place))
    assert moved[0] == moved[1] >= len(unet.state_dict()) + len(movq.state_dict())


def test_what_an_adapter_s_training_step_computes_waits_for_nothing():
    pytest.importorskip("peft")
    prior = random_prior(PriorConfig(2, 16, LAYERS, DIM), torch.device("cpu"), torch.float32)
    add_adapter(prior, 4)
    with pretended() as log:
        prior.to(DEVICE)
        target, tokens, noise = (
            torch.randn(*shape).to(DEVICE) for shape in ((4, DIM), (4, 2, DIM), (4, DIM))
        )
        conditions = Conditions(tokens, torch.ones(4, 2, dtype=torch.bool).to(DEVICE))
        t, weight, schedule = torch.arange(4).to(DEVICE), torch.zeros(()).to(DEVICE), Schedule()
        for _ in range(2):  # the first copies the schedule to the device
            prior.zero_grad(set_to_none=True)
            log.clear()
            losses = operator_losses(
                prior, prior.denormalise, schedule, target, conditions, None, noise, t, weight
            )
            losses["mse"].backward()
    assert log.waits == Counter()
    assert log.launches.total() <= 1980
