from pathlib import Path

import pytest
import torch
from torch import nn

from pops.engine import Engine
from pops.errors import UsageError
from pops.io.placement import HOST, Placement, choose_placement


class Moved(nn.Module):
    """Remembers where it was sent, so that no device is needed to see it."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def to(self, place: torch.device) -> "Moved":  # type: ignore[override]
        self.places.append(place.type)
        return self


def test_an_offloaded_model_is_on_the_device_only_while_it_is_used():
    placement = Placement(torch.device("cuda"), offload=True)
    model = Moved()
    with placement.using(model):
        assert model.places == ["cuda"]
    assert model.places == ["cuda", "cpu"]
    assert placement.rest.type == "cpu"


def test_an_offloaded_model_goes_back_after_an_error():
    model = Moved()
    with (
        pytest.raises(ZeroDivisionError),
        Placement(torch.device("cuda"), offload=True).using(model),
    ):
        _ = 1 / 0
    assert model.places[-1] == "cpu"


def test_without_offload_a_model_stays_on_the_device():
    placement = Placement(torch.device("cuda"))
    model = Moved()
    with placement.using(model):
        pass
    assert set(model.places) == {"cuda"}
    assert placement.rest.type == "cuda"


def test_words_are_chosen_or_refused():
    assert choose_placement("cpu") == HOST
    assert choose_placement("cpu", "float16", "model") == Placement(
        torch.device("cpu"), torch.float16, offload=True
    )
    for words, said in (
        (("cpu", "int8"), "unknown dtype 'int8'"),
        (("gpu",), "unknown device 'gpu'"),
        (("cpu", "auto", "disk"), "unknown offload 'disk': use none or model"),
    ):
        with pytest.raises(UsageError, match=said):
            choose_placement(*words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_here_is_refused():
    with pytest.raises(UsageError, match="not on this machine"):
        choose_placement("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_offloading_changes_no_result_and_leaves_nothing_on_the_device(
    stack_parts: dict[str, Path], golden: Path
):
    made = []
    request = tuple(golden / "inputs" / f"input_{name}.png" for name in "ab")
    for offload in ("none", "model"):
        engine = Engine.load("pocket", "cuda", "float32", offload=offload, **stack_parts)
        embeddings = engine.apply("texturing", [request], seeds=[18])
        engine.render(embeddings, seeds=[0], steps=2, size=32)
        made.append(embeddings.image_embeds)
    torch.testing.assert_close(*made)
    stack = engine.stack
    for model in (
        stack.image_encoder.model,
        stack.unet,
        stack.movq,
        engine.operator("texturing")[1],
    ):
        assert next(model.parameters()).device.type == "cpu"
