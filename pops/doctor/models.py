"""The models of a stack: which are here, which will be fetched, and whether they fit the code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from pops.doctor.lines import ReportLine
from pops.errors import PopsError, WeightsError
from pops.io.hub.asking import check_reachable
from pops.io.hub.repositories import PART_FILES, REPOSITORIES, Repository
from pops.io.hub.snapshots import cached_folder, is_repository
from pops.io.loading import check_config, quietly, reading
from pops.io.names import expand_home, shown_files
from pops.prior.model import Prior, read_prior_config
from pops.prior.schedule import read_schedule
from pops.stacks.clip import check_processor, check_tokenizer
from pops.stacks.spec import StackSpec
from pops.stacks.vision import ImageProcessor

__all__ = [
    "PARTS",
    "StackPart",
    "check_part",
    "find_parts",
    "hub_line",
    "numbers_of",
    "operators_line",
    "part_line",
]

# The parts of a stack that each renderer needs beside the prior and the operators.
PARTS = {
    "kandinsky": ("decoder",),
    "ip_adapter": ("sdxl", "ip_adapter"),
    "depth": ("sdxl", "ip_adapter", "controlnet", "dpt", "sdxl_vae"),
    "find": (),
    "revision": ("sdxl",),
    "img2img": ("decoder",),
    "inpaint": ("inpaint_decoder",),
    "kandinsky_depth": ("depth_decoder", "dpt"),
    "stable_unclip": ("decoder",),
}
MODELS = {
    "prior": {
        "image_encoder": "transformers:CLIPVisionModelWithProjection",
        "text_encoder": "transformers:CLIPTextModelWithProjection",
        "prior": "",  # of pops itself
    },
    "decoder": {
        "unet": "diffusers:UNet2DConditionModel",
        "movq": "diffusers:VQModel",
    },
}
STABLE_UNCLIP = {
    "unet": "diffusers:UNet2DConditionModel",
    "vae": "diffusers:AutoencoderKL",
}
# The numbers that the models of Kandinsky 2.2 hold, as the headers of their files say.
PUBLISHED = {
    "image_encoder": 1_844_907_264,
    "text_encoder": 694_659_840,
    "prior": 1_026_225_920,
    "unet": 1_253_057_288,
    "movq": 67_832_495,
}
HALF = 2  # bytes of a number in the files of SDXL and what is used with it
SHOWN = 3  # names of tensors in a message
OLD_BUFFERS = "position_ids"  # that files of older versions hold, and models no longer
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class StackPart:
    """One part of a stack, and where it is.

    Args:
        name: its name, a field of `StackSpec`.
        place: the folder or repository that the stack names.
        folder: the local folder; None where it is still to be fetched, or missing.
    """

    name: str
    place: str
    folder: Path | None

    @property
    def repository(self) -> Repository | None:
        """The facts about its repository; None where it is a folder."""
        if expand_home(self.place).is_dir() or not is_repository(self.place):
            return None
        return REPOSITORIES.get(self.place, Repository(self.place))

    @property
    def models(self) -> Mapping[str, str]:
        """The classes of its models by their folders; none for a part that pops does not check."""
        own = MODELS.get(self.name, {})
        if self.folder is None or self.name != "decoder":
            return own
        return STABLE_UNCLIP if (self.folder / "image_normalizer").is_dir() else own

    @property
    def to_fetch(self) -> int:
        """The bytes that are still to be fetched."""
        return self.repository.bytes if self.repository and self.folder is None else 0


def find_parts(spec: StackSpec, renderer: str) -> list[StackPart]:
    """Find where the parts of a stack are, without any network.

    Args:
        spec: the places of the parts.
        renderer: the name of the renderer.

    Returns:
        The prior, and the parts that the renderer needs.
    """
    parts = []
    for name in ("prior", *PARTS.get(renderer, ())):
        place = getattr(spec, name)
        folder: Path | None = expand_home(place)
        if folder is not None and not folder.is_dir():
            folder = cached_folder(place, PART_FILES[name]) if is_repository(place) else None
        parts.append(StackPart(name, place, folder))
    return parts


def part_line(part: StackPart) -> ReportLine:
    """Say where a part is, or what fetching it will take.

    Args:
        part: the part.

    Returns:
        The line.
    """
    source = part.repository
    if source is None:
        if part.folder is None:
            return ReportLine(
                part.name, f"{part.place} is missing", "build or copy the stack again"
            )
        return ReportLine(part.name, f"in {part.folder}")
    named = f"{source.name}@{source.revision[:8]}"
    if part.folder is not None:
        return ReportLine(part.name, f"{named} is in the hub's cache ({source.licence})")
    says = f"{named} will be fetched at first use: {source.size}, {source.licence}"
    return ReportLine(part.name, says)


def operators_line(spec: StackSpec, names: Iterable[str]) -> tuple[ReportLine, int]:
    """Say which operators are here, and what fetching another takes.

    Args:
        spec: the places of the parts.
        names: the names of the operators that are known.

    Returns:
        The line, and the bytes of one operator that is still to be fetched.
    """
    home = expand_home(spec.operators)
    if home.is_dir() or not is_repository(spec.operators):
        own = [n for n in names if any((home / p).exists() for p in (n, f"models/{n}"))]
        if own:
            return ReportLine("operators", f"{', '.join(own)} in {home}"), 0
        return ReportLine(
            "operators", f"none in {home}", "train one, or name others by --weights"
        ), 0
    source = REPOSITORIES.get(spec.operators, Repository(spec.operators))
    files = {name: f"models/{name}/learned_prior.pth" for name in names}
    here = [name for name, file in files.items() if cached_folder(spec.operators, [file])]
    says = f"{', '.join(here) or 'none'} in the hub's cache; each other one is fetched at first use"
    says += f" from {source.name} ({source.size}, {source.licence})"
    return ReportLine("operators", says), 0 if here else source.bytes


def hub_line(parts: Iterable[StackPart]) -> ReportLine:
    """Ask the hub for what is still to be fetched.

    Args:
        parts: the parts of the stack.

    Returns:
        The line; nothing is asked where nothing is to be fetched.
    """
    missing = [part.repository for part in parts if part.folder is None and part.repository]
    if not missing:
        return ReportLine("hub", "not needed: all is here")
    try:
        for source in missing:
            check_reachable(source)
    except WeightsError as error:
        says, _, advice = str(error).partition(": ")
        return ReportLine("hub", says, advice)
    return ReportLine("hub", "answers, and has what is to be fetched")


def numbers_of(parts: Iterable[StackPart]) -> dict[str, int]:
    """Count the numbers that each model holds, without loading it.

    Args:
        parts: the parts of the stack.

    Returns:
        The counts by model; those of a part that is not here are as published.
    """
    counts: dict[str, int] = {}
    for part in parts:
        for model in part.models or {"": ""}:
            name = model or part.name
            if part.folder is not None:
                shapes = _file_shapes(part.folder / model).values()
                counts[name] = sum(torch.Size(shape).numel() for shape in shapes)
            else:
                counts[name] = PUBLISHED.get(name, part.to_fetch // HALF)
    return counts


def check_part(part: StackPart) -> ReportLine | None:
    """Read the configs of a part and compare the models they describe with the files beside them.

    No weights are read.

    Args:
        part: the part.

    Returns:
        The line; None for a part that is not here, or whose models are those of another library.
    """
    if part.folder is None or not part.models:
        return None
    what = f"{part.name} configs"
    try:
        found = list(_check_models(part, part.folder))
    except PopsError as error:
        return ReportLine(what, str(error), "fetch or build this part again")
    return ReportLine(what, f"read; they fit the files: {', '.join(found)}")


def _check_models(part: StackPart, home: Path) -> Iterator[str]:
    """Check each model of a part; its name and size where it fits. WeightsError where not."""
    for model, kind in part.models.items():
        folder = home / model
        weights = sum(path.stat().st_size for path in shown_files(folder.glob("*.safetensors")))
        check_config(folder / "config.json", weights)
        with torch.device("meta"), reading(folder), quietly():
            made = _from_config(kind, folder)
        expected = {key: tuple(tensor.shape) for key, tensor in made.state_dict().items()}
        numbers = _check_shapes(folder, expected)
        yield f"{model.replace('_', ' ')} ({numbers / 1e6:,.0f} million numbers)"
        if model == "image_encoder":
            _check_processor(home / "image_processor", made.config.image_size)
        if model == "text_encoder":
            _check_tokenizer(home / "tokenizer", made.config.vocab_size)
        if model == "prior":
            read_schedule(home / "scheduler")
    if part.name == "decoder":
        check_config(home / "scheduler" / "scheduler_config.json")


def _from_config(kind: str, folder: Path) -> Any:
    if not kind:
        return Prior(read_prior_config(folder))
    library, _, name = kind.partition(":")
    found = getattr(import_module(library), name)
    if library == "transformers":
        return found(found.config_class.from_pretrained(folder, local_files_only=True))
    return found.from_config(found.load_config(folder, local_files_only=True))


def _check_shapes(folder: Path, expected: Shapes) -> int:
    """Compare names and shapes of tensors with those of the files; how many numbers they hold."""
    found = _file_shapes(folder)
    wrong = sorted(key for key, shape in expected.items() if found.get(key) != shape)
    wrong += sorted(k for k in set(found) - set(expected) if not k.endswith(OLD_BUFFERS))
    if wrong:
        named = ", ".join(wrong[:SHOWN]) + ", ..." * (len(wrong) > SHOWN)
        raise WeightsError(f"{folder}: {len(wrong)} tensors do not fit its config ({named})")
    return sum(torch.Size(shape).numel() for shape in expected.values())


def _file_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Read the names and shapes of the tensors of a folder, from the headers of its files."""
    files = shown_files(folder.rglob("*.safetensors"))
    plain = [path for path in files if ".fp16." not in path.name]
    shapes: dict[str, tuple[int, ...]] = {}
    for path in plain or files:
        with reading(path), safe_open(path, framework="pt") as file:
            shapes |= {key: tuple(file.get_slice(key).get_shape()) for key in list(file.keys())}
    return shapes


def _check_processor(folder: Path, side: int) -> None:
    processor = ImageProcessor.read(folder)
    with reading(folder):
        check_processor(processor, side)


def _check_tokenizer(folder: Path, words: int) -> None:
    from transformers import CLIPTokenizer

    with reading(folder), quietly():
        check_tokenizer(CLIPTokenizer.from_pretrained(folder, local_files_only=True), words)
