"""Whatever a path looks like, a reader or writer says in one line what is wrong with it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from pops.data.word_lists import read_words
from pops.datagen.words import read_prompt_words
from pops.errors import PopsError
from pops.io.embeddings import Embeddings, load_embeddings
from pops.io.files import folder_lock, make_folder, staged_folder
from pops.io.formats.arrays import read_array
from pops.io.formats.schema import read_text
from pops.io.formats.tensors import read_tensors, save_tensors
from pops.io.pictures import open_picture, save_picture
from pops.operators import read_operator_card
from pops.pocket.judge import load_judge
from pops.prior.config import read_prior_config
from pops.settings.flags.reading import read_settings

READERS: list[Callable[[Path], object]] = [
    open_picture,
    load_embeddings,
    read_tensors,
    read_array,
    read_words,
    read_prompt_words,
    read_settings,
    read_operator_card,
    read_prior_config,
    load_judge,
    lambda path: read_text(path, PopsError),
]


def _lock(path: Path) -> None:
    with folder_lock(path):
        pass


def _stage(path: Path) -> None:
    with staged_folder(path) as stage:
        (stage / "a").touch()


WRITERS: list[Callable[[Path], object]] = [
    make_folder,
    _lock,
    _stage,
    lambda path: save_picture(Image.new("RGB", (2, 2)), path.with_name(f"{path.name}.png")),
    lambda path: save_tensors(path, {"a": torch.zeros(1)}),
    lambda path: Embeddings(torch.zeros(1, 2)).save(path.with_name(f"{path.name}.pth")),
]
NAMES = st.text(min_size=1, max_size=300).filter(lambda name: Path(name).name == name)


@pytest.mark.skipif(os.name == "nt", reason="Windows takes fewer names")
@settings(deadline=None, max_examples=40)
@given(name=NAMES, parent=st.sampled_from(["there", "file", "loop", "pipe", "absent"]))
@example(name="a\0b", parent="there")
@example(name="\ud800", parent="there")
@example(name="a" * 5000, parent="there")
@example(name="loop", parent=".")
@example(name="pipe", parent=".")
@example(name="there", parent=".")
@example(name="a", parent="a\0b")
@example(name="a", parent="b" * 300)
def test_any_path_is_read_and_written_or_refused_in_a_line(
    name: str, parent: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("paths")
    (root / "there").mkdir()
    (root / "file").touch()
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    path = root / parent / name
    for read in READERS:
        with pytest.raises(PopsError) as refusal:
            read(path)
        assert "\n" not in str(refusal.value).replace(name, "")
    for write in WRITERS:
        try:
            write(path)
        except PopsError as error:
            assert str(root) in str(error)
