"""The machine: versions of libraries, the device that would be chosen and why, memory and disk."""

from __future__ import annotations

import os
import platform
import shutil
from contextlib import suppress
from importlib import metadata, util
from pathlib import Path

import torch
from packaging.requirements import InvalidRequirement, Requirement

from pops import DISTRIBUTION, __version__
from pops.doctor.lines import ReportLine, gigabytes
from pops.io.machine.placement import Placement, has_bfloat16

__all__ = ["device", "disk", "free_memory", "memory", "number_format", "versions"]

SHOWN = ("torch", "transformers", "diffusers", "huggingface_hub")
TORCH_PAGE = "https://pytorch.org/get-started/locally"


def versions() -> list[ReportLine]:
    """Compare the installed libraries with what pops requires.

    Returns:
        A line of all libraries, and one for torchvision where it is installed.
    """
    known = ", ".join(f"{name} {metadata.version(name)}" for name in SHOWN)
    says = f"pops {__version__}, Python {platform.python_version()}, {known}"
    wrong = _unmet()
    advice = f"pip install {' '.join(repr(one) for one in wrong)}" if wrong else ""
    return [ReportLine("versions", says, advice), *_torchvision()]


def _unmet() -> list[str]:
    """List the requirements of pops that the installed libraries do not meet."""
    found = []
    with suppress(metadata.PackageNotFoundError, InvalidRequirement):
        for written in metadata.requires(DISTRIBUTION) or ():
            wanted = Requirement(written)
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
                continue
            try:
                here = metadata.version(wanted.name)
            except metadata.PackageNotFoundError:
                found.append(str(wanted))
                continue
            if not wanted.specifier.contains(here, prereleases=True):
                found.append(f"{wanted.name}{wanted.specifier}")
    return found


def _torchvision() -> list[ReportLine]:
    """Check that torchvision, which transformers uses where it is installed, fits torch."""
    if util.find_spec("torchvision") is None:
        return []
    version = metadata.version("torchvision")
    try:
        import torchvision  # type: ignore[import-not-found, import-untyped, unused-ignore] # noqa: F401
    except Exception as error:  # its libraries may be built for another torch
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        says = f"{version} does not fit torch {torch.__version__} ({reason})"
        return [
            ReportLine("torchvision", says, "pip uninstall torchvision, which pops does not need")
        ]
    return [ReportLine("torchvision", f"{version} fits torch")]


def device(placement: Placement, asked: str) -> ReportLine:
    """Tell which device would be used, and why.

    Args:
        placement: what was chosen.
        asked: the device that the user named, or `auto`.

    Returns:
        The line.
    """
    chosen = placement.device
    why = "asked for" if asked != "auto" else "the first of cuda, mps and cpu that is here"
    if chosen.type == "cuda":
        name = torch.cuda.get_device_name(chosen)
        return ReportLine("device", f"{chosen}: {name}, {why}")
    if chosen.type != "cpu" or asked == "cpu":
        return ReportLine("device", f"{chosen}: {why}")
    if torch.version.cuda is None and shutil.which("nvidia-smi"):
        says = f"cpu: there is an NVIDIA card, but torch {torch.__version__} is built without CUDA"
        return ReportLine("device", says, f"install a torch with CUDA, see {TORCH_PAGE}")
    return ReportLine("device", f"cpu ({os.cpu_count()} cores): torch sees no GPU")


def number_format(placement: Placement, asked: str) -> ReportLine:
    """Tell which number format would be used, and why.

    Args:
        placement: what was chosen.
        asked: the format that the user named, or `auto`.

    Returns:
        The line.
    """
    name, on_cpu = placement.number_format, placement.device.type == "cpu"
    emulated = placement.dtype == torch.bfloat16 and not has_bfloat16(placement.device)
    if asked == "auto":
        why = "the exact one, for a CPU" if on_cpu else "half the memory, on every GPU"
        return ReportLine("number format", f"{name}: {why}")
    if on_cpu and (emulated or placement.dtype == torch.float16):
        return ReportLine("number format", f"{name} is slow on this CPU", "use --dtype float32")
    if emulated:
        return ReportLine(
            "number format", f"{name} is emulated by this device", "use --dtype float16"
        )
    return ReportLine("number format", f"{name}: asked for")


def free_memory(where: torch.device) -> int | None:
    """Find how much memory a device has left.

    Args:
        where: the device.

    Returns:
        The bytes; None where that cannot be told.
    """
    if where.type == "cuda":
        return int(torch.cuda.mem_get_info(where)[0])
    return _host_memory()


def _host_memory() -> int | None:
    """Find the memory that the system says is available, and no more than a container may take."""
    found: list[int] = []
    with suppress(OSError, ValueError, IndexError):
        rows = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        found += [int(row.split()[1]) * 1024 for row in rows if row.startswith("MemAvailable")]
    with suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        most, used = (
            (group / f"memory.{name}").read_text(encoding="utf-8") for name in ("max", "current")
        )
        found.append(int(most) - int(used))
    if not found:
        with suppress(OSError, ValueError, AttributeError):  # a Mac tells only the whole
            found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(found, default=None)


def memory(placement: Placement, whole: int, largest: int, work: int) -> ReportLine:
    """Compare the free memory with what the models need.

    Args:
        placement: where and how they would run.
        whole: the bytes of all models in their number format.
        largest: the bytes of the largest model.
        work: the bytes that the work takes beside them.

    Returns:
        The line.
    """
    where = placement.device
    need = (largest if placement.offload and where.type != "cpu" else whole) + work
    free = free_memory(where)
    said = "how much is free cannot be told here" if free is None else f"{gigabytes(free)} free"
    says = f"{said} on {where}, about {gigabytes(need)} needed ({gigabytes(work)} to work in)"
    if free is None or free >= need:
        return ReportLine("memory", says)
    ways = []
    if where.type != "cpu" and not placement.offload and free >= largest + work:
        ways.append("use --offload model")
    if where.type != "cpu" and placement.weight_bytes == 4 and free >= need / 2:
        ways.append("use --dtype float16")
    elif placement.weight_bytes > 1 and free >= need / placement.weight_bytes:
        ways.append("use --dtype int8")
    ways.append("close other programs, or use a machine with more")
    return ReportLine("memory", says, " or ".join(ways[:2]))


def disk(place: Path, needed: int) -> ReportLine:
    """Compare the free disk with what is still to be fetched.

    Args:
        place: the folder that downloads go to; it need not exist.
        needed: the bytes that are still to be fetched.

    Returns:
        The line.
    """
    home = next(folder for folder in (place, *place.absolute().parents) if folder.exists())
    free = shutil.disk_usage(home).free
    wanted = f"{gigabytes(needed)} still to be fetched" if needed else "nothing to be fetched"
    says = f"{gigabytes(free)} free in {place}, {wanted}"
    advice = "make room, or set HF_HOME to another place" if free < needed else ""
    return ReportLine("disk", says, advice)
