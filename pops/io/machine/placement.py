"""Where models run and where they wait: the device, the number format, offloading, memory."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pops.errors import DeviceMemoryError, UsageError

__all__ = [
    "DTYPES",
    "HOST",
    "OFFLOADS",
    "Placement",
    "choose_device",
    "choose_placement",
    "compile_steps",
    "has_bfloat16",
    "in_batches",
    "naming_memory",
    "send",
]

OFFLOADS = ("none", "model")
INT8 = "int8"
CPU_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")  # instructions, as torch names them
Function = TypeVar("Function", bound=Callable[..., Any])
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Placement:
    """The device and number format of models, and how they are kept and run.

    Attributes:
        device: Where they run.
        dtype: The number format that they compute in.
        offload: Whether they wait in the host's memory while they are not used.
        compiled: Whether those that take many steps are compiled.
        int8: Whether the weights of their blocks are held in 8 bits.
    """

    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float32
    offload: bool = False
    compiled: bool = False
    int8: bool = False

    @property
    def number_format(self) -> str:
        """The name of the number format of the weights, as the command line has it."""
        return INT8 if self.int8 else str(self.dtype).removeprefix("torch.")

    @property
    def weight_bytes(self) -> int:
        """The bytes of one weight of a large model."""
        return 1 if self.int8 else self.dtype.itemsize

    @property
    def rest(self) -> torch.device:
        """The device on which a model is kept while it is not used."""
        return torch.device("cpu") if self.offload else self.device

    @contextmanager
    def using(self, *models: nn.Module) -> Iterator[None]:
        """Have the models on the device inside the block, and back at rest after it.

        Offloaded weights are copied to the device and dropped again: those in the host's memory
        stay where they are, shared by whatever shares them. So nothing may change weights inside
        the block, and blocks must not be nested for the same model.

        Args:
            models: Models of this placement, which are at rest.

        Yields:
            Nothing; the models are on the device inside the block.

        Raises:
            DeviceMemoryError: The device has too little memory for the models or for the block.
        """
        with naming_memory(self.device, self.offload, models), ExitStack() as stack:
            if self.offload:
                stack.enter_context(_copies_on(self.device, models))
            else:
                for model in models:
                    model.to(self.device)
            yield


HOST = Placement()


@contextmanager
def _copies_on(device: torch.device, models: Iterable[nn.Module]) -> Iterator[None]:
    """Put copies of all tensors on the device in place of the models' own, inside the block."""
    own: list[tuple[dict[str, Tensor | None], str, Tensor]] = []
    copies: dict[int, Tensor] = {}  # of each tensor one, whatever number of modules has it
    try:
        for module in chain.from_iterable(model.modules() for model in models):
            for held in (module._parameters, module._buffers):
                for name, tensor in held.items():
                    if tensor is not None and tensor.device != device:
                        if id(tensor) not in copies:
                            copies[id(tensor)] = _copy(tensor, device)
                        own.append((held, name, tensor))  # type: ignore[arg-type]
                        held[name] = copies[id(tensor)]  # type: ignore[assignment]
        yield
    finally:
        for held_by, name, tensor in own:
            held_by[name] = tensor


def _copy(tensor: Tensor, device: torch.device) -> Tensor:
    copy = tensor.detach().to(device)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(copy, requires_grad=tensor.requires_grad)
    return copy


def choose_placement(
    device: str = "auto", dtype: str = "auto", offload: str = "none", compiled: bool = False
) -> Placement:
    """Choose where and how models run from the words of the command line.

    Args:
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        dtype: `auto`, `float32`, `bfloat16`, `float16` or `int8`. `auto` is float32 on a CPU, and
            float16 on a GPU: there it is as fast as bfloat16, nearer to float32, and on every card.
            With `int8`, weights are held in 8 bits, and models compute in the format of `auto`.
        offload: `none`, or `model` for models that are on the device only while they are used.
        compiled: Whether models that take many steps are compiled.

    Returns:
        The placement of all models of a stack.

    Raises:
        UsageError: A word is unknown, the device is not on this machine, or nothing can be
            compiled for it.
    """
    if offload not in OFFLOADS:
        raise UsageError(f"unknown offload {offload!r}: use {' or '.join(OFFLOADS)}")
    where = choose_device(device)
    if compiled:
        _check_compiler(where, offload)
    chosen = _choose_dtype("auto" if dtype == INT8 else dtype, where)
    return Placement(where, chosen, offload == "model", compiled, int8=dtype == INT8)


def _check_compiler(device: torch.device, offload: str) -> None:
    if offload != "none":
        raise UsageError("--compile needs models that stay on the device: leave out --offload")
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise UsageError(
            "--compile on a GPU needs Triton, which torch brings along on Linux only: leave it out"
        )
    compilers = (os.environ.get("CXX"), "g++", "clang++", "cl")
    if device.type == "cpu" and not any(c and shutil.which(c) for c in compilers):
        raise UsageError(
            "--compile on a CPU needs a C++ compiler, such as g++: install one, or leave it out"
        )
    if device.type not in ("cuda", "cpu"):
        raise UsageError(f"--compile works on CUDA and CPUs, not on {device.type}: leave it out")


