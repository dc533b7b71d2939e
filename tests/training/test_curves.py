"""Curves over the steps of a run: each is drawn so that its numbers can be seen."""

from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pops.training.outputs.curves import draw_panels, training_panels


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    """The panels of the figures that are saved, as they are when they are saved."""
    panels: list[Axes] = []
    save = Figure.savefig

    def saved(figure: Figure, *given: object, **named: object) -> None:
        panels.extend(figure.axes)
        save(figure, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", saved)
    return panels


def test_a_single_point_is_a_bar_with_its_number(drawn: list[Axes], tmp_path: Path) -> None:
    lines = [
        {"step": 25.0, "mse": 0.5},
        {"step": 50.0, "mse": 0.25, "val/cosine": 0.875, "val/baseline_cosine": 0.75},
    ]
    assert draw_panels(training_panels(lines), tmp_path / "curves.png")
    loss, cosine = drawn
    assert len(loss.lines) == 1 and not loss.patches
    assert not cosine.lines
    assert [bar.get_width() for bar in cosine.patches] == [0.875, 0.75]
    assert [text.get_text() for text in cosine.texts] == ["0.875", "0.75"]
    assert [label.get_text() for label in cosine.get_yticklabels()] == [
        "operator",
        "mean of the inputs",
    ]
    assert cosine.get_xlabel() == "at step 50"


def test_curves_of_two_validations_are_lines(drawn: list[Axes], tmp_path: Path) -> None:
    lines = [{"step": float(step), "val/cosine": 0.1 * step} for step in (1, 2)]
    assert draw_panels(training_panels(lines), tmp_path / "curves.png")
    (cosine,) = drawn
    assert len(cosine.lines) == 1 and not cosine.patches
