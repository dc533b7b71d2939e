"""Rebuild the pocket stack from nothing: `python -m pops.pocket.build`.

The stages, in order. Each goes on where its last call stopped:

    render       renders training pictures of the pocket world, and of garments alone
    clip         trains the image encoder and the text encoder
    autoencoder  trains the model from pictures to latents and back
    judge        trains a separate classifier that marks pictures of the other models
    embeds       encodes all pictures and what is cut out of them
    prior        trains the base prior, from text to embedding
    decoder      trains the model from embedding to latents
    caches       draws training examples of the operators, for `pops train`
    operators    trains all five operators by `pops train`
    guidance     chooses the guidance of each operator on a validation split
    pack         puts the whole stack, its curves and a report into the package
    benchmark    runs the pocket benchmark on the packed stack and adds it to the report
"""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from pops.errors import PopsError
from pops.operators import OPERATORS
from pops.pocket.build import operators, package
from pops.pocket.build.data import embeds, pictures
from pops.pocket.build.models import autoencoder, clip_training, decoder, judge, priors
from pops.pocket.build.progress import minutes
from pops.pocket.build.work import Build

__all__ = ["STAGES", "Stage", "main"]


def _render(build: Build, seconds: float) -> None:
    some = max(2, build.shards // 25)  # shards; each shows every garment once
    pictures.build_pictures(
        build.garments, some, seconds, "garments", pictures.draw_garments, workers=build.processes
    )
    pictures.build_pictures(build.pictures, build.shards, seconds, workers=build.processes)


def _clip(build: Build, seconds: float) -> None:
    folder = build.runs / "clip"
    clip_training.train_clip(folder, build.pictures, build.garments, seconds, build.world)
    package.pack_encoders(clip_training.clip_fit(folder, ()).ema, build.stack)


def _autoencoder(build: Build, seconds: float) -> None:
    folder = build.runs / "autoencoder"
    autoencoder.train_autoencoder(folder, build.pictures, seconds)
    package.pack_movq(autoencoder.autoencoder_fit(folder).ema, build.stack)


def _judge(build: Build, seconds: float) -> None:
    folder = build.runs / "judge"
    judge.train_judge(folder, pictures.load_pictures(build.pictures), seconds)
    package.pack_judge(judge.judge_fit(folder).ema, build.stack)


def _embeds(build: Build, seconds: float) -> None:
    encoder = build.encoders.image_encoder.model
    for name, source in (("embeds-garments", build.garments), ("embeds", build.pictures)):
        embeds.build_embeds(build.runs / name, encoder, source, seconds)


def _prior(build: Build, seconds: float) -> None:
    names, found = build.embeds
    captions = [r["caption"] for r in pictures.load_records(build.pictures, names)]
    folder = build.runs / "prior"
    words = build.encoders.text_encoder
    priors.train_base_prior(folder, words, captions, found.pictures, seconds)
    package.pack_prior(priors.prior_fit(folder, found.pictures).ema, build.stack)


def _decoder(build: Build, seconds: float) -> None:
    names, found = build.embeds
    drawn = decoder.Drawn(
        build.pictures,
        names,
        found.pictures,
        embeds.zero_embed(build.encoders.image_encoder.model),
        build.basis(),
    )
    folder = build.runs / "decoder"
    decoder.train_decoder(folder, drawn, seconds, build.world)
    package.pack_unet(decoder.decoder_fit(folder).ema, build.stack)


@dataclass(frozen=True)
class Stage:
    """A stage of the build.

    Args:
        run: does the work of the stage, within some seconds.
        seconds: how long it runs if nothing else is asked for; enough on two cores.
        whole: whether it always does all its work, and takes about `seconds`.
    """

    run: Callable[[Build, float], None]
    seconds: float
    whole: bool = False

    def tell(self, name: str, seconds: float) -> str:
        """Say beforehand how long the stage takes.

        Args:
            name: the name of the stage.
            seconds: the time that it is given.

        Returns:
            A line of text.
        """
        return f"{name}: {'about' if self.whole else 'at most'} {minutes(seconds)}"


STAGES: dict[str, Stage] = {
    "render": Stage(_render, 7200),
    "clip": Stage(_clip, 14400),
    "autoencoder": Stage(_autoencoder, 3600),
    "judge": Stage(_judge, 2400),
    "embeds": Stage(_embeds, 3600),
    "prior": Stage(_prior, 1800),
    "decoder": Stage(_decoder, 36000),
    "caches": Stage(lambda build, _: operators.build_caches(build), 300, whole=True),
    "operators": Stage(
        lambda build, _: operators.train_operators(build, build.steps), 7200, whole=True
    ),
    "guidance": Stage(lambda build, _: operators.choose_guidance(build), 1800, whole=True),
    "pack": Stage(lambda build, _: package.pack(build), 60, whole=True),
    "benchmark": Stage(lambda build, _: package.benchmark(build), 1800, whole=True),
}


def _parser() -> argparse.ArgumentParser:
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
    parser.add_argument(
        "--steps", type=int, help="steps of every operator (default: as its config says)"
    )
    parser.add_argument("--threads", type=int, help="CPU threads of this process")
    parser.add_argument(
        "--processes",
        type=int,
        default=os.cpu_count() or 1,
        help="processes that render, and that train together on a CPU (default: one a core)",
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/pocket"), help="work folder")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "weights")
    parser.add_argument(
        "--configs",
        type=Path,
        default=Path("configs/training/pocket"),
        help="training configs of the operators",
    )
    parser.add_argument("--shards", type=int, default=320, help="shards of training pictures")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the stages that are asked for.

    Args:
        argv: the arguments of the command; None for those of this process.

    Returns:
        The exit status. What a stage is missing is told in one line on stderr.
    """
    args = _parser().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    build = Build(
        runs=args.runs,
        out=args.out,
        shards=args.shards,
        configs=args.configs,
        processes=args.processes,
        operators=tuple(args.operators),
        steps=args.steps,
    )
    try:
        for name in args.stages:
            stage = STAGES[name]
            seconds = 60 * args.minutes if args.minutes and not stage.whole else stage.seconds
            print(stage.tell(name, seconds), flush=True)
            stage.run(build, seconds)
    except PopsError as error:
        print(f"python -m pops.pocket.build: {error}", file=sys.stderr)
        return error.exit_status
    return 0
