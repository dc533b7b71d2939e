"""Kill runs at random moments, run them again to their end, and compare what they leave.

    python -m tests.kills --kills 50

Training, embedding, generation and inference are each run once without a kill. Then each is killed
by SIGKILL at random moments, again and again, and finished by the same command. Every file must be
what the unkilled run has written, byte for byte, but for times and speeds; nothing half-written may
be left.

With `--figures FILE` each run that was compared adds a line to the file, and the same command goes
on where an earlier one was stopped.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context, set_start_method
from multiprocessing.process import BaseProcess
from pathlib import Path

from pops.io.machine.processes import end_with_parent
from pops.settings.fields import SEED, Range, Settings, setting
from pops.settings.flags.parsing import parse, run_command

ASSETS = Path(__file__).parents[1] / "assets"
KILLS_OF_A_RUN = 3  # then it is finished, compared, and begun anew
PRELOADED = ["pops.cli.main", "pops.training.run", "pops.data.cache.build", "pops.engine"]
KEPT = (".generation.json",)  # hidden files that belong to a finished run


@dataclass(frozen=True, kw_only=True)
class KillsConfig(Settings):
    """Kill training, embedding, generation and inference at random, and compare the files."""

    kills: int = setting(50, "number of kills, over all kinds of runs", within=Range(1, 100_000))
    seed: int = setting(0, "seed of the moments", within=SEED)
    figures: str = setting("", "file for the figures of each run; those that it holds are kept")
    json: bool = setting(False, "print the figures as one JSON object, on the last line")

    examples = ("python -m tests.kills --kills 50", "python -m tests.kills --kills 8 --seed 3")


@dataclass(frozen=True)
class Kind:
    """A kind of run: the arguments of its command, for a folder to write into."""

    name: str
    arguments: Callable[[Path], list[str]]


@dataclass
class Figures:
    """The findings for one kind of run."""

    kills: int = 0
    runs: int = 0  # that were killed, finished and compared
    files: int = 0  # compared
    different: int = 0
    leftovers: int = 0
    failed: int = 0  # runs that could not be finished

    def add(self, other: Figures) -> None:
        """Add the findings of further runs.

        Args:
            other: The findings.
        """
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def run_pops(arguments: Sequence[str], log: Path) -> None:
    """Run `pops` in a process of its own that has imported everything already.

    Args:
        arguments: The arguments of the command.
        log: The file for all that it prints.
    """
    from pops.cli.main import main
    from pops.compat import infer_binary

    end_with_parent()
    if sys.platform == "linux":  # workers as the command starts them, not by this command's server
        set_start_method("fork", force=True)
    with log.open("a") as file:
        sys.stdout = sys.stderr = file
        command, *rest = arguments
        status = infer_binary(rest) if command == "infer_binary" else main(list(arguments))
        file.flush()
    sys.exit(status)


def kinds(data: Path, cache: Path) -> list[Kind]:
    """List the kinds of runs.

    Args:
        data: A folder of texturing samples.
        cache: A cache made of them.

    Returns:
        Training, embedding, generation and inference.
    """
    embed = ["--mode=texturing", f"--dataset_path={data}", "--shard_records=4", "--variants=2"]
    train = [f"--cache={cache}", "--mode=texturing", "--use_ema", "--max_train_steps=60"]
    train += ["--train_batch_size=4", "--checkpointing_steps=5", "--log_every=5"]
    train += ["--report_to=none", "--device=cpu"]
    made = ["random", "--preset=pocket", "--count=60", "--size=32", "--batch_size=4"]
    pictures = [f"--dir_a={ASSETS / 'objects'}", f"--dir_b={ASSETS / 'textures'}"]
    infer = [
        "--stack=pocket",
        "--operator=texturing",
        *pictures,
        "--prior_seeds=1",
        "--unet_seeds=0",
    ]
    infer += ["--name_filter_a=[mug,chair]", "--name_filter_b=[wood,gold,lava]", "--device=cpu"]
    return [
        Kind("training", lambda out: ["train", *train, f"--output_dir={out}"]),
        Kind("embedding", lambda out: ["embed", *embed, "--num_workers=1", f"--out={out}"]),
        Kind("generation", lambda out: ["generate", *made, f"--output_dir={out}"]),
        Kind("inference", lambda out: ["infer_binary", *infer, f"--output_dir_name={out}"]),
    ]


def start(arguments: Sequence[str], log: Path) -> BaseProcess:
    """Start a run.

    Args:
        arguments: The arguments of `pops`.
        log: The file for all that it prints.

    Returns:
        The process.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=run_pops, args=(list(arguments), log))
    process.start()
    return process


