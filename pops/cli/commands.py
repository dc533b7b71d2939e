"""What the commands do once their settings are known: check, call the engine, write, say where.

Inputs are checked before torch is imported, so that a wrong name costs no wait.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from pops.cli.outputs import (
    DEPTH_NEEDED,
    Previews,
    RunFiles,
    depth_sources,
    given_weights,
    input_words,
    keeps_depth,
    part_names,
)
from pops.cli.steps import (
    EMBEDDING,
    Input,
    captioned,
    equation,
    input_name,
    load,
    preview,
    seed_pairs,
)
from pops.compose.calls import text as made_from
from pops.compose.functions import fill_slots, operator_function
from pops.compose.nodes import Call, Leaf, plain_number
from pops.compose.plan import Plan, is_range, make_plan
from pops.errors import UsageError, check_known, install_hint
from pops.figures import save_animation, strips
from pops.io.files import make_folder, staged_folder
from pops.io.names import check_name, name_of_words
from pops.io.pictures import save_picture
from pops.operators import (
    OPERATORS,
    Operator,
    find_operator,
    find_operator_folders,
    known_operators,
    read_operator_card,
)
from pops.settings.commands import (
    ApplyConfig,
    ConvertConfig,
    EvalPocketConfig,
    PocketAssetsConfig,
    PocketResultsConfig,
    PocketSheetConfig,
    RunConfig,
)
from pops.settings.groups import DrawnConfig
from pops.settings.parsing import unknown_flag
from pops.settings.progress import Progress, ProgressBars
from pops.settings.rendering import RenderSettings

if TYPE_CHECKING:
    from pops.engine import Engine
    from pops.io.embeddings import Embeddings
    from pops.io.sources import Source

__all__ = [
    "apply",
    "convert",
    "eval_pocket",
    "pocket_assets",
    "pocket_results",
    "pocket_sheet",
    "run",
]

LEFT_OUT = "_"


def apply(config: ApplyConfig) -> int:
    """Run `pops apply`: one request to an operator.

    For each seed, writes an embedding file and pictures, and one strip of them all.

    Args:
        config: the settings of the command.

    Returns:
        The exit status.
    """
    folder = Path(config.operator).expanduser()
    if (folder / "operator.json").is_file():
        operator = read_operator_card(folder).operator
        config = replace(config, operators=(*config.operators, str(folder)))
    else:
        operator = _named_operator(config)
    request = _request(operator, config)
    shown = [preview(source) for source in request]
    words = input_words(operator, list(map(input_name, request)))
    how_far = "" if config.strength == 1 else f"strength-{plain_number(config.strength)}"
    name = name_of_words([operator.name, *words, config.text or "", how_far])
    plain = replace(config.rendering, renderer=RenderSettings.renderer)  # an input has no depth
    plan = _plan(operator, request, config)
    with staged_folder(config.out) as stage:
        check_name(stage, f"{name}_s{max(config.seeds)}_r{max(config.render_seeds)}.safetensors")
        first = _depth_source(request, config)
        engine = load(config)
        weights = {operator.name: config.weights} if config.weights else None
        with closing(ProgressBars()) as progress:
            result = engine.run(plan, weights=weights, progress=progress, **vars(config.sampling))
            made = result.embeddings
            depth_of = None if first is None else [first] * len(made)
            pictures = _render(engine, made, config.rendering, progress, depth_of)
            shown = [
                _render(engine, result[node][:1], plain, progress)[0]
                if node and image == EMBEDDING
                else image
                for node, image in zip(plan.composition.inputs, shown, strict=True)
            ]
        for seed, embedding in zip(config.seeds, made, strict=True):
            embedding.save(stage / f"{name}_s{seed}.safetensors")
        for (seed, render_seed), picture in zip(seed_pairs(config), pictures, strict=True):
            save_picture(picture, stage / f"{name}_s{seed}_r{render_seed}.png")
        row = equation(operator, request, shown, config.text, captioned(config, pictures))
        save_picture(strips([row]), stage / f"{name}.jpg")
    print(f"{config.out / name}.jpg  (the pictures and embeddings are beside it)")
    return 0


def run(config: RunConfig) -> int:
    """Run `pops run`: a composition.

    Writes the embedding of every part, pictures of the results, and figures of how they were made.

    Args:
        config: the settings of the command.

    Returns:
        The exit status: 1 where a file of a folder was skipped.
    """
    previews = Previews()
    plan = make_plan(config.composition, previews.usable, _known_operators(config))
    if config.animate != "none" and not any(map(is_range, plan.axes)):
        raise UsageError(
            "--animate shows a range: write one in place of a number, as in strength=0..1:9"
        )
    weights = given_weights(config, plan)
    for leaf in plan.leaves:
        previews.open(leaf)
    with staged_folder(config.out) as stage:
        longest = max(part_names(plan).values(), key=lambda name: len(name.encode()))
        check_name(stage, f"{longest}_s{max(config.seeds)}_r{max(config.render_seeds)}.safetensors")
        first = depth_sources(config, plan)
        engine = load(config)
        of_parts = replace(
            config.rendering,
            seeds=config.render_seeds[:1],
            renderer=RenderSettings.renderer if first else config.renderer,  # parts have no depth
        )
        with closing(ProgressBars()) as progress:
            result = engine.run(plan, weights=weights, progress=progress, **vars(config.sampling))
            depth_of = [first[node] for node, _ in result.keys] if first else None
            pictures = _render(engine, result.embeddings, config.rendering, progress, depth_of)
            shown = dict(zip(result.keys, pictures[:: len(config.render_seeds)], strict=True))
            files = RunFiles(result)
            figures = files.figures(
                previews.pictures | shown,
                lambda made: _render(engine, made, of_parts, progress),
                config.trees,
            )
        files.save_embeddings(stage)
        files.save_pictures(stage, pictures, config.render_seeds)
        for name, figure in figures.items():
            save_picture(figure, stage / name)
        if config.animate != "none":
            for name, frames in files.animations(shown).items():
                save_animation(frames, stage / f"{name}.{config.animate}")
    lost = list(dict.fromkeys(result.lost.values()))
    for said in (
        *(f"skipped: {file}" for file in previews.skipped),
        *(f"left out: {why}" for why in lost),
        *(f"not drawn: {figure}" for figure in files.left_out),
    ):
        print(said, file=sys.stderr)
    print(f"{config.out / next(iter(figures), '')}  (the pictures and embeddings are beside it)")
    return 1 if previews.skipped or lost else 0


def convert(config: ConvertConfig) -> int:
    """Run `pops convert`: write an operator in its other form.

    Args:
        config: the settings of the command.

    Returns:
        The exit status.
    """
    if config.operator is not None:
        find_operator(config.operator)
    from pops.stacks.convert import convert as convert_operator

    print(convert_operator(config.source, config.out, config.operator, config.stack))
    return 0


def pocket_sheet(config: PocketSheetConfig) -> int:
    """Run `pops pocket sheet`: draw contact sheets of the pocket world.

    Args:
        config: the settings of the command.

    Returns:
        The exit status.
    """
    from pops.pocket.world import sheet

    with closing(ProgressBars()) as progress:
        for path in sheet.draw(make_folder(config.out), config.seed, progress):
            print(path)
    return 0


def pocket_assets(config: PocketAssetsConfig) -> int:
    """Run `pops pocket assets`: draw the default input pictures.

    Args:
        config: the settings of the command.

    Returns:
        The exit status.
    """
    from pops.pocket.world import sheet

    with closing(ProgressBars()) as progress:
        sheet.draw_assets(make_folder(config.out), progress)
    print(f"{config.out}  (objects, textures, backgrounds, garments)")
    return 0


def pocket_results(config: PocketResultsConfig) -> int:
    """Run `pops pocket results`: draw a contact sheet of results of each operator.

    Args:
        config: the settings of the command.

    Returns:
        The exit status.
    """
    names = list(OPERATORS) if config.operator == "all" else [find_operator(config.operator).name]
    engine = load(config)
    from pops.evaluation.pocket.sheets import result_sheet

    folder = make_folder(config.out)
    with closing(ProgressBars()) as progress:
        for name in names:
            sheet = result_sheet(name, engine, config.count, progress)
            save_picture(sheet, folder / f"pocket-{name}.jpg")
            print(folder / f"pocket-{name}.jpg")
    return 0


def eval_pocket(config: EvalPocketConfig) -> int:
    """Run `pops eval pocket`: print the numbers of the pocket benchmark, as a table or as JSON.

    Args:
        config: the settings of the command.

    Returns:
        The exit status.
    """
    if config.operator != "all":
        find_operator(config.operator)
    from pops.evaluation.pocket.intervals import share_intervals
    from pops.evaluation.pocket.run import evaluate

    with closing(ProgressBars()) as progress:
        report = evaluate(config.operator, weights=config.weights, progress=progress)
    intervals: dict[str, dict[str, tuple[float, float]]] = {subject: {} for subject in report}
    if find_spec("scipy"):
        intervals = {subject: share_intervals(numbers) for subject, numbers in report.items()}
    else:
        print(f"without intervals, which need scipy: {install_hint('eval')}", file=sys.stderr)
    if config.json:
        print(json.dumps({s: {**report[s], "intervals": intervals[s]} for s in report}))
        return 0
    for subject, numbers in report.items():
        print(subject)
        for name, value in numbers.items():
            low, high = intervals[subject].get(name, (None, None))
            ends = "" if low is None else f"  [{low:.3g}, {high:.3g}]"
            print(f"  {name.replace('_', ' '):<32}{value:>10.4g}{ends}")
    return 0


def _known_operators(config: DrawnConfig) -> dict[str, Operator]:
    """The operators that are named, and those of a stack in a folder, before torch is imported."""
    home = Path(config.stack) / "operators"
    of_stack = find_operator_folders([home]) if any(home.glob("*/operator.json")) else {}
    named = find_operator_folders(config.operators)
    return known_operators({**of_stack, **named}.values())


def _named_operator(config: ApplyConfig) -> Operator:
    known = _known_operators(config)
    check_known("operator", config.operator, known)
    return known[config.operator]


def _plan(operator: Operator, request: Sequence[Input], config: ApplyConfig) -> Plan:
    """A composition of one operator."""
    nodes = [Leaf(source) if isinstance(source, Path) else source for source in request]
    text = {} if config.text is None else {"text": config.text}
    node = operator_function(operator)(*nodes, **text, strength=config.strength)
    return Plan(node, (), (node,), {operator.name: operator})


def _render(
    engine: "Engine",
    made: "Embeddings",
    rendering: RenderSettings,
    progress: Progress,
    depth_of: "Sequence[Source] | None" = None,
) -> list[Image.Image]:
    return engine.render(made, depth_of=depth_of, progress=progress, **vars(rendering))


def _request(operator: Operator, config: ApplyConfig) -> tuple[Input, ...]:
    """The inputs in the order of the operator's slots, given by place or by the slots' names."""
    slots = [slot.replace("-", "_") for slot in operator.inputs]
    for name, place in config.slots.items():
        if name not in slots:
            flags = [one.name for one in fields(config)]
            raise UsageError(f"{unknown_flag(name, [*flags, *slots])} (see pops apply --help)")
        if not isinstance(place, str) or not place:
            raise UsageError(f"--{name} wants a picture, an embedding file or text:WORDS")
    given = fill_slots(operator, config.inputs, config.slots)
    operator.check_inputs(len(given), config.text)
    return tuple(None if one in (None, LEFT_OUT) else _input(str(one)) for one in given)


def _input(given: str) -> Path | Call:
    """A file, or a text that is given as `text:WORDS`."""
    kind, colon, words = given.partition(":")
    return made_from(words.strip()) if kind == "text" and colon else Path(given).expanduser()


def _depth_source(request: Sequence[Input], config: ApplyConfig) -> Path | None:
    """The first input, where the renderer keeps its depth."""
    if not keeps_depth(config.renderer):
        return None
    if not isinstance(request[0], Path):
        raise UsageError(DEPTH_NEEDED.format(config.renderer))
    return request[0]
