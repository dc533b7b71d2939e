"""Fixtures of many tests: the golden stack and its expected outputs."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from safetensors.torch import load_file

from pops.engine import Engine

GOLDEN = Path(__file__).parent / "golden"
NO_RIGHT_TO_LINK = 1314  # of Windows: a right is missing that making symbolic links needs

torch.set_num_threads(1)
# A busy machine takes as long as it takes.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


@pytest.fixture(scope="session", autouse=True)
def _no_gpu(pytestconfig: pytest.Config) -> Iterator[None]:
    """Hide GPUs unless their own tests are asked for, so that `auto` is a CPU on every machine."""
    with pytest.MonkeyPatch.context() as patch:
        if "not gpu" in pytestconfig.getoption("markexpr"):
            patch.setenv("CUDA_VISIBLE_DEVICES", "")  # for processes that tests start
            for place in (torch.cuda, torch.backends.mps):
                patch.setattr(place, "is_available", lambda: False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_links() -> Iterator[None]:
    """Skip what needs a symbolic link where the user may make none, as on many a Windows."""

    def link(path: Path, target: str | Path, target_is_directory: bool = False) -> None:
        try:
            make(path, target, target_is_directory or Path(target).is_dir())
        except OSError as error:
            if getattr(error, "winerror", None) != NO_RIGHT_TO_LINK:
                raise
            pytest.skip("this user may make no symbolic links")

    make = Path.symlink_to
    with pytest.MonkeyPatch.context() as patch:
        if sys.platform == "win32":
            patch.setattr(Path, "symlink_to", link)
        yield


@pytest.fixture(autouse=True)
def _same_numbers_every_time() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def golden() -> Path:
    return GOLDEN


@pytest.fixture(scope="session")
def cases() -> dict[str, list[dict[str, Any]]]:
    content: dict[str, list[dict[str, Any]]] = json.loads((GOLDEN / "cases.json").read_text())
    return content


@pytest.fixture(scope="session")
def expected() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "expected.safetensors")


@pytest.fixture(scope="session")
def stack_parts() -> dict[str, Path]:
    return {
        "prior": GOLDEN / "kandinsky-tiny-prior",
        "decoder": GOLDEN / "kandinsky-tiny-decoder",
        "operators": GOLDEN / "operators",
    }


@pytest.fixture(scope="session")
def engine(stack_parts: dict[str, Path]) -> Engine:
    """An engine on the golden stack, shared by all tests: none may change it."""
    return Engine.load("pocket", "cpu", **stack_parts)
