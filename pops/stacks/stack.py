"""Open stacks, the frozen models of one embedding space, by name or by folder.

A stack is two folders in the layout of Kandinsky 2.2 and, where there are any, its operators:

    prior/      image_encoder  image_processor  text_encoder  tokenizer  prior  scheduler
    decoder/    unet  movq  scheduler  [render.json]
    operators/  NAME/operator.json + prior.safetensors, or in its place an adapter's files, or
                own.safetensors where several share one prior.safetensors beside their folders;
                or models/NAME/learned_prior.pth

The models of the other renderers may lie beside them: sdxl, sdxl_vae, ip_adapter, controlnet and
dpt. Where they do not, they are those of the hub.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import safe_open
from torch import Tensor, nn

from pops.errors import UsageError, WeightsError, check_known, nearest
from pops.io.formats.schema import RenderFile, read_json
from pops.io.formats.tensors import check_finite
from pops.io.hub.repositories import PART_FILES
from pops.io.hub.snapshots import fetch, fetch_file, is_repository
from pops.io.loading import check_config, load_model, reading
from pops.io.machine.placement import HOST, Placement, choose_placement
from pops.io.names import expand_home
from pops.operators import (
    Operator,
    check_state_dict,
    find_operator_folders,
    known_operators,
    read_operator_card,
    read_state_dict,
    without_stats,
)
from pops.prior.adapters import ADAPTER_CONFIG, Adapter
from pops.prior.int8 import round_to_int8
from pops.prior.joint import OWN_WEIGHTS, SHARED_WEIGHTS, read_own
from pops.prior.model import Prior, PriorConfig, read_prior_config
from pops.prior.schedule import Schedule, read_schedule
from pops.settings.rendering import DecoderSettings
from pops.stacks.clip import ImageEncoder, TextEncoder, check_processor, check_tokenizer
from pops.stacks.known import KnownWords, read_known

if TYPE_CHECKING:
    from diffusers import DDPMScheduler, UNet2DConditionModel, VQModel

__all__ = [
    "PRIOR_WEIGHTS",
    "STACKS",
    "WEIGHTS",
    "Stack",
    "StackSpec",
    "local_path",
    "open_stack",
]

WEIGHTS = Path(__file__).parents[1] / "pocket" / "weights"
Part = TypeVar("Part")
Model = TypeVar("Model", bound=nn.Module)
PRIOR_WEIGHTS = "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class StackSpec:
    """Where a stack lives: each part a folder, or a repository of the hub."""

    name: str
    prior: str
    decoder: str
    operators: str
    sdxl: str = "stabilityai/stable-diffusion-xl-base-1.0"
    sdxl_vae: str = "madebyollin/sdxl-vae-fp16-fix"
    ip_adapter: str = "h94/IP-Adapter"
    controlnet: str = "diffusers/controlnet-depth-sdxl-1.0"
    dpt: str = "Intel/dpt-hybrid-midas"
    index: str = ""  # a folder that pops index wrote, for the renderer `find`
    sdxl_config: str = "stabilityai/stable-diffusion-xl-base-1.0"  # sizes of a single-file sdxl
    inpaint_decoder: str = "kandinsky-community/kandinsky-2-2-decoder-inpaint"
    depth_decoder: str = "kandinsky-community/kandinsky-2-2-controlnet-depth"


STACKS = {
    spec.name: spec
    for spec in (
        StackSpec(
            "pocket", str(WEIGHTS / "prior"), str(WEIGHTS / "decoder"), str(WEIGHTS / "operators")
        ),
        StackSpec(
            "kandinsky-2.2",
            "kandinsky-community/kandinsky-2-2-prior",
            "kandinsky-community/kandinsky-2-2-decoder",
            "pOpsPaper/operators",
        ),
    )
}
# Known without a download, so that an operator's weights can be checked without it.
PRIOR_CONFIGS = {"kandinsky-community/kandinsky-2-2-prior": PriorConfig()}


def open_stack(
    stack: str | Path = "pocket",
    *,
    device: str = "auto",
    dtype: str = "auto",
    offload: str = "none",
    compiled: bool = False,
    operator_folders: Iterable[str | Path] = (),
    **parts: str | Path | None,
) -> Stack:
    """Open a stack by name or by folder. Nothing is loaded yet.

    Args:
        stack: the name of a stack, or a folder in the layout of one.
        device: where its models run.
        dtype: the number format of its models.
        offload: with "model", each model is on the device only while it is used.
        compiled: whether prior and decoder are compiled.
        operator_folders: operators that are known by name beside those of the stack.
        parts: what replaces fields of its `StackSpec`.

    Returns:
        The stack.

    Raises:
        UsageError: the stack is unknown, with the nearest name, an operator folder is none, or
            nothing can be compiled here.
    """
    given = {name: str(place) for name, place in parts.items() if place is not None}
    return Stack(
        replace(_find_spec(stack), **given),
        choose_placement(device, dtype, offload, compiled),
        find_operator_folders(operator_folders),
    )


def _find_spec(stack: str | Path) -> StackSpec:
    if str(stack) in STACKS:
        return STACKS[str(stack)]
    folder = expand_home(stack)
    if folder.is_dir():
        if not (folder / "prior").is_dir():
            raise WeightsError(f"{folder} is no stack: it has no folder named prior")
        own = {part: str(folder / part) for part in PART_FILES if (folder / part).is_dir()}
        needed = {part: str(folder / part) for part in ("prior", "decoder", "operators")}
        return StackSpec(folder.resolve().name, **(own | needed))
    raise UsageError(
        f"unknown stack {str(stack)!r}{nearest(str(stack), STACKS)} "
        f"(name one of {', '.join(STACKS)}, or a folder)"
    )


@dataclass(frozen=True)
class Stack:
    """The parts of a stack, each loaded when first used.

    Every part raises WeightsError where its files are missing, damaged, or of another kind.

    Attributes:
        spec: Where the parts are.
        placement: Where and in which number format they run.
        operator_folders: Operators known by name beside those of the stack.
    """

    spec: StackSpec
    placement: Placement
    operator_folders: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def holding(cls, name: str, placement: Placement, **parts: Any) -> Stack:
        """Make a stack of parts that are loaded already. It has no files.

        Args:
            name: The name of the stack.
            placement: Where and in which number format the parts run.
            parts: The parts by the names of this class's properties: image_encoder, schedule, ...

        Returns:
            The stack.
        """
        stack = cls(StackSpec(name, "", "", ""), placement)
        stack.__dict__.update(parts)  # where cached_property looks first
        return stack

    @property
    def name(self) -> str:
        """The name of the stack."""
        return self.spec.name

    @property
    def device(self) -> torch.device:
        """The device where its models run."""
        return self.placement.device

    @cached_property
    def prior_folder(self) -> Path:
        """The local folder of encoders, base prior and its scheduler."""
        return self.folder("prior")

    @cached_property
    def decoder_folder(self) -> Path:
        """The local folder of the decoder."""
        return self.folder("decoder")

    @cached_property
    def prior_config(self) -> PriorConfig:
        """The sizes of the prior."""
        if self.spec.prior in PRIOR_CONFIGS and not Path(self.spec.prior).is_dir():
            return PRIOR_CONFIGS[self.spec.prior]
        return read_prior_config(self.prior_folder / "prior")

    @cached_property
    def known_words(self) -> KnownWords | None:
        """The words that its text encoder was trained on; None where the stack does not say."""
        return read_known(self.prior_folder)

    @cached_property
    def schedule(self) -> Schedule:
        """The noise schedule of the prior."""
        return read_schedule(self.prior_folder / "scheduler")

    @cached_property
    def render_settings(self) -> DecoderSettings:
        """The decoder's own `render.json`, or the published 50 steps, guidance 4, 512 pixels."""
        own = self._render_file
        return DecoderSettings(own.steps, own.guidance, own.size)

    @property
    def render_sizes(self) -> tuple[int, ...]:
        """The sizes that the decoder was trained to draw; empty where it draws any."""
        return self._render_file.sizes

    @cached_property
    def _render_file(self) -> RenderFile:
        path = self.decoder_folder / "render.json"
        return read_json(path, RenderFile, WeightsError) if path.is_file() else RenderFile()

    @cached_property
    def image_encoder(self) -> ImageEncoder:
        """The CLIP image encoder with its processor."""
        from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

        model = self.model(CLIPVisionModelWithProjection, self.prior_folder / "image_encoder")
        folder = self.prior_folder / "image_processor"
        check_config(folder / "preprocessor_config.json")
        with reading(folder):
            processor = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
            check_processor(processor, model.config.image_size)
        return ImageEncoder(model, processor)

    @cached_property
    def text_encoder(self) -> TextEncoder:
        """The CLIP text encoder with its tokenizer."""
        from transformers import CLIPTextModelWithProjection, CLIPTokenizer

        model = self.model(CLIPTextModelWithProjection, self.prior_folder / "text_encoder")
        folder = self.prior_folder / "tokenizer"
        with reading(folder):
            tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            check_tokenizer(tokenizer, model.config.vocab_size)
        return TextEncoder(model, tokenizer)

    @cached_property
    def unet(self) -> UNet2DConditionModel:
        """The network of the decoder."""
        from diffusers import UNet2DConditionModel

        return self.model(UNet2DConditionModel, self.decoder_folder / "unet")

    @cached_property
    def movq(self) -> VQModel:
        """The autoencoder of the decoder."""
        from diffusers import VQModel

        return self.model(VQModel, self.decoder_folder / "movq")

    @cached_property
    def decoder_scheduler(self) -> DDPMScheduler:
        """The noise schedule of the decoder, as diffusers keeps it."""
        from diffusers import DDPMScheduler

        folder = self.decoder_folder / "scheduler"
        check_config(folder / "scheduler_config.json")
        with reading(folder):
            scheduler: DDPMScheduler = DDPMScheduler.from_pretrained(folder, local_files_only=True)
        return scheduler

    def shared(self, load: Callable[[Stack], Part]) -> Part:
        """Load a part that several renderers share once, and keep it.

        Args:
            load: Makes the part from this stack; the part is kept under this function.

        Returns:
            The part.
        """
        if load not in self._shared:
            self._shared[load] = load(self)
        part: Part = self._shared[load]
        return part

    @cached_property
    def _shared(self) -> dict[Callable[[Stack], Any], Any]:
        return {}

    @cached_property
    def clip_stats(self) -> dict[str, Tensor]:
        """`clip_mean` and `clip_std` (1, D) float32, read from the base prior without the rest."""
        path = self.prior_folder / "prior" / PRIOR_WEIGHTS
        with reading(path), safe_open(path, framework="pt") as file:
            stats = {key: file.get_tensor(key).float() for key in ("clip_mean", "clip_std")}
        check_finite(stats, str(path), WeightsError)
        return stats

    @cached_property
    def base_prior(self) -> Prior:
        """The base prior, which all adapters share."""
        return self.prior(self.base_prior_state(), str(self.prior_folder / "prior"))

    def base_prior_state(self) -> dict[str, Tensor]:
        """Read the base prior's tensors, from which an operator's training can start.

        Returns:
            The tensors by name, without the clip statistics.
        """
        return read_state_dict(self.prior_folder / "prior" / PRIOR_WEIGHTS)

    @cached_property
    def operators(self) -> dict[str, Operator]:
        """The rows of all operators that are known by name."""
        home = expand_home(self.spec.operators)
        own = [card.parent for card in sorted(home.glob("*/operator.json"))]
        folders = {**find_operator_folders(own), **self.operator_folders}
        return known_operators(folders.values())

    def operator_row(self, name: str, weights: str | Path | None = None) -> Operator:
        """Find the row of an operator; nothing is loaded or downloaded.

        Args:
            name: The name of an operator, or an operator folder.
            weights: An operator folder or a weights file in place of the stack's own.

        Returns:
            The row of the operator's folder where it has one here, else that of the table.

        Raises:
            UsageError: The operator is unknown, or the folder holds another.
            WeightsError: The card is damaged, or of another stack.
        """
        folder = _operator_folder(name) or _operator_folder(weights)
        own = self.operator_folders.get(name) or _operator_folder(Path(self.spec.operators) / name)
        if folder is None and (weights is not None or own is None):
            check_known("operator", name, self.operators)
            return self.operators[name]
        card = read_operator_card(folder or own or "")
        if card.stack != self.name and {card.stack, self.name} <= set(STACKS):
            raise WeightsError(
                f"{folder or own} is of the stack {card.stack}, not {self.name}: "
                f"use --stack {card.stack}"
            )
        if name != card.operator.name and _operator_folder(name) is None:
            raise UsageError(f"{folder} holds {card.operator.name}, not {name}")
        return card.operator

    def operator(self, name: str, weights: str | Path | None = None) -> tuple[Operator, Prior]:
        """Load an operator.

        Args:
            name: The name of an operator, or an operator folder.
            weights: An operator folder or a weights file in place of the stack's own.

        Returns:
            Its row, as `operator_row` finds it, and its tuned prior.

        Raises:
            UsageError: The operator is unknown, or the folder holds another.
            WeightsError: The weights are missing, damaged, not finite, or do not fit.
        """
        row = self.operator_row(name, weights)
        place = weights if weights is not None else _operator_folder(name)
        path = self.operator_path(row.name) if place is None else local_path(place)
        return row, self.tuned_prior(path)

    def tuned_prior(self, path: Path) -> Prior:
        """Load the prior of an operator.

        Adapters share the tensors of the base prior, and operators that were trained jointly those
        of their common prior: each adds only its own.

        Args:
            path: An operator folder or a weights file.

        Returns:
            The prior.

        Raises:
            WeightsError: The weights are missing, damaged, not finite, or do not fit.
        """
        if (path / ADAPTER_CONFIG).is_file():
            prior = self.base_prior.sharing()
            Adapter.read(path).put_into(prior)
            return prior.requires_grad_(False).eval()
        if (path / OWN_WEIGHTS).is_file():
            return self._one_of_joint(path)
        path = path / "prior.safetensors" if path.is_dir() else path
        return self.prior(read_state_dict(path), str(path))

    def _one_of_joint(self, folder: Path) -> Prior:
        shared = folder.resolve().parent / SHARED_WEIGHTS
        if shared not in self._joint_priors:
            self._joint_priors[shared] = self.prior(read_state_dict(shared), str(shared))
        prior = self._joint_priors[shared]
        own = read_own(folder)
        source = str(folder / OWN_WEIGHTS)
        check_state_dict(own, {name: prior.get_parameter(name) for name in own}, source)
        return prior.sharing({n: t.to(prior.get_parameter(n)) for n, t in own.items()})

    @cached_property
    def _joint_priors(self) -> dict[Path, Prior]:
        """The joint priors that have been loaded, by their file."""
        return {}

    @cached_property
    def prior_shapes(self) -> dict[str, Tensor]:
        """The tensors of this stack's prior by name, without their content."""
        with torch.device("meta"):
            return Prior(self.prior_config).state_dict()

    def check_operator(self, state: dict[str, Tensor], source: str) -> None:
        """Check that tensors are those of a prior of this stack.

        Args:
            state: Tensors by name, without the clip statistics, which belong to the stack.
            source: Names them in the error.

        Raises:
            WeightsError: Keys or shapes do not fit; it names them.
        """
        check_state_dict(state, without_stats(self.prior_shapes), source)

    def prior(self, state: dict[str, Tensor], source: str) -> Prior:
        """Make a prior of this stack.

        Args:
            state: Its tensors by name, without the clip statistics.
            source: Names them in errors.

        Returns:
            The prior, at rest.

        Raises:
            WeightsError: Keys or shapes do not fit, or the number format of the stack cannot hold
                a number.
        """
        self.check_operator(state, source)
        with torch.device("meta"):
            prior = Prior(self.prior_config)
        prior.load_state_dict({**state, **self.clip_stats}, assign=True)
        prior.requires_grad_(False).eval().to(dtype=self.placement.dtype)
        if self.placement.dtype != torch.float32:  # which they were read in
            check_finite(
                dict(prior.named_parameters()), f"{source} in {self.placement.dtype}", WeightsError
            )
        # The statistics stay in float32: they scale every embedding that goes in or out.
        for key, value in self.clip_stats.items():
            getattr(prior, key).data = value
        self.at_rest(prior)
        prior.compiled = self.placement.compiled
        # Offloaded weights are copied to the device one by one, and so cannot be joined there.
        whole = not (self.placement.offload or self.placement.int8)
        return prior.join_projections() if whole else prior

    @property
    def prior_bytes(self) -> int:
        """The bytes of one loaded prior."""
        return sum(t.numel() for t in self.prior_shapes.values()) * self.placement.weight_bytes

    def operator_path(self, name: str) -> Path:
        """Find the weights of an operator by its name, downloaded first where they are on the hub.

        Args:
            name: The name of the operator.

        Returns:
            An operator folder, or a file in the published layout.

        Raises:
            WeightsError: The stack has no such operator.
        """
        if name in self.operator_folders:
            return self.operator_folders[name]
        published = f"models/{name}/learned_prior.pth"
        place = self.spec.operators
        root = expand_home(place)
        if not root.is_dir():
            if is_repository(place):
                return fetch_file(place, published)
            raise WeightsError(f"{root} is missing: {self.name} has no operators there")
        found = [path for path in (root / name, root / published) if path.exists()]
        if not found:
            raise WeightsError(f"{root / name} is missing: {self.name} has no operator {name}")
        return found[0]

    def folder(self, part: str) -> Path:
        """Find the folder of a part, downloaded first where it is a repository.

        Args:
            part: The name of a field of `StackSpec`.

        Returns:
            The local folder.

        Raises:
            WeightsError: The folder is missing, or cannot be downloaded.
        """
        place = getattr(self.spec, part)
        folder = expand_home(place)
        if folder.is_dir():
            return folder
        if is_repository(place):
            return fetch(place, PART_FILES[part])
        raise WeightsError(f"{folder} is missing: the stack {self.name} is not whole")

    def model(self, kind: Any, folder: Path) -> Any:
        """Load a frozen model in this stack's number format.

        Args:
            kind: A class of transformers or diffusers.
            folder: Its config and weights.

        Returns:
            The model, at rest.

        Raises:
            WeightsError: The folder is missing, damaged, or does not fit the class.
        """
        return self.at_rest(load_model(kind, folder, HOST.device, self.placement.dtype))

    def at_rest(self, model: Model) -> Model:
        """Put a frozen model where it waits; with weights of 8 bits it is rounded before.

        Args:
            model: The model, in the host's memory, in the number format that it computes in.

        Returns:
            The model itself.
        """
        if self.placement.int8:
            round_to_int8(model)
        return model.to(self.placement.rest)


def local_path(place: str | Path) -> Path:
    """Find a local file, downloaded first where it is spelled REPOSITORY:FILE.

    Args:
        place: A path, or a file of a repository.

    Returns:
        The local path, whether there is a file or not.

    Raises:
        WeightsError: The file cannot be downloaded.
    """
    repository, colon, file = str(place).partition(":")
    if colon and is_repository(repository):
        return fetch_file(repository, file)
    return expand_home(place)


def _operator_folder(place: str | Path | None) -> Path | None:
    folder = None if place is None else expand_home(place)
    return folder if folder and (folder / "operator.json").is_file() else None
