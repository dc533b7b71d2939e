"""How often pops finds the picture that is wanted, and what LanceDB finds of what is exact.

python -m benchmarks.search --pictures 100000 --json
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.harness.command import run_benchmark
from pops.engine import Engine
from pops.evaluation.pocket.cases import draw_scenes
from pops.evaluation.pocket.run import TASKS
from pops.evaluation.pocket.shown import Shown
from pops.evaluation.pocket.task import Asking, Task
from pops.pocket.build.data.families import families
from pops.pocket.world.scene import Scene
from pops.search.exact import Index, nearest_rows
from pops.search.format import IndexFile, IndexShard, write_index_file, write_shard
from pops.search.lance import LanceIndex, write_table
from pops.settings.fields import Range, Settings, setting

__all__ = ["Found", "SearchBenchmark", "main", "measure"]

SIDE = 128  # pixels of the pictures
FIRST = (1, 5, 12)  # among how many of the first it is looked for
SEED = 18
ENCODED = 512  # pictures held at a time
QUERIES = 200  # of the comparison with LanceDB
JITTER = 0.3  # of rows made from others, by the deviation of their numbers
PROBED = (0.02, 0.1, 0.3)


@dataclass(frozen=True, kw_only=True)
class SearchBenchmark(Settings):
    """Look for what requests of the pocket benchmark ask for, among many other pictures.

    The requests are drawn at random from the benchmark's, the same ones in every run. Queries are
    what the operator makes of a request, the mean of its inputs, and each input alone. Every
    request has one right picture, which it shares with those that ask for the same; the others are
    the families of near misses that the pocket stack is trained on, none of which shows what is
    asked for.
    """

    pictures: int = setting(100_000, "pictures that are searched", within=Range(1, 10_000_000))
    requests: int = setting(100, "requests of each operator", within=Range(1, 10_000))
    rows: int = setting(
        0,
        "rows on which LanceDB is compared with exact search; 0: not at all",
        within=Range(0, 100_000_000),
    )
    json: bool = setting(False, "print the numbers as one JSON object, on the last line")

    examples = ("python -m benchmarks.search --pictures 2000 --requests 25",)


@dataclass(frozen=True)
class Found:
    """The outcome of the benchmark.

    Args:
        shares: by operator and query, how often the right picture is among the first.
        numbers: the other numbers by name.
    """

    shares: Mapping[tuple[str, str], Sequence[float]]
    numbers: Mapping[str, float]

    def values(self) -> dict[str, float]:
        """Give all numbers by name.

        Returns:
            Such as `texturing_operator_first_5`.
        """
        named = {
            f"{operator}_{query}_first_{k}": share
            for (operator, query), row in self.shares.items()
            for k, share in zip(FIRST, row, strict=True)
        }
        return {**named, **self.numbers}


def measure(config: SearchBenchmark) -> Found:
    """Run the benchmark.

    Args:
        config: its settings.

    Returns:
        What was found.
    """
    engine = Engine.load("pocket")
    asking = Asking(SIDE, limit=config.requests, drawn=True)
    tasks = {name: task(asking) for name, task in TASKS.items()}
    asked = [scene for task in tasks.values() for scene in _scenes(task)]
    drawn = draw_scenes(asked, SIDE, None)
    right = _right_pictures(tasks.values())
    known = engine.encode([drawn[scene] for scene in right.values()]).image_embeds
    others = _others(engine, config.pictures - len(right))
    table = torch.cat([known, *others])  # of fewer pictures than requests, no others
    rows_of = {shown: row for row, shown in enumerate(right)}
    shares: dict[tuple[str, str], Sequence[float]] = {}
    for name, task in tasks.items():
        wanted = torch.tensor([rows_of[shown] for shown in task.wanted])
        for query, embeds in _queries(engine, name, task, drawn).items():
            _, rows = nearest_rows(embeds, iter([table.numpy()]), max(FIRST))
            hits = rows == wanted[:, None]
            shares[name, query] = [float(hits[:, :k].any(1).float().mean()) for k in FIRST]
    numbers = {"pictures": float(len(table)), "requests": float(config.requests)}
    return Found(shares, numbers | (_compare(table, config.rows) if config.rows else {}))


def _right_pictures(tasks: Iterable[Task]) -> dict[Shown, Scene]:
    """List one picture of all that is asked for, which several operators may be asked for."""
    right: dict[Shown, Scene] = {}
    for task in tasks:
        for shown, scene in zip(task.wanted, task.twins, strict=True):
            right.setdefault(shown, scene)
    return right


def _scenes(task: Task) -> list[Scene]:
    given = [source for request in task.inputs for source in request if isinstance(source, Scene)]
    return [*given, *task.twins]


def _others(engine: Engine, count: int) -> Iterator[Tensor]:
    """Draw embeddings of pictures of which none is asked for."""
    shard = 0
    while count > 0:
        scenes = [s for group in families(random.Random(f"search/{shard}"), shard) for s in group]
        pictures = list(draw_scenes(scenes[:count], SIDE, None).values())
        for at in range(0, len(pictures), ENCODED):
            yield engine.encode(pictures[at : at + ENCODED]).image_embeds
        count -= len(pictures)
        shard += 1
        print(f"{count} pictures to draw", file=sys.stderr)


def _queries(
    engine: Engine, operator: str, task: Task, drawn: Mapping[Scene, Image.Image]
) -> dict[str, Tensor]:
    """Make embeddings of requests, by the way that they are made."""
    requests = [tuple(drawn[s] if isinstance(s, Scene) else s for s in r) for r in task.inputs]
    made = engine.apply(operator, requests, text=task.texts, seeds=(SEED,)).image_embeds
    found = {"operator": made}
    given = [[picture for picture in request if picture is not None] for request in requests]
    flat = iter(engine.encode([picture for own in given for picture in own]).image_embeds)
    rows = [torch.stack([next(flat) for _ in own]) for own in given]
    found["mean"] = torch.stack([own.mean(0) for own in rows])
    for slot in range(2 if all(len(own) == 2 for own in rows) else 1):
        found[f"input {slot + 1}"] = torch.stack([own[slot] for own in rows])
    return found


def _compare(table: Tensor, count: int) -> dict[str, float]:
    """Time exact search and LanceDB, and tell how much of the exact twelve LanceDB finds."""
    rng = torch.Generator().manual_seed(0)
    at = torch.randint(len(table), (count,), generator=rng)
    noise = torch.randn(count, table.shape[1], generator=rng) * table.std(0) * JITTER
    rows = (table[at] + noise).half().numpy()
    queries = table[torch.randperm(len(table), generator=rng)[:QUERIES]]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "index"
        folder.mkdir()
        write_index_file(folder, IndexFile("pocket", {}, rows.shape[1], place))
        write_shard(folder, 0, IndexShard([f"{row}" for row in range(count)], rows, {}))
        index = Index(folder)
        began = time.perf_counter()
        _, exact = nearest_rows(queries, index.blocks(), max(FIRST))
        numbers = {"exact_seconds_a_query": (time.perf_counter() - began) / len(queries)}
        began = time.perf_counter()
        write_table(folder)
        numbers["lance_build_seconds"] = time.perf_counter() - began
        lance = LanceIndex(folder)
        for probed in PROBED:
            began = time.perf_counter()
            found = lance.rows(queries, max(FIRST), probed)
            name = f"lance_{probed:.0%}".replace("%", "_percent")
            numbers[f"{name}_seconds_a_query"] = (time.perf_counter() - began) / len(queries)
            numbers[f"{name}_recall"] = float(
                np.mean(
                    [
                        len({row for row, _ in own} & set(best)) / len(best)
                        for own, best in zip(found, exact.tolist(), strict=True)
                    ]
                )
            )
    return {"compared_rows": float(count), **numbers}


def _show(found: Found) -> str:
    lines = [f"{'operator':<12}{'query':<10}" + "".join(f"{f'first {k}':>10}" for k in FIRST)]
    for (operator, query), row in found.shares.items():
        lines.append(f"{operator:<12}{query:<10}" + "".join(f"{share:>10.0%}" for share in row))
    lines += [
        f"{name.replace('_', ' '):<32}{value:>12.4g}" for name, value in found.numbers.items()
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line.

    Args:
        arguments: the words after the module's name; None for those of this process.

    Returns:
        The exit status.
    """
    return run_benchmark("search", SearchBenchmark, measure, _show, arguments)


if __name__ == "__main__":
    sys.exit(main())
