"""Compiled priors and decoders give what uncompiled ones do."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.prior import random_prior
from pops.engine import Engine
from pops.errors import UsageError
from pops.io.machine.placement import Placement, choose_placement
from pops.prior import model
from pops.prior.model import Prior, PriorConfig
from pops.render import kandinsky

Kept = list[torch.fx.GraphModule]


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    """Keep the graphs that torch makes, and run them as they are: fast code takes minutes."""
    made: Kept = []

    def keep(graph: torch.fx.GraphModule, _: object) -> Callable[..., Any]:
        made.append(graph)
        return graph.forward

    for module in (model, kandinsky):
        monkeypatch.setattr(module, "compile_steps", partial(torch.compile, backend=keep))
    model._compiled_denoise.cache_clear()
    torch._dynamo.reset()
    yield made
    model._compiled_denoise.cache_clear()
    torch._dynamo.reset()


def engines(golden: Path) -> list[Engine]:
    parts = {"prior": golden / "kandinsky-tiny-prior", "operators": golden / "operators"}
    decoder = golden / "kandinsky-tiny-decoder"
    return [
        Engine.load("pocket", "cpu", compiled=compiled, decoder=decoder, **parts)
        for compiled in (False, True)
    ]


def test_a_compiled_engine_gives_what_another_gives(golden: Path, graphs: Kept):
    plain, compiled = engines(golden)
    pair = (golden / "inputs" / "input_a.png", golden / "inputs" / "input_b.png")
    wanted, found = (e.apply("texturing", [pair], seeds=[1, 2]) for e in (plain, compiled))
    torch.testing.assert_close(found.image_embeds, wanted.image_embeds, rtol=0, atol=1e-5)
    assert len(graphs) == 1  # of all 25 steps
    pictures = [e.render(wanted, seeds=[0], steps=2, size=64) for e in (plain, compiled)]
    for one, other in zip(*pictures, strict=True):
        levels = np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16))
        assert levels.max() <= 1
    assert len(graphs) == 3  # and UNet and MoVQ, one each


def test_operators_of_the_same_sizes_share_what_is_compiled(graphs: Kept):
    config = PriorConfig(2, 16, 2, 32)
    rows, tokens = torch.randn(3, 32), torch.randn(3, 2, 32)
    for _ in range(3):
        prior = random_prior(config, torch.device("cpu"), torch.float32)
        prior.compiled = True
        for one in (prior, prior.sharing()):
            cache, time = one.condition(tokens), one.time_tokens(torch.tensor([7]))[0]
            made = one.step(rows, time, cache)
            torch.testing.assert_close(made, one.denoise(rows, time, cache), rtol=0, atol=1e-5)
    assert len(graphs) == 1


def test_a_step_is_one_graph_without_a_break():
    prior = random_prior(PriorConfig(2, 16, 2, 32), torch.device("cpu"), torch.float32)
    cache, time = prior.condition(torch.randn(2, 2, 32)), prior.time_tokens(torch.tensor([7]))[0]
    told = torch._dynamo.explain(Prior.denoise)(prior, torch.randn(2, 32), time, cache)
    assert (told.graph_count, told.graph_break_count) == (1, 0)


@pytest.mark.parametrize(
    ("device", "offload", "said"),
    [("cpu", "model", "leave out --offload"), ("mps", "none", "not on mps")],
)
def test_what_cannot_be_compiled_is_refused(
    device: str, offload: str, said: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(UsageError, match=said):
        choose_placement(device, offload=offload, compiled=True)


def test_a_machine_without_a_compiler_is_told(monkeypatch: pytest.MonkeyPatch):
    assert choose_placement("cpu").compiled is False
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/g++")
    assert choose_placement("cpu", compiled=True) == Placement(compiled=True)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UsageError, match=r"C\+\+ compiler"):
        choose_placement("cpu", compiled=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_fast_code_gives_what_slow_code_gives(golden: Path):
    plain, compiled = engines(golden)
    pair = (golden / "inputs" / "input_a.png", golden / "inputs" / "input_b.png")
    wanted, found = (e.apply("texturing", [pair]).image_embeds for e in (plain, compiled))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
