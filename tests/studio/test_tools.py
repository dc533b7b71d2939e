"""The studio's tools, called by the client of the Model Context Protocol's own package."""

import asyncio
import base64
import json
from collections.abc import Callable, Coroutine, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image

from pops.cli import main as cli
from pops.errors import UsageError
from pops.io.pictures import open_picture
from pops.search.exact import Index
from pops.studio.app import start
from pops.studio.config import StudioConfig
from pops.studio.service import StudioService
from tests.studio.studio_server import ignored, running

pytest.importorskip("mcp")
pytestmark = ignored
Session = Any


@pytest.fixture(scope="module")
def studio() -> Iterator[tuple[str, StudioService]]:
    with running(mcp=True, upload_mb=1) as found:
        yield found


def ask(
    url: str,
    talk: Callable[[Session], Coroutine[Any, Any, Any]],
    headers: dict[str, str] | None = None,
) -> Any:
    """Talk to the tools as an assistant does."""
    from httpx import AsyncClient
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async def whole() -> Any:
        async with (
            AsyncClient(headers=headers, timeout=300) as http,
            streamable_http_client(f"{url}/mcp", http_client=http) as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await talk(session)

    with asyncio.Runner() as runner:
        return runner.run(whole())


def pictures(result: Any) -> list[Image.Image]:
    return [
        Image.open(BytesIO(base64.b64decode(part.data)))
        for part in result.content
        if part.type == "image"
    ]


def facts(result: Any) -> list[dict[str, Any]]:
    return [json.loads(part.text) for part in result.content if part.type == "text"]


def refusal(request: Request) -> int:
    """The status of a request that is refused."""
    with pytest.raises(HTTPError) as refused:
        urlopen(request)
    refused.value.close()
    return refused.value.code


def test_an_assistant_applies_composes_and_goes_on_with_results(
    studio: tuple[str, StudioService],
):
    url, service = studio
    mug = base64.b64encode(Path("assets/objects/mug.png").read_bytes()).decode()

    async def talk(session: Session) -> None:
        listed = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert set(listed) == {"operators", "apply", "compose"}
        assert listed["apply"].inputSchema["required"] == ["operator", "inputs"]
        (known,) = facts(await session.call_tool("operators"))
        assert known["operators"]["texturing"]["inputs"] == ["object", "texture"]
        assert "wood.png" in known["examples"]
        own = f"data:image/png;base64,{mug}"
        given = {"operator": "texturing", "inputs": [own, "wood.png"], "seeds": [1, 2]}
        made = await session.call_tool("apply", given)
        assert not made.isError, made
        assert [picture.size for picture in pictures(made)] == [(64, 64), (64, 64)]
        assert [fact["seed"] for fact in facts(made)] == [1, 2]
        first = facts(made)[0]["id"]
        scene = {"expression": "scene('thing.png', 'beach.png')", "inputs": {"thing.png": first}}
        composed = await session.call_tool("compose", scene)
        assert not composed.isError, composed
        (picture,) = pictures(composed)
        engine = service.engine
        request = (Image.open("assets/objects/mug.png").convert("RGB"), "assets/textures/wood.png")
        wooden = engine.apply("texturing", request, seeds=[1])
        placed = engine.apply("scene", (wooden, "assets/backgrounds/beach.png"), seeds=[18])
        (wanted,) = engine.render(placed, seeds=[0])
        pairs = zip(picture.convert("RGB").tobytes(), wanted.tobytes(), strict=True)
        assert max(abs(a - b) for a, b in pairs) <= 2

    ask(url, talk)


def test_an_assistant_finds_pictures_and_goes_on_with_them(tmp_path: Path):
    folder = tmp_path / "my.index"
    assert cli.main(["index", "assets/objects", f"--out={folder}", "--device=cpu"]) == 0
    expression = "texturing('thing.png', 'wood.png')"
    mug = base64.b64encode(Path("assets/objects/mug.png").read_bytes()).decode()
    inputs = {"thing.png": f"data:image/png;base64,{mug}"}

    async def talk(session: Session) -> Any:
        listed = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert listed["find"].inputSchema["required"] == ["expression"]
        asked = {"expression": expression, "inputs": inputs, "k": 3, "seed": 7}
        found = await session.call_tool("find", asked)
        assert not found.isError, found
        for given, says in (
            ({"expression": "'nothing.png'"}, "no picture 'nothing.png'"),
            ({"expression": expression, "inputs": inputs, "k": 0}, "k must be a whole number"),
        ):
            answer = await session.call_tool("find", given)
            assert answer.isError and says in answer.content[0].text, answer
        first = facts(found)[0]["id"]
        like = await session.call_tool(
            "find", {"expression": "'that.png'", "inputs": {"that.png": first}, "k": 1}
        )
        assert facts(like)[0]["found"] == facts(found)[0]["found"]
        return found

    async def talk_of_none(session: Session) -> Any:
        return await session.call_tool("find", {"expression": "'mug.png'", "k": 2})

    with running(mcp=True, index=folder) as (url, service):
        home = service.engine.renderer("find").index.file  # type: ignore[attr-defined]
        there, home.folder = home.folder, str(tmp_path / "removed")
        assert "none of the pictures" in ask(url, talk_of_none).content[0].text
        home.folder = there
        found = ask(url, talk)
        request = Image.open("assets/objects/mug.png").convert("RGB"), "assets/textures/wood.png"
        made = service.engine.apply("texturing", request, seeds=[7])
    (hits,) = Index(folder).find(made.image_embeds, 3)
    assert [fact["found"] for fact in facts(found)] == [hit.path.name for hit in hits]
    assert [fact["rank"] for fact in facts(found)] == [1, 2, 3]
    for fact, hit, picture in zip(facts(found), hits, pictures(found), strict=True):
        assert fact["score"] == pytest.approx(hit.score, abs=1e-4)
        assert str(tmp_path) not in json.dumps(fact)
        there = open_picture(hit.path)
        there.thumbnail((512, 512))
        pair = (np.asarray(one.convert("RGB"), dtype=float) for one in (picture, there))
        assert abs(np.subtract(*pair)).mean() < 3


def test_what_is_wrong_is_said_in_the_studio_s_words(studio: tuple[str, StudioService]):
    async def talk(session: Session) -> None:
        for name, given, says in (
            ("apply", {"operator": "texture", "inputs": []}, "no operator 'texture'"),
            ("apply", {"operator": "scene", "inputs": ["mug.png"]}, "takes 2 inputs"),
            ("apply", {"operator": "scene", "inputs": ["x", "mug.png"]}, "no longer here"),
            ("apply", {"operator": "scene", "inputs": ["data:,?", "mug.png"]}, "data URL"),
            ("compose", {"expression": "scene('mug.png'"}, "was never closed"),
            ("apply", {"operator": "scene", "inputs": [], "seeds": [1] * 99}, "fewer seeds"),
        ):
            answer = await session.call_tool(name, given)
            assert answer.isError, (name, given)
            assert says in answer.content[0].text, answer.content[0].text

    ask(studio[0], talk)


def test_a_request_beyond_the_limits_is_refused_before_it_is_read(
    studio: tuple[str, StudioService],
):
    large = Request(f"{studio[0]}/mcp", b"x" * (2**20 + 1), {"content-type": "application/json"})
    assert refusal(large) == 413
    foreign = Request(f"{studio[0]}/mcp", b"{}", {"origin": "http://elsewhere.example"})
    assert refusal(foreign) == 403


def test_the_tools_are_off_unless_asked_for_and_want_the_password():
    with running() as (url, _):
        assert refusal(Request(f"{url}/mcp", b"{}")) == 404

    async def talk(session: Session) -> int:
        return len((await session.list_tools()).tools)

    with running(mcp=True, password="open sesame") as (url, _):
        assert refusal(Request(f"{url}/mcp", b"{}")) == 401
        assert ask(url, talk, {"authorization": "Bearer open sesame"}) == 3


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'pops-operators\[mcp\]'"):
        start(StudioConfig(mcp=True, device="cpu", browser=False))
