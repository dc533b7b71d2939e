"""Bring folders to the hub and from it: operators that people share.

Only named kinds of files travel, none of which can run code. A token is never an argument: the
hub's client takes that of `hf auth login`, or of the environment variable HF_TOKEN.
"""

from __future__ import annotations

import fnmatch
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pops.errors import OutputError, UsageError, WeightsError
from pops.io.files import staged_folder
from pops.io.hub.asking import quiet_client
from pops.io.hub.model_card import shared_card
from pops.io.hub.snapshots import is_repository
from pops.io.names import expand_home

if TYPE_CHECKING:
    from pops.io.hub.model_card import Metrics

__all__ = ["LARGE", "OPERATOR_FILES", "Shareable", "pull_folder", "push_files", "shared_files"]

log = logging.getLogger(__name__)

# What an operator folder consists of; whatever else lies there is neither sent nor fetched.
OPERATOR_FILES = (
    "operator.json",
    "prior.safetensors",
    "adapter_config.json",
    "adapter_model.safetensors",
    "README.md",
    "*.png",
    "*.jpg",
)
WEIGHTS = ("prior.safetensors", "adapter_model.safetensors")
LARGE = 10**9  # bytes of weights, above which an adapter is worth a word
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN, with a token that may write"


class Shareable:
    """Something that is kept in a folder of files and shared as a repository of the hub.

    Attributes:
        folder: The folder that it was read from, or None.
    """

    folder: Path | None

    @classmethod
    def _of_folder(cls, folder: Path) -> Self:
        raise NotImplementedError

    @classmethod
    def from_pretrained(cls, place: str | Path, revision: str | None = None) -> Self:
        """Read it from a folder, or from a repository of the hub, downloaded first.

        Args:
            place: A folder, or OWNER/NAME on the hub where there is no such folder.
            revision: A branch, tag or commit of the repository; None for its main branch.

        Returns:
            What the folder holds.

        Raises:
            UsageError: The place is neither a folder nor spelled as a repository.
            WeightsError: The folder is damaged, or the repository cannot be downloaded.
        """
        folder = expand_home(place)
        if not folder.is_dir():
            folder = pull_folder(str(place), revision)
        return cls._of_folder(folder)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Copy its files into a folder, whole or not at all.

        Args:
            folder: The folder, which is made where it is missing.

        Returns:
            The folder.

        Raises:
            UsageError: It was not read from a folder.
            OutputError: The folder cannot be written.
        """
        if self.folder is None:
            raise UsageError(f"{self} has no weights: read the operator by from_pretrained first")
        with staged_folder(folder) as stage:
            for name, file in shared_files(self.folder).items():
                shutil.copyfile(file, stage / name)
        return Path(folder)

    def push_to_hub(
        self,
        repository: str,
        *,
        private: bool = False,
        licence: str = "apache-2.0",
        metrics: Metrics | None = None,
        picture: Path | None = None,
    ) -> str:
        """Send its files to a repository of the hub, which is made where it is missing.

        Args:
            repository: OWNER/NAME.
            private: Whether a new repository is seen by its owner alone.
            licence: The licence of the weights, as the hub spells it.
            metrics: Numbers by name, for the model card.
            picture: An example picture for the model card.

        Returns:
            The address of the commit.

        Raises:
            UsageError: It was not read from a folder, or the name is not that of a repository.
            OutputError: The hub refuses it, or cannot be reached.
        """
        if self.folder is None:
            raise UsageError(f"{self} has no weights: read the operator by from_pretrained first")
        files = shared_files(self.folder, repository, licence, metrics, picture)
        return push_files(repository, files, private=private)


def shared_files(
    folder: Path,
    repository: str | None = None,
    licence: str | None = None,
    metrics: Metrics | None = None,
    picture: Path | None = None,
) -> dict[str, Any]:
    """Collect the files of an operator folder that are shared.

    Args:
        folder: The operator folder.
        repository: OWNER/NAME, for a model card that names it; None leaves the card as it is.
        licence: The licence of the weights.
        metrics: Numbers by name, for the model card.
        picture: An example picture for the model card.

    Returns:
        Paths, or the bytes of the model card, by the name of the file.

    Raises:
        UsageError: The folder is not an operator folder that can be shared alone.
    """
    found = [
        path
        for path in sorted(folder.iterdir() if folder.is_dir() else ())
        if any(fnmatch.fnmatchcase(path.name, pattern) for pattern in OPERATOR_FILES)
    ]
    files: dict[str, Any] = {path.name: path for path in found}
    if "operator.json" not in files:
        raise UsageError(
            f"{folder} is not an operator folder, since it has no operator.json: name one that "
            "pops train wrote"
        )
    if not set(files) & set(WEIGHTS):
        shares = (folder / "own.safetensors").is_file()
        why = "shares its prior with others: write it whole by pops convert, to .pth and back"
        raise UsageError(f"{folder} {why if shares else 'holds no weights: train it first'}")
    if repository is None:
        return files
    if picture is not None:
        files[f"example{picture.suffix.lower()}"] = picture
    text = (folder / "README.md").read_text(encoding="utf-8") if "README.md" in files else ""
    adapted = "adapter_model.safetensors" in files
    example = f"example{picture.suffix.lower()}" if picture else None
    card = shared_card(text, repository, licence, adapted, metrics or {}, example)
    return files | {"README.md": card.encode()}


def push_files(repository: str, files: Mapping[str, Path | bytes], *, private: bool = False) -> str:
    """Send files to a repository of the hub as one commit.

    The repository is made where it is missing. It shows the new files all together, or none.

    Args:
        repository: OWNER/NAME.
        files: Paths or contents by name in the repository.
        private: Whether a new repository is seen by its owner alone.

    Returns:
        The address of the commit.

    Raises:
        UsageError: The name is not that of a repository.
        OutputError: The hub refuses them, or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    _check_repository(repository)
    api = HfApi(library_name="pops")
    try:
        with quiet_client():
            api.create_repo(repository, private=private or None, exist_ok=True)
            made = api.create_commit(
                repository,
                operations=[
                    CommitOperationAdd(name, file if isinstance(file, bytes) else str(file))
                    for name, file in files.items()
                ],
                commit_message="Upload an operator of pops",
            )
    except Exception as error:  # the hub's client or its network library
        raise OutputError(f"{repository} cannot be written: {_reason(error)}") from error
    return str(made.commit_url)