def finish(arguments: Sequence[str], log: Path) -> bool:
    """Run a command to its end.

    Args:
        arguments: The arguments of `pops`.
        log: The file for all that it prints.

    Returns:
        Whether it ended well.
    """
    process = start(arguments, log)
    process.join()
    return process.exitcode == 0


def contents(folder: Path) -> dict[str, bytes]:
    """Read the files of a finished run, without times and speeds, and without lock files.

    Args:
        folder: The folder of the run.

    Returns:
        The content of each file by its path in the folder; the name of the folder is taken out.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not path.name.startswith(".lock"):
            content = path.read_bytes().replace(str(folder).encode(), b"FOLDER")
            found[name] = b"\n".join(_timeless(content)) if name.endswith(".jsonl") else content
    return found


def _timeless(content: bytes) -> Iterator[bytes]:
    """Take times and speeds out of JSON lines, and sort those of samples."""
    lines = [json.loads(line) for line in content.splitlines()]
    for line in sorted(lines, key=lambda line: (line.get("step", 0), line.get("index", 0))):
        kept = {k: v for k, v in line.items() if k not in ("seconds", "samples_per_s")}
        yield json.dumps(kept).encode()


def is_leftover(name: str) -> bool:
    """Whether a file is half-written or hidden, as no finished run leaves one.

    Args:
        name: Its path in the folder of the run.

    Returns:
        Whether it is.
    """
    hidden = any(part.startswith(".") for part in name.split("/"))
    return (hidden and name not in KEPT) or name.endswith(".part")


@dataclass(frozen=True)
class Unkilled:
    """A run that nothing has killed, with which the others are compared."""

    kind: Kind
    root: Path  # a folder for the files of all runs
    seconds: float
    files: dict[str, bytes]


def run_unkilled(kind: Kind, root: Path) -> Unkilled:
    """Run a command once to its end.

    Args:
        kind: The kind of run.
        root: A folder for all files.

    Returns:
        The files that it wrote, and how long it took.

    Raises:
        SystemExit: If it fails.
    """
    out, log = root / f"{kind.name}-whole", root / f"{kind.name}-whole.log"
    started = time.monotonic()
    if not finish(kind.arguments(out), log):
        raise SystemExit(log.read_text())
    return Unkilled(kind, root, time.monotonic() - started, contents(out))


def kill_and_compare(whole: Unkilled, number: int, kills: int, rng: random.Random) -> Figures:
    """Kill a run some times, finish it, and compare its files with those of the unkilled run.

    Args:
        whole: The unkilled run.
        number: The run's number among those of its kind.
        kills: How many times it is killed.
        rng: The generator of the moments.

    Returns:
        The findings; files that differ or are left over are named on the screen.
    """
    kind, name = whole.kind, f"{whole.kind.name}-{number}"
    out, log = whole.root / name, whole.root / f"{name}.log"
    done = 0
    while done < kills:
        process = start(kind.arguments(out), log)
        process.join(rng.uniform(0.0, whole.seconds))
        if process.is_alive():
            process.kill()
            process.join()
            done += process.exitcode == -signal.SIGKILL
        elif process.exitcode == 0 and contents(out):  # it was quicker: nothing is left to kill
            out = whole.root / f"{name}-{done}-again"
    finished = finish(kind.arguments(out), log)
    if not finished:
        print(log.read_text()[-2000:])
    made = contents(out)
    left = [name for name in made if is_leftover(name)]
    compared = (made.keys() | whole.files.keys()) - set(left)
    wrong = [name for name in sorted(compared) if made.get(name) != whole.files.get(name)]
    for name in wrong + left:
        print(f"{kind.name}: {name} differs or is left over", flush=True)
    return Figures(done, 1, len(compared), len(wrong), len(left), int(not finished))


def campaign(settings: KillsConfig) -> int:
    """Run the whole campaign, and print its figures.

    Args:
        settings: The settings of the command.

    Returns:
        0 where every file is the same and nothing is left over, else 1.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data, cache = root / "data", root / "cache"
        runs = kinds(data, cache)
        found = read_figures(settings.figures, runs)
        shares = _shares(settings.kills, found)
        unkilled: dict[str, Unkilled] = {}
        while todo := [kind for kind in runs if found[kind.name].kills < shares[kind.name]]:
            kind = min(todo, key=lambda kind: found[kind.name].kills)  # all kinds by turns
            own, share = found[kind.name], shares[kind.name]
            if not unkilled:
                make_inputs(data, cache, root / "log")
            if kind.name not in unkilled:
                unkilled[kind.name] = run_unkilled(kind, root)
            rng = random.Random(f"{settings.seed}/{kind.name}/{own.runs}")
            kills = min(KILLS_OF_A_RUN, share - own.kills)
            new = kill_and_compare(unkilled[kind.name], own.runs, kills, rng)
            own.add(new)
            keep_figures(settings.figures, kind, new)
            print(f"{kind.name}: {own.kills} of {share} kills", file=sys.stderr, flush=True)
    return _show(found, settings.json)


