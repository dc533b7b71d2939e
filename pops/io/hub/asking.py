"""Ask the hub before a download, and tell in one line why it does not give a repository."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pops.errors import WeightsError

if TYPE_CHECKING:
    from pops.io.hub.repositories import Repository

__all__ = ["ask_hub", "check_reachable", "list_files", "quiet_client", "refusal"]


def check_reachable(source: Repository) -> None:
    """Ask the hub whether a repository can be downloaded, without downloading it.

    Args:
        source: The repository.

    Raises:
        WeightsError: It cannot be downloaded, and why.
    """
    from huggingface_hub import constants

    try:
        ask_hub(source.name, source.revision)
    except Exception as error:  # the hub's client or its network library
        why = refusal(source, error, constants.HF_HUB_CACHE, "--stack pocket")
        raise WeightsError(why) from error


def ask_hub(repository: str, revision: str | None = None, *, dataset: bool = False) -> None:
    """Ask the hub for a repository once, before a download that would try for half a minute.

    Args:
        repository: OWNER/NAME.
        revision: A branch or commit; None for the main branch.
        dataset: Whether it is a repository of data, not of models.

    Raises:
        HfHubHTTPError: The hub answers that it does not give the repository.
        Exception: Of the network, where no hub can be reached.
    """
    from huggingface_hub import dataset_info, model_info

    with quiet_client():
        (dataset_info if dataset else model_info)(repository, revision=revision)


def list_files(repository: str) -> list[str]:
    """List the files of a repository, without downloading them.

    Args:
        repository: OWNER/NAME.

    Returns:
        Their names; none where the hub does not tell, which a download will explain.
    """
    from huggingface_hub import model_info

    with suppress(Exception), quiet_client():  # the hub's client or its network library
        return [one.rfilename for one in model_info(repository).siblings or ()]
    return []


@contextmanager
def quiet_client() -> Iterator[None]:
    """Silence the client's warnings of every try: the outcome is told in one line.

    Yields:
        Nothing; the client is silent inside the block.
    """
    from huggingface_hub.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def refusal(source: Repository, error: Exception, place: str, instead: str) -> str:
    """Say in one line why a repository cannot be downloaded, and what to do.

    Args:
        source: The repository.
        error: What was raised.
        place: The folder that downloads go to.
        instead: A way that needs no download.

    Returns:
        The line.
    """
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    wanted = f"{source.name} ({source.size}) cannot be downloaded"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"{wanted}: no room left in {place}; make room, or set HF_HOME to another place"
    if isinstance(error, GatedRepoError):
        return f"{wanted}: accept its terms on the hub and log in with `hf auth login`"
    if isinstance(error, RepositoryNotFoundError):
        return f"{wanted}: the hub has no such repository, or it is private; check the name"
    return (
        f"{wanted}: no hub is reachable; where one is, run `hf download {source.name} "
        f"--revision {source.revision}` and copy {place} here, or use {instead}, which needs no "
        "download"
    )
