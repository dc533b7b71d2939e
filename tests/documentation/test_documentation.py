"""Every command and every line of Python in the documentation runs, or says why it does not."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.documentation.blocks import PAGES, ROOT, blocks, commands
from tests.documentation.session import session
from tests.studio import studio_server

RUN = ("sh", "python")  # the languages of blocks that people type
RUN_HERE, RUN_NEVER = 44, 16  # numbers of blocks
SHOWN = ("text",)  # those of blocks that they read: layouts, drawings, messages
PROGRAMS = re.compile(r"^\$? ?(pops|python|pip|make|import|from) ")
pytestmark = [
    *studio_server.ignored,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(b.language in RUN and not b.reason for b in blocks(page))],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_what_a_page_tells_to_type_runs(page: Path, tmp_path: Path) -> None:
    with session(page, tmp_path) as stranger:
        for block in blocks(page):
            if block.language in RUN and not block.reason:
                stranger.run(block)


def test_every_block_is_run_or_says_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    typed = [block for page in PAGES for block in blocks(page) if block.language in RUN]
    run = [block for block in typed if not block.reason]
    elsewhere = [block for block in typed if "`tests/" in block.reason]
    never = [block for block in typed if block.reason and block not in elsewhere]
    with capsys.disabled():
        print(f"\n{len(run)} blocks of the documentation are run, {len(elsewhere)} by other tests:")
        for block in elsewhere:
            print(f"  {block.where}: {block.reason}")
        print(f"and {len(never)} are not run:")
        for block in never:
            print(f"  {block.where}: {block.reason}")
    assert len(run) >= RUN_HERE and len(never) <= RUN_NEVER, "run some, or change the numbers here"


def test_blocks_that_are_only_read_say_nothing_to_type() -> None:
    for block in (block for page in PAGES for block in blocks(page)):
        if block.language not in RUN:
            assert block.language in SHOWN or block.language.startswith("{ .python"), block.where
            assert not any(map(PROGRAMS.match, block.body.splitlines())), f"{block.where}: run it"


def test_the_tests_exist_that_run_what_a_page_does_not() -> None:
    for page in PAGES:
        for block in blocks(page):
            for named in re.findall(r"`([\w./-]+)`", block.reason):
                assert (ROOT / named).exists(), f"{block.where}: {named}"


def test_every_module_that_a_page_starts_exists() -> None:
    started = {
        module
        for page in PAGES
        for module in re.findall(r"python -m ([\w.]*\w)", page.read_text(encoding="utf-8"))
    }
    assert len(started) > 10
    for module in started:
        assert find_spec(module) is not None, module


def test_every_comment_about_a_block_is_read() -> None:
    for page in PAGES:
        said = len(re.findall(r"^<!-- not run", page.read_text(encoding="utf-8"), re.MULTILINE))
        assert said == sum(bool(block.reason) for block in blocks(page)), page


def test_a_command_is_read_whole_and_without_its_comment() -> None:
    for page in PAGES:
        for block in blocks(page):
            if block.language == "sh" and not block.reason:
                for command in commands(block):
                    assert not command.endswith("\\") and " #" not in command, command
