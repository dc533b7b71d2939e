"""Pictures of a folder without their backgrounds: what is in front, on white."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from pops.datagen.config import CutoutsConfig
from pops.datagen.folder.store import Store
from pops.datagen.masks import crop_on_white
from pops.datagen.presets import load_preset
from pops.datagen.run import make_samples, write_all
from pops.datagen.sample import Sample, Script
from pops.datagen.stages import Picture, Segment
from pops.errors import InputError
from pops.io.pictures import picture_suffixes
from pops.settings.shard import Shard

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
        script = _Cutouts(paths, preset.open).script
        made = make_samples(left, script, ["segment"], config, preset.stages)
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


@dataclass(frozen=True)
class _Cutouts:
    paths: Sequence[Path]
    open: Callable[[Path], Picture]

    def script(self, index: int, attempt: int) -> Script:
        path = self.paths[index]
        picture = self.open(path)
        (mask,) = yield [Segment(picture)]
        cut = crop_on_white(picture.image, mask, (0, 0, *picture.image.size))
        return Sample(path.stem, {f"{path.stem}.png": cut})
