"""A pretended device: tensors say that they are on it, and hold their numbers on the CPU.

Inside `pretended()` every operation on such tensors is checked as a GPU would check it (operands of
two devices may not mix), counted as a launch, and computed on the CPU. What makes the host wait for
the device is noted with its place in the code: values that are read, copies from one side to the
other, and operations whose output's size depends on the content.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Self
from unittest import mock

import torch
import torch.utils._pytree as pytree
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

__all__ = ["DEVICE", "KIND", "LOG", "MixedDevices", "autocast", "pretended", "reason_to_skip"]

KIND = "pretend"
SETUP = getattr(backend_registration, "_setup_privateuseone_for_python_backend", None)

# They read no numbers and write none: nothing is launched for them.
FREE = (
    *("view", "_unsafe_view", "expand", "slice", "select", "transpose", "t.", "unsqueeze"),
    *("squeeze", "split", "unsafe_split", "detach", "permute", "alias", "as_strided", "unbind"),
    *("_reshape_alias", "lift_fresh", "chunk", "narrow", "unfold", "diagonal", "set_"),
    *("empty", "new_empty", "_local_scalar_dense", "resize_"),
)
SIZE_DEPENDS = (
    *("nonzero", "_unique", "unique_", "masked_select", "repeat_interleave.Tensor"),
    *("_local_scalar_dense", "equal.", "is_nonzero"),
)
INDEXED = ("index.Tensor", "_unsafe_index.Tensor", "index_put", "_index_put_impl")
CODE = ("/pops/", "/benchmarks/", "/diffusers/", "/transformers/", "/accelerate/")


def reason_to_skip() -> str | None:
    """Why this build of torch cannot pretend, or None where it can."""
    return None if SETUP else "this torch has no hooks for a device in Python"


class MixedDevices(RuntimeError):
    """An operation has operands on different devices."""


class Log:
    """The operations that were launched, and where the host waited for the device."""

    def __init__(self) -> None:
        self.launches: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()

    def clear(self) -> None:
        """Forget everything."""
        self.launches.clear()
        self.waits.clear()

    def wait(self, why: str) -> None:
        """Note that the host waits, and where in the code it does."""
        self.waits[f"{why} at {_place()}"] += 1


LOG = Log()


class Pretended(torch.Tensor):
    """A tensor on the pretended device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Self:
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[no-any-return, attr-defined]
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(KIND, 0),
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


def _place() -> str:
    """The innermost line of the project, or else of a library that it uses."""
    frame, found = sys._getframe(1), []
    while frame is not None:
        name = frame.f_code.co_filename
        if any(part in name for part in CODE) and "/tests/" not in name:
            found.append((name, frame.f_lineno))
        frame = frame.f_back  # type: ignore[assignment]
    ours = [place for place in found if "site-packages" not in place[0]]
    name, line = (found + ours or [("elsewhere", 0)])[0]
    return f"{'/'.join(name.split('/')[-2:])}:{line}"


def _run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Check, count and compute one operation."""
    name = str(func).removeprefix("aten.")
    flat, spec = pytree.tree_flatten((args, dict(kwargs)))
    tensors = [x for x in flat if isinstance(x, Tensor)]
    there = any(isinstance(x, Pretended) for x in tensors)
    asked = kwargs.get("device")
    if name.startswith(("copy_", "_to_copy", "_copy_from")):
        goal = _copy_goal(name, args, kwargs, asked)
    else:
        _check(name, args, tensors)
        goal = torch.device(asked) if asked is not None else None
        goal = goal or torch.device(KIND if there else "cpu")
        if there and name.startswith(SIZE_DEPENDS):
            LOG.wait(name)
        if goal.type == KIND and not name.startswith(FREE):
            LOG.launches[name] += 1
    cpu = torch.device("cpu")
    here = [cpu if isinstance(x, torch.device) and x.type == KIND else x for x in flat]
    in_args, in_kwargs = pytree.tree_unflatten(
        [x.held if isinstance(x, Pretended) else x for x in here], spec
    )
    in_kwargs.pop("pin_memory", None)
    out = func(*in_args, **in_kwargs)
    if name.startswith("copy_"):
        return args[0]
    if goal.type != KIND:
        return out
    wrapped = pytree.tree_map(lambda x: Pretended(x) if isinstance(x, Tensor) else x, out)
    return return_and_correct_aliasing(func, args, kwargs, wrapped)


def _copy_goal(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], asked: Any
) -> torch.device:
    """Where a copy goes. Between the sides the host waits for it, unless it is told not to."""
    into = name.startswith("copy_")
    source, goal = (args[1], args[0].device) if into else (args[0], asked or args[0].device)
    goal, rest = torch.device(goal), [*args[2:], kwargs.get("non_blocking", False)]
    if source.device.type == KIND and goal.type == "cpu":
        LOG.wait("a copy to the host")
    elif source.device.type == "cpu" and goal.type == KIND and True not in rest:
        LOG.wait("a copy to the device")
    elif KIND in (goal.type, source.device.type):
        LOG.launches["copy"] += 1
    return goal


def _check(name: str, args: Sequence[Any], tensors: Sequence[Tensor]) -> None:
    """MixedDevices unless all operands but single numbers and indices are on one device."""
    if len({isinstance(x, Pretended) for x in tensors}) < 2:
        return
    others = [x for x in tensors if not isinstance(x, Pretended) and x.dim() > 0]
    if name.startswith(INDEXED) and isinstance(args[0], Pretended):
        indices = [x for x in args[1] if x is not None and not isinstance(x, Pretended)]
        for _ in indices:
            LOG.wait("an index that is on the host")
        others = [x for x in others if not any(x is index for index in indices)]
    if others:
        said = ", ".join(f"{x.device.type} {tuple(x.shape)}" for x in tensors)
        raise MixedDevices(f"{name} of {said} at {_place()}")


class _Dispatch(TorchDispatchMode):
    """Sees what makes tensors on the device out of none."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """Lets assigning to `.data`, and `autocast`, work as they do for devices in C++."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        args, kwargs = list(args), dict(kwargs or {})
        if func == Tensor.data.__set__ and isinstance(args[0], Pretended):  # type: ignore[attr-defined]
            args[0].held = args[1].held
        if func is torch.nn.functional.linear and MODULE.autocast is not None:
            args = [x.to(MODULE.autocast) if isinstance(x, Pretended) else x for x in args]
        out = func(*args, **kwargs)
        data = func == Tensor.data.__get__  # type: ignore[attr-defined]
        if data and isinstance(args[0], Pretended) and not hasattr(out, "held"):
            out.held = args[0].held
        return out


