"""The command line: parse, call, print. Imports no torch, so that help is instant."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pops import __version__
from pops.data.config import EmbedConfig
from pops.datagen.config import (
    ClothesConfig,
    CutoutsConfig,
    ExportConfig,
    InspectConfig,
    RandomConfig,
    ScenesConfig,
    TexturesConfig,
    UnionsConfig,
)
from pops.errors import UsageError, nearest
from pops.evaluation.config import (
    EvalClothesConfig,
    EvalInstructConfig,
    EvalMetricsConfig,
    EvalSceneConfig,
    EvalStudyConfig,
    EvalStudyReportConfig,
    EvalTexturingConfig,
    EvalUnionConfig,
)
from pops.search.config import FindConfig, IndexConfig, StatsConfig
from pops.settings.commands import (
    ApplyConfig,
    ConvertConfig,
    DemoConfig,
    DoctorConfig,
    EvalPocketConfig,
    PocketAssetsConfig,
    PocketResultsConfig,
    PocketSheetConfig,
    RunConfig,
)
from pops.settings.flags.parsing import parse, resumable, run_command
from pops.settings.sharing import ExportOperatorConfig, PullConfig, PushConfig
from pops.studio.config import StudioConfig
from pops.training.config import TrainConfig

__all__ = ["COMMANDS", "Command", "main"]


@dataclass(frozen=True)
class Command:
    """A command of `pops`.

    Args:
        config: the dataclass of its settings.
        module: the module whose function of the same name runs it.
    """

    config: type
    module: str = "pops.cli.commands"

    @property
    def examples(self) -> tuple[str, ...]:
        """Lines that may be typed as they are."""
        return getattr(self.config, "examples", ())


COMMANDS = {
    "apply": Command(ApplyConfig),
    "run": Command(RunConfig),
    "studio": Command(StudioConfig, "pops.studio.app"),
    "convert": Command(ConvertConfig),
    "export": Command(ExportOperatorConfig, "pops.cli.sharing"),
    "push": Command(PushConfig, "pops.cli.sharing"),
    "pull": Command(PullConfig, "pops.cli.sharing"),
    "demo": Command(DemoConfig, "pops.cli.demo"),
    "index": Command(IndexConfig, "pops.datagen.embeddings.index"),
    "find": Command(FindConfig, "pops.cli.find"),
    "stats": Command(StatsConfig, "pops.search.stats"),
    "doctor": Command(DoctorConfig, "pops.cli.doctor"),
    "pocket sheet": Command(PocketSheetConfig, "pops.cli.pocket"),
    "pocket assets": Command(PocketAssetsConfig, "pops.cli.pocket"),
    "pocket results": Command(PocketResultsConfig, "pops.cli.pocket"),
    "eval pocket": Command(EvalPocketConfig, "pops.evaluation.commands"),
    "eval instruct": Command(EvalInstructConfig, "pops.evaluation.commands"),
    "eval texturing": Command(EvalTexturingConfig, "pops.evaluation.commands"),
    "eval scene": Command(EvalSceneConfig, "pops.evaluation.commands"),
    "eval union": Command(EvalUnionConfig, "pops.evaluation.commands"),
    "eval clothes": Command(EvalClothesConfig, "pops.evaluation.commands"),
    "eval metrics": Command(EvalMetricsConfig, "pops.evaluation.commands"),
    "eval study": Command(EvalStudyConfig, "pops.evaluation.commands"),
    "eval study-report": Command(EvalStudyReportConfig, "pops.evaluation.commands"),
    "train": Command(TrainConfig, "pops.training.run"),
    "embed": Command(EmbedConfig, "pops.datagen.embeddings.embed"),
    "generate textures": Command(TexturesConfig, "pops.datagen.commands"),
    "generate scenes": Command(ScenesConfig, "pops.datagen.commands"),
    "generate unions": Command(UnionsConfig, "pops.datagen.commands"),
    "generate random": Command(RandomConfig, "pops.datagen.commands"),
    "generate clothes": Command(ClothesConfig, "pops.datagen.commands"),
    "generate cutouts": Command(CutoutsConfig, "pops.datagen.commands"),
    "generate inspect": Command(InspectConfig, "pops.datagen.folder.inspect"),
    "generate export": Command(ExportConfig, "pops.datagen.folder.export"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Every error is one line, unless `--debug` is given.

    Args:
        argv: the words after `pops`; None for those of this process.

    Returns:
        The exit status.
    """
    return run_command("pops", argv, _run)


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        print(f"pops {__version__}")
        return 0
    name, rest = _find_command(arguments)
    if name is None:
        print(_overview(arguments[0]))
        return 0
    command = COMMANDS[name]
    config: Any = parse(f"pops {name}", command.config, rest)
    if config is None:
        return 0
    run = getattr(import_module(command.module), name.replace(" ", "_").replace("-", "_"))
    with resumable(config):
        return int(run(config))


def _overview(group: str = "") -> str:
    names = [name for name in COMMANDS if name.startswith(group)]
    width = max(map(len, names)) + 2
    rows = [f"  pops {name:<{width}}{_summary(COMMANDS[name].config)}" for name in names]
    examples = [COMMANDS[name].examples[0] for name in names[: 2 if group else 1]]
    return "\n".join(
        ["usage: pops COMMAND ...", "", "Operators on CLIP image embeddings.", "", "commands:"]
        + rows
        + ["", "examples:", *(f"  {example}" for example in examples)]
        + ["", "pops COMMAND --help tells more, with examples; --debug shows where an error arose."]
    )


def _summary(config: type) -> str:
    return (config.__doc__ or "").splitlines()[0]


def _find_command(arguments: list[str]) -> tuple[str | None, list[str]]:
    """Find the command and its words; None where only a group's name and help are given."""
    for words in (1, 2):
        name = " ".join(arguments[:words])
        if name in COMMANDS:
            return name, arguments[words:]
    first, *rest = arguments
    group = [name for name in COMMANDS if name.startswith(f"{first} ")]
    if group and (not rest or rest[0] in ("-h", "--help")):
        return None, []
    said = f"{first} {rest[0]}" if group else first
    near = nearest(said, group or [*COMMANDS, *(name.split()[0] for name in COMMANDS)])
    raise UsageError(f"unknown command {said!r}{near} (see pops --help)")
