"""A run of data generation: from its settings to a folder of samples."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from tqdm import tqdm

from pops.datagen.config import GenerateConfig
from pops.datagen.engines.local import Finished, Local, MakeScript, schedule
from pops.datagen.folder.store import SampleStore
from pops.datagen.generators import GENERATORS, AttemptInputs
from pops.datagen.presets import GenerationPreset, load_preset
from pops.datagen.sample import Script
from pops.datagen.stages import StageModel, Stages
from pops.datagen.words import PromptWords
from pops.settings.shard import Shard

__all__ = ["Generation", "generate", "make_samples", "write_all"]

WRITERS = 2  # threads that encode and write while the stages work
PROMPTS_SHOWN = 5


@dataclass(frozen=True)
class Generation:
    """The samples of a run: their kind, their number, and all that they depend on."""

    kind: str  # a key of `GENERATORS`
    words: PromptWords
    seed: int
    count: int
    shard: Shard = Shard()

    @property
    def indices(self) -> range:
        """The numbers of the samples of this machine."""
        return range(self.shard.number, self.count, self.shard.count)

    def script(self, index: int, attempt: int) -> Script:
        """Make the script of an attempt, which depends on its numbers and the seed alone.

        Args:
            index: The number of the sample.
            attempt: The number of the attempt.

        Returns:
            The script.
        """
        rng = Random(f"{self.kind}/{self.seed}/{index}/{attempt}")
        inputs = AttemptInputs(self.words, rng, index, index + attempt * self.count)
        return GENERATORS[self.kind].script(inputs)


def generate(config: GenerateConfig, kind: str) -> int:
    """Make samples of one kind.

    Args:
        config: The settings of the command.
        kind: A key of `GENERATORS`.

    Returns:
        The exit status.
    """
    preset = load_preset(config)
    shard = Shard.parse(config.shard)
    GENERATORS[kind].check_words(preset.words)
    generation = Generation(kind, preset.words, config.seed, config.count, shard)
    models = {stage: preset.stages.models[stage] for stage in GENERATORS[kind].stages}
    if config.dry_run:
        print("\n".join(_what(config, generation, models)))
        return 0
    store = SampleStore(config.output_dir, generation.shard)
    settings = _settings(config, kind, preset, models)
    bar = tqdm(total=len(generation.indices), desc=kind, unit="", file=sys.stderr)
    started = time.perf_counter()
    with store.open(settings) as there, bar:
        left = [index for index in generation.indices if index not in there]
        bar.update(len(generation.indices) - len(left))
        finished = make_samples(
            left, generation.script, models, config, preset.stages, _counted(bar)
        )
        for _ in write_all(finished, store, generation.seed, config.batch_size):
            bar.update()
    seconds = time.perf_counter() - started
    print(
        f"{len(generation.indices)} {kind} in {config.output_dir}: {len(left)} made in "
        f"{seconds:.1f} s, {len(generation.indices) - len(left)} there before"
    )
    return 0


def make_samples(
    indices: Sequence[int],
    make: MakeScript,
    asked: Iterable[str],
    config: GenerateConfig,
    stages: Stages,
    rejected: Callable[[str], None] = lambda reason: None,
) -> Generator[Finished, None, None]:
    """Run the scripts of samples by the engine that the settings name.

    Args:
        indices: The numbers of the samples.
        make: From the number of a sample and of an attempt to a script.
        asked: The names of the stages that the scripts ask, in order.
        config: The settings of the command.
        stages: The stages.
        rejected: Is told the reason of every rejection.

    Yields:
        The samples, in the order in which they finish.
    """
    if config.engine == "local":
        return schedule(indices, make, Local(stages), config.batch_size, rejected)
    from pops.datagen.engines.ray import make_on_cluster

    return make_on_cluster(indices, make, tuple(asked), config, rejected)


def _counted(bar: tqdm[Any]) -> Callable[[str], None]:
    """Make a function that counts rejections by reason, and shows them beside the bar."""
    rejections: Counter[str] = Counter()

    def rejected(reason: str) -> None:
        rejections[reason] += 1
        counted = ", ".join(f"{what} {n}" for what, n in rejections.most_common())
        bar.set_postfix_str(f"rejected {rejections.total()}: {counted}")

    return rejected


def _settings(
    config: GenerateConfig, kind: str, preset: GenerationPreset, models: dict[str, StageModel]
) -> dict[str, Any]:
    """Give all that a sample depends on: a folder is resumed only with the same."""
    return {
        "kind": kind,
        "preset": config.preset,
        "seed": config.seed,
        "size": preset.size,
        "words": preset.words_digest,
        "models": {stage: asdict(model) for stage, model in models.items()},
    }


def write_all(
    finished: Generator[Finished, None, None], store: SampleStore, seed: int, batch_size: int
) -> Iterator[None]:
    """Write samples in threads, a few at a time.

    Args:
        finished: The samples.
        store: The folder.
        seed: The seed of the run.
        batch_size: The size of a batch; up to two batches wait to be written.

    Yields:
        None for each sample that is written.
    """
    waiting: set[Future[None]] = set()
    with closing(finished), ThreadPoolExecutor(WRITERS) as writers:
        for one in finished:
            waiting.add(writers.submit(store.add, one.sample, _line(one, seed)))
            # An error of a writer ends the run when its turn comes.
            enough = len(waiting) >= 2 * batch_size
            done, waiting = wait(waiting, None if enough else 0, FIRST_COMPLETED)
            for future in done:
                yield future.result()
        for future in waiting:
            yield future.result()


def _line(one: Finished, seed: int) -> dict[str, Any]:
    """Make the line of a sample in the manifest."""
    return {
        "id": f"{seed}/{one.index}",
        "index": one.index,
        "name": one.sample.name,
        "files": list(one.sample.files),
        **one.sample.facts,
        "attempt": one.attempt,
        "rejections": list(one.rejections),
        "seconds": one.seconds,
    }


def _what(
    config: GenerateConfig, generation: Generation, models: dict[str, StageModel]
) -> list[str]:
    """Describe a run in words, without running it."""
    first = [next(generation.script(index, 0))[0] for index in generation.indices[:PROMPTS_SHOWN]]
    return [
        f"{len(generation.indices)} of {generation.count} {generation.kind}, "
        f"seed {generation.seed}, into {config.output_dir}",
        *(f"  {stage}: {model}, {model.licence}" for stage, model in models.items()),
        *(f"  {request}" for request in first),
    ]
