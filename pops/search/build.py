"""`pops index`: encodes the pictures of a folder that are not in its index yet, shard by shard."""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from pops.data.cache.fingerprints import encoder_digests
from pops.data.encoding import encode_pixels, halve
from pops.errors import DataError, InputError
from pops.io.files import folder_lock, reason_of
from pops.io.machine.processes import end_with_parent
from pops.io.names import expand_home
from pops.io.pictures import open_picture, picture_suffixes
from pops.search.config import IndexConfig
from pops.search.format import IndexFile, IndexShard, read_shards, write_index_file, write_shard
from pops.settings.progress import Progress, ProgressBars
from pops.stacks.clip import picture_pixels
from pops.stacks.stack import Stack, open_stack

__all__ = ["MakeShards", "build_index", "index", "list_pictures", "make_shards"]

# From the names of the pictures of each shard, by its number, to the shards, in any order.
MakeShards = Callable[[Mapping[int, Sequence[str]]], Iterable[tuple[int, IndexShard]]]


def index(config: IndexConfig, make: MakeShards | None = None) -> int:
    """Encode the pictures that are new, and say which cannot be used.

    Args:
        config: the settings of the command.
        make: makes shards elsewhere; None to make them in this process.

    Returns:
        The exit status: 1 where a picture is left out.
    """
    home, out = expand_home(config.folder), expand_home(config.out)
    names = list_pictures(home)
    if config.lance:
        from pops.search.lance import check_lance

        check_lance()
    part, parts = config.part
    with folder_lock(out, f".lock-{part}-of-{parts}"), closing(ProgressBars()) as progress:
        stack = open_stack(
            config.stack, device=config.device, dtype=config.dtype, offload=config.offload
        )
        broken = build_index(
            out, home, names, stack, (part, parts), config.shard_pictures, config.batch,
            config.workers, progress, make,
        )  # fmt: skip
        if config.lance:
            from pops.search.lance import write_table

            write_table(out)
    for reason in broken.values():
        print(f"left out: {reason}", file=sys.stderr)
    rows = sum(len(s.names) for s in read_shards(out, stack.prior_config.embedding_dim).values())
    print(f"{out}  ({rows} pictures{f', {len(broken)} left out' * bool(broken)})")
    return 1 if broken else 0


