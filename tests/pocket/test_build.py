"""The build of the pocket stack: its pieces, and the whole from nothing."""

import json
import random
import subprocess
import sys
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from pops.errors import WeightsError
from pops.evaluation.pocket.patches import crop_patch, find_patch
from pops.evaluation.pocket.run import evaluate
from pops.operators import OPERATORS
from pops.pocket.build import fit as fit_module
from pops.pocket.build.data.labels import CLASSES
from pops.pocket.build.fit import Fit
from pops.pocket.build.main import STAGES, main
from pops.pocket.build.models.autoencoder import LATENTS, PatchBasis
from pops.pocket.build.models.clip import make_tokenizer
from pops.pocket.build.models.components import softened_components
from pops.pocket.build.models.decoder import SHARES, _chances
from pops.pocket.build.models.judge import CONFIG
from pops.pocket.build.package import pack_judge
from pops.pocket.judge import Judge, JudgeConfig, load_judge
from pops.pocket.world.split import is_held_out, is_held_out_outfit, is_held_out_pair


@pytest.fixture
def quarter_disc():
    y, x = np.mgrid[:64, :64]
    return (x - 20) ** 2 + (y - 30) ** 2 < 18**2


def test_a_patch_lies_inside_the_mask(quarter_disc):
    for seed in range(50):
        x, y, side = find_patch(quarter_disc, random.Random(seed))
        assert quarter_disc[y : y + side, x : x + side].all()


def test_a_mask_too_thin_for_a_patch_gives_none():
    mask = np.zeros((64, 64), dtype=bool)
    mask[10:15] = True
    assert find_patch(mask, random.Random(0)) is None


def test_a_patch_is_enlarged_to_a_whole_picture():
    picture = torch.zeros(3, 64, 64)
    picture[:, 10:20, 30:40] = 1.0
    assert torch.allclose(crop_patch(picture, (32, 12, 6)), torch.ones(3, 64, 64), atol=1e-5)


def test_the_tokenizer_knows_its_words_and_survives_others():
    tokenizer = make_tokenizer(["a wooden mug on the beach", "a red hat at night"])
    assert tokenizer.tokenize("a wooden mug") == ["a</w>", "wooden</w>", "mug</w>"]
    ids = tokenizer("A WOODEN mug, 7 Ångström").input_ids
    assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
    assert max(ids) < len(tokenizer)


def test_a_whole_basis_gives_the_picture_back():
    mean = torch.rand(192)
    components = torch.linalg.qr(torch.randn(192, 192)).Q[:, :LATENTS]
    pictures = torch.rand(2, 3, 16, 24)
    latents = PatchBasis(mean, components).latents(pictures)
    assert latents.shape == (2, LATENTS, 2, 3)
    patch = pictures[1, :, 8:16, 16:24].reshape(-1)
    torch.testing.assert_close(latents[1, :, 1, 2], (patch - mean) @ components)


def test_a_judge_answers_every_question_at_any_size():
    judge = Judge(CONFIG).eval()
    for size in (64, 128):
        answers = judge.answer(torch.rand(3, 3, size, size))
        assert set(answers) == set(CLASSES)
        assert all(answers[q].shape == (3,) for q in CLASSES)


def test_a_judge_is_loaded_as_its_config_says(tmp_path):
    judge = Judge(JudgeConfig(32, (4, 8), {"object": 3}))
    pack_judge(judge, tmp_path)
    again = load_judge(tmp_path / "judge")
    assert again.config == judge.config
    (tmp_path / "judge" / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="rebuild the pocket stack"):
        load_judge(tmp_path / "judge")


def test_each_kind_of_picture_has_its_share_of_the_decoder_s_training():
    kinds = ["single"] * 6 + ["pair"] * 2 + ["outfit", "adjective", "swatch", "empty"]
    chances = _chances(kinds).diff(prepend=torch.zeros(1, dtype=torch.float64))
    assert float(chances[:6].sum()) == pytest.approx(SHARES["single"])
    assert float(chances[6]) == pytest.approx(SHARES["pair"] / 2)
    assert float(chances.sum()) == pytest.approx(1.0)


