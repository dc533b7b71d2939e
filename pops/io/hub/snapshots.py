"""Find and download repositories of the hub, with pinned revisions, known licences and sizes.

Nothing is asked of the network unless a repository is named, and what is here already is used
without a word.
"""

from __future__ import annotations

import fnmatch
import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pops.errors import WeightsError
from pops.io.hub.asking import ask_hub, list_files, quiet_client, refusal
from pops.io.hub.repositories import REPOSITORIES, Repository
from pops.io.names import expand_home

__all__ = [
    "cached_folder",
    "fetch",
    "fetch_file",
    "fetch_first",
    "is_repository",
    "local_path",
]

log = logging.getLogger(__name__)


def is_repository(place: str) -> bool:
    """Tell whether a place is spelled as a repository, `owner/name`, and not as a path.

    Args:
        place: What the user named.

    Returns:
        True for a repository.
    """
    return bool(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", place))


def fetch_file(repository: str, file: str) -> Path:
    """Find one file of a repository, downloaded first where it is not here.

    Args:
        repository: OWNER/NAME.
        file: The path of the file in the repository.

    Returns:
        The local path of the file.

    Raises:
        WeightsError: As `fetch`.
    """
    return fetch(repository, (file,)) / file


def local_path(place: str | Path) -> Path:
    """Find a local file, downloaded first where it is spelled REPOSITORY:FILE.

    Args:
        place: A path, or a file of a repository.

    Returns:
        The local path, whether there is a file or not.

    Raises:
        WeightsError: The file cannot be downloaded.
    """
    repository, colon, file = str(place).partition(":")
    if colon and is_repository(repository):
        return fetch_file(repository, file)
    return expand_home(place)


def fetch(repository: str, files: Sequence[str], instead: str = "--stack pocket") -> Path:
    """Find the local snapshot of a repository, downloaded first where it is not here.

    Before a download, one line in the log says its size, its licence and where it goes.

    Args:
        repository: OWNER/NAME.
        files: Patterns of names, each of which must match at least one file.
        instead: A way that needs no download, for the error.

    Returns:
        The folder of the snapshot.

    Raises:
        WeightsError: It is not here and no hub can be reached, or the hub does not have it.
    """
    from huggingface_hub import constants, snapshot_download

    source = REPOSITORIES.get(repository, Repository(repository))
    if (here := cached_folder(repository, files)) is not None:
        return here
    place = constants.HF_HUB_CACHE
    log.warning("downloading %s (%s, %s) to %s", repository, source.size, source.licence, place)
    try:
        ask_hub(repository, source.revision)
        with quiet_client():
            folder = Path(
                snapshot_download(
                    repository, revision=source.revision, allow_patterns=[*files, "*.json"]
                )
            )
    except Exception as error:  # the hub's client or its network library
        raise WeightsError(refusal(source, error, place, instead)) from error
    if absent := _absent(folder, files):
        raise WeightsError(
            f"{repository} has no {absent[0]} at revision {source.revision}: name another "
            "repository or revision"
        )
    return folder


def fetch_first(repository: str, choices: Sequence[Sequence[str]]) -> Path:
    """Find the snapshot of a repository with the first of several sets of files that it has.

    Args:
        repository: OWNER/NAME.
        choices: Sets of patterns of names, as `fetch` takes one.

    Returns:
        The folder of the snapshot.

    Raises:
        WeightsError: As `fetch`.
    """
    here = (cached_folder(repository, files) for files in choices)
    found = next((folder for folder in here if folder is not None), None)
    if found is not None:
        return found
    names = list_files(repository)
    fits = [files for files in choices if all(fnmatch.filter(names, one) for one in files)]
    return fetch(repository, (fits or choices)[0])


def cached_folder(repository: str, files: Sequence[str]) -> Path | None:
    """Find the snapshot of a repository in the cache of the hub, without any network.

    Args:
        repository: OWNER/NAME.
        files: Patterns of names, each of which must match at least one file.

    Returns:
        The folder; None where it is not here, or lacks some of the files.
    """
    from huggingface_hub import snapshot_download

    revision = REPOSITORIES.get(repository, Repository(repository)).revision
    with suppress(OSError, ValueError):  # not downloaded yet
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
        if not _absent(folder, files):
            return folder
    return None


def _absent(folder: Path, files: Sequence[str]) -> list[str]:
    here = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    return [pattern for pattern in files if not fnmatch.filter(here, pattern)]
