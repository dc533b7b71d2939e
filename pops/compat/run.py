"""One published command from its settings to its exit status."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pops.compat.config import DECODER_REPO, PRIOR_REPO, PublishedConfig
from pops.compat.strip_files import StripFiles
from pops.compat.strips import list_strips
from pops.compat.texts import with_texts
from pops.errors import UsageError, WeightsError
from pops.io.files import check_apart, make_folder
from pops.io.names import check_name
from pops.operators import OPERATORS, Operator, find_operator, read_operator_card

if TYPE_CHECKING:
    from pops.engine import Engine

__all__ = ["run"]


def run(config: PublishedConfig) -> int:
    """Make everything that the settings ask for and that is not there yet.

    An input that cannot be read is named and left out, and the rest is made.

    Args:
        config: the settings of the command.

    Returns:
        The exit status: 1 where something was left out, else 0.

    Raises:
        UsageError: the settings do not fit each other.
        InputError: there is no input at all.
        WeightsError: a model is missing or does not fit.
        OutputError: the folder cannot be written.
    """
    # The folders inside dir_a are read for clothes alone: each is a slot.
    inside = config.default_operator.min_inputs is not None
    for place in filter(None, (config.dir_a, getattr(config, "dir_b", None))):
        check_apart("output_dir_name", config.output_dir_name, place, inside=inside)
    operator = _operator(config)
    engine = cache(lambda: _load(config))
    row = cache(lambda: engine().stack.operator_row(operator.name, config.weights))
    config = with_texts(config, config.output_dir_name, engine)
    strips = list_strips(config, row)
    folder = make_folder(config.output_dir_name)
    files = StripFiles(config, operator, folder)
    longest = max((strip.name for strip in strips), key=lambda name: len(name.encode()))
    check_name(folder, f"{longest}_s_{max(config.prior_seeds)}_cfg_1.0_img_emb.pth")
    missing = {s.name for s in strips if config.overwrite or not files.is_complete(s)}
    there = len(strips) - len(missing)
    hint = f" ({there} are complete; --overwrite makes them again)" if there else ""
    print(f"{len(missing)} of {len(strips)} to make in {folder}{hint}", file=sys.stderr)
    made, faults = 0, []
    if missing:
        from pops.compat.grid import Grid

        grid = Grid(config, operator, engine(), files)
        made = grid.make(strips, missing)
        faults = [*grid.faults.values(), *grid.lost.values()]
        if faults:
            why = f"{len(grid.faults)} of the inputs cannot be used"
            why += f", and {len(grid.lost)} of the results are not finite" if grid.lost else ""
            said = dict.fromkeys(faults)
            print(
                f"{len(missing) - made} left out, since {why}:", *said, sep="\n  ", file=sys.stderr
            )
    print(f"{folder}: {made} made{f', {there} were complete' if there else ''}")
    return 1 if faults else 0


def _operator(config: PublishedConfig) -> Operator:
    """Find the row of the operator that is named, or that the weights are of."""
    weights = config.weights
    if config.is_local and weights is not None and not Path(weights).exists():
        raise WeightsError(
            f"{weights} is missing: check --prior_path, or name its repository by --prior_repo"
        )
    if weights is not None and (Path(weights) / "operator.json").is_file():
        operator = read_operator_card(weights).operator
    else:
        path = Path(config.prior_path or "")
        said = [part for part in (*path.parts, path.stem) if part in OPERATORS]
        # Where the weights do not name their operator, any operator of the same inputs will do.
        operator = find_operator(config.operator or (said or [config.default_operator.name])[-1])
    if config.operator not in (None, operator.name):
        raise UsageError(
            f"{weights} holds the operator {operator.name}, not {config.operator}: change "
            "--operator or --prior_path"
        )
    if not config.fits(operator):
        text = " and a text" if operator.takes_text else ""
        raise UsageError(
            f"{operator.name} takes {', '.join(operator.inputs)}{text}: use the command for "
            "it, one of infer_binary, infer_instruct and infer_clothes"
        )
    return operator


def _load(config: PublishedConfig) -> Engine:
    from pops.engine import Engine

    # The published repositories give way to the parts of a stack that is named.
    prior, decoder = config.kandinsky_prior_repo, config.kandinsky_decoder_repo
    return Engine.load(
        config.stack or "kandinsky-2.2",
        config.device,
        config.dtype,
        offload=config.offload,
        prior=None if prior == PRIOR_REPO else prior,
        decoder=None if decoder == DECODER_REPO else decoder,
    )