def pull_folder(repository: str, revision: str | None = None) -> Path:
    """Download an operator folder from the hub; what is here already is not fetched again.

    Args:
        repository: OWNER/NAME.
        revision: A branch, tag or commit; None for the main branch.

    Returns:
        The local folder, in the hub's cache.

    Raises:
        UsageError: The name is not that of a repository.
        WeightsError: The repository is missing, holds no operator, or cannot be reached.
    """
    from huggingface_hub import constants, model_info, snapshot_download

    _check_repository(repository)
    log.warning("downloading the operator %s to %s", repository, constants.HF_HUB_CACHE)
    try:
        with quiet_client():
            commit = model_info(repository, revision=revision).sha
            folder = snapshot_download(
                repository, revision=commit, allow_patterns=list(OPERATOR_FILES)
            )
    except Exception as error:
        raise WeightsError(f"{repository} cannot be downloaded: {_reason(error)}") from error
    if not (Path(folder) / "operator.json").is_file():
        raise WeightsError(
            f"{repository} does not hold an operator of pops: it has no operator.json"
        )
    return Path(folder)


def _check_repository(name: str) -> None:
    if not is_repository(name):
        raise UsageError(
            f"{name!r} is neither a folder nor a repository of the hub: write OWNER/NAME"
        )


def _reason(error: Exception) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalTokenNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, LocalTokenNotFoundError):
        return f"no token is known; {LOG_IN}"
    if isinstance(error, GatedRepoError):
        return "accept its terms on the hub and log in with `hf auth login`"
    if isinstance(error, RevisionNotFoundError):
        return "the hub has no such revision of it; check --revision"
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status == 401 and not isinstance(error, RepositoryNotFoundError):
        return f"the hub does not know who you are; {LOG_IN}"
    if status == 403:
        return f"your token may not write there; {LOG_IN}"
    if status in (401, 404):
        return f"the hub has no such repository, or it is private; check the name, or {LOG_IN}"
    if status == 429:
        return "the hub asks for patience (429: too many requests); try again in some minutes"
    if status is not None:
        said = str(getattr(error, "server_message", None) or error).splitlines()[0][:200]
        return f"the hub answers {status} ({said})"
    if isinstance(error, OSError) and error.errno is not None and error.filename:
        return f"{error.filename}: {(error.strerror or str(error)).lower()}"
    kind = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    again = "try again; files that came whole are kept"
    return f"no hub is reachable at {constants.ENDPOINT} ({kind}); {again}"
