"""Rebuild the pocket stack from nothing: `python -m pops.pocket.build`.

Stages, in order; each resumes where it stopped, so that slices of any length add up:

    render       training pictures of the pocket world
    examples     more of them for the operators
    clip         image and text encoders
    autoencoder  pictures to latents and back
    judge        a separate classifier that marks the others' work
    embeds       all pictures as embeddings and latents
    cutouts      what the operators are given, as embeddings
    prior        the base prior, text to embedding
    operators    texturing, tuned from the base prior, and from it the others, in turn
    decoder      embedding to latents
    pack         half-precision weights, curves and report into the package
    caches       what the operators learn from, for `pops train`
    benchmark    the pocket benchmark of what was packed, into the report
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from pops.operators import OPERATORS
from pops.pocket.build import (
    autoencoder,
    caches,
    clip,
    cutouts,
    decoder,
    embeds,
    examples,
    judge,
    latents,
    package,
    pictures,
    priors,
    recipes,
)
from pops.pocket.build.work import EXAMPLES, Build
from pops.prior.model import Prior
from pops.stacks.stack import open_stack

__all__ = ["STAGES", "Build", "main"]


def _render(build: Build, seconds: float) -> None:
    pictures.build_pictures(build.runs / "pictures", build.shards, seconds)


def _examples(build: Build, seconds: float) -> None:
    # Half as many shards as there are of the others; these are smaller, too.
    examples.build_examples(build.runs, (build.shards + 1) // 2, seconds)


def _clip(build: Build, seconds: float) -> None:
    clip.train_clip(build.runs / "clip", build.data, seconds)


def _autoencoder(build: Build, seconds: float) -> None:
    autoencoder.train_autoencoder(build.runs / "autoencoder", build.data, seconds)


def _judge(build: Build, seconds: float) -> None:
    judge.train_judge(build.runs / "judge", build.data, seconds)


def _embeds(build: Build, seconds: float) -> None:
    data = build.data
    embeds.build_embeds(build.runs / "embeds.npz", build.clip, data)
    basis = autoencoder.patch_basis(build.runs / "autoencoder", data)
    latents.build_latents(build.runs / "decoder", basis, data, build.embeds)


def _prior(build: Build, seconds: float) -> None:
    priors.train_base_prior(build.runs / "prior", build.clip, build.data, build.embeds, seconds)


def _cutouts(build: Build, seconds: float) -> None:
    clip, folder = build.clip, build.runs / "cutouts"
    folder.mkdir(exist_ok=True)
    for name in EXAMPLES:
        data = pictures.load_pictures(build.runs / name)
        embeds.build_embeds(build.runs / f"{name}.npz", clip, data)
        cutouts.build_cutouts(folder / f"{name}.npz", clip, data)
    cutouts.build_cutouts(folder / "pictures.npz", clip, build.data)
    cutouts.build_garments(folder / "garments.npz", clip)


# operator -> what it learns from; the first starts at the base prior, the others where it came
_RECIPES: dict[str, Callable[[Build], Callable[[Prior], recipes.Drawing]]] = {
    "texturing": lambda build: (
        lambda prior: priors.TexturingBatch(
            pictures.load_records(build.runs / "pictures"), build.embeds, prior
        )
    ),
    "union": lambda build: lambda prior: recipes.UnionBatch(build.pool, prior),
    "scene": lambda build: lambda prior: recipes.SceneBatch(build.pool, prior),
    "instruct": lambda build: lambda prior: recipes.InstructBatch(build.pool, prior, build.clip),
    "clothes": lambda build: lambda prior: recipes.ClothesBatch(build.pool, prior),
}


def _operators(build: Build, seconds: float) -> None:
    for name in build.operators:
        start = build.base
        if name != "texturing":
            start = priors.smooth(priors.prior_fit(build.runs / "texturing", build.embeds, start))
        recipe = _RECIPES[name](build)
        priors.train_operator(build.runs / name, start, build.embeds, recipe, seconds)


def _caches(build: Build, seconds: float) -> None:
    stack = open_stack("pocket", device="cpu", prior=build.out / "prior")
    for name in build.operators:
        drawing = _RECIPES[name](build)(build.base)
        caches.write_cache(build.runs / "caches" / name, drawing, stack)


def _decoder(build: Build, seconds: float) -> None:
    decoder.train_decoder(build.runs / "decoder", seconds)


def _pack(build: Build, seconds: float) -> None:
    package.pack(build, build.out)


def _benchmark(build: Build, seconds: float) -> None:
    package.benchmark(build.out)


# stage -> what it does, and the seconds it gets when none are asked for (2 cores)
STAGES: dict[str, tuple[Callable[[Build, float], None], float]] = {
    "render": (_render, 900),
    "examples": (_examples, 600),
    "clip": (_clip, 1800),
    "autoencoder": (_autoencoder, 1800),
    "judge": (_judge, 240),
    "embeds": (_embeds, 300),
    "cutouts": (_cutouts, 300),
    "prior": (_prior, 300),
    "operators": (_operators, 600),
    "decoder": (_decoder, 4500),
    "pack": (_pack, 60),
    "caches": (_caches, 120),
    "benchmark": (_benchmark, 300),
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pops.pocket.build",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m pops.pocket.build --stages clip decoder --minutes 30",
    )
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument(
        "--minutes", type=float, help="time for each stage of this call (default: its own)"
    )
    parser.add_argument(
        "--operators", nargs="+", choices=OPERATORS, default=list(OPERATORS), help="which to train"
    )
    parser.add_argument("--threads", type=int, help="CPU threads of this process")
    parser.add_argument("--runs", type=Path, default=Path("runs/pocket"), help="work folder")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "weights")
    parser.add_argument("--shards", type=int, default=48, help="shards of training pictures")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    build = Build(args.runs, args.out, args.shards, tuple(args.operators))
    for name in args.stages:
        stage, seconds = STAGES[name]
        stage(build, 60 * args.minutes if args.minutes else seconds)


if __name__ == "__main__":
    main()
