import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pops.errors import UsageError, WeightsError
from pops.operators import (
    GARMENTS,
    OPERATORS,
    OperatorCard,
    check_state_dict,
    find_operator,
    read_operator_card,
    read_state_dict,
    save_operator,
)

CARD = OperatorCard(OPERATORS["clothes"], "pocket", {"steps": 10})
STATE = {"proj_in.weight": torch.randn(3, 2), "clip_mean": torch.zeros(1, 2)}


def test_the_table_has_the_published_guidance_and_dropping():
    rows = {n: (o.guidance, o.drop_each, o.drop_all) for n, o in OPERATORS.items()}
    assert rows == {
        "texturing": (8.0, 0.25, 0.0),
        "union": (8.0, 0.0, 0.2),
        "scene": (1.0, 0.0, 0.1),
        "instruct": (1.0, 0.0, 0.2),
        "clothes": (4.0, 0.0, 0.2),
    }


def test_clothes_has_twelve_garments():
    assert len(set(GARMENTS)) == 12


def test_the_table_imports_no_torch():
    code = "import sys, pops.operators; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("asked", "near"), [("texture", "texturing"), ("Scene", "scene"), ("cloths", "clothes")]
)
def test_an_unknown_operator_is_answered_with_the_nearest(asked: str, near: str):
    with pytest.raises(UsageError, match=f"did you mean {near}"):
        find_operator(asked)


@pytest.mark.parametrize(
    ("name", "given", "text", "said"),
    [
        ("texturing", 1, None, r"takes 2 inputs \(object, texture\), not 1"),
        ("texturing", 3, None, "not 3"),
        ("clothes", 13, None, "1 to 12"),
        ("clothes", 0, None, "not 0"),
        ("instruct", 2, "shiny", r"takes 1 input \(object\), not 2"),
        ("instruct", 1, None, "needs a text"),
        ("scene", 2, "shiny", "takes no text"),
    ],
)
def test_inputs_that_do_not_fit_are_answered_with_the_slots(
    name: str, given: int, text: str | None, said: str
):
    with pytest.raises(UsageError, match=said):
        OPERATORS[name].check_inputs(given, text)


@pytest.mark.parametrize(
    ("name", "given", "text"),
    [("texturing", 2, None), ("clothes", 1, None), ("clothes", 12, None), ("instruct", 1, "")],
)
def test_inputs_that_fit_are_taken(name: str, given: int, text: str | None):
    OPERATORS[name].check_inputs(given, text)


def test_an_operator_folder_gives_back_what_was_saved(tmp_path: Path):
    folder = save_operator(tmp_path / "clothes", CARD, STATE)
    card, state = read_operator_card(folder), read_state_dict(folder / "prior.safetensors")
    assert card == CARD
    assert set(state) == {"proj_in.weight"}  # the clip statistics belong to the stack
    torch.testing.assert_close(state["proj_in.weight"], STATE["proj_in.weight"])


def test_an_operator_folder_has_a_model_card(tmp_path: Path):
    text = (save_operator(tmp_path / "c", CARD, STATE) / "README.md").read_text()
    assert "# clothes" in text
    assert "`pocket`" in text
    assert "| steps | 10 |" in text


def test_a_published_file_is_read(golden: Path):
    state = read_state_dict(golden / "operators/models/texturing/learned_prior.pth")
    assert state["prd_embedding"].shape == (1, 1, 32)


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.target,)


def test_a_malicious_file_is_refused_and_nothing_runs(tmp_path: Path):
    touched = tmp_path / "touched"
    torch.save({"weight": Malicious(touched)}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="refused"):
        read_state_dict(tmp_path / "evil.pth")
    assert not touched.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
def test_a_file_cut_short_anywhere_is_named(tmp_path: Path, golden: Path, suffix: str, kept: float):
    whole = golden / "operators/models/scene/learned_prior.pth"
    if suffix == ".safetensors":
        whole = save_operator(tmp_path / "op", CARD, read_state_dict(whole)) / "prior.safetensors"
    content = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(WeightsError, match=r"cut\."):
        read_state_dict(cut)


@pytest.mark.parametrize("name", ["text.pth", "text.safetensors"])
def test_a_text_file_is_no_weights_file(tmp_path: Path, name: str):
    (tmp_path / name).write_text("hello, I am no weights file at all\n" * 10)
    with pytest.raises(WeightsError, match="not a weights file"):
        read_state_dict(tmp_path / name)


def test_a_file_with_more_than_named_tensors_is_refused(tmp_path: Path):
    torch.save([1, 2, 3], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="no state dict"):
        read_state_dict(tmp_path / "list.pth")


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"nowhere\.pth is missing"):
        read_state_dict(tmp_path / "nowhere.pth")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"a": (2,)}, r"1 missing \(b\)"),
        ({"a": (2,), "b": (3,), "c": (1,)}, r"1 unknown \(c\)"),
        ({"a": (2,), "b": (4,)}, r"b is \(4,\), not \(3,\)"),
    ],
)
def test_keys_that_do_not_fit_are_named(found: dict[str, tuple[int, ...]], said: str):
    expected = {"a": torch.zeros(2), "b": torch.zeros(3)}
    with pytest.raises(WeightsError, match=said):
        check_state_dict({k: torch.zeros(v) for k, v in found.items()}, expected, "x.pth")


def test_a_folder_without_a_card_is_no_operator(tmp_path: Path):
    with pytest.raises(WeightsError, match="not an operator folder"):
        read_operator_card(tmp_path)


def test_a_card_with_an_unknown_field_is_refused(tmp_path: Path):
    folder = save_operator(tmp_path, CARD, STATE)
    row = json.loads((folder / "operator.json").read_text())
    row["operator"]["guidence"] = 3
    (folder / "operator.json").write_text(json.dumps(row))
    with pytest.raises(WeightsError, match="'guidence'"):
        read_operator_card(folder)


@pytest.mark.parametrize("content", ["{cut", "[]", '{"operator": {}}', '{"operator": 3}'])
def test_a_damaged_card_is_named(tmp_path: Path, content: str):
    (tmp_path / "operator.json").write_text(content)
    with pytest.raises(WeightsError, match=r"operator\.json"):
        read_operator_card(tmp_path)
