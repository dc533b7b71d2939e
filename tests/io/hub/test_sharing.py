"""Operators go to a hub and come back, over the hub client's own HTTP."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from pops.errors import UsageError
from pops.io.hub.model_card import shared_card
from pops.io.hub.sharing import shared_files
from pops.operators import TEXTURING, Operator, OperatorCard, save_card
from tests.io.hub.fake_hub import READER, TOKEN, Hub, Repo, running

NAME = "someone/rusty"
WEIGHTS = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running() as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An operator folder of an adapter, and files beside it that are nobody's business."""
    made = save_card(tmp_path / "rusty", OperatorCard(TEXTURING, "kandinsky-2.2", {"steps": 3}))
    (made / "adapter_model.safetensors").write_bytes(WEIGHTS)
    (made / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (made / "notes.txt").write_text("mine")
    (made / "evil.py").write_text("print('hello')")
    return made


def run(hub: Hub, home: Path, *words: object, token: str | None = TOKEN) -> tuple[int, str, str]:
    """A command in a process of its own, which knows this hub and no other."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env |= {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        # A busy machine takes as long as it takes: the client must not give up before the hub does.
        "HF_HUB_DOWNLOAD_TIMEOUT": "600",
        "HF_HUB_ETAG_TIMEOUT": "600",
        **({} if token is None else {"HF_TOKEN": token}),
    }
    done = subprocess.run(
        [sys.executable, "-m", "pops", *map(str, words)], env=env, capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


def served(hub: Hub, folder: Path, *, private: bool = False) -> None:
    """Put an operator folder onto the hub, as if someone had pushed it."""
    names = ("operator.json", "README.md", "adapter_model.safetensors", "evil.py")
    repo = hub.repos.setdefault(NAME, Repo(private))
    repo.commit({name: (folder / name).read_bytes() for name in names})


def test_what_is_pushed_is_pulled_unchanged(hub: Hub, folder: Path, tmp_path: Path):
    picture = tmp_path / "made.png"
    Image.new("RGB", (8, 8), "red").save(picture)
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"texturing": {"top1": 0.875, "name": "x"}, "scene": {"top1": 0}}))
    sent = run(
        hub,
        tmp_path,
        *("push", folder, NAME, "--private", f"--picture={picture}", f"--metrics={report}"),
    )
    assert sent[0] == 0, sent
    repo = hub.repos[NAME]
    assert repo.private
    assert sent[1].splitlines()[-1] == f"{hub.url}/{NAME}/commit/{repo.commits[0][0]}"
    got = run(hub, tmp_path, "pull", NAME, f"--out={tmp_path / 'back'}")
    assert got[0] == 0, got
    files = {path.name: path.read_bytes() for path in (tmp_path / "back").iterdir()}
    assert sorted(files) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "example.png",
        "operator.json",
    ]
    for name in ("adapter_config.json", "adapter_model.safetensors", "operator.json"):
        assert files[name] == (folder / name).read_bytes()
    card = files["README.md"].decode()
    for line in (
        "license: apache-2.0",
        "base_model: kandinsky-community/kandinsky-2-2-prior",
        "base_model_relation: adapter",
        "inference: false",
        "      value: 0.875",
        "| top1 | 0.875 |",
        "![An example](example.png)",
    ):
        assert line in card.splitlines(), card
    assert f'engine.apply(Operator.from_pretrained("{NAME}"), [(' in card
    operator = Operator.from_pretrained(tmp_path / "back")
    assert operator == TEXTURING
    assert operator.folder == tmp_path / "back"


def test_a_dry_run_shows_what_would_be_sent_and_asks_nobody(hub: Hub, folder: Path, tmp_path: Path):
    status, out, _ = run(hub, tmp_path, "push", folder, NAME, "--dry_run", token=None)
    assert status == 0
    assert "adapter_model.safetensors" in out
    assert "evil.py" not in out
    assert "nothing was sent" in out
    assert hub.asked == []


def test_a_second_push_is_a_second_commit_without_what_is_there(
    hub: Hub, folder: Path, tmp_path: Path
):
    assert run(hub, tmp_path, "push", folder, NAME)[0] == 0
    assert run(hub, tmp_path, "push", folder, NAME)[0] == 0
    assert len(hub.repos[NAME].commits) == 2
    assert len(hub.paths("PUT")) == 1  # the weights were there


@pytest.mark.parametrize(
    ("token", "says"),
    [
        (None, "someone/rusty cannot be written: .*log in with `hf auth login`"),
        ("hf_wrong", "log in with `hf auth login`, or set HF_TOKEN"),
        (READER, "your token may not write there"),
    ],
)
def test_who_may_not_write_is_told_so(
    hub: Hub, folder: Path, tmp_path: Path, token: str | None, says: str
):
    status, _, err = run(hub, tmp_path, "push", folder, NAME, token=token)
    assert status == 1
    assert_one_line(err, says)
    assert hub.repos == {}


def assert_one_line(err: str, says: str) -> None:
    (line,) = [line for line in err.splitlines() if "error:" in line]
    assert re.search(says, line), err
    assert "Traceback" not in err
    assert "hf_" not in err.replace("hf auth", "")


def test_a_hub_that_is_busy_is_asked_again_or_named(hub: Hub, folder: Path, tmp_path: Path):
    hub.refuse["preupload"] = [429, 503]
    assert run(hub, tmp_path, "push", folder, NAME)[0] == 0
    hub.refuse["/commit/"] = [429] * 10
    status, _, err = run(hub, tmp_path, "push", folder, NAME)
    assert status == 1
    assert_one_line(err, "429: too many requests.*try again")
    assert len(hub.repos[NAME].commits) == 1
    hub.refuse = {"repos/create": [500] * 10}
    assert_one_line(run(hub, tmp_path, "push", folder, NAME)[2], "the hub answers 500")


def test_a_broken_download_goes_on_where_it_stopped(hub: Hub, folder: Path, tmp_path: Path):
    weights = WEIGHTS * 14  # more than the client reads at once
    (folder / "adapter_model.safetensors").write_bytes(weights)
    served(hub, folder)
    out = tmp_path / "operators" / "rusty"
    pull = ("pull", NAME, f"--out={out}")
    hub.cut_after = [12_000_000]
    status, said, err = run(hub, tmp_path, *pull, token=None)
    assert status == 0, err
    assert (out / "adapter_model.safetensors").read_bytes() == weights
    assert not (out / "evil.py").exists()
    assert hub.ranges == ["bytes=10485760-"]
    assert f"pops apply {out} object texture" in said


def test_a_download_that_breaks_again_and_again_is_given_up(hub: Hub, folder: Path, tmp_path: Path):
    served(hub, folder)
    hub.cut_after = [0] * 30
    status, _, err = run(hub, tmp_path, "pull", NAME, f"--out={tmp_path / 'out'}")
    assert status == 1
    assert_one_line(err, "try again; files that came whole are kept")
    assert not (tmp_path / "out").exists()


def test_what_is_here_already_is_not_fetched_again(hub: Hub, folder: Path, tmp_path: Path):
    served(hub, folder)
    for out in ("a", "b"):
        assert run(hub, tmp_path, "pull", NAME, f"--out={tmp_path / out}")[0] == 0
    gets = [path for path in hub.paths("GET") if path.endswith(".safetensors")]
    assert len(gets) == 1
    served(hub, _changed(folder))
    assert run(hub, tmp_path, "pull", NAME, f"--out={tmp_path / 'c'}")[0] == 0
    assert "| steps | 4 |" in (tmp_path / "c" / "README.md").read_text()
    first = hub.repos[NAME].commits[0][0]
    old = run(hub, tmp_path, "pull", NAME, f"--out={tmp_path / 'd'}", f"--revision={first}")
    assert old[0] == 0
    assert "| steps | 3 |" in (tmp_path / "d" / "README.md").read_text()


def _changed(folder: Path) -> Path:
    save_card(folder, OperatorCard(TEXTURING, "kandinsky-2.2", {"steps": 4}))
    return folder


@pytest.mark.parametrize(
    ("words", "token", "says"),
    [
        (("someone/nothing",), TOKEN, "no such repository, or it is private"),
        ((NAME,), None, "no such repository, or it is private"),
        ((NAME, "--revision=v9"), TOKEN, "no such revision"),
    ],
)
def test_a_download_that_cannot_be_says_why(
    hub: Hub, folder: Path, tmp_path: Path, words: tuple[str, ...], token: str | None, says: str
):
    served(hub, folder, private=True)
    out = tmp_path / "out"
    status, _, err = run(hub, tmp_path, "pull", *words, f"--out={out}", token=token)
    assert status == 1
    assert_one_line(err, says)
    assert not out.exists()


def test_a_repository_without_an_operator_is_refused(hub: Hub, tmp_path: Path):
    hub.repos[NAME] = Repo()
    hub.repos[NAME].commit({"README.md": b"a model"})
    status, _, err = run(hub, tmp_path, "pull", NAME, f"--out={tmp_path / 'out'}")
    assert status == 1
    assert_one_line(err, "does not hold an operator of pops")


def test_no_hub_is_named_with_its_address(folder: Path, tmp_path: Path):
    gone = Hub(url="http://127.0.0.1:9")
    assert_one_line(run(gone, tmp_path, "pull", NAME)[2], r"no hub is reachable at http://127\S+:9")
    assert_one_line(run(gone, tmp_path, "push", folder, NAME)[2], "no hub is reachable")


def test_only_whole_operator_folders_are_shared(folder: Path, tmp_path: Path):
    with pytest.raises(UsageError, match=r"no operator\.json"):
        shared_files(tmp_path)
    (folder / "adapter_model.safetensors").rename(folder / "own.safetensors")
    with pytest.raises(UsageError, match="shares its prior with others"):
        shared_files(folder)
    (folder / "own.safetensors").unlink()
    with pytest.raises(UsageError, match="holds no weights"):
        shared_files(folder)
    with pytest.raises(UsageError, match="from_pretrained first"):
        TEXTURING.save_pretrained(tmp_path / "x")
    with pytest.raises(UsageError, match="OWNER/NAME"):
        Operator.from_pretrained("nowhere")


def test_a_folder_that_holds_something_is_not_written_into(folder: Path, hub: Hub, tmp_path: Path):
    served(hub, folder)
    status, _, err = run(hub, tmp_path, "pull", NAME, f"--out={folder}")
    assert status == 2
    assert "is not empty" in err
    assert hub.asked == []


def test_a_card_keeps_what_its_owner_wrote_and_is_completed_once():
    own = "---\nlicense: mit\nlanguage: en\n---\n# Mine\n\nWords of my own.\n"
    card = shared_card(own, NAME, "apache-2.0", True, {"top1": 0.5}, "example.png")
    assert "license: mit" in card
    assert "Words of my own." in card
    again = shared_card(card, "other/name", "apache-2.0", True, {"top1": 0.5}, "example.png")
    assert again == card.replace("name: rusty", "name: name")


def test_a_saved_operator_is_applied_as_it_was(tmp_path: Path):
    from pops import Engine

    shipped = Path(__file__).parents[3] / "pops/pocket/weights/operators/texturing"
    operator = Operator.from_pretrained(shutil.copytree(shipped, tmp_path / "a"))
    saved = Operator.from_pretrained(operator.save_pretrained(tmp_path / "b"))
    engine = Engine.load("pocket", "cpu")
    request = ("assets/objects/mug.png", "assets/textures/wood.png")
    made, wanted = (engine.apply(one, request, seeds=[1]) for one in (saved, "texturing"))
    assert made.image_embeds.equal(wanted.image_embeds)