def _fit(folder):
    torch.manual_seed(0)
    return Fit(folder, nn.Linear(4, 1), lr=0.05)


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves on by a hundredth of a second whenever it is read."""
    ticks = count()
    monkeypatch.setattr(fit_module, "time", SimpleNamespace(monotonic=lambda: next(ticks) / 100))


@pytest.mark.usefixtures("clock")
def test_training_goes_on_where_it_stopped(tmp_path):
    x = torch.randn(64, 4)
    y = x @ torch.tensor([[1.0], [2.0], [-1.0], [0.5]])

    def loss(fit):
        return lambda step: {"mse": nn.functional.mse_loss(fit.module(x), y)}

    first = _fit(tmp_path)
    first.run(2, loss(first))
    assert first.step > 10
    again = _fit(tmp_path)
    assert (again.step, again.seconds) == (first.step, first.seconds)
    for a, b in zip(again.module.parameters(), first.module.parameters(), strict=True):
        assert torch.equal(a, b)
    again.run(2, loss(again))
    assert again.step > first.step
    untrained = loss(_fit(tmp_path / "new"))(0)["mse"].item()
    assert loss(again)(0)["mse"].item() < 0.5 * untrained


@pytest.mark.usefixtures("clock")
def test_a_state_file_has_the_form_that_other_builds_read(tmp_path):
    fit = _fit(tmp_path)
    fit.run(0.5, lambda step: {"mse": fit.module(torch.ones(1, 4)).square().mean()})
    state = torch.load(fit.path, weights_only=True)
    assert set(state) == {"module", "smooth", "optimiser", "step", "seconds", "curve"}
    for name, value in fit.ema.state_dict().items():
        assert torch.equal(state["smooth"][name], value)


def test_softened_components_have_a_variance_of_one_on_average_and_keep_their_order():
    rows = torch.randn(4000, 5) * torch.tensor([4.0, 1.0, 0.5, 9.0, 0.1]) + 3
    mean, components = softened_components(rows, 3)
    variance = ((rows - mean) @ components).var(0, correction=0)
    assert float(variance.mean()) == pytest.approx(1.0, rel=1e-3)
    assert variance.tolist() == sorted(variance.tolist(), reverse=True)
    assert components.abs().argmax(0).tolist() == [3, 0, 1]


@pytest.mark.parametrize(
    ("stage", "missing"),
    [("clip", "render"), ("embeds", "clip"), ("prior", "render"), ("operators", "prior")]
    + [("caches", "prior"), ("pack", "clip"), ("benchmark", "pack"), ("guidance", "operators")],
)
def test_a_slice_out_of_order_names_the_stage_that_is_missing(stage, missing, tmp_path, capsys):
    where = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert main(["--stages", stage, *where]) != 0
    said = capsys.readouterr()
    assert f"{stage}: " in said.out and " minutes" in said.out  # how long it takes, beforehand
    (line,) = said.err.splitlines()
    assert f"stage {missing} first" in line


@pytest.mark.slow
def test_the_whole_stack_is_built_from_nothing_and_paints(tmp_path):
    out = tmp_path / "stack"
    command = [sys.executable, "-m", "pops.pocket.build", "--minutes", "0.05", "--shards", "1"]
    # The galleries of these two take minutes.
    stages = [stage for stage in STAGES if stage not in ("guidance", "benchmark")]
    where = ["--runs", tmp_path / "runs", "--out", out, "--steps", "3"]
    subprocess.run([*command, "--stages", "render", "--minutes", "10", *where], check=True)
    subprocess.run([*command, "--stages", *stages, *where], check=True)
    for path in (tmp_path / "runs" / "pictures").glob("records-*.json"):
        for record in json.loads(path.read_text()):
            things = [tuple(thing) for thing in record["things"]]
            if record["kind"] in ("single", "adjective", "pair"):
                assert not any(is_held_out(*thing, record["background"]) for thing in things)
            if record["kind"] == "pair":
                assert not is_held_out_pair(*things)
            if record["kind"] == "outfit":
                assert not is_held_out_outfit(things)
    from pops.engine import Engine

    engine = Engine.load(out)
    for operator in OPERATORS.values():
        text = "tiny" if operator.takes_text else None
        made = engine.apply(operator.name, [(None,) * len(operator.inputs)], text=text, seeds=(0,))
        (picture,) = engine.render(made, seeds=(0,), steps=2)
        assert picture.size == (128, 128)
    found = evaluate("union", engine=engine, limit=4)
    assert {"top1", "ceiling_top1", "mean_top1", "leak", "lost", "chance"} <= set(found["union"])
    assert {"rendered_both_objects", "rendered_both_materials"} <= set(found["union"])
    assert {"sharpness", "kid", "kid_true"} <= set(found["decoder"])
    assert json.loads((out / "report.json").read_text())["build"]["stages"]["clip"]["steps"] > 0
