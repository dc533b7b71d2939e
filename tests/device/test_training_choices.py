"""Where training runs and how it rounds, on machines that are only told to be there."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pops.errors import UsageError
from pops.training.devices import DeviceSettings, make_accelerator


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
