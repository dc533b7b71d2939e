"""Operators as a pipeline of diffusers, whose output the Kandinsky 2.2 decoders take as it is.

It follows the conventions of diffusers' `KandinskyV22PriorPipeline`: the same parts, the same
output. What it computes is what the engine computes, by the same functions.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import DiffusionPipeline, PriorTransformer, UnCLIPScheduler
from diffusers.pipelines.kandinsky import KandinskyPriorPipelineOutput
from msgspec import structs
from torch import Tensor
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from pops import DISTRIBUTION
from pops.compose.functions import fill_slots
from pops.errors import UsageError, WeightsError
from pops.io.files import atomic_path
from pops.io.formats.schema import OperatorRow, fit, write_json
from pops.io.formats.tensors import saving
from pops.io.loading import load_part
from pops.io.machine.placement import Placement
from pops.io.requests import Request, as_requests, check_finite_rows, each_text
from pops.io.sources import Source
from pops.operators import Operator
from pops.prior.adapters import effective_state
from pops.prior.batching import sample_requests
from pops.prior.config import PriorConfig
from pops.prior.model import Prior
from pops.prior.sampling import Denoiser, Noise, OnStep, Sampler, find_sampler
from pops.prior.schedule import Schedule, schedule_from_config, timesteps
from pops.settings.fields import LARGEST_SEED
from pops.settings.sampling import SamplingSettings
from pops.stacks.clip import ImageEncoder, TextEncoder
from pops.stacks.encoding import condition_tokens
from pops.stacks.stack import Stack, open_stack

__all__ = ["PopsPipeline"]

MODULE = "pops_pipeline"  # the file beside model_index.json by which diffusers finds the class
MODULE_TEXT = f'''"""The class of this pipeline, which is in the package {DISTRIBUTION}."""

from pops.pipeline import PopsPipeline

__all__ = ["PopsPipeline"]
'''

Images = Request | Mapping[str, Source]
OnStepEnd = Callable[[DiffusionPipeline, int, int, dict[str, Any]], dict[str, Any] | None]
Generators = torch.Generator | Sequence[torch.Generator]


class PopsPipeline(DiffusionPipeline):
    """Applies one operator, as a pipeline of diffusers.

        pipe = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
        out = pipe(["mug.png", "wood.png"], generator=torch.Generator().manual_seed(18))
        KandinskyV22Pipeline.from_pretrained(...)(**out).images[0]

    Args:
        prior: The tuned prior of the operator.
        image_encoder: The image encoder of the stack.
        scheduler: The noise schedule of the prior.
        image_processor: Makes the encoder's pixels of a picture.
        text_encoder: The text encoder, for an operator that takes a text.
        tokenizer: Its tokenizer.
        operator: The fields of the operator's row.
        stack: The name of the stack.
    """

    model_cpu_offload_seq = "text_encoder->image_encoder->prior"
    _exclude_from_cpu_offload = ["prior"]
    _optional_components = ["text_encoder", "tokenizer"]
    _callback_tensor_inputs = ["latents"]

    def __init__(
        self,
        prior: PriorTransformer,
        image_encoder: CLIPVisionModelWithProjection,
        scheduler: UnCLIPScheduler,
        image_processor: CLIPImageProcessorPil,
        text_encoder: CLIPTextModelWithProjection | None = None,
        tokenizer: CLIPTokenizer | None = None,
        operator: dict[str, Any] | None = None,
        stack: str = "kandinsky-2.2",
    ) -> None:
        super().__init__()
        self.register_modules(
            prior=prior,
            image_encoder=image_encoder,
            scheduler=scheduler,
            image_processor=image_processor,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
        )
        self.register_to_config(operator=operator, stack=stack)

    @classmethod
    def from_operator(
        cls,
        operator: str | Path,
        stack: str | Path | Stack = "pocket",
        *,
        weights: str | Path | None = None,
        **options: Any,
    ) -> Self:
        """Make the pipeline of an operator of a stack.

        An adapter becomes part of the prior's weights.

        Args:
            operator: The name of an operator, or an operator folder.
            stack: The name of a stack, a folder in the layout of one, or a stack that is open.
            weights: An operator folder or weights file in place of the stack's own.
            options: Options of `open_stack` where the stack is not open: device, dtype, ...

        Returns:
            The pipeline.

        Raises:
            UsageError: The operator or the stack is unknown, or its weights are held in 8 bits.
            WeightsError: A part is missing, damaged or does not fit.
        """
        opened = stack if isinstance(stack, Stack) else open_stack(stack, **options)
        if opened.placement.int8:
            raise UsageError(
                "the pipelines of diffusers hold no weights in 8 bits: use --dtype float16"
            )
        row, prior = opened.operator(str(operator), weights)
        with torch.device("meta"):
            theirs = PriorTransformer.from_config(prior.config.to_dict())
        theirs.load_state_dict(effective_state(prior), assign=True)
        home = opened.prior_folder
        texts = opened.text_encoder if row.takes_text else None
        return cls(
            theirs.requires_grad_(False).eval(),
            opened.model(CLIPVisionModelWithProjection, home / "image_encoder"),
            UnCLIPScheduler.from_pretrained(home / "scheduler"),
            load_part(CLIPImageProcessorPil, home / "image_processor"),
            texts and texts.model,
            texts and texts.tokenizer,
            row.row(),
            opened.name,
        )

    @property
    def operator(self) -> Operator:
        """The row of the operator.

        Raises:
            WeightsError: The pipeline's configuration holds no row, or a damaged one.
        """
        fields = self.config.operator
        if fields is None:
            raise WeightsError("the pipeline does not say which operator it is: export it again")
        row = fit(dict(fields), OperatorRow, WeightsError, "the operator of model_index.json")
        return Operator(**structs.asdict(row))

    @torch.no_grad()
    def __call__(
        self,
        images: Images | Sequence[Images],
        prompt: str | Sequence[str | None] | None = None,
        num_images_per_prompt: int = 1,
        num_inference_steps: int = SamplingSettings.steps,
        generator: Generators | None = None,
        guidance_scale: float | None = SamplingSettings.guidance,
        sampler: str = SamplingSettings.sampler,
        output_type: str = "pt",
        return_dict: bool = True,
        callback_on_step_end: OnStepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> KandinskyPriorPipelineOutput | tuple[Any, Any]:
        """Apply the operator to requests.

        A generator that has not been used stands for its seed, and gives what the engine gives for
        that seed. One generator for several embeddings gives the first its own seed, and draws
        those of the others.

        Args:
            images: One request, which is a list with a picture, a file or an embedding for every
                slot, None for one that is left out, or a dictionary by the slots' names; or a list
                of requests.
            prompt: The text of all requests, or one each, for an operator that takes one.
            num_images_per_prompt: The embeddings made of each request.
            num_inference_steps: The number of sampling steps.
            generator: One for each embedding, or one for all; None draws the seeds by torch's own.
            guidance_scale: The scale of guidance; None stands for the operator's own.
            sampler: The name of a sampler.
            output_type: `pt` for tensors, `np` for arrays.
            return_dict: Whether an output object is given, and not a tuple.
            callback_on_step_end: Called with the pipeline, the step, its timestep and a dictionary
                of `latents`, the normalised embeddings; may give back others in their place.
            callback_on_step_end_tensor_inputs: The names of what that dictionary holds.

        Returns:
            The embeddings (N, D) and, as negative ones, the encoding of an all-zero picture.

        Raises:
            UsageError: The inputs do not fit the operator, or an argument is out of range.
            InputError: A picture cannot be read.
            NotFiniteError: An embedding that was made is not finite.
        """
        if output_type not in ("pt", "np"):
            raise UsageError(f"output_type is 'pt' or 'np', not {output_type!r}")
        unknown = set(callback_on_step_end_tensor_inputs) - set(self._callback_tensor_inputs)
        if unknown:
            raise UsageError(f"a callback can be given latents, but not {', '.join(unknown)}")
        operator, stack, prior = self.operator, self._stack(), self._prior()
        requests = _requests(operator, images)
        texts = each_text(prompt, len(requests))
        for request, words in zip(requests, texts, strict=True):
            operator.check_inputs(len(request), words)
        scale = operator.guidance if guidance_scale is None else guidance_scale
        per = num_images_per_prompt
        seeds = _seeds(generator, per * len(requests))
        settings = SamplingSettings(
            seeds=tuple(seeds), guidance=scale, steps=num_inference_steps, sampler=sampler
        )
        chosen = find_sampler(sampler)
        if callback_on_step_end is not None:
            named = bool(callback_on_step_end_tensor_inputs)
            chosen = _watched(chosen, self._watch(callback_on_step_end, named))
        tokens = condition_tokens(stack, prior, requests, texts)
        with self.progress_bar(total=settings.steps) as bar:

            def on_step(done: int, steps: int) -> None:
                bar.total = steps
                bar.update(done - bar.n)

            of_each = [seeds[at : at + per] for at in range(0, len(seeds), per)]
            made = sample_requests(
                prior, tokens, of_each, scale, stack.schedule, settings.steps, chosen, on_step
            )
        check_finite_rows(made, [per] * len(requests), [])
        negative = stack.image_encoder.zero_embed().expand_as(made)
        self.maybe_free_model_hooks()
        out: list[Any] = [e.to(self._execution_device, self.prior.dtype) for e in (made, negative)]
        if output_type == "np":
            out = [embeds.float().cpu().numpy() for embeds in out]
        return KandinskyPriorPipelineOutput(*out) if return_dict else (out[0], out[1])

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> None:
        """Write the pipeline into a folder that `DiffusionPipeline.from_pretrained` loads.

        Args:
            save_directory: The folder.
            options: Options of diffusers' `save_pretrained`.

        Raises:
            OutputError: A file cannot be written.
        """
        folder = Path(save_directory)
        with saving(folder):
            super().save_pretrained(folder, **options)
        index = json.loads((folder / self.config_name).read_text(encoding="utf-8"))
        index["_class_name"] = [MODULE, type(self).__name__]
        with atomic_path(folder / f"{MODULE}.py") as part:
            part.write_text(MODULE_TEXT, encoding="utf-8")
        write_json(folder / self.config_name, index)

    def _stack(self) -> Stack:
        """Give the stack that this pipeline's models are."""
        parts = {
            "prior_config": PriorConfig.from_dict(self.prior.config),
            "schedule": schedule_from_config(self.scheduler.config),
            "image_encoder": ImageEncoder(self.image_encoder, self.image_processor),
        }
        if self.text_encoder is not None:
            parts["text_encoder"] = TextEncoder(self.text_encoder, self.tokenizer)
        placement = Placement(self._execution_device, self.prior.dtype)
        return Stack.holding(self.config.stack, placement, **parts)

    def _prior(self) -> Prior:
        """Give the prior as the engine runs it, with the tensors of this pipeline's own."""
        with torch.device("meta"):
            prior = Prior(PriorConfig.from_dict(self.prior.config))
        state = effective_state(self.prior)
        prior.load_state_dict(state, assign=True)
        return prior.requires_grad_(False).eval().to(self._execution_device)

    def _watch(self, callback: OnStepEnd, named: bool) -> Callable[[int, int, Tensor], Tensor]:
        def watch(step: int, t: int, latents: Tensor) -> Tensor:
            given = callback(self, step, t, {"latents": latents} if named else {})
            changed: Tensor = (given or {}).get("latents", latents)
            return changed

        return watch