ATTENTION = torch.nn.functional.scaled_dot_product_attention


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **rest: Any,
) -> Tensor:
    """Attention as one launch, and one more where the rows of its mask are not aligned."""
    if MODULE.autocast is not None:
        query, key, value = (t.to(MODULE.autocast) for t in (query, key, value))
        if attn_mask is not None and attn_mask.is_floating_point():
            attn_mask = attn_mask.to(MODULE.autocast)
    given = [t for t in (query, key, value, attn_mask) if t is not None]
    if query.device.type != KIND:
        return ATTENTION(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, **rest)
    if {t.device.type for t in given} != {KIND}:
        raise MixedDevices(f"attention of {[t.device.type for t in given]} at {_place()}")
    if len({t.dtype for t in given if t.is_floating_point()}) > 1:
        raise TypeError(f"attention of {[t.dtype for t in given]} at {_place()}")
    before = LOG.launches.copy()
    scores = (query.float() @ key.float().transpose(-2, -1)) * (scale or query.shape[-1] ** -0.5)
    if is_causal:
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~seen, -torch.inf)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask.float()
    out: Tensor = (scores.softmax(-1) @ value.float()).to(query.dtype)
    out = out.transpose(1, 2).contiguous().transpose(1, 2)  # as kernels lay it in memory
    LOG.launches = before
    LOG.launches["attention"] += 1
    if attn_mask is not None and attn_mask.is_floating_point() and attn_mask.stride(-2) % 8:
        LOG.launches["a mask whose rows are not aligned is copied"] += 1
    return out


class _Module:
    """Answers to what torch asks of a device by the name of `torch.pretend`."""

    here = False
    autocast: torch.dtype | None = None  # the format of linear layers

    def is_available(self) -> bool:
        return self.here

    is_initialized = is_available

    def device_count(self) -> int:
        return int(self.here)

    def current_device(self) -> int:
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        """There is no generator on it: all noise is drawn on the CPU."""


MODULE = _Module()
DEVICE: torch.device | None = None
if SETUP is not None:

    class _Hooks(backend_registration._DummyPrivateUse1Hook):  # type: ignore[misc]
        """The device is there inside `pretended()` alone: other tests do not see it."""

        def is_available(self) -> bool:
            return MODULE.here

    SETUP(KIND, backend_module=MODULE, hook=_Hooks())
    DEVICE = torch.device(KIND, 0)


def _inference_mode(enabled: bool) -> Any:
    """Wrapped tensors have no versions in inference mode: no gradients is enough here."""
    return torch.no_grad() if enabled else ExitStack()


@contextmanager
def pretended() -> Iterator[Log]:
    """The device exists inside the block, whose launches and waits are told."""
    patches: list[tuple[object, str, Callable[..., Any]]] = [
        (torch._C, "_InferenceMode", _inference_mode),
        (torch.nn.functional, "scaled_dot_product_attention", _attention),
        (MODULE, "here", True),  # type: ignore[list-item]
    ]
    with ExitStack() as stack:
        for place, name, value in patches:
            stack.enter_context(mock.patch.object(place, name, value))
        lifted = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # a tensor of a list is made, and then moved
        stack.callback(torch._C._set_only_lift_cpu_tensors, lifted)
        # A parameter that moves stays the same object, as on a real device.
        torch.__future__.set_swap_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, False)
        stack.enter_context(_Dispatch())
        stack.enter_context(_Functions())
        LOG.clear()
        yield LOG


@contextmanager
def autocast(dtype: torch.dtype | None) -> Iterator[None]:
    """Compute linear layers in half precision inside the block, as autocast on a GPU does.

    torch's own context needs an entry in C++ for every operation.
    """
    with mock.patch.object(MODULE, "autocast", dtype):
        yield
