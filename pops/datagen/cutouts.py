"""Removing the backgrounds of the pictures of a folder: the foreground is put on white."""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from pops.data.cutting import cut_out
from pops.data.records.layouts import find_pictures
from pops.datagen.config import CutoutsConfig
from pops.datagen.folder.store import SampleStore
from pops.datagen.presets import load_preset
from pops.datagen.run import make_samples, write_all
from pops.datagen.sample import Sample, Script
from pops.datagen.stages import Picture, Segment
from pops.errors import InputError
from pops.settings.shard import Shard

__all__ = ["generate_cutouts", "name_cutouts"]

# In names of files, on some systems; bytes that are not UTF-8 are lone surrogates.
UNSAFE = re.compile(r"[\\:\x00-\x1f\ud800-\udfff]")


def generate_cutouts(config: CutoutsConfig) -> int:
    """Cut out the foreground of every picture of a folder. The same command resumes.

    Args:
        config: The settings of the command.

    Returns:
        The exit status.

    Raises:
        InputError: The folder holds no pictures, or two of them would get one name.
    """
    preset = load_preset(config)
    shard = Shard.parse(config.shard)
    pictures = dict(islice(name_cutouts(config.input_dir).items(), config.count))
    indices = range(shard.number, len(pictures), shard.count)
    if config.dry_run:
        model = preset.stages.models["segment"]
        print(f"{len(indices)} of {len(pictures)} pictures of {config.input_dir}, by {model}")
        return 0

    store = SampleStore(config.output_dir, shard)
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
        script = _Cutouts(list(pictures.items()), preset.open).script
        made = make_samples(left, script, ["segment"], config, preset.stages)
        for _ in write_all(made, store, 0, config.batch_size):
            bar.update()
    print(
        f"{len(indices)} cutouts in {config.output_dir}: {len(left)} made in "
        f"{time.perf_counter() - started:.1f} s"
    )
    return 0


def name_cutouts(folder: Path) -> dict[str, Path]:
    """Name the cut-out of every picture of a folder.

    Pictures whose names differ in their suffix alone keep it: `cat.jpg` and `cat.png` become
    `cat_jpg` and `cat_png`.

    Args:
        folder: The folder.

    Returns:
        The picture of each cut-out by its name, without suffix, in the order of the pictures.

    Raises:
        InputError: There is no such folder or no picture in it, or two cut-outs would get one name.
    """
    if not folder.is_dir():
        raise InputError(f"no such folder: {folder}; --input_dir takes a folder of pictures")
    paths = find_pictures(folder)
    if not paths:
        raise InputError(f"{folder} holds no pictures: name another folder by --input_dir")
    shared = Counter(path.stem.casefold() for path in paths)
    names: dict[str, Path] = {}
    for path in paths:
        alone = shared[path.stem.casefold()] == 1
        name = UNSAFE.sub("-", path.stem if alone else f"{path.stem}_{path.suffix[1:]}")
        same = next((other for other in names if other.casefold() == name.casefold()), None)
        if same is not None:
            raise InputError(f"{names[same]} and {path} would both become {name}.png: rename one")
        names[name] = path
    return names


@dataclass(frozen=True)
class _Cutouts:
    pictures: Sequence[tuple[str, Path]]
    open: Callable[[Path], Picture]

    def script(self, index: int, attempt: int) -> Script:
        name, path = self.pictures[index]
        picture = self.open(path)
        (mask,) = yield [Segment(picture)]
        cut = cut_out(picture.image, mask, (0, 0, *picture.image.size))
        return Sample(name, {f"{name}.png": cut})