def choose_device(device: str = "auto") -> torch.device:
    """Find the device of that name; `auto` is the first of cuda, mps and cpu that is here.

    Args:
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.

    Returns:
        A device of this machine.

    Raises:
        UsageError: The word is unknown, or the device is not on this machine.
    """
    counts = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    if device == "auto":
        return torch.device(next(name for name, count in counts.items() if count))
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"unknown device {device!r}: use auto, cpu, cuda or mps") from error
    count = counts.get(chosen.type, 0)
    # torch counts devices in 8 bits: it takes cuda:256 for cuda:0.
    if not 0 <= (chosen.index or 0) < count or str(chosen) != str(device):
        here = f"the last one here is {chosen.type}:{count - 1}" if count else "use auto or cpu"
        raise UsageError(f"device {device!r} is not on this machine: {here}")
    return chosen


def compile_steps(function: Function) -> Function:
    """Compile a function that takes many steps with tensors of the same sizes.

    It is compiled when it is called, and anew for other sizes. On CUDA the operations of a call
    become one graph, which is launched at once.

    Args:
        function: A function of tensors, or a model.

    Returns:
        The compiled function.
    """
    made: Function = torch.compile(function, mode="reduce-overhead")  # type: ignore[assignment]
    return made


def has_bfloat16(device: torch.device) -> bool:
    """Tell whether a device computes in bfloat16 itself, and does not emulate it.

    Args:
        device: A device of this machine.

    Returns:
        True for CUDA cards from Ampere on, and CPUs with AVX512-BF16, AMX or Arm's BF16; false for
        others, and where torch cannot tell.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    tell: Callable[[], Mapping[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    known = tell() if device.type == "cpu" else {}
    return any(known.get(name) for name in CPU_BFLOAT16)


def _choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    if dtype not in DTYPES:
        raise UsageError(f"unknown dtype {dtype!r}: use auto, {', '.join(DTYPES)} or {INT8}")
    return DTYPES[dtype]


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; to a CUDA device without waiting until it has arrived.

    Args:
        tensor: A tensor, usually on the CPU, which is not changed afterwards.
        device: The device where it is needed.

    Returns:
        The tensor on the device; work that is given to the device later sees all of it.
    """
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def in_batches(count: int, most: int, run: Callable[[slice, int, int], None]) -> None:
    """Run over `count` rows in batches, which are halved where the device's memory is too small.

    A batch that failed is run again in smaller parts, and so are those after it.

    Args:
        count: The number of rows.
        most: The largest number of rows in a batch.
        run: Takes the slice of a batch, the number of batches that are done, and that of all
            batches; keeps its result only when all of it is done.

    Raises:
        torch.OutOfMemoryError: The memory is too small for a single row.
    """
    start = done = 0
    while start < count:
        rows = slice(start, min(start + most, count))
        try:
            run(rows, done, done - (start - count) // most)
        except RuntimeError as error:
            most = (rows.stop - start) // 2
            if not _is_memory(error) or most == 0:
                raise
        else:
            start, done = rows.stop, done + 1
            continue
        _free_unused()  # once the failed batch's tensors are gone with the error


@contextmanager
def naming_memory(
    device: torch.device, offloaded: bool = False, models: Iterable[nn.Module] = ()
) -> Iterator[None]:
    """Turn an error about the device's memory inside the block into one line that helps.

    Args:
        device: The device on which the block computes.
        offloaded: Whether models are on the device only while they are used.
        models: The models that the block uses, whose size the message tells.

    Yields:
        Nothing.

    Raises:
        DeviceMemoryError: The block needed more memory than the device has.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_memory(error):
            raise
        raise DeviceMemoryError(_memory_message(device, offloaded, list(models))) from error


def _is_memory(error: BaseException) -> bool:
    """Tell whether an error is about a device's memory; that of a Mac has no class of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "MPS backend out of memory" in str(error)


def _memory_message(device: torch.device, offloaded: bool, models: list[nn.Module]) -> str:
    tensors = {id(t): t for model in models for t in model.state_dict(keep_vars=True).values()}
    weights = sum(t.numel() * t.element_size() for t in tensors.values())
    needed = f" for models of {weights / 1e9:.1f} GB and their work" if weights else ""
    free = ""
    if device.type == "cuda":
        left, total = torch.cuda.mem_get_info(device)
        free = f" ({left / 1e9:.1f} of its {total / 1e9:.1f} GB are free)"
    offload = "" if offloaded else "--offload model, "
    small = "".join(f"--dtype {name}, " for name in _smaller_formats(tensors.values()))
    return (
        f"{device} has too little memory{needed}{free}: use {offload}{small}a smaller picture "
        "(--render_size), or --device cpu"
    )


def _smaller_formats(tensors: Iterable[Tensor]) -> tuple[str, ...]:
    """List the number formats that take less memory than the one of most of these numbers."""
    numbers: dict[int, int] = {}
    for tensor in tensors:
        numbers[tensor.itemsize] = numbers.get(tensor.itemsize, 0) + tensor.numel()
    most = max(numbers, key=lambda size: numbers[size], default=4)
    return ("float16", INT8)[{1: 2, 2: 1}.get(most, 0) :]


def _free_unused() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