def make_inputs(data: Path, cache: Path, log: Path) -> None:
    """Make what the runs read.

    Args:
        data: The folder for texturing samples.
        cache: The folder for a cache of them.
        log: The file for all that is printed.

    Raises:
        SystemExit: If it fails.
    """
    made = ["textures", "--preset=pocket", "--count=24", "--size=32", f"--output_dir={data}"]
    embed = ["--mode=texturing", f"--dataset_path={data}", "--variants=2", f"--out={cache}"]
    if not finish(["generate", *made], log) or not finish(["embed", *embed], log):
        raise SystemExit(log.read_text())


def _shares(kills: int, found: Iterable[str]) -> dict[str, int]:
    names = list(found)
    return {name: len(range(place, kills, len(names))) for place, name in enumerate(names)}


def read_figures(path: str, known: Iterable[Kind]) -> dict[str, Figures]:
    """Read what earlier calls of the command have found.

    Args:
        path: The file of figures; empty or missing where there are none.
        known: The kinds of runs.

    Returns:
        The findings for each kind, by its name.
    """
    found = {kind.name: Figures() for kind in known}
    if path and Path(path).exists():
        for line in Path(path).read_text().splitlines():
            own = json.loads(line)
            found[own.pop("kind")].add(Figures(**own))
    return found


def keep_figures(path: str, kind: Kind, new: Figures) -> None:
    """Add the findings of one run to the file of figures.

    Args:
        path: The file; empty for none.
        kind: The kind of the run.
        new: Its findings.
    """
    if path:
        with Path(path).open("a") as file:
            file.write(json.dumps({"kind": kind.name, **vars(new)}) + "\n")


def _show(found: dict[str, Figures], as_json: bool) -> int:
    print(
        f"{'':12}{'kills':>7}{'runs':>7}{'files':>8}{'different':>11}{'left over':>11}{'failed':>8}"
    )
    for name, own in found.items():
        print(
            f"{name:12}{own.kills:>7}{own.runs:>7}{own.files:>8}{own.different:>11}"
            f"{own.leftovers:>11}{own.failed:>8}"
        )
    if as_json:
        print(json.dumps({name: vars(own) for name, own in found.items()}))
    return int(any(own.different or own.leftovers or own.failed for own in found.values()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Its arguments; None for those of the process.

    Returns:
        The exit status.
    """

    def run(given: list[str]) -> int:
        settings = parse("python -m tests.kills", KillsConfig, given)
        return 0 if settings is None else campaign(settings)

    return run_command("kills", arguments, run)


if __name__ == "__main__":
    sys.exit(main())
