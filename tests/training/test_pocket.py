"""From pictures to an operator that can be applied: one of one's own, on the pocket stack."""

import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from pops.cli.main import main
from pops.engine import Engine
from pops.io.embeddings import load_embeddings
from pops.io.pictures import open_picture
from pops.operators import read_operator_card
from pops.training.outputs.metrics import read_metrics

ROOT = Path(__file__).parents[2]
OWN = ROOT / "docs" / "examples" / "weathered.py"
OBJECTS = ROOT / "assets" / "objects"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the documentation's example, trained on the default pictures."""
    folder = tmp_path_factory.mktemp("weathered")
    data = [f"--operator={OWN}", f"--dataset_path={OBJECTS}"]
    embedded = [*data, f"--out={folder / 'cache'}", "--variants=4", "--num_workers=0"]
    assert main(["embed", *embedded]) == 0
    train = [f"--operator={OWN}", f"--cache={folder / 'cache'}", f"--val_dataset_path={OBJECTS}"]
    train += ["--stack=pocket", "--device=cpu", "--lr=1e-3", "--train_batch_size=32"]
    train += ["--max_train_steps=100", "--log_every=25", "--use_ema", "--ema_decay=0.95"]
    train += ["--n_val_records=8", "--n_val_images=1", f"--output_dir={folder / 'run'}"]
    assert main(["train", *train]) == 0
    return folder / "run"


def test_an_operator_of_one_s_own_learns_what_it_is_shown(run: Path):
    first, *_, last = read_metrics(run / "metrics.jsonl")
    assert last["val/cosine"] > last["val/baseline_cosine"]
    losses = [line["loss"] for line in read_metrics(run / "metrics.jsonl") if "loss" in line]
    assert losses[-1] < 0.7 * losses[0]


def test_the_result_is_a_folder_that_tells_what_it_is(run: Path):
    card = read_operator_card(run / "operator")
    assert (card.operator.name, card.operator.inputs, card.stack) == (
        "weathered",
        ("object",),
        "pocket",
    )
    assert card.training["steps"] == 100
    text = (run / "operator" / "README.md").read_text()
    assert "curves.png" in text
    for picture in ("operator/curves.png", "figures/step-000000100.jpg"):
        with Image.open(run / picture) as shown:
            assert shown.width > 600


def test_the_folder_can_be_applied(run: Path, tmp_path: Path):
    mug = OBJECTS / "mug.png"
    for word in ("new", "ancient"):
        given = [
            str(run / "operator"),
            str(mug),
            f"--text={word}",
            "--seeds=18",
            "--render_steps=2",
        ]
        assert main(["apply", *given, f"--out={tmp_path}"]) == 0
    made = {
        w: load_embeddings(tmp_path / f"weathered_mug_{w}_s18.safetensors")
        for w in ("new", "ancient")
    }
    sys.path.insert(0, str(OWN.parent))
    weather = import_module("weathered").weather
    sys.path.remove(str(OWN.parent))
    true = Engine.load("pocket", "cpu").encode([weather(open_picture(mug), 1.0)])
    alike = {
        word: float(F.cosine_similarity(m.image_embeds, true.image_embeds))
        for word, m in made.items()
    }
    assert alike["ancient"] > alike["new"]
    assert torch.isfinite(made["new"].image_embeds).all()


def test_the_documentation_shows_the_example_as_it_is():
    assert OWN.read_text() in (ROOT / "docs" / "training.md").read_text()