def _requests(operator: Operator, images: Any) -> list[Request]:
    """Read the requests, those by name in the order of the slots."""
    if isinstance(images, Mapping):
        images = [images]
    by_name = isinstance(images, list | tuple) and any(isinstance(i, Mapping) for i in images)
    if by_name:
        images = [
            fill_slots(operator, [], one) if isinstance(one, Mapping) else one for one in images
        ]
    return as_requests(images)


def _seeds(generator: Generators | None, count: int) -> list[int]:
    """Draw one seed for each embedding."""
    if isinstance(generator, Sequence):
        if len(generator) != count:
            raise UsageError(f"{len(generator)} generators for {count} embeddings: give one each")
        return [_next_seed(one) for one in generator]
    return [_next_seed(generator) for _ in range(count)]


def _next_seed(generator: torch.Generator | None) -> int:
    """Give the seed of a fresh generator, else one that it draws; it is not fresh after."""
    if generator is None:
        return int(torch.randint(LARGEST_SEED, ()))
    device, seed = generator.device, generator.initial_seed()
    fresh = torch.Generator(device).manual_seed(seed)
    is_fresh = torch.equal(generator.get_state(), fresh.get_state())
    drawn = int(torch.randint(LARGEST_SEED, (), generator=generator, device=device))
    return seed & LARGEST_SEED if is_fresh else drawn


def _watched(sampler: Sampler, watch: Callable[[int, int, Tensor], Tensor]) -> Sampler:
    """Make a sampler that shows what every step made, before the next takes it."""

    def sample(
        denoise: Denoiser, noise: Noise, schedule: Schedule, steps: int, on_step: OnStep | None
    ) -> Tensor:
        ts = timesteps(steps, schedule.train_timesteps)
        ended: list[int] = []

        def seen(x: Tensor, t: int) -> Tensor:
            if ended:
                x.copy_(watch(len(ended) - 1, ended[-1], x))
            ended.append(t)
            return denoise(x, t)

        made = sampler(seen, noise, schedule, steps, on_step)
        return watch(len(ended) - 1, ts[-1], made)

    return sample
