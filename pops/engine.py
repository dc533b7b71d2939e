"""The engine: the one place where inputs, operators and renderers are put together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from pops.compose.algebra import slerp
from pops.compose.calls import TEXT_GUIDANCE
from pops.compose.calls import mean as mean_of
from pops.compose.calls import text as text_of
from pops.compose.functions import check_strength, operator_function
from pops.compose.nodes import Apply, Leaf, Node, Sweep
from pops.compose.plan import Plan, make_plan
from pops.compose.run import Result, run_plan
from pops.errors import NotFiniteError, UsageError
from pops.figures import Cell, strips
from pops.io.embeddings import Embeddings, show_by
from pops.io.pictures import open_picture
from pops.io.requests import (
    Request,
    as_requests,
    check_finite_rows,
    each_text,
    named_rows,
    narrow,
    not_finite,
)
from pops.io.sources import Source, source_key
from pops.operators import Operator
from pops.prior.batching import sample_prompts, sample_requests, seeds_of_each
from pops.prior.model import Prior
from pops.prior.sampling import find_sampler
from pops.render import Renderer, fill_settings, find_renderer
from pops.settings.progress import Progress
from pops.settings.rendering import RenderSettings
from pops.settings.sampling import SamplingSettings
from pops.stacks.encoding import (
    check_stack,
    condition_tokens,
    encode_sources,
    given_row,
    make_prompts,
)
from pops.stacks.stack import Stack, open_stack

__all__ = ["Engine", "Request", "Source"]

SHOWN = 12  # embeddings drawn where many are shown
# Operators kept loaded: one full-size one in float32, two in half precision, and no more in 8 bits,
# which are for devices of little memory.
RESIDENT_BYTES = 5 * 2**30


class Engine:
    """Encodes, applies operators and renders, on one stack."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._operators: OrderedDict[tuple[str, str], tuple[Operator, Prior]] = OrderedDict()
        self._renderers: dict[str, Renderer] = {}

    @classmethod
    def load(
        cls,
        stack: str | Path = "pocket",
        device: str = "auto",
        dtype: str = "auto",
        *,
        offload: str = "none",
        compiled: bool = False,
        operator_folders: Iterable[str | Path] = (),
        **parts: str | Path | None,
    ) -> Engine:
        """Make an engine on a stack. Its models are loaded when they are first used.

        Args:
            stack: the name of a stack, or a folder in the layout of one.
            device: auto, cpu, cuda or mps.
            dtype: the number format of the models: auto, float32, bfloat16 or float16.
            offload: with "model", each model is on the device only while it is used.
            compiled: whether prior and decoder are compiled: the first step of each new size
                takes minutes, and later ones of it are faster.
            operator_folders: folders of operators of your own, which are then known by name, as
                those of the stack are, in `apply` and in compositions.
            parts: folders or hub repositories in place of some of the stack's, by the names of
                the fields of `StackSpec`: prior, decoder, operators, sdxl, ip_adapter, ...

        Returns:
            The engine.

        Raises:
            UsageError: unknown stack, device, dtype or offload, a folder holds no operator, or
                nothing can be compiled here.
        """
        return cls(
            open_stack(
                stack,
                device=device,
                dtype=dtype,
                offload=offload,
                compiled=compiled,
                operator_folders=operator_folders,
                **parts,
            )
        )

    @property
    def dim(self) -> int:
        """The length of an embedding of this stack."""
        return self.stack.prior_config.embedding_dim

    def function(self, operator: str) -> Callable[..., Apply]:
        """Give the function of an operator, by which compositions are built in Python.

        Args:
            operator: the name of an operator, such as one of `operator_folders`.

        Returns:
            A function that takes the operator's inputs, as `pops.texturing` does.

        Raises:
            UsageError: unknown operator.
        """
        return operator_function(self.stack.operator_row(operator))

    def renderer(self, name: str = RenderSettings.renderer) -> Renderer:
        """Load a renderer and keep it.

        Args:
            name: the name of a renderer; `kandinsky` is the stack's own decoder.

        Returns:
            The renderer.

        Raises:
            UsageError: unknown renderer, or one that does not fit the stack.
            WeightsError: its weights are missing or do not fit.
        """
        if name not in self._renderers:
            own = name == RenderSettings.renderer
            kind = find_renderer(self.stack.own_renderer if own else name)
            self._renderers[name] = kind.load(self.stack)
        return self._renderers[name]

    def encode(self, sources: Sequence[Source], progress: Progress | None = None) -> Embeddings:
        """Encode pictures, and keep embeddings as they are.

        Args:
            sources: N pictures or embeddings; each distinct one is opened and encoded once.
            progress: called with the name of the work, what is done, and all that is to be done.

        Returns:
            N embeddings, in order.

        Raises:
            InputError: a source is missing, damaged, or an embedding of another stack.
            NotFiniteError: an embedding that was made is not finite.
        """
        embeds = encode_sources(self.stack, sources, progress)
        names = tuple(str(Leaf(source)) for source in sources)
        return Embeddings(embeds, self.stack.name, names)

    def apply(
        self,
        operator: str | Operator,
        inputs: Request | Sequence[Request],
        *,
        text: str | Sequence[str | None] | None = None,
        strength: float = 1.0,
        seeds: Sequence[int] | Sequence[Sequence[int]] = SamplingSettings.seeds,
        guidance: float | None = SamplingSettings.guidance,
        steps: int = SamplingSettings.steps,
        sampler: str = SamplingSettings.sampler,
        weights: str | Path | None = None,
        progress: Progress | None = None,
    ) -> Embeddings:
        """Apply an operator to requests, once with every seed.

        Args:
            operator: the name of an operator, an operator folder, or an operator that was read by
                `Operator.from_pretrained`.
            inputs: the requests, each a list or tuple with one source for every slot, None for an
                input that is left out; or a single request.
            text: the text of all requests, or one each.
            strength: how far the operator goes from its first input that is given, from 0 to 1, as
                in compositions.
            seeds: the seeds of all requests, or a sequence each.
            guidance: the scale of classifier-free guidance; None stands for the operator's own.
            steps: the number of sampling steps.
            sampler: the name of a sampler.
            weights: an operator folder or weights file in place of the stack's own.
            progress: called with the name of the work, what is done, and all that is to be done.

        Returns:
            Embeddings (requests * seeds, D): all seeds of the first request, then of the next.

        Raises:
            UsageError: unknown operator or sampler, or inputs that do not fit its slots.
            InputError: an input cannot be read.
            WeightsError: the operator's or the stack's weights are missing or do not fit.
            NotFiniteError: an embedding that was made is not finite.
        """
        operator = operator.place if isinstance(operator, Operator) else operator
        found = self.stack.operator_row(operator, weights)
        requests = as_requests(inputs)
        texts = each_text(text, len(requests))
        for request, words in zip(requests, texts, strict=True):
            found.check_inputs(len(request), words)
            if isinstance(check_strength(found, strength, request), Sweep):
                raise UsageError("a range of strengths makes a composition: use engine.run")
        seeds_each = seeds_of_each(seeds, len(requests))
        for own in seeds_each:  # a wrong setting costs no loading
            SamplingSettings(seeds=tuple(own), guidance=guidance, steps=steps, sampler=sampler)
        _, prior = self.operator(operator, weights)
        scale = found.guidance if guidance is None else guidance
        tokens = condition_tokens(self.stack, prior, requests, texts, progress)
        show_by(self.stack.name, self.dim, self)  # the engine that worked last draws embeddings
        sample = partial(self.sample, prior, steps=steps, sampler=sampler, guidance=scale)
        made = sample(tokens, seeds_each, what=found.name, progress=progress)
        names = [
            str(Apply(found.name, tuple(map(_leaf, request)), words, float(strength)))
            for request, words in zip(requests, texts, strict=True)
        ]
        if not made.isfinite().all():
            # In a batch, one request that is not finite can spoil others.
            pairs = list(zip(tokens, seeds_each, strict=True))
            faulty = narrow(
                pairs, lambda some: not sample(*zip(*some, strict=True)).isfinite().all()
            )
            raise not_finite(names, faulty)
        if strength != 1:
            first = [next(one for one in request if one is not None) for request in requests]
            starts = self.encode(first).image_embeds
            counts = torch.tensor([len(own) for own in seeds_each])
            made = slerp(self.stack, starts.repeat_interleave(counts, 0), made, strength)
            check_finite_rows(made, counts.tolist(), names)
        return Embeddings(
            made,
            self.stack.name,
            tuple(name for name, own in zip(names, seeds_each, strict=True) for _ in own),
            tuple(seed for own in seeds_each for seed in own),
            scale,
        )

    def text(
        self,
        texts: str | Sequence[str],
        *,
        negative: str | Sequence[str] = "",
        seeds: Sequence[int] = SamplingSettings.seeds,
        guidance: float = TEXT_GUIDANCE,
        steps: int = SamplingSettings.steps,
        sampler: str = SamplingSettings.sampler,
        progress: Progress | None = None,
    ) -> Embeddings:
        """Make embeddings from texts with the base prior, as diffusers' prior pipeline makes them.

        Args:
            texts: the texts, or a single one.
            negative: the text that guidance leads away from, for all or each.
            seeds: the seeds of all texts.
            guidance: the scale of classifier-free guidance.
            steps: the number of sampling steps.
            sampler: the name of a sampler.
            progress: called with the name of the work, what is done, and all that is to be done.

        Returns:
            Embeddings (texts * seeds, D): all seeds of the first text, then of the next.

        Raises:
            UsageError: unknown sampler, or a text is too long for the text encoder.
            WeightsError: the stack's weights are missing or do not fit.
            NotFiniteError: an embedding that was made is not finite.
        """
        words = [texts] if isinstance(texts, str) else list(texts)
        away = [one or "" for one in each_text(negative, len(words))]
        asked = SamplingSettings(
            seeds=tuple(seeds), guidance=guidance, steps=steps, sampler=sampler
        )
        pairs = zip(words, away, strict=True)
        names = [str(text_of(one, negative=no, guidance=guidance)) for one, no in pairs]
        prior = self.stack.base_prior
        prompts = make_prompts(self.stack, words, away)
        show_by(self.stack.name, self.dim, self)
        with self.stack.placement.using(prior):
            made = sample_prompts(
                prior,
                prompts,
                [asked.seeds] * len(words),
                guidance,
                self.stack.schedule,
                steps,
                find_sampler(sampler),
                None if progress is None else partial(progress, "text"),
            )
        check_finite_rows(made, [len(asked.seeds)] * len(words), names)
        every = tuple(name for name in names for _ in asked.seeds)
        return Embeddings(made, self.stack.name, every, asked.seeds * len(words), guidance)

    def sample(
        self,
        prior: Prior,
        tokens: Sequence[Tensor],
        seeds: Sequence[Sequence[int]],
        guidance: float,
        *,
        steps: int = SamplingSettings.steps,
        sampler: str = SamplingSettings.sampler,
        what: str = "sample",
        progress: Progress | None = None,
    ) -> Tensor:
        """Sample a prior for condition tokens that are made already.

        Args:
            prior: the tuned prior of an operator.
            tokens: the condition tokens (k, D) of every request, normalised, on the CPU.
            seeds: the seeds of every request.
            guidance: the scale of classifier-free guidance.
            steps: the number of sampling steps.
            sampler: the name of a sampler.
            what: the word for this work in progress.
            progress: called with `what`, the steps done, and all steps.

        Returns:
            Un-normalised embeddings (N, D): every request with each of its own seeds.
        """
        chosen = find_sampler(sampler)
        with self.stack.placement.using(prior):
            return sample_requests(
                prior,
                tokens,
                seeds,
                guidance,
                self.stack.schedule,
                steps,
                chosen,
                None if progress is None else partial(progress, what),
            )

    def mean(
        self,
        inputs: Sequence[tuple[Source, Source]],
        weight: float = 0.5,
        progress: Progress | None = None,
    ) -> Embeddings:
        """Take the mean of pairs of embeddings: the baseline beside the operators.

        Normalisation is affine, so this is the mean in normalised space too.

        Args:
            inputs: N pairs (a, b) of pictures or embeddings.
            weight: the weight of b, from 0 to 1; that of a is the rest.
            progress: called with the name of the work, what is done, and all that is to be done.

        Returns:
            N embeddings: (1 - weight) a + weight b for every pair.

        Raises:
            InputError: a source is missing, damaged, or an embedding of another stack.
            NotFiniteError: the embeddings of a pair are too large.
        """
        flat = self.encode([source for pair in inputs for source in pair], progress).image_embeds
        names = [str(mean_of(a, b, weight)) for a, b in inputs]
        made = flat[0::2].lerp(flat[1::2], weight)
        check_finite_rows(made, [1] * len(names), names)
        return Embeddings(made, self.stack.name, tuple(names))

    def run(
        self,
        composition: Node | str | Plan,
        *,
        seeds: Sequence[int] = SamplingSettings.seeds,
        guidance: float | None = SamplingSettings.guidance,
        steps: int = SamplingSettings.steps,
        sampler: str = SamplingSettings.sampler,
        weights: Mapping[str, str | Path] | None = None,
        progress: Progress | None = None,
    ) -> Result:
        """Run a composition: operators that are applied to what operators made.

        Each distinct source is encoded once and each distinct part sampled once, with the run's
        own seed, so that it comes out as it does alone.

        Args:
            composition: what was built by calling operators, a text, or the plan of either; a
                folder in it spreads into a grid.
            seeds: the seeds of the noise of every operator.
            guidance: the guidance of every operator; None stands for each operator's own.
            steps: the number of sampling steps.
            sampler: the name of a sampler.
            weights: for some operators, by name, an operator folder or weights file in place of
                the stack's own.
            progress: called with the name of the work, what is done, and all that is to be done.

        Returns:
            The embedding of every part, for every seed.

        Raises:
            UsageError: the text is not a composition; unknown sampler.
            InputError: an input is missing or cannot be read.
            WeightsError: an operator's or the stack's weights are missing or do not fit.
            NotFiniteError: an embedding that was made is not finite.
        """
        sampling = SamplingSettings(
            seeds=tuple(seeds), guidance=guidance, steps=steps, sampler=sampler
        )
        plan = (
            composition
            if isinstance(composition, Plan)
            else make_plan(composition, operators=self.stack.operators)
        )
        return run_plan(self, plan, sampling, weights or {}, progress)

    def render(
        self,
        embeddings: Embeddings,
        *,
        seeds: Sequence[int] = RenderSettings.seeds,
        steps: int | None = RenderSettings.steps,
        guidance: float | None = RenderSettings.guidance,
        size: int | None = RenderSettings.size,
        renderer: str = RenderSettings.renderer,
        depth_of: Sequence[Source] | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> list[Image.Image]:
        """Render every embedding, once with every seed.

        Args:
            embeddings: N embeddings of this stack.
            seeds: the seeds of the renderer.
            steps: the number of diffusion steps; None stands for the renderer's own.
            guidance: the scale of guidance; None stands for the renderer's own.
            size: the pixels of a side of a picture; None stands for the renderer's own.
            renderer: the name of a renderer; `kandinsky` is the stack's own decoder.
            depth_of: for a renderer that keeps depth, one source for each embedding; a source
                that is an embedding is rendered first.
            progress: called with the name of the work, what is done, and all that is to be done.
            options: further fields of `RenderSettings`, for renderers that take them: prompt,
                ip_adapter_scale, preset, init, init_strength, mask.

        Returns:
            N * len(seeds) pictures: all seeds of the first embedding, then of the next.

        Raises:
            InputError: the embeddings are of another stack, or a source cannot be read.
            UsageError: unknown renderer, or the size or `depth_of` does not fit it.
            WeightsError: the renderer's weights are missing or do not fit.
            NotFiniteError: an embedding or a rendered picture is not finite.
        """
        asked = RenderSettings(
            seeds=tuple(seeds),
            steps=steps,
            guidance=guidance,
            size=size,
            renderer=renderer,
            **options,
        )
        check_stack(self.stack, embeddings.image_embeds, embeddings.stack, "embeddings")
        check_finite_rows(embeddings.image_embeds, [1] * len(embeddings), embeddings.expressions)
        pictures = self._depth_pictures(renderer, depth_of, len(embeddings), progress)
        chosen = self.renderer(renderer)
        filled = fill_settings(asked, chosen)
        rows = embeddings.image_embeds.repeat_interleave(len(seeds), dim=0)
        every_seed = list(seeds) * len(embeddings)
        shown = None if pictures is None else [p for p in pictures for _ in seeds]
        try:
            return chosen.render(rows, every_seed, filled, progress, shown)
        except NotFiniteError as error:
            at = sorted({row // len(seeds) for row in error.rows})
            raise NotFiniteError(
                f"a picture of {named_rows(at, embeddings.expressions)} is not finite: "
                "the embedding is too large for the renderer, or its weights are damaged; where "
                "the models are in float16, try --dtype float32",
                at,
            ) from None

    def show(self, embeddings: Embeddings) -> Image.Image:
        """Draw embeddings as one captioned strip, of the first dozen of them; notebooks do so.

        Args:
            embeddings: embeddings of this stack.

        Returns:
            A picture of the strip, each embedding drawn by the stack's own decoder with seed 0.
        """
        pictures = self.render(embeddings[:SHOWN], seeds=[0])
        names = embeddings.expressions or ("",) * len(pictures)
        notes = [f"seed {seed}" for seed in embeddings.seeds] or [""] * len(pictures)
        cells = [Cell(*one) for one in zip(pictures, names, notes, strict=False)]
        return strips([cells[at : at + SHOWN // 2] for at in range(0, len(cells), SHOWN // 2)])

    def _depth_pictures(
        self,
        renderer: str,
        depth_of: Sequence[Source] | None,
        count: int,
        progress: Progress | None,
    ) -> list[Image.Image] | None:
        """Open the picture whose depth is kept, for each embedding, as the published scripts do.

        An input that is an embedding is rendered by the decoder with seed 0.
        """
        if not find_renderer(renderer).takes_depth:
            if depth_of is not None:
                raise UsageError(f"the renderer {renderer} takes no depth: use --renderer depth")
            return None
        if depth_of is None or len(depth_of) != count:
            given = 0 if depth_of is None else len(depth_of)
            raise UsageError(
                f"the renderer {renderer} keeps the depth of one input for each embedding, but "
                f"{given} were given for {count}"
            )
        opened: dict[object, Image.Image] = {}
        for key, source in {source_key(source): source for source in depth_of}.items():
            known = given_row(self.stack, source)
            if known is None:
                opened[key] = open_picture(source)  # type: ignore[arg-type]
            else:
                made = Embeddings(known[None])
                try:
                    (opened[key],) = self.render(made, seeds=[0], progress=progress)
                except NotFiniteError as error:  # its rows count within this one source
                    rows = [at for at, one in enumerate(depth_of) if source_key(one) == key]
                    raise NotFiniteError(str(error), rows) from None
        return [opened[source_key(source)] for source in depth_of]

    def operator(self, name: str, weights: str | Path | None = None) -> tuple[Operator, Prior]:
        """Load an operator, and keep it loaded while there is room for it.

        Args:
            name: the name of an operator, or an operator folder.
            weights: an operator folder or weights file in place of the stack's own.

        Returns:
            Its table row and its tuned prior.

        Raises:
            UsageError: unknown operator.
            WeightsError: its weights are missing or do not fit.
        """
        key = (name, str(weights))
        known = self._operators.pop(key, None)
        each = self.stack.prior_bytes * (2 if self.stack.placement.int8 else 1)
        room = max(1, RESIDENT_BYTES // each)
        while len(self._operators) >= room:  # make room before the next is loaded, not after
            self._operators.popitem(last=False)
        self._operators[key] = known or self.stack.operator(name, weights)
        return self._operators[key]


def _leaf(source: Source | None) -> Leaf | None:
    return None if source is None else Leaf(source)
