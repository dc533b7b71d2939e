"""The GPU's benchmark at a small size on the CPU: it ends, goes on, and writes its page."""

import json
from pathlib import Path

import pytest

from benchmarks import gpu

TINY = [
    *("--layers=1", "--heads=1", "--dim=16", "--batches=1,2", "--train_batch=2", "--steps=2"),
    *("--repeats=1", "--matmul_size=32", "--device=cpu", "--parts=prior"),
]
BEGIN, END = f"<!-- {gpu.TABLE}: begin -->", f"<!-- {gpu.TABLE}: end -->"
PAGE = f"# Numbers\n\n{BEGIN}\nold\n{END}\n\nThe end.\n"


def test_it_writes_its_page_and_measures_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    page, results = tmp_path / "page.md", tmp_path / "gpu.json"
    page.write_text(PAGE)
    flags = [*TINY, f"--results={results}", f"--page={page}", "--json"]
    assert gpu.main(flags) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert first["prior_throughput_ratio_batch2"] > 0
    text = page.read_text()
    assert "| prior | throughput ratio batch2 |" in text and "old" not in text
    assert text.startswith("# Numbers") and text.endswith("The end.\n")

    monkeypatch.setitem(gpu.PARTS, "prior", lambda settings: pytest.fail("measured twice"))
    assert gpu.main(flags) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == first


def test_a_page_without_marks_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    page = tmp_path / "page.md"
    page.write_text("# Numbers\n")
    assert gpu.main([*TINY, f"--results={tmp_path / 'gpu.json'}", f"--page={page}"]) == 2
    assert "has no lines" in capsys.readouterr().err
    assert page.read_text() == "# Numbers\n"


@pytest.mark.slow
def test_all_parts_run_at_a_small_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    more = ["--parts=prior,training,lora,formats,grid", "--stack=pocket"]
    more += ["--side=1", "--rank=2", "--render_steps=2", "--render_size=64"]
    assert gpu.main([*TINY, *more, f"--results={tmp_path / 'gpu.json'}"]) == 0
    said = capsys.readouterr().out
    for part in gpu.PARTS:
        assert f"| {part} | seconds |" in said
    for number in ("int8 offload none render bytes", "float16 offload model encode bytes"):
        assert f"| grid | {number} |" in said
    assert "| lora | samples per s ratio |" in said
    assert "| formats | random prior bytes int8 |" in said
