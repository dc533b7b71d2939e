"""Stages `caches`, `operators` and `guidance`, which train the operators by `pops train`.

The operators are trained by the commands that the training guide shows, each with the config of its
name, on a cache of examples that are drawn from the build's own embeddings.
"""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from pops.errors import UsageError, WeightsError
from pops.operators import OperatorCard, read_operator_card, save_card
from pops.pocket.build.data.caches import write_cache
from pops.pocket.build.data.recipes import RECIPES
from pops.pocket.build.work import Build
from pops.pocket.world.split import OUTFIT_SPLIT, PAIR_SPLIT, SPLIT_NAME

__all__ = ["build_caches", "choose_guidance", "train_operators"]

GUIDANCES = (1.0, 1.5, 2.0, 3.0, 4.0)
# The split of the world that an operator never sees in training; SPLIT_NAME for the others.
_SPLITS = {"union": PAIR_SPLIT, "clothes": OUTFIT_SPLIT}


def build_caches(build: Build) -> None:
    """Draw examples of every operator into the folder `caches` of the build.

    Args:
        build: the build, whose embeddings are there.
    """
    pool = build.pool()
    for name in build.operators:
        write_cache(build.runs / "caches" / name, RECIPES[name](pool), build.encoders)
        print(f"caches: {build.runs / 'caches' / name}", flush=True)


def train_operators(build: Build, steps: int | None) -> None:
    """Run `pops train` for every operator, and put the operators into the stack.

    Args:
        build: the build, whose caches are there.
        steps: the number of steps; None for as many as the config says.

    Raises:
        UsageError: a config or a cache is missing.
        WeightsError: a training failed.
    """
    prior = build.part("prior/prior", "prior").parent
    for name in build.operators:
        config, cache = build.configs / f"{name}.yaml", build.runs / "caches" / name
        if not config.is_file():
            raise UsageError(f"{config} is missing: name the folder of the configs with --configs")
        if not (cache / "index.json").is_file():
            raise UsageError(f"{cache} is missing: run the stage caches first")
        run = build.runs / name
        command = [
            *(sys.executable, "-m", "pops", "train", f"--config_path={config}"),
            *(f"--cache={cache}", f"--pretrained_prior_path={prior}", f"--output_dir={run}"),
            *("--val_dataset_path=[]", "--save_dtype=float16"),
            *([] if steps is None else [f"--max_train_steps={steps}"]),
        ]
        print(" ".join(command), flush=True)
        if subprocess.run(command, check=False).returncode:
            raise WeightsError(f"{name} was not trained: {run} tells how far it came")
        _take_over(run / "operator", build.stack / "operators" / name)


def _take_over(made: Path, out: Path) -> None:
    """Copy a finished operator into the stack, its card naming the split it has never seen."""
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(made, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.png"))
    card = read_operator_card(made)
    name = card.operator.name
    training = {**card.training, "split": _SPLITS.get(name, SPLIT_NAME)}
    save_card(out, OperatorCard(operator=card.operator, stack="pocket", training=training))


def choose_guidance(build: Build) -> None:
    """Write into every operator the guidance that is best on a validation split.

    The best one finds the right picture of the split most often. Where several do, it is the one
    whose mean rank is lowest.

    Args:
        build: the build, whose operators are trained.

    Raises:
        UsageError: an operator is missing.
    """
    from pops.engine import Engine
    from pops.evaluation.pocket.run import compare_guidance

    folders = {name: build.stack / "operators" / name for name in build.operators}
    for folder in folders.values():
        if not folder.is_dir():
            raise UsageError(f"{folder} is missing: run the stage operators first")
    engine = Engine.load(build.stack)
    for name, folder in folders.items():
        found = compare_guidance(name, GUIDANCES, engine=engine)
        for guidance, numbers in found.items():
            print(f"guidance: {name} at {guidance} finds {numbers['top1']:.3f}", flush=True)
        best = max(found, key=lambda g: (found[g]["top1"], -found[g]["mean_rank"]))
        card = read_operator_card(folder)
        row = replace(card.operator, guidance=best)
        save_card(folder, OperatorCard(operator=row, stack=card.stack, training=card.training))
