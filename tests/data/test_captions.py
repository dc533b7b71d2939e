"""Pictures with captions: what a base prior is trained on."""

from pathlib import Path
from random import Random

import pytest
import torch
from PIL import Image

from pops.data.cache.build import embed_dataset, make_index
from pops.data.cache.format import write_index
from pops.data.cache.read import CachedSource
from pops.data.dataset import ExampleDataset
from pops.data.encoding import encode_texts
from pops.data.reader import Reader
from pops.data.recipes import RECIPES, Example, drop
from pops.data.records.captions import BASE, read_captioned
from pops.data.sources.online import OnlineSource
from pops.errors import InputError, UsageError
from pops.stacks.stack import Stack, open_stack
from tests.data.tiny_data import TOLD, only, write_pictures


@pytest.fixture(scope="module")
def stack() -> Stack:
    return open_stack("pocket", device="cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures: two have a file of captions, of one and of two lines."""
    place = write_pictures(tmp_path / "captioned", 4)
    (place / "mug_on-the-beach_0.txt").write_text("a red mug\n\n", encoding="utf-8")
    (place / "car_on-the-beach_1.txt").write_text("a car\na green car\n", encoding="utf-8")
    return place


def test_a_caption_is_a_line_of_the_file_beside_or_the_words_of_the_name(folder: Path) -> None:
    records = {record.name: record for record in read_captioned(str(folder))}
    assert {name: record.captions() for name, record in records.items()} == {
        "car_on-the-beach_1": ("a car", "a green car"),
        "car_on-the-beach_3": ("car on the beach",),
        "mug_on-the-beach_0": ("a red mug",),
        "mug_on-the-beach_2": ("mug on the beach",),
    }
    assert len(records["mug_on-the-beach_0"].files) == 2  # which caches keep watch on


def test_every_caption_of_a_picture_comes_and_a_tenth_are_the_empty_text(folder: Path) -> None:
    record = read_captioned(str(folder))[0]
    recipe, reader, rng = RECIPES["base"], Reader(TOLD), Random(0)
    made = [drop(recipe.make(record, rng, reader), BASE, rng) for _ in range(2000)]
    said = [example.text for example in made]
    assert set(said) == {"a car", "a green car", ""}
    assert 0.07 < said.count("") / len(said) < 0.13
    assert all(e.target_text == e.text and not e.text_dropped and not e.inputs for e in made)


def test_a_file_without_a_caption_breaks_its_record_and_is_named(folder: Path) -> None:
    (folder / "mug_on-the-beach_0.txt").write_text("\n")
    record = read_captioned(str(folder))[2]
    with pytest.raises(InputError, match=r"mug_on-the-beach_0\.txt holds no caption"):
        RECIPES["base"].make(record, Random(0), Reader(TOLD))


def test_only_a_base_prior_is_led_away_from_the_empty_text() -> None:
    picture = Image.new("RGB", (8, 8))
    operator = Example(picture, (picture,), "shiny", target_text="A shiny mug").without(
        [False], True
    )
    assert (operator.text, operator.text_dropped, operator.target_text) == (
        "shiny",
        True,
        "A shiny mug",
    )


def test_a_text_is_in_the_pooled_slot_too_from_pictures_and_from_a_cache(
    folder: Path, tmp_path: Path, stack: Stack
) -> None:
    data = ExampleDataset(BASE, RECIPES["base"], [str(folder)], TOLD)
    out = tmp_path / "cache"
    out.mkdir()
    index = make_index(data, stack, 2, shard_records=3)
    write_index(out, index)
    embed_dataset(out, index, data, stack)
    cached = CachedSource([out], stack.clip_stats, BASE)
    keys = [(epoch, at) for epoch in range(2) for at in range(4)]
    shown = only(OnlineSource(data, stack), [keys])
    words = [data.example(*key).text or "" for key in keys]
    known = encode_texts(stack, words, 8)
    wanted = torch.stack([known[text].text_embeds for text in words])
    assert shown.conditions.pooled is not None
    torch.testing.assert_close(shown.conditions.pooled, wanted, atol=1e-4, rtol=1e-4)
    from_cache = only(cached, [keys])
    assert from_cache.conditions.pooled is not None and len(from_cache.target) == len(keys)
    every = {text: one.text_embeds for text, one in encode_texts(stack, [*words, ""], 8).items()}
    for row in from_cache.conditions.pooled:  # half precision, and random choices of its own
        assert min(float((row - one).abs().max()) for one in every.values()) < 2e-3


def test_a_long_caption_is_cut_and_a_long_prompt_refused(stack: Stack) -> None:
    long = " ".join(["red"] * 200)
    limit = stack.text_encoder.model.config.max_position_embeddings
    assert len(encode_texts(stack, [long], 8)[long].hidden_states) == limit
    with pytest.raises(UsageError, match=f"takes {limit}"):
        stack.text_encoder.encode([long])
