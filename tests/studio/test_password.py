"""A studio with a password: by a header, by Gradio's own login, and never in the log."""

import json
import logging
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AuthenticationError

from pops.errors import UsageError
from pops.settings.flags.parsing import parse
from pops.studio import app
from pops.studio.config import PASSWORD_VARIABLE, StudioConfig
from pops.studio.service import StudioService
from tests.studio.studio_server import ignored, running

pytestmark = ignored

PASSWORD = "open sesame"
BEARER = {"authorization": f"Bearer {PASSWORD}"}
DATA = ["texturing", ["objects/mug", None], "", {"seeds": [1], "steps": 1, "render_steps": 1}]


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, StudioService]]:
    with running(password=PASSWORD) as (url, studio):
        yield url, studio


def status(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_pictures_and_jobs_want_the_password(served: tuple[str, StudioService]) -> None:
    url = served[0]
    for path in ("/stack", "/pictures/objects/mug", "/gradio_api/info"):
        assert status(url + path) == 401
        assert status(url + path, **BEARER) == 200


@pytest.mark.parametrize("how", [{"headers": BEARER}, {"auth": ("anybody", PASSWORD)}])
def test_a_client_that_has_the_password_works(
    how: dict[str, Any], served: tuple[str, StudioService]
) -> None:
    last = Client(served[0], verbose=False, **how).predict(*DATA, api_name="/apply")
    assert last["state"] == "done"


def test_a_client_that_has_another_does_not(served: tuple[str, StudioService]) -> None:
    with pytest.raises(AuthenticationError):
        Client(served[0], verbose=False, auth=("anybody", "guess"))


def test_the_login_is_a_page(served: tuple[str, StudioService]) -> None:
    with urllib.request.urlopen(served[0]) as answer:  # which is led there
        assert answer.url.endswith("/login") and b'type="password"' in answer.read()


def test_the_password_is_not_told_by_anything(
    served: tuple[str, StudioService],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert status(f"{served[0]}/stack", **BEARER) == 200
        assert status(f"{served[0]}/stack", authorization="Bearer guess") == 401
    told = capfd.readouterr()
    assert PASSWORD not in caplog.text + told.out + told.err
    assert PASSWORD not in repr(StudioConfig(password=PASSWORD))
    assert PASSWORD not in json.dumps(served[1].describe())


def test_the_password_can_be_typed_or_stand_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    monkeypatch.setattr(app, "getpass", lambda said: "typed")
    config = parse("pops studio", StudioConfig, ["--password", "-"])
    assert config is not None and app._password(config.password) == "typed"
    assert app._password(None) is None
    monkeypatch.setenv(PASSWORD_VARIABLE, "in the environment")
    assert app._password(None) == "in the environment"
    assert app._password("given") == "given"


def test_an_empty_password_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="--password is empty"):
        StudioConfig(password="")


def test_hosts_are_given_as_names() -> None:
    config = parse("pops studio", StudioConfig, ["--allowed_hosts", "a.example,b.example"])
    assert config is not None and config.allowed_hosts == ("a.example", "b.example")
