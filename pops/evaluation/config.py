"""The settings of the commands that evaluate operators. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pops.errors import UsageError
from pops.settings.fields import (
    ACTORS,
    AMOUNT,
    BATCH,
    GUIDANCE,
    SEED,
    STEPS,
    PathOrName,
    Range,
    Settings,
    argument,
    setting,
)
from pops.settings.groups import OwnOperators, StackConfig
from pops.settings.rendering import RENDERERS, RenderSettings
from pops.settings.sampling import SAMPLERS, SamplingSettings
from pops.settings.shard import Shard

if TYPE_CHECKING:
    from pops.datagen.stages import Stages

__all__ = [
    "MOST_REQUESTS",
    "EvalClothesConfig",
    "EvalConfig",
    "EvalInstructConfig",
    "EvalMetricsConfig",
    "EvalSceneConfig",
    "EvalStudyConfig",
    "EvalStudyReportConfig",
    "EvalTexturingConfig",
    "EvalUnionConfig",
    "ModelsConfig",
]

MOST_REQUESTS = 1000  # of an operator, in a check of metrics


@dataclass(frozen=True, kw_only=True)
class ModelsConfig(StackConfig, OwnOperators):
    """Settings of commands that measure pictures: which models measure them, and where."""

    preset: Literal["auto", "hub", "pocket"] = setting(
        "auto",
        "hub: the models that papers name; pocket: those of the pocket stack, without a download; "
        "auto: pocket for the pocket stack, else hub",
    )
    models: tuple[str, ...] = setting(
        (),
        "STAGE=REPOSITORY or STAGE=FOLDER, models in place of the preset's; the stages are clip, "
        "features, detect, depth, caption, sentence and text2image",
    )
    metrics: tuple[str, ...] = setting((), "metrics to compute; none given: all that there are")
    judge: str | None = setting(
        None,
        "address of an OpenAI-style server whose vision-language model also judges the pictures",
    )
    judge_model: str = setting("default", "name of the model on that server")
    batch_size: int = setting(16, "requests that a model answers at once", within=BATCH)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.judge is not None and not self.judge.startswith(("http://", "https://")):
            raise UsageError(
                f"--judge takes an address, as in http://localhost:8000/v1, not {self.judge!r}"
            )

    @property
    def chosen_preset(self) -> str:
        """The preset, with `auto` decided."""
        if self.preset != "auto":
            return self.preset
        return "pocket" if self.stack == "pocket" else "hub"

    def load_stages(self) -> Stages:
        """Find the stages that these settings name; none of their models is loaded yet.

        Returns:
            The stages.

        Raises:
            UsageError: a model is named for a stage that there is not.
        """
        from pops.evaluation.models.rows import find_stages

        return find_stages(self)


@dataclass(frozen=True, kw_only=True)
class EvalConfig(ModelsConfig):
    """Settings that all protocols share."""

    out: Path = setting(Path("out/eval"), "folder to write into, or to go on with")
    objects: PathOrName | None = setting(
        None,
        "the things: a list of words, one a line, or a folder of pictures named by what they "
        "show; null: those of pops",
    )
    seeds: tuple[int, ...] = setting(
        (0, 1, 2), "seeds; each is that of the operator and that of the renderer", within=SEED
    )
    methods: tuple[str, ...] = setting(
        (), "ways to make the pictures, as the protocol lists them; none given: all"
    )
    also: str | None = setting(
        None,
        "NAME=COMPOSITION; ...: further ways, with 'object' and the like for the inputs, as in "
        "\"third=mean('object', 'texture', 0.3)\"",
    )
    guidance: float | None = setting(
        None, "guidance of the operator; null: its own", within=GUIDANCE
    )
    steps: int = setting(SamplingSettings.steps, "sampling steps of the operator", within=STEPS)
    sampler: str = setting(SamplingSettings.sampler, "sampler of the operator", choices=SAMPLERS)
    renderer: str = setting(RenderSettings.renderer, "what draws the pictures", choices=RENDERERS)
    render_steps: int | None = setting(None, "steps of the renderer; null: its own", within=STEPS)
    limit: int | None = setting(
        None, "largest number of pictures of each method, drawn at random; null: all", within=AMOUNT
    )
    keep_pictures: bool = setting(False, "also keep the pictures that were made")
    shard: str = setting("0/1", "i/n: this is machine i of n, counted from 0")
    engine: Literal["local", "ray"] = setting(
        "local", "where the work is done; local: in this process; ray: on a Ray cluster"
    )
    actors: int = setting(1, "processes of each stage on a Ray cluster", within=ACTORS)
    ray_address: str | None = setting(
        None, "address of a running Ray cluster; null: start one on this machine"
    )
    dry_run: bool = setting(False, "print what would be made and measured, and do nothing")

    resumes = True

    def __post_init__(self) -> None:
        super().__post_init__()
        Shard.parse(self.shard)
        _ = self.sampling, self.rendering  # so that a mistake is told at once

    @property
    def sampling(self) -> SamplingSettings:
        """How operators are sampled; the seeds are those of each request."""
        return SamplingSettings(guidance=self.guidance, steps=self.steps, sampler=self.sampler)

    @property
    def rendering(self) -> RenderSettings:
        """How results are rendered; the seeds are those of each request."""
        return RenderSettings(steps=self.render_steps, renderer=self.renderer)


@dataclass(frozen=True, kw_only=True)
class EvalInstructConfig(EvalConfig):
    """Evaluate instruct: things as adjectives say, after appendix B.2 of the paper.

    52 things, 65 adjectives and 3 seeds make 10,140 pictures of each method.
    """

    out: Path = setting(Path("out/eval-instruct"), "folder to write into, or to go on with")
    adjectives: PathOrName | None = setting(
        None, "the adjectives: a list of words, one a line; null: those of pops"
    )

    examples = (
        "pops eval instruct --limit 60 --out out/instruct",
        "pops eval instruct --stack kandinsky-2.2 --dry_run",
        "pops eval instruct --stack kandinsky-2.2 --shard 0/4    # of four machines",
    )


@dataclass(frozen=True, kw_only=True)
class EvalTexturingConfig(EvalConfig):
    """Evaluate texturing: things made of textures.

    52 things, 16 textures and 3 seeds make 2,496 pictures of each method.
    """

    out: Path = setting(Path("out/eval-texturing"), "folder to write into, or to go on with")
    textures: PathOrName | None = setting(
        None, "the textures: a list of words, or a folder of pictures; null: those of pops"
    )

    examples = (
        "pops eval texturing --limit 60 --methods operator,mean",
        "pops eval texturing --stack kandinsky-2.2 --renderer ip_adapter --dry_run",
    )


@dataclass(frozen=True, kw_only=True)
class EvalSceneConfig(EvalConfig):
    """Evaluate scene: things in places.

    52 things, 16 places and 3 seeds make 2,496 pictures of each method.
    """

    out: Path = setting(Path("out/eval-scene"), "folder to write into, or to go on with")
    places: PathOrName | None = setting(
        None, "the places: a list of words, or a folder of pictures; null: those of pops"
    )

    examples = ("pops eval scene --limit 60",)


@dataclass(frozen=True, kw_only=True)
class EvalUnionConfig(EvalConfig):
    """Evaluate union: two things beside each other, neither lost nor taking the other's looks.

    52 things, each with 16 others, and 3 seeds make 2,496 pictures of each method.
    """

    out: Path = setting(Path("out/eval-union"), "folder to write into, or to go on with")

    examples = ("pops eval union --limit 60",)


@dataclass(frozen=True, kw_only=True)
class EvalClothesConfig(EvalConfig):
    """Evaluate clothes: garments worn by one person, each judged by itself.

    52 outfits of two to five garments, and 3 seeds make 156 pictures of each method.
    """

    out: Path = setting(Path("out/eval-clothes"), "folder to write into, or to go on with")
    objects: PathOrName | None = setting(
        None,
        "the garments: a list of SLOT: GARMENT, one a line, or a folder of pictures named by "
        "slot; null: those of pops",
    )

    examples = ("pops eval clothes --limit 20",)


@dataclass(frozen=True, kw_only=True)
class EvalMetricsConfig(ModelsConfig):
    """Check the metrics on the pocket world, where it is known what is right.

    True pictures, wrong ones, those of operators and of means, and noise are ranked by every
    metric; a metric that does not rank the truth above the mean is reported so.
    """

    out: Path = setting(Path("out/eval-metrics"), "folder to write into")
    rows: Path = setting(
        Path("out/eval-metrics-rows"),
        "folder that keeps what is measured, by settings, so that a killed run goes on",
    )
    operator: str = setting("all", "the operator whose metrics are checked, or all")
    count: int = setting(40, "requests of each operator", within=Range(2, MOST_REQUESTS))
    page: Path | None = setting(
        None, "Markdown page whose table, between two marks, is written anew; null: none"
    )

    examples = (
        "pops eval metrics --count 12",
        "pops eval metrics --page docs/evaluation.md --out docs/images/metrics",
    )

    resumes = True


@dataclass(frozen=True, kw_only=True)
class EvalStudyConfig(Settings):
    """Make a user study in a folder: a page that asks which of two pictures is better.

    Pictures of the same name in both folders are a pair. Which method made which is not on the
    page; the answers are downloaded as a file.
    """

    first: Path = argument("folder of pictures of one method")
    second: Path = argument("folder of pictures of the other")
    out: Path = setting(Path("out/study"), "folder to write into")
    question: str = setting(
        "Which picture follows the inputs better?", "the question above every pair"
    )
    inputs: Path | None = setting(
        None, "folder of pictures of the same names that show what was asked for; null: none"
    )
    count: int | None = setting(
        None, "largest number of pairs, drawn at random; null: all", within=Range(1, 10_000)
    )
    seed: int = setting(0, "seed of the order and of the sides", within=SEED)

    examples = (
        "pops eval study out/ours out/theirs --out out/study",
        'pops eval study A B --question "Which looks more like wood?" --count 40',
    )


@dataclass(frozen=True, kw_only=True)
class EvalStudyReportConfig:
    """Report a user study: shares with their intervals, and how far the raters agree."""

    study: Path = argument("the folder of the study; answers lie in its folder `answers`")
    json: bool = setting(False, "print the report as one JSON object, on the last line")

    examples = ("pops eval study-report out/study",)
