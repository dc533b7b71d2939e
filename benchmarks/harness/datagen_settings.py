"""The settings of the benchmark of data generation."""

from dataclasses import dataclass
from typing import Literal

from pops.datagen.generators import GENERATORS
from pops.errors import UsageError
from pops.settings.fields import AMOUNT, BATCH, THREADS, Range, Settings, setting

__all__ = ["DatagenBenchmark"]


@dataclass(frozen=True, kw_only=True)
class DatagenBenchmark(Settings):
    """Compare data generation with the one-by-one order of the published scripts.

    In that order a sample is finished and written before the next begins, and every stage is asked
    for one thing at a time. Ours asks the stages in batches and writes meanwhile. Both make the
    same files and take turns in one run. With `--engine ray`, the same pocket samples are made by
    this process and by a Ray cluster on the same cores, in turns.
    """

    kinds: tuple[str, ...] = setting(("textures", "scenes", "unions"), "kinds of record")
    models: Literal["pocket", "tiny"] = setting(
        "pocket", "the pocket world, or tiny random models of the published kinds"
    )
    engine: Literal["local", "ray"] = setting(
        "local", "local: batches beside one by one; ray: a cluster beside this process"
    )
    count: int = setting(32, "samples of each kind", within=AMOUNT)
    size: int = setting(64, "pixels of a side of a picture", within=Range(16, 4096))
    batch_size: int = setting(16, "requests that a stage answers at once", within=BATCH)
    repeats: int = setting(2, "turns of each way", within=Range(1, 1000))
    threads: int | None = setting(None, "CPU threads; null: one for each core", within=THREADS)
    json: bool = setting(False, "print one JSON object as the last line")

    examples = (
        "python -m benchmarks.datagen --json",
        "python -m benchmarks.datagen --models tiny --count 16",
        "python -m benchmarks.datagen --engine ray --count 256 --threads 1",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for kind in self.kinds:
            if kind not in GENERATORS:
                raise UsageError(f"unknown kind {kind!r}: the kinds are {', '.join(GENERATORS)}")
        if self.engine == "ray" and self.models != "pocket":
            raise UsageError("--engine ray is compared on --models pocket")
