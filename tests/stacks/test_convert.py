import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from pops.cli import main as cli
from pops.engine import Engine
from pops.errors import OutputError, UsageError, WeightsError
from pops.io.embeddings import load_embeddings
from pops.operators import OPERATORS, OperatorCard, read_state_dict, save_operator
from pops.stacks.convert import convert
from tests.io.limits import no_larger_than

Parts = dict[str, Path]


@pytest.fixture
def stack(tmp_path: Path, stack_parts: Parts) -> Path:
    """The golden stack as one folder, named `tiny`."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name, part in stack_parts.items():
        (folder / name).symlink_to(part)
    return folder


@pytest.fixture
def published(golden: Path) -> Path:
    return golden / "operators/models/texturing/learned_prior.pth"


def test_a_weights_file_goes_to_a_folder_and_back_unchanged(
    published: Path, stack: Path, tmp_path: Path
):
    folder = convert(published, tmp_path / "texturing", stack=str(stack))
    back = convert(folder, tmp_path / "out" / "texturing.pth", stack=str(stack))
    before = read_state_dict(published)
    after = torch.load(back, weights_only=True)
    assert before.keys() == after.keys()
    assert "clip_mean" not in after
    for key, value in before.items():
        torch.testing.assert_close(after[key], value, rtol=0, atol=0)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit of the size of files")
def test_a_full_disk_is_told_in_one_line_and_nothing_is_left(
    published: Path, stack: Path, tmp_path: Path
):
    folder = convert(published, tmp_path / "texturing", stack=str(stack))
    out = tmp_path / "out" / "texturing.pth"
    with no_larger_than(4000), pytest.raises(OutputError, match=f"cannot write {out}: "):
        convert(folder, out, stack=str(stack))
    assert not out.parent.exists()


def test_a_converted_operator_gives_what_the_published_one_gives(
    published: Path, stack: Path, tmp_path: Path, engine: Engine, golden: Path
):
    folder = convert(published, tmp_path / "mine", stack=str(stack))
    own = Engine.load(stack, "cpu")
    request = tuple(golden / "inputs" / f"input_{name}.png" for name in "ab")
    made = own.apply(str(folder), [request], seeds=[18])
    expected = engine.apply("texturing", [request], seeds=[18])
    torch.testing.assert_close(made.image_embeds, expected.image_embeds)


def test_the_folder_says_what_it_is_and_how_to_use_it(published: Path, stack: Path, tmp_path: Path):
    folder = convert(published, tmp_path / "mine", stack=str(stack))
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "operator.json",
        "prior.safetensors",
    ]
    row = json.loads((folder / "operator.json").read_text())
    assert (row["operator"]["name"], row["stack"]) == ("texturing", "tiny")
    card = (folder / "README.md").read_text()
    assert "| converted from | learned_prior.pth |" in card
    assert "[('object.png', 'texture.png',)]" in card


def test_a_card_for_the_hub_s_stack_names_its_base_model(tmp_path: Path):
    card = OperatorCard(OPERATORS["instruct"], "kandinsky-2.2")
    text = (save_operator(tmp_path / "i", card, {}) / "README.md").read_text()
    assert "base_model: kandinsky-community/kandinsky-2-2-prior" in text
    assert "[('object.png',)], text=" in text


@pytest.mark.parametrize(
    ("place", "operator"),
    [("models/union/learned_prior.pth", "union"), ("runs/scene.pth", "scene")],
)
def test_the_operator_is_read_off_the_path(
    published: Path, stack: Path, tmp_path: Path, place: str, operator: str
):
    source = tmp_path / place
    source.parent.mkdir(parents=True)
    source.write_bytes(published.read_bytes())
    folder = convert(source, tmp_path / "out", stack=str(stack))
    assert json.loads((folder / "operator.json").read_text())["operator"]["name"] == operator


def test_a_path_that_says_nothing_asks_for_the_operator(
    published: Path, stack: Path, tmp_path: Path
):
    source = tmp_path / "weights.pth"
    source.write_bytes(published.read_bytes())
    with pytest.raises(UsageError, match=r"add --operator, one of texturing, union"):
        convert(source, tmp_path / "out", stack=str(stack))
    assert convert(source, tmp_path / "out", "union", str(stack)).is_dir()


def change(state: dict[str, Any], fault: str) -> dict[str, Any]:
    if fault == "missing":
        del state["prd_embedding"]
    elif fault == "extra":
        state["lora.weight"] = torch.zeros(2)
    else:
        state["proj_in.weight"] = torch.zeros(3, 2)
    return state


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("missing", r"1 missing \(prd_embedding\)"),
        ("extra", r"1 unknown \(lora\.weight\)"),
        ("shape", r"proj_in\.weight is \(3, 2\), not \(32, 32\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_key_and_nothing_is_written(
    published: Path, stack: Path, tmp_path: Path, fault: str, said: str
):
    source = tmp_path / "scene.pth"
    torch.save(change(dict(read_state_dict(published)), fault), source)
    with pytest.raises(WeightsError, match=said):
        convert(source, tmp_path / "out", stack=str(stack))
    assert not (tmp_path / "out").exists()
    folder = save_operator(
        tmp_path / "folder", OperatorCard(OPERATORS["scene"], "tiny"), torch.load(source)
    )
    with pytest.raises(WeightsError, match=said):
        convert(folder, tmp_path / "out.pth", stack=str(stack))
    assert not (tmp_path / "out.pth").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named_and_nothing_is_written(
    published: Path, stack: Path, tmp_path: Path, value: float
):
    source, state = tmp_path / "scene.pth", dict(read_state_dict(published))
    state["proj_in.bias"] = torch.full_like(state["proj_in.bias"], value)
    torch.save(state, source)
    with pytest.raises(WeightsError, match=r"scene\.pth: proj_in\.bias holds numbers that are not"):
        convert(source, tmp_path / "out", stack=str(stack))
    assert not (tmp_path / "out").exists()


def test_weights_of_another_stack_are_refused_without_a_download(published: Path, tmp_path: Path):
    with pytest.raises(WeightsError, match=r"proj_in\.weight|272 missing"):
        convert(published, tmp_path / "out")  # checked against kandinsky-2.2, whose sizes are known


def test_a_folder_of_another_stack_is_refused(published: Path, stack: Path, tmp_path: Path):
    card = OperatorCard(OPERATORS["texturing"], "kandinsky-2.2")
    folder = save_operator(tmp_path / "theirs", card, read_state_dict(published))
    with pytest.raises(WeightsError, match=r"is of the stack kandinsky-2\.2, not tiny"):
        convert(folder, tmp_path / "out.pth", stack=str(stack))
    own = save_operator(
        tmp_path / "own", OperatorCard(OPERATORS["scene"], "tiny"), read_state_dict(published)
    )
    with pytest.raises(UsageError, match="name its folder with --stack"):
        convert(own, tmp_path / "out.pth")
    with pytest.raises(UsageError, match="holds the operator scene, not union"):
        convert(own, tmp_path / "out.pth", "union", str(stack))


def test_both_ends_of_one_form_are_refused(published: Path, stack: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="name a folder"):
        convert(published, tmp_path / "out.pth", stack=str(stack))
    folder = convert(published, tmp_path / "texturing", stack=str(stack))
    with pytest.raises(UsageError, match=r"ends in \.pth"):
        convert(folder, tmp_path / "again", stack=str(stack))


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_file_is_refused_in_one_line_and_nothing_runs(
    stack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], zipped: bool
):
    touched, evil = tmp_path / "touched", tmp_path / "scene.pth"
    torch.save({"w": Malicious(touched)}, evil, _use_new_zipfile_serialization=zipped)
    assert zipfile.is_zipfile(evil) == zipped
    arguments = ["convert", str(evil), str(tmp_path / "out"), "--stack", str(stack)]
    assert cli.main(arguments) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(r"pops: error: .*scene\.pth is refused, since it holds more .*\n", said)
    assert not touched.exists()
    assert not (tmp_path / "out").exists()


def test_the_command_says_where_it_wrote(
    published: Path, stack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "texturing"
    assert cli.main(["convert", str(published), str(out), f"--stack={stack}"]) == 0
    assert capsys.readouterr() == (f"{out}\n", "")
    assert cli.main(["convert", str(published), str(out), "--operator=textur"]) == 2
    assert "did you mean texturing" in capsys.readouterr().err


def test_apply_takes_a_converted_operator_and_a_weights_file_alike(
    published: Path, stack: Path, tmp_path: Path, golden: Path
):
    folder = convert(published, tmp_path / "mine", stack=str(stack))
    inputs = [str(golden / "inputs" / f"input_{name}.png") for name in "ab"]
    flags = [f"--stack={stack}", "--device=cpu", "--seeds=18", "--render_steps=1"]
    flags.append("--render_size=32")
    written = []
    for weights in (folder, published):
        out = tmp_path / f"out-{len(written)}"
        chosen = [f"--weights={weights}", f"--out={out}"]
        assert cli.main(["apply", "texturing", *inputs, *flags, *chosen]) == 0
        written.append(load_embeddings(out / "texturing_input_a_input_b_s18.safetensors"))
    torch.testing.assert_close(written[0].image_embeds, written[1].image_embeds)


def test_a_file_of_the_hub_is_fetched_and_named(
    monkeypatch: pytest.MonkeyPatch, published: Path, stack: Path, tmp_path: Path
):
    asked = []

    def fetched(repository: str, file: str) -> Path:
        asked.append((repository, file))
        return published

    monkeypatch.setattr("pops.io.hub.snapshots.fetch_file", fetched)
    source = "pOpsPaper/operators:models/texturing/learned_prior.pth"
    folder = convert(source, tmp_path / "out", stack=str(stack))
    assert asked == [("pOpsPaper/operators", "models/texturing/learned_prior.pth")]
    training = json.loads((folder / "operator.json").read_text())["training"]
    assert training == {"converted from": source}
