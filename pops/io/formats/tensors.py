"""Read and write files of tensors: no code runs, nothing is larger than its file, all is finite."""

from __future__ import annotations

import json
import pickle
import pickletools
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pops.errors import OutputError, PopsError, WeightsError
from pops.io.files import atomic_path, check_file

__all__ = ["check_finite", "is_finite", "read_pickle", "read_tensors", "save_tensors", "saving"]

# All that a file of plain tensors needs to name; torch's own list can allocate what it pleases.
PLAIN = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_tensor_v3",
    "torch._utils _rebuild_parameter",
    "torch Size",
}
LEGACY_PICKLES = 4  # of the format before zip files: three of its own, then the content
CALLS = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}


def save_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a `.safetensors` file, whole or not at all; equal content gives equal bytes.

    Args:
        path: The file to write.
        tensors: Tensors by name, on any device.
        metadata: Texts by name, kept in the file's header.

    Raises:
        OutputError: A number is not finite, or the place cannot be written.
    """
    check_finite(tensors, str(path), OutputError)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path, suffix=".part") as part, saving(Path(path)):
        save_file(plain, part, metadata=dict(metadata or {"format": "pt"}))
        _sort_metadata(part)


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Turn any error of a library that writes a file into one line that names the file.

    Args:
        path: The file that is written inside the block.

    Yields:
        Nothing.

    Raises:
        OutputError: The file cannot be written, most often for lack of room.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(_cannot_write(path, error.strerror or str(error))) from error
    except (SafetensorError, RuntimeError) as error:  # raised by safetensors and by torch.save
        raise OutputError(_cannot_write(path, str(error))) from error


def _cannot_write(path: Path, reason: str) -> str:
    if "enforce fail" in reason:  # where torch could write only a part, its reason says nothing
        reason = "only a part of it could be written"
    first = (reason.strip() or "it is not known why").splitlines()[0][:200]
    return f"cannot write {path}: {first[0].lower()}{first[1:]}; make room or choose another place"


def _sort_metadata(path: Path) -> None:
    """Put the texts of a header in order of their names: the library writes them in a random one.

    The header is the length of its JSON, in 8 bytes, and the JSON.
    """
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        content = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(content) > size:
            raise ValueError(f"the header of {path} does not fit its place")
        file.seek(8)
        file.write(content.ljust(size))


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a `.safetensors` file, or of a file written by `torch.save`.

    Args:
        path: The file; one that does not end in `.safetensors` must hold tensors by name.

    Returns:
        The tensors by name, on the CPU; those of a zip file are mapped from it.

    Raises:
        WeightsError: The file is missing, cut short, holds anything but plain tensors, or a number
            that is not finite.
    """
    path = Path(path)
    check_file(path, WeightsError, ": name an operator folder or a weights file")
    try:
        if path.suffix.lower() == ".safetensors":
            state: Any = load_file(path)
        else:
            state = read_pickle(path)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is refused, since it holds more than plain tensors or is not a weights "
            "file: name a .safetensors file"
        ) from error
    except Exception as error:  # the readers raise almost anything on a damaged file
        raise WeightsError(
            f"{path} is cut short or is not a weights file: fetch it again"
        ) from error
    named = isinstance(state, Mapping) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    )
    if not named:
        raise WeightsError(f"{path} holds no state dict (tensors by name): name another file")
    check_finite(state, str(path), WeightsError)
    return dict(state)


def check_finite(tensors: Mapping[str, Tensor], source: str, error: type[PopsError]) -> None:
    """Refuse tensors that hold NaN or an infinite number.

    Args:
        tensors: Tensors by name; those of whole numbers pass.
        source: Names the tensors in the error, such as their file.
        error: The kind of error to raise.

    Raises:
        PopsError: Of the type `error`, naming the first tensor that is not finite.
    """
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise error(f"{source}: {name} holds numbers that are not finite (NaN or infinite)")


def is_finite(tensor: Tensor) -> bool:
    """Tell whether no number of a tensor is NaN or infinite, in one pass without a copy.

    Args:
        tensor: A tensor of any shape and number format.

    Returns:
        True where all numbers are finite, and for whole numbers.
    """
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    values = tensor if tensor.dtype.itemsize > 1 else tensor.float()  # 8 bits know no arithmetic
    low, high = torch.aminmax(values.detach())
    return bool(low.isfinite() and high.isfinite())


def read_pickle(
    path: Path, known: Mapping[str, Callable[..., Any]] | None = None, *, mapped: bool = True
) -> Any:
    """Read a file written by `torch.save` that holds plain tensors, numbers, texts and lists.

    Args:
        path: The file, as a zip archive or in the format before it.
        known: Further names that its pickle may call, `module.name`, and what stands in for them.
        mapped: Whether the tensors of a zip archive stay in it, and are read as they are used.

    Returns:
        The content.

    Raises:
        pickle.UnpicklingError: The file names anything else.
        Exception: Of almost any kind, where the file is damaged.
    """
    allowed: list[Any] = [(stand_in, name) for name, stand_in in (known or {}).items()]
    zipped = zipfile.is_zipfile(path)
    _check_names(path, zipped, {name.replace(".", " ") for name in known or ()})
    with torch.serialization.safe_globals(allowed):
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped and mapped)
    _check_sizes(_tensors_in(content), path.stat().st_size)
    return content


def _check_names(path: Path, zipped: bool, known: set[str]) -> None:
    """Raise UnpicklingError unless all that the pickles of a file call is known and plain."""
    if zipped:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise pickle.UnpicklingError("compressed: it may be larger than memory")
            for entry in entries:
                if entry.filename.endswith(".pkl"):
                    with archive.open(entry) as file:
                        _check_calls(file, known)
    else:
        with path.open("rb") as file:
            for _ in range(LEGACY_PICKLES):
                _check_calls(file, known)


def _check_calls(file: Any, known: set[str]) -> None:
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in CALLS:
            raise pickle.UnpicklingError(f"{opcode.name} is not allowed")
        if opcode.name == "GLOBAL" and not _is_plain(str(argument), known):
            raise pickle.UnpicklingError(f"{argument} is not allowed")


def _is_plain(name: str, known: set[str]) -> bool:
    if name in PLAIN or name.replace(".", " ") in known:
        return True
    module, _, last = name.partition(" ")
    storage = last.endswith("Storage") and module in ("torch", "torch.storage")
    return storage or (module == "torch" and isinstance(getattr(torch, last, None), torch.dtype))


def _tensors_in(content: Any) -> Iterable[Tensor]:
    """Yield the tensors in nested dictionaries and lists, each once."""
    seen: set[int] = set()
    todo = [content]
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, Mapping):
            todo += value.values()
        elif isinstance(value, list | tuple):
            todo += value


def _check_sizes(tensors: Iterable[Tensor], room: int) -> None:
    """Raise ValueError unless every tensor is plain, and all are held by so many bytes."""
    storages: dict[int, int] = {}
    for tensor in tensors:
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise ValueError(f"it holds a tensor of the kind {tensor.layout}, which is not plain")
        storage = tensor.untyped_storage()
        if tensor.numel() * tensor.itemsize > storage.nbytes():
            raise ValueError("one of its tensors is larger than the numbers that it holds")
        storages[storage.data_ptr()] = storage.nbytes()
    if sum(storages.values()) > room:
        raise ValueError("its tensors are larger than the file")
