"""Pictures of a folder without their backgrounds: what is in front, on white."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tqdm import tqdm

from pops.datagen.config import CutoutsConfig
from pops.datagen.masks import crop_on_white
from pops.datagen.presets import load_preset
from pops.datagen.run import write_all
from pops.datagen.sample import Sample, Script
from pops.datagen.scheduler import Local, schedule
from pops.datagen.stages import Picture, Segment
from pops.datagen.store import Shard, Store
from pops.errors import InputError
from pops.pictures import picture_suffixes

__all__ = ["generate_cutouts"]


def generate_cutouts(config: CutoutsConfig) -> int:
    """Cut out every picture of a folder; the exit status. The same command resumes."""
    preset = load_preset(config)
    shard = Shard.parse(config.shard)
    paths = _pictures(config.input_dir)[: config.count]
    indices = range(shard.number, len(paths), shard.count)
    if config.dry_run:
        model = preset.stages.models["segment"]
        print(f"{len(indices)} of {len(paths)} pictures of {config.input_dir}, by {model}")
        return 0

    def cut(index: int, attempt: int) -> Script:
        return _cutout(paths[index].stem, preset.open(paths[index]))

    store = Store(config.output_dir, shard)
    settings: dict[str, object] = {
        "kind": "cutouts",
        "preset": config.preset,
        "seed": 0,
        "models": {},
    }
    settings |= {"input_dir": str(config.input_dir.resolve())}
    bar = tqdm(total=len(indices), desc="cutouts", unit="", file=sys.stderr)
    started = time.perf_counter()
    with store.open(settings) as there, bar:
        left = [index for index in indices if index not in there]
        bar.update(len(indices) - len(left))
        made = schedule(left, cut, Local(preset.stages), config.batch_size)
        for _ in write_all(made, store, 0, config.batch_size):
            bar.update()
    print(
        f"{len(indices)} cutouts in {config.output_dir}: {len(left)} made in "
        f"{time.perf_counter() - started:.1f} s"
    )
    return 0


def _pictures(folder: Path) -> list[Path]:
    """The pictures of a folder whose names are all different, in order of their names."""
    if not folder.is_dir():
        raise InputError(f"no such folder: {folder}; --input_dir wants a folder of pictures")
    endings = picture_suffixes()
    by_stem = {
        path.stem: path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in endings and not path.name.startswith(".")
    }
    if not by_stem:
        raise InputError(f"{folder} holds no pictures")
    return list(by_stem.values())


def _cutout(name: str, picture: Picture) -> Script:
    (mask,) = yield [Segment(picture)]
    image = picture.image
    return Sample(name, {f"{name}.png": crop_on_white(image, mask, (0, 0, *image.size))})
