"""Commands whose settings are known: they check, call the engine, write, and say where.

Inputs are checked before torch is imported, so that a wrong name costs no wait.
"""

import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from pops.cli.outputs import (
    Previews,
    RunFiles,
    depth_sources,
    given_weights,
    input_words,
    part_names,
)
from pops.cli.page import write_page
from pops.cli.request import depth_source, read_request, request_plan
from pops.cli.steps import (
    EMBEDDING,
    captioned,
    equation,
    input_name,
    known_operators_of,
    load,
    preview,
    render_finite,
    seed_pairs,
)
from pops.compose.nodes import Leaf, plain_number
from pops.compose.plan import is_range, make_plan
from pops.errors import UsageError, check_known
from pops.figures import save_animation, strips
from pops.io.files import check_apart, staged_folder
from pops.io.names import check_name, expand_home, name_of_words
from pops.io.pictures import save_picture
from pops.operators import (
    Operator,
    find_operator,
    read_operator_card,
)
from pops.settings.commands import (
    ApplyConfig,
    ConvertConfig,
    RunConfig,
)
from pops.settings.progress import Progress, ProgressBars
from pops.settings.rendering import RenderSettings

if TYPE_CHECKING:
    from pops.engine import Engine
    from pops.io.embeddings import Embeddings
    from pops.io.sources import Source

__all__ = [
    "apply",
    "convert",
    "run",
]


def apply(config: ApplyConfig) -> int:
    """Run `pops apply`: one request to an operator.

    For each seed, writes an embedding file and pictures, and one strip of them all.

    Args:
        config: the settings of the command.

    Returns:
        The exit status.
    """
    folder = expand_home(config.operator)
    if (folder / "operator.json").is_file():
        operator = read_operator_card(folder).operator
        config = replace(config, operators=(*config.operators, str(folder)))
    else:
        operator = _named_operator(config)
    request = read_request(operator, config)
    shown = [preview(source) for source in request]
    words = input_words(operator, list(map(input_name, request)))
    how_far = "" if config.strength == 1 else f"strength-{plain_number(config.strength)}"
    name = name_of_words([operator.name, *words, config.text or "", how_far])
    plain = config.rendering.plain()  # inputs are shown without depth
    plan = request_plan(operator, request, config)
    with staged_folder(config.out) as stage:
        check_name(stage, f"{name}_s{max(config.seeds)}_r{max(config.render_seeds)}.safetensors")
        first = depth_source(request, config)
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
        strip = strips([row])
        save_picture(strip, stage / f"{name}.jpg")
        if config.html:
            write_page(
                stage / f"{name}.html", "apply", config, [strip], captioned(config, pictures)
            )
    print(f"{config.out / name}.jpg  (the pictures and embeddings are beside it)")
    return 0


def run(config: RunConfig) -> int:
    """Run `pops run`: a composition.

    Writes the embedding of every part, pictures of the results, and figures of how they were made.

    Args:
        config: the settings of the command.

    Returns:
        The exit status: 1 where a file of a folder was skipped, or a part is not finite.

    Raises:
        UsageError: there is nothing that --animate could move through, or results would go into a
            folder of inputs.
    """
    previews = Previews()
    plan = make_plan(config.composition, previews.usable, known_operators_of(config))
    if config.animate != "none" and not any(map(is_range, plan.axes)):
        raise UsageError(
            "--animate shows a range: write one in the place of a number, as in strength=0..1:9"
        )
    weights = given_weights(config, plan)
    for first_of in (axis[0] for axis in plan.axes):  # those of folders, beside ranges
        if isinstance(first_of, Leaf) and isinstance(first_of.source, Path):
            check_apart("out", config.out, first_of.source.parent, inside=False)
    for leaf in plan.leaves:
        previews.open(leaf)
    with staged_folder(config.out) as stage:
        longest = max(part_names(plan).values(), key=lambda name: len(name.encode()))
        check_name(stage, f"{longest}_s{max(config.seeds)}_r{max(config.render_seeds)}.safetensors")
        first = depth_sources(config, plan)
        engine = load(config)
        drawn = config.rendering
        if first or drawn.options:  # parts have no depth, and a prompt describes the result
            drawn = drawn.plain()
        of_parts = replace(drawn, seeds=config.render_seeds[:1])
        with closing(ProgressBars()) as progress:
            result = engine.run(plan, weights=weights, progress=progress, **vars(config.sampling))
            pictures, unfit = render_finite(engine, result, config.rendering, progress, first)
            shown = {key: some[0] for key, some in pictures.items()}
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
        if config.html:
            page = stage / f"{part_names(plan)[plan.composition]}.html"
            cells = files.cells(pictures, config.render_seeds)
            write_page(page, "run", config, list(figures.values()), cells)
    lost = list(dict.fromkeys([*result.lost.values(), *([unfit] if unfit else []), *files.lost]))
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


def _named_operator(config: ApplyConfig) -> Operator:
    if config.operator != Path(config.operator).name:
        raise UsageError(_no_operator_folder(config.operator))
    known = known_operators_of(config)
    check_known("operator", config.operator, known)
    return known[config.operator]


def _no_operator_folder(path: str) -> str:
    folder = expand_home(path)
    if (folder / "operator" / "operator.json").is_file():
        return f"{path} is the folder of a training: did you mean {path.rstrip('/')}/operator?"
    why = "it holds no operator.json" if folder.is_dir() else "there is no such folder"
    return f"{path} is not an operator folder: {why}; pops train writes one, RUN/operator"


def _render(
    engine: "Engine",
    made: "Embeddings",
    rendering: RenderSettings,
    progress: Progress,
    depth_of: "Sequence[Source] | None" = None,
) -> list[Image.Image]:
    return engine.render(made, depth_of=depth_of, progress=progress, **vars(rendering))
