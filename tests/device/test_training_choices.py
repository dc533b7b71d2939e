"""Where training runs and how it rounds, on machines that are only told to be there."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pops.errors import UsageError
from pops.io.machine.placement import send
from pops.training.devices import (
    DeviceSettings,
    OptimiserSettings,
    make_accelerator,
    make_optimiser,
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The keywords that accelerate is given."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr("accelerate.Accelerator", lambda **keywords: seen.update(keywords))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return seen


def choose(folder: Path, device: str = "auto", mixed_precision: str = "auto") -> None:
    make_accelerator(DeviceSettings(device, mixed_precision), folder)


@pytest.mark.parametrize(("own", "precision"), [(True, "bf16"), (False, "no")])
def test_only_a_card_that_has_bfloat16_trains_in_it(
    asked: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    own: bool,
    precision: str,
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: own or including_emulation
    )
    choose(tmp_path)
    assert (asked["mixed_precision"], asked["cpu"]) == (precision, False)
    with pytest.raises(UsageError, match="the last one here is cuda:0"):
        choose(tmp_path, "cuda:7")


def test_a_mac_s_gpu_is_trained_on(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    choose(tmp_path)
    assert (asked["mixed_precision"], asked["cpu"]) == ("no", False)
    with pytest.raises(UsageError, match="fp16 works on CUDA"):
        choose(tmp_path, mixed_precision="fp16")


def test_a_machine_without_a_gpu_trains_on_its_cpu(asked: dict[str, Any], tmp_path: Path):
    choose(tmp_path)
    assert (asked["mixed_precision"], asked["cpu"]) == ("no", True)
    with pytest.raises(UsageError, match="not on this machine"):
        choose(tmp_path, "cuda")


def test_a_fused_update_is_asked_for_and_changes_no_weight():
    weights = [torch.nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4)) for _ in range(2)]
    made = [
        make_optimiser(OptimiserSettings(lr=0.01, weight_decay=0.1), [weight], fused=fused)
        for weight, fused in zip(weights, (False, True), strict=True)
    ]
    assert [optimiser.defaults["fused"] for optimiser in made] == [None, True]
    for _ in range(3):
        for weight, optimiser in zip(weights, made, strict=True):
            weight.grad = weight.detach() ** 2 - 0.3
            optimiser.step()
    torch.testing.assert_close(*weights, rtol=0, atol=1e-6)


def test_batches_go_to_a_cuda_device_from_pinned_memory_without_a_wait(
    monkeypatch: pytest.MonkeyPatch,
):
    calls: list[Any] = []
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: calls.append("pinned") or self)
    monkeypatch.setattr(
        Tensor, "to", lambda self, device, **options: calls.append((device, options)) or self
    )
    send(torch.ones(2), torch.device("cuda"))
    assert calls == ["pinned", (torch.device("cuda"), {"non_blocking": True})]
    calls.clear()
    send(torch.ones(2), torch.device("cpu"))
    assert calls == [(torch.device("cpu"), {})]
