"""Records, caches and folders that hold anything: what is broken is named, and the rest goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import get_worker_info

from pops.cli.main import main
from pops.data.cache.build import Variants, embed_dataset, make_index
from pops.data.cache.format import made_shards, read_index, read_shard, write_index
from pops.data.encoding import halve
from pops.data.recipes import Recipe
from pops.data.records.layouts import read_scenes, read_unions
from pops.data.records.persons import read_persons
from pops.data.word_lists import read_words
from pops.errors import DataError, InputError
from pops.io.files import folder_lock
from pops.io.formats.arrays import read_array
from pops.stacks.stack import Stack, open_stack
from tests.data.tiny_data import WRITERS, dataset, write_pictures, write_scenes


@pytest.fixture(scope="module")
def stack() -> Stack:
    return open_stack("pocket", device="cpu")


def npy_header(shape: str, kind: str = "|u1") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def write_npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(3))


# --- records ----------------------------------------------------------------------------------

MASK, BOX, LABELS = "mug_1_inpainted.npy", "mug_001/box.json", "person_1_mask.png"


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


def header(shape: str, more: bytes = b"") -> Callable[[Path], object]:
    return lambda path: path.write_bytes(npy_header(shape) + more)


HARM: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "no array": ("scene", MASK, text("nothing")),
    "a header alone": ("scene", MASK, header("(48, 48)")),
    "a huge header": ("scene", MASK, header("(99999, 99999, 99)")),
    "a negative header": ("scene", MASK, header("(-48, -48)", bytes(2304))),
    "a deep header": ("scene", MASK, header("(" * 5000 + ")" * 5000)),
    "objects": ("scene", MASK, lambda p: np.save(p, np.array([{}], object))),
    "texts": ("scene", MASK, lambda p: np.save(p, np.array([["a"] * 48] * 48))),
    "an npz": ("scene", MASK, write_npz),
    "nan": ("scene", MASK, lambda p: np.save(p, np.full((48, 48), np.nan))),
    "beyond float32": ("scene", MASK, lambda p: np.save(p, np.full((48, 48), 1e300))),
    "deep boxes": ("texturing", BOX, text("[" * 10**5)),
    "long boxes": ("texturing", BOX, text("[" + "1," * 10**5 + "1]")),
    "overflow": ("texturing", BOX, text("[1e999, 0, 9, 9]")),
    "a huge number": ("texturing", BOX, text("[1" + "0" * 400 + ",0,9,9]")),
    "infinity": ("texturing", BOX, text("[0, 0, Infinity, 9]")),
    "a word": ("texturing", BOX, text('["a", 0, 9, 9]')),
    "no corner": ("texturing", BOX, text('{"x1": 0}')),
    "a large label map": (
        "clothes",
        LABELS,
        lambda p: Image.new("1", (40000, 10000)).save(p),
    ),
    "labels of text": ("clothes", LABELS, text("labels")),
    "a folder": ("clothes", LABELS, lambda p: (p.unlink(), p.mkdir())),
}


@pytest.mark.parametrize("kind", HARM)
def test_whatever_a_record_holds_it_is_left_out_counted_and_named(
    kind: str, stack: Stack, tmp_path: Path
):
    mode, name, harm = HARM[kind]
    place = WRITERS[mode](tmp_path / "data", 3)
    harm(place / name)
    data = dataset(mode, place, share=0.9)
    index = make_index(data, stack, 1, shard_records=8)
    (tmp_path / "cache").mkdir()
    broken = embed_dataset(tmp_path / "cache", index, data, stack)
    assert len(broken) == 1
    assert Path(name).name in next(iter(broken.reasons))
    assert read_shard(tmp_path / "cache", 0, index).records == [0, 2]


@pytest.mark.parametrize("encoder", ["image", "text"])
def test_what_is_not_finite_in_float16_is_kept_in_no_cache(encoder: str, stack: Stack):
    assert halve(torch.full((2, 3), 65504.0), stack, encoder).dtype == np.float16
    for bad in (65536.0, float("nan"), float("-inf")):
        with pytest.raises(DataError, match=f"the {encoder} encoder of pocket gives numbers that"):
            halve(torch.tensor([[0.0, bad]]), stack, encoder)


def test_a_recipe_that_fails_on_a_record_leaves_it_out(tmp_path: Path):
    data = dataset("instruct", write_pictures(tmp_path / "data", 3), share=0.9)

    def fails(record: object, *_: object) -> object:
        raise ZeroDivisionError("of a recipe")

    data.recipe = Recipe("instruct", data.recipe.read, fails)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"\.png gives no example \(ZeroDivisionError: of a"):
        data.load(0, 0, 0)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300), st.sampled_from([b"", b"\x93NUMPY\x01\x00", npy_header("(2, 3)")]))
def test_any_bytes_are_an_array_or_a_named_error(tmp_path_factory, content: bytes, head: bytes):
    path = tmp_path_factory.getbasetemp() / "any.npy"
    path.write_bytes(head + content)
    try:
        array = read_array(path)
    except InputError as error:
        assert "any.npy: cannot be read as an array" in str(error)
    else:
        assert array.nbytes <= len(content)


# --- names ------------------------------------------------------------------------------------


def test_two_pictures_of_one_name_are_two_records(tmp_path: Path):
    place = write_scenes(tmp_path / "s", 1)
    (place / "mug_0.jpg").write_bytes((place / "mug_0.png").read_bytes())
    assert [record.picture.name for record in read_scenes(str(place))] == ["mug_0.jpg", "mug_0.png"]
    place = WRITERS["union"](tmp_path / "u", 1)
    (place / "pair_0.jpg").write_bytes((place / "pair_0.png").read_bytes())
    assert len(read_unions(str(place))) == 2
    place = WRITERS["clothes"](tmp_path / "c", 1)
    (place / "person_0.webp").write_bytes((place / "person_0.png").read_bytes())
    assert len(read_persons(str(place))) == 2


def test_a_background_that_is_there_twice_is_the_one_of_its_picture_s_kind_or_named(
    tmp_path: Path,
):
    place = write_scenes(tmp_path / "s", 1)
    (place / "mug_0_inpainted.jpg").write_bytes((place / "mug_0_inpainted.png").read_bytes())
    assert read_scenes(str(place))[0].background.name == "mug_0_inpainted.png"
    (place / "mug_0_inpainted.png").rename(place / "mug_0_inpainted.webp")
    with pytest.raises(DataError, match=r"mug_0_inpainted\.jpg and .*mug_0_inpainted\.webp both"):
        read_scenes(str(place))


def test_a_word_list_saved_with_a_byte_order_mark_has_no_mark_in_its_words(tmp_path: Path):
    (tmp_path / "words.txt").write_bytes("\ufeffshiny\r\nold\r\n".encode())
    assert read_words(tmp_path / "words.txt") == ("shiny", "old")
    (tmp_path / "wide.txt").write_bytes("shiny".encode("utf-16"))
    with pytest.raises(InputError, match=r"wide\.txt is not UTF-8 text"):
        read_words(tmp_path / "wide.txt")


# --- caches -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory, stack: Stack) -> Path:
    root = tmp_path_factory.mktemp("cached")
    data = dataset("instruct", write_pictures(root / "data", 4))
    index = make_index(data, stack, 2, shard_records=4)
    (root / "cache").mkdir()
    write_index(root / "cache", index)
    embed_dataset(root / "cache", index, data, stack)
    return root / "cache"


def copied(cached: Path, folder: Path) -> Path:
    for path in cached.iterdir():
        if not path.name.startswith("."):
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dim", 10**12), ("dim", 0), ("dim", "64"), ("variants", 10**9), ("variants", -1),
        ("shard_records", 0), ("shard_records", 10**20), ("datasets", []), ("datasets", [{}]),
        ("operator", {"name": "instruct"}), ("encoders", 3), ("seed", None), ("extra", 1),
        ("datasets", [{"place": "", "records": -5, "listing": ""}]),
    ],
)  # fmt: skip
def test_an_index_that_cannot_be_is_refused_by_name(
    field: str, value: object, cached: Path, tmp_path: Path
):
    index = json.loads((copied(cached, tmp_path) / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps(index | {field: value}))
    with pytest.raises(DataError, match=r"index\.json: "):
        read_index(tmp_path)


def test_an_index_of_a_trillion_records_costs_nothing(cached: Path, tmp_path: Path):
    index = json.loads((copied(cached, tmp_path) / "index.json").read_text())
    index["datasets"][0]["records"], index["shard_records"] = 10**12, 1
    (tmp_path / "index.json").write_text(json.dumps(index))
    started = time.monotonic()
    assert main(["train", f"--cache={tmp_path}", "--mode=instruct", "--dry_run"]) == 1
    assert time.monotonic() - started < 20


LISTS: list[tuple[str, object]] = [
    ("records", [0, 1, 2, 9]), ("records", [0, 1, 2, 2]), ("records", [0, 1, 2]),
    ("lengths", [10**9]), ("lengths", [1, -1]), ("texts", ["a"]), ("texts", []),
    ("broken", {"x": "y"}),
    ("broken", {"1": "y"}), ("drawn_to", []), ("more", 1),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), LISTS)
def test_lists_of_a_shard_that_cannot_be_are_refused(
    field: str, value: object, cached: Path, tmp_path: Path
):
    path = copied(cached, tmp_path) / "shard-00000.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(DataError, match=r"shard-00000\.json"):
        read_shard(tmp_path, 0, read_index(tmp_path))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("rows", lambda a: a + 1000), ("rows", lambda a: a - 3), ("rows", lambda a: a[:, :1]),
        ("rows", lambda a: a.astype(np.int64)), ("embeds", lambda a: a[:1]),
        ("embeds", lambda a: a[:, :5]), ("embeds", lambda a: a.astype(np.float32)),
        ("words", lambda a: a + 50), ("words", lambda a: -a - 1), ("hidden", lambda a: a[:1]),
        ("drawn", lambda a: a[:0]),
    ],
)  # fmt: skip
def test_arrays_of_a_shard_that_do_not_fit_are_refused(
    name: str, change: Callable[[np.ndarray], np.ndarray], cached: Path, tmp_path: Path
):
    path = copied(cached, tmp_path) / f"{name}-00000.npy"
    np.save(path, change(np.load(path)))
    with pytest.raises(DataError, match=r"shard-00000\.json does not fit its arrays"):
        read_shard(tmp_path, 0, read_index(tmp_path))


# --- runs -------------------------------------------------------------------------------------


def embed_flags(place: Path, out: Path, *more: str) -> list[str]:
    return ["embed", "--mode=instruct", f"--dataset_path={place}", f"--out={out}", *more]


def test_a_second_embedding_of_a_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    place = write_pictures(tmp_path / "data", 2)
    with folder_lock(tmp_path / "cache", ".lock-0-of-1"):
        assert main(embed_flags(place, tmp_path / "cache", "--num_workers=0")) == 2
    assert f"another run is at work in {tmp_path / 'cache'}" in capsys.readouterr().err
    assert main(embed_flags(place, tmp_path / "cache", "--num_workers=0")) == 0


def children(pid: int) -> list[int]:
    """The processes that a process has started, all the way down."""
    own = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [found for child in map(int, own) for found in (child, *children(child))]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes as Linux shows them")
@pytest.mark.parametrize("sent", ["SIGTERM", "SIGKILL"])
def test_workers_end_with_the_process_that_started_them(sent: str, tmp_path: Path):
    place = write_pictures(tmp_path / "data", 300)
    command = [sys.executable, "-c", "import sys; from pops.cli.main import main; sys.exit(main())"]
    flags = embed_flags(place, tmp_path / "cache", "--num_workers=2", "--variants=50")
    process = subprocess.Popen([*command, *flags], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(started := children(process.pid)) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.Signals[sent])
    process.wait()
    while alive := [pid for pid in started if Path(f"/proc/{pid}/exe").exists()]:
        if time.monotonic() > deadline:
            for pid in alive:
                os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"{alive} live on")
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems hold no such name")
def test_a_record_whose_name_is_no_text_is_embedded_as_others(stack: Stack, tmp_path: Path):
    found = sorted(WRITERS["texturing"](tmp_path / "data", 2).iterdir())[0]
    found.rename(os.fsdecode(os.fsencode(found.parent) + b"/caf\xe9_001"))
    data = dataset("texturing", tmp_path / "data")
    index = make_index(data, stack, 2, shard_records=2)
    (tmp_path / "cache").mkdir()
    write_index(tmp_path / "cache", index)
    embed_dataset(tmp_path / "cache", index, data, stack)
    assert made_shards(tmp_path / "cache", read_index(tmp_path / "cache")) == [0]


@pytest.mark.skipif(sys.platform != "linux", reason="starts workers as Linux does")
def test_a_worker_that_is_killed_is_told_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    place = write_pictures(tmp_path / "data", 3)
    command = embed_flags(place, tmp_path / "cache", "--num_workers=1")

    def killed(*_: object) -> None:
        assert get_worker_info() is not None
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(Variants, "__getitem__", killed)
        assert main(command) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "error: a worker process was ended" in said and "fewer --num_workers" in said
    assert main(command) == 0
