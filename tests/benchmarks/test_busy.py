"""The benchmark of a busy machine, with commands that do nothing: what it times and writes."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks import busy

PAGE = f"# Numbers\n<!-- {busy.TABLE}: begin -->\nold\n<!-- {busy.TABLE}: end -->\nThe end.\n"
WORKS = ("prior", "training", "generation", "apply")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands of the same names that end at once, whatever flags they get."""

    def commands(settings: busy.BusyBenchmark, folder: Path) -> Mapping[str, list[str]]:
        return {work: [sys.executable, "-S", "-c", "pass"] for work in WORKS}

    monkeypatch.setattr(busy, "_commands", commands)


@pytest.mark.usefixtures("quick")
def test_every_command_is_timed_idle_and_busy_and_the_page_gets_its_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert busy.main(["--repeats=2", f"--page={page}", "--json"]) == 0
    said = capsys.readouterr().out
    values = json.loads(said.splitlines()[-1])
    assert len(values) == len(WORKS) * 2 * 3 and min(values.values()) > 0
    assert "medians of 2 turn(s)" in said
    text = page.read_text()
    assert "| seconds | idle, torch | idle, passive | idle, pops | busy, torch |" in text
    assert all(f"| {work} | " in text for work in WORKS)
    assert "old" not in text and text.endswith("-->\nThe end.\n")


@pytest.mark.usefixtures("quick")
def test_no_turn_is_begun_that_does_not_fit_the_time(capsys: pytest.CaptureFixture[str]):
    assert busy.main(["--works=apply", "--waits=pops", "--seconds=0"]) == 0
    assert "medians of 1 turn(s)" in capsys.readouterr().out


def test_a_command_that_fails_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(
        busy, "_commands", lambda *_: {"apply": [sys.executable, "-c", "raise SystemExit('no')"]}
    )
    assert busy.main(["--works=apply", "--repeats=1"]) == 1
    assert "failed: no" in capsys.readouterr().err


def test_the_commands_are_known_to_pops(tmp_path: Path):
    from pops.cli.main import COMMANDS
    from pops.settings.flags.parsing import parse

    commands = busy._commands(busy.BusyBenchmark(), tmp_path)
    (tmp_path / "data").mkdir()
    for work, name in (("training", "train"), ("apply", "apply")):
        words = [*commands[work], *busy._output(work, str(tmp_path / "out"))][3:]
        assert words[0] == name
        assert parse(name, COMMANDS[name].config, words[1:]) is not None