def list_pictures(folder: Path) -> list[str]:
    """List the pictures in a folder and in all folders in it.

    Args:
        folder: the folder.

    Returns:
        Their names below the folder, with `/`, sorted; hidden files and folders are left out.

    Raises:
        DataError: the folder is missing or holds no picture, or a folder in it cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"cannot read {error.filename}: {reason_of(error)}") from error

    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: name a folder of pictures")
    endings, found = tuple(picture_suffixes()), []
    for home, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = Path(home).relative_to(folder)
        found += [
            (below / name).as_posix()
            for name in files
            if name.lower().endswith(endings) and not name.startswith(".")
        ]
    if not found:
        raise DataError(f"{folder} holds no picture: name another folder")
    return sorted(found)


def build_index(
    out: Path,
    home: Path,
    names: Sequence[str],
    stack: Stack,
    part: tuple[int, int] = (0, 1),
    shard_pictures: int = 4096,
    batch: int = 32,
    workers: int = 0,
    progress: Progress | None = None,
    make: MakeShards | None = None,
) -> dict[str, str]:
    """Encode the pictures of one part of the work that are not in the index yet.

    Args:
        out: the folder of the index.
        home: the folder of the pictures.
        names: the names of all pictures below it.
        stack: the stack whose encoder makes the embeddings.
        part: (number, count): which part of the work, of how many.
        shard_pictures: the most pictures in a shard.
        batch: the most pictures in one call of the encoder.
        workers: the number of processes that open pictures.
        progress: called with "index", the pictures done, and all that are to be done; after every
            shard where they are made elsewhere.
        make: makes shards elsewhere; None to make them in this process.

    Returns:
        Why pictures are left out, by name; those of earlier runs, too, and those whose name is no
        text, which an index cannot hold.

    Raises:
        DataError: the folder holds an index of something else, or the encoder gives numbers that
            are not finite.
    """
    dim = stack.prior_config.embedding_dim
    encoders = encoder_digests(stack, with_text=False)
    write_index_file(out, IndexFile(stack.name, encoders, dim, str(home.absolute())))
    shards = read_shards(out, dim)
    there = set(names)
    good = {name for shard in shards.values() for name in shard.names}
    broken = {
        name: why
        for shard in shards.values()
        for name, why in shard.broken.items()
        if name not in good and not (name in there and _opens(home / name))  # it was mended
    }
    odd = {
        name: f"{home / name}: rename it, since its name is not UTF-8"
        for name in names
        if not _is_text(name)
    }
    known = {*broken, *odd, *good}
    number, parts = part
    todo = [n for n in names if n not in known and zlib.crc32(n.encode()) % parts == number]
    # Machine i of n writes the shards i, i + n, i + 2n, ...
    free = (at for at in count(number, parts) if at not in shards)
    starts = range(0, len(todo), shard_pictures)
    contents = {at: todo[i : i + shard_pictures] for i, at in zip(starts, free, strict=False)}
    if make is None:
        made: Any = make_shards(contents, home, stack, batch, workers, progress)
    else:
        made = make(contents)
    done = 0
    for at, shard in made:
        write_shard(out, at, shard)
        broken |= shard.broken
        done += len(contents[at])
        if make is not None and progress is not None:
            progress("index", done, len(todo))
    return broken | odd


def _opens(path: Path) -> bool:
    """Tell whether a picture that was left out, since it was broken, can be used by now."""
    try:
        open_picture(path)
    except InputError:
        return False
    return True


def _is_text(name: str) -> bool:
    """Tell whether a name can be encoded; bytes that are not UTF-8 become lone surrogates."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def make_shards(
    contents: Mapping[int, Sequence[str]],
    home: Path,
    stack: Stack,
    batch: int,
    workers: int,
    progress: Progress | None = None,
) -> Iterator[tuple[int, IndexShard]]:
    """Make shards in this process.

    Args:
        contents: the names of the pictures of each shard, by its number.
        home: the folder of the pictures.
        stack: the stack whose encoder makes the embeddings.
        batch: the most pictures in one call of the encoder.
        workers: the number of processes that open pictures.
        progress: called with "index", the pictures done, and all that are to be done.

    Yields:
        The number of each shard, and the shard, in order.

    Raises:
        DataError: the encoder gives numbers that are not finite.
    """
    todo = [name for names in contents.values() for name in names]
    opened = _opened(home, todo, stack, workers)
    done = 0
    for number, names in contents.items():
        shard = IndexShard([], np.zeros((0, stack.prior_config.embedding_dim), np.float16), {})
        waiting: list[np.ndarray] = []
        made = [shard.embeds]
        for name in names:
            pixels = next(opened)
            if isinstance(pixels, str):
                shard.broken[name] = pixels
            else:
                shard.names.append(name)
                waiting.append(pixels)
            if len(waiting) == batch:
                made.append(_encode(stack, waiting))
                waiting = []
            done += 1
            if progress is not None:
                progress("index", done, len(todo))
        made += [_encode(stack, waiting)] if waiting else []
        yield number, IndexShard(shard.names, np.concatenate(made), shard.broken)


def _encode(stack: Stack, pixels: Sequence[np.ndarray]) -> np.ndarray:
    return halve(encode_pixels(stack, np.stack(pixels), len(pixels)), stack, "image")


class _Pictures(Dataset[Any]):
    """Pixels of each picture for the encoder, or why it cannot be used."""

    def __init__(self, home: Path, names: Sequence[str], stack: Stack) -> None:
        self.home, self.names = home, names
        self.processor = stack.image_encoder.processor

    def __getitem__(self, at: int) -> np.ndarray | str:
        try:
            picture = open_picture(self.home / self.names[at])
        except InputError as error:
            return str(error)
        return np.asarray(picture_pixels(self.processor, [picture])[0])


def _opened(home: Path, names: Sequence[str], stack: Stack, workers: int) -> Iterator[Any]:
    """Give the pixels of pictures, in order."""
    return iter(
        DataLoader(
            _Pictures(home, names, stack),
            sampler=range(len(names)),
            batch_size=None,
            num_workers=min(workers, len(names)),
            collate_fn=_as_it_is,
            worker_init_fn=end_with_parent,
        )
    )


def _as_it_is(result: Any) -> Any:
    return result
