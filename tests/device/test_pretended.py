"""The engine, renderers, training and data generation on a device that is not the CPU."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.models import tiny_datagen, tiny_sdxl
from benchmarks.prior import random_prior
from pops.data.sources.batches import Batch
from pops.datagen.models.diffusion import DepthDiffusion, Sampling, TextToImage
from pops.datagen.models.vision import Owl
from pops.datagen.stages import Depth2Image, Detect, Picture, Text2Image
from pops.engine import Engine
from pops.errors import DeviceMemoryError
from pops.io.loading import quietly
from pops.io.machine.placement import HOST, Placement
from pops.operators import TEXTURING
from pops.prior.conditions import Conditions
from pops.prior.joint import JointPrior
from pops.prior.model import Prior, PriorConfig
from pops.prior.schedule import Schedule
from pops.stacks.spec import StackSpec
from pops.stacks.stack import Stack
from pops.training.step.loss import operator_losses
from pops.training.validation.measure import validate
from tests.device.pretended import DEVICE, LOG, MixedDevices, autocast, pretended, reason_to_skip

pytestmark = [
    pytest.mark.skipif(reason_to_skip() is not None, reason=str(reason_to_skip())),
    # diffusers' schedulers make a numpy array of a tensor in the old way.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

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


def test_operators_that_share_a_prior_still_share_it_after_offloading(stack_parts: Parts):
    with pretended():
        there = engine_there(stack_parts, offload=True)
        base = there.stack.base_prior
        shared = base.sharing({"embedding_proj.bias": base.embedding_proj.bias + 1})
        rows = [torch.randn(2, there.dim)]
        for prior in (base, shared):
            there.sample(prior, rows, [[18]], 8.0, steps=2)
        weights = (base.state_dict(), shared.state_dict())
        own = [name for name in weights[0] if weights[0][name] is not None]
        apart = [n for n in own if weights[0][n].data_ptr() != weights[1][n].data_ptr()]
    assert apart == ["embedding_proj.bias"]


@pytest.fixture(scope="module")
def sdxl_parts(tmp_path_factory: pytest.TempPathFactory, golden: Path) -> Parts:
    tokenizer = golden / "kandinsky-tiny-prior" / "tokenizer"
    with quietly():
        return tiny_sdxl.make_all(tmp_path_factory.mktemp("sdxl"), tokenizer)


@pytest.mark.parametrize(
    ("renderer", "dtype", "offload"),
    [("ip_adapter", torch.float16, False), ("depth", torch.float32, True)],
)
def test_the_sdxl_renderers_draw_as_on_the_cpu(
    stack_parts: Parts,
    sdxl_parts: Parts,
    golden: Path,
    renderer: str,
    dtype: torch.dtype,
    offload: bool,
):
    parts = stack_parts | sdxl_parts
    here = Engine.load("pocket", "cpu", **parts)
    shown = golden / "inputs" / "input_a.png"
    made = here.encode([shown])
    depth_of = [shown] if renderer == "depth" else None
    options = {"seeds": [0], "steps": 2, "size": 64, "renderer": renderer, "depth_of": depth_of}
    (wanted,) = here.render(made, **options)
    with pretended(), quietly():
        (picture,) = engine_there(parts, dtype, offload).render(made, **options)
    assert levels(picture, wanted) < 3


def levels(a: Image.Image, b: Image.Image) -> float:
    """The mean difference of two pictures, in levels of 255."""
    return float(np.abs(np.asarray(a, np.float32) - np.asarray(b, np.float32)).mean())


def take_steps(device: torch.device, dtype: torch.dtype | None, joint: bool) -> torch.Tensor:
    """The losses of three training steps."""
    torch.manual_seed(0)
    config = PriorConfig(2, 16, 2, 32)
    prior = random_prior(config, torch.device("cpu"), torch.float32)
    trained = (JointPrior(prior, 2) if joint else prior).to(device).requires_grad_(True)
    for name in ("clip_mean", "clip_std"):
        getattr(prior, name).requires_grad_(False)
    parameters = [p for p in trained.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, foreach=False)
    target, tokens, noise = (torch.randn(*s).to(device) for s in ((4, 32), (4, 2, 32), (4, 32)))
    conditions = Conditions(tokens, torch.tensor([[True, True]] * 3 + [[True, False]]).to(device))
    t = torch.tensor([0, 300, 600, 999]).to(device)
    predict = partial(trained, operator=(t % 2)) if joint else trained
    found = []
    for _ in range(3):
        with autocast(dtype):
            losses = operator_losses(
                predict,
                prior.denormalise,
                Schedule(),
                target,
                conditions,
                target.flip(1),
                noise,
                t,
                torch.full((4,), 0.5).to(device),
            )
        loss = torch.stack(list(losses.values())).sum()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        found.append(loss.detach().cpu())
    return torch.stack(found)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
def test_training_steps_lose_what_they_lose_on_the_cpu(dtype: torch.dtype | None, joint: bool):
    wanted = take_steps(torch.device("cpu"), None, joint)
    with pretended():
        found = take_steps(DEVICE, dtype, joint)  # type: ignore[arg-type]
    torch.testing.assert_close(found, wanted, rtol=1e-4 if dtype is None else 0.02, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_validation_finds_what_it_finds_on_the_cpu(
    stack_parts: Parts, engine: Engine, dtype: torch.dtype
):
    target, tokens = torch.randn(5, 32), torch.randn(5, 2, 32)
    held_out = Batch(target, Conditions(tokens, torch.ones(5, 2, dtype=torch.bool)), None)
    wanted = validate(engine, TEXTURING, engine.operator("texturing")[1], held_out)
    with pretended():
        there = engine_there(stack_parts, dtype)
        found = validate(there, TEXTURING, there.operator("texturing")[1], held_out)
    for name in ("loss_t0-199", "loss_t800-999", "cosine", "baseline_cosine"):
        assert found[name] == pytest.approx(wanted[name], rel=1e-4 if dtype.itemsize == 4 else 0.01)


@pytest.mark.filterwarnings("ignore:.*upcast_vae:FutureWarning")
def test_data_is_generated_as_on_the_cpu(tmp_path: Path, golden: Path):
    tokenizer = golden / "kandinsky-tiny-prior" / "tokenizer"
    few = Sampling(steps=2, guidance=5.0, size=32)
    values = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    picture = Picture(Image.fromarray(values))

    def drawn(folders: Parts, placement: Placement) -> list[Image.Image]:
        text = TextToImage.load(folders["turbo"], placement, few)([Text2Image("a mug", 1)])
        depth = DepthDiffusion.load(folders["sd2_depth"], placement, few)
        found = Owl.load(folders["owlv2"], placement)([Detect(picture, "mug", 0.0)])
        assert len(found) == 1
        return [made.image for made in (*text, *depth([Depth2Image(picture, "a mug", 2)]))]

    with quietly():
        folders = tiny_datagen.make_all(tmp_path, tokenizer)
        wanted = drawn(folders, HOST)
        for dtype, least in ((torch.float32, 0.1), (torch.float16, 6.0), (torch.bfloat16, 6.0)):
            with pretended():
                found = drawn(folders, Placement(DEVICE, dtype))  # type: ignore[arg-type]
            for a, b in zip(found, wanted, strict=True):
                assert levels(a, b) < least


def test_a_batch_of_the_prior_halves_where_memory_is_short(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    pairs = [tuple(pair) for pair in torch.randn(5, 2, engine.dim)]
    wanted = engine.apply("texturing", pairs, seeds=[1])
    step, tried = Prior.step, []

    def at_most_four(self: Prior, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        tried.append(len(x))
        if len(x) > 4:  # two samples with guidance
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(self, x, *rest)

    monkeypatch.setattr(Prior, "step", at_most_four)
    made = engine.apply("texturing", pairs, seeds=[1])
    torch.testing.assert_close(made.image_embeds, wanted.image_embeds, rtol=0, atol=1e-5)
    assert list(dict.fromkeys(tried)) == [10, 4, 2]
    monkeypatch.setattr(Prior, "step", lambda *_: at_most_four(engine, torch.zeros(5)))  # type: ignore[arg-type]
    with pytest.raises(DeviceMemoryError, match="--dtype float16, --dtype int8"):
        engine.apply("texturing", pairs[:1], seeds=[1])
