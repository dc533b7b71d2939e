"""The campaign of kills adds its figures up over several calls."""

from pathlib import Path

from tests.kills import Figures, keep_figures, kinds, read_figures


def test_figures_of_several_calls_are_added_up(tmp_path: Path) -> None:
    known, file = kinds(tmp_path, tmp_path), str(tmp_path / "figures.jsonl")
    assert all(one == Figures() for one in read_figures(file, known).values())
    keep_figures(file, known[0], Figures(kills=3, runs=1, files=40))
    keep_figures(file, known[1], Figures(kills=3, runs=1, files=8, different=1))
    keep_figures(file, known[0], Figures(kills=2, runs=1, files=40, leftovers=1, failed=1))
    found = read_figures(file, known)
    assert found["training"] == Figures(kills=5, runs=2, files=80, leftovers=1, failed=1)
    assert found["embedding"] == Figures(kills=3, runs=1, files=8, different=1)
    assert found["inference"] == Figures()
