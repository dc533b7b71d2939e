import errno
import logging
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2 as httpx
import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

from pops.errors import WeightsError
from pops.io.hub.repositories import PART_FILES, REPOSITORIES
from pops.io.hub.snapshots import fetch, fetch_file, fetch_first, is_repository
from pops.stacks.spec import STACKS

NAME = "kandinsky-community/kandinsky-2-2-decoder"
Snapshot = Callable[..., str]


def hub(monkeypatch: pytest.MonkeyPatch, snapshot: Snapshot) -> list[dict[str, Any]]:
    """Stands in for the hub's client; what it was asked for."""
    asked: list[dict[str, Any]] = []

    def download(repository: str, **options: Any) -> str:
        asked.append({"repository": repository, **options})
        if options.get("local_files_only"):
            raise LocalEntryNotFoundError("not here yet")
        return snapshot()

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub, "model_info", lambda *_, **__: None)
    return asked


def failing(error: Exception) -> Snapshot:
    def snapshot() -> str:
        raise error

    return snapshot


def test_every_repository_of_a_named_stack_has_its_terms_and_size():
    spec = STACKS["kandinsky-2.2"]
    parts = [part for part in PART_FILES if hasattr(spec, part)]
    places = [spec.operators, *(getattr(spec, part) for part in parts)]
    for place in places:
        known = REPOSITORIES[place]
        assert re.fullmatch(r"about [\d.]+ GB( an operator)?", known.size)
        assert known.licence
        assert re.fullmatch(r"[0-9a-f]{40}|main", known.revision)


def test_a_download_asks_for_the_pinned_revision_and_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "a.safetensors").touch()
    asked = hub(monkeypatch, lambda: str(tmp_path))
    assert fetch(NAME, ("unet/*.safetensors",)) == tmp_path
    assert [ask["revision"] for ask in asked] == [REPOSITORIES[NAME].revision] * 2
    assert "unet/*.safetensors" in asked[1]["allow_patterns"]
    (line,) = caplog.messages
    assert line.startswith(f"downloading {NAME} (about 5.3 GB, Apache-2.0) to ")


def test_a_repository_that_is_not_in_the_table_is_fetched_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "mine.pth").touch()
    asked = hub(monkeypatch, lambda: str(tmp_path))
    assert fetch_file("someone/operators", "mine.pth") == tmp_path / "mine.pth"
    assert asked[1]["revision"] == "main"
    assert "of unknown size, licence: see the hub" in caplog.text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (LocalEntryNotFoundError("offline"), r"no hub is reachable.*hf download.*--stack pocket"),
        (OSError(errno.ENOSPC, "No space left on device"), "no room left.*HF_HOME"),
        (RepositoryNotFoundError, "has no such repository"),
        (GatedRepoError, "accept its terms"),
    ],
)
def test_what_went_wrong_is_one_line_that_says_what_was_wanted_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, error: Any, said: str
):
    if isinstance(error, type):
        response = httpx.Response(404, request=httpx.Request("GET", "https://hub.invalid"))
        error = error("no", response=response)
    hub(monkeypatch, failing(error))
    with pytest.raises(WeightsError, match=said) as caught:
        fetch(NAME, ("unet/*.safetensors",))
    message = str(caught.value)
    assert message.startswith(f"{NAME} (about 5.3 GB) cannot be downloaded: ")
    assert "\n" not in message


def test_without_a_hub_one_line_is_said_at_once_and_none_of_the_client_s(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
):
    def download(repository: str, **options: Any) -> str:
        if not options.get("local_files_only"):
            raise AssertionError("tried to download")
        raise LocalEntryNotFoundError("not here yet")

    def unreachable(*_: object, **__: object) -> None:
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise httpx.ConnectError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub, "model_info", unreachable)
    with pytest.raises(WeightsError, match="no hub is reachable"):
        fetch(NAME, ("unet/*.safetensors",))
    assert len(caplog.messages) == 1  # what was to be downloaded
    assert capfd.readouterr().err == ""


def test_a_repository_without_the_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    hub(monkeypatch, lambda: str(tmp_path))
    with pytest.raises(WeightsError, match=r"has no movq/config\.json at revision"):
        fetch(NAME, ("movq/config.json",))


@pytest.mark.parametrize(
    ("place", "answer"),
    [
        ("h94/IP-Adapter", True),
        ("./weights/prior", False),
        ("/weights/prior", False),
        ("~/prior", False),
        ("../prior", False),
        ("a/b/c", False),
        ("C:/weights", False),
        ("a\\b/c", False),
        ("prior", False),
    ],
)
def test_a_path_is_not_taken_for_a_repository(place: str, answer: bool):
    assert is_repository(place) == answer


@pytest.mark.parametrize("half", [True, False])
def test_of_a_checkpoint_the_half_precision_files_are_fetched_where_there_are_such(
    half: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    kind = "sdxl" if half else "sdxl_plain"
    names = [pattern.replace("*", "a") for pattern in PART_FILES[kind]]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    asked = hub(monkeypatch, lambda: str(tmp_path))
    listed = SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names])
    monkeypatch.setattr(huggingface_hub, "model_info", lambda *_, **__: listed)
    found = fetch_first("someone/sdxl", [PART_FILES["sdxl"], PART_FILES["sdxl_plain"]])
    assert found == tmp_path
    assert set(PART_FILES[kind]) <= set(asked[-1]["allow_patterns"])
    assert ("unet/*.fp16.safetensors" in asked[-1]["allow_patterns"]) == half
