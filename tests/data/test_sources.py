"""Sources of training examples: order, datasets, pictures encoded as it goes."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pops.data.dataset import ExampleDataset
from pops.data.encoding import normalise, prepare
from pops.data.order import MixedOrder, row
from pops.data.recipes import Example, find_recipe
from pops.data.sources.online import OnlineSource
from pops.errors import DataError
from pops.prior.conditions import condition_row, pack
from pops.stacks.stack import Stack, open_stack
from tests.data.tiny_data import (
    TOLD,
    WRITERS,
    assert_same,
    dataset,
    only,
    write_pictures,
    write_texturing,
    write_unions,
)


@pytest.fixture(scope="module")
def stack() -> Stack:
    return open_stack("pocket", device="cpu")


# --- order -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**40), st.integers(1, 60), st.integers(0, 9))
def test_every_epoch_visits_every_index_once(seed: int, length: int, epoch: int):
    rows = [row(seed, epoch * length + place, length) for place in range(length)]
    assert {e for e, _ in rows} == {epoch}
    assert sorted(index for _, index in rows) == list(range(length))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {
        tuple(row(seed, epoch * 50 + place, 50)[1] for place in range(50))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(orders) == 4
    assert row(0, 1_234_567, 50) == row(0, 1_234_567, 50)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=4))
def test_datasets_of_any_sizes_are_equally_likely_and_their_records_alike(lengths: list[int]):
    parts = MixedOrder(tuple(lengths))
    turns = int(np.lcm.reduce(lengths))
    seen = [parts.locate(epoch, index) for epoch in range(turns) for index in range(len(parts))]
    assert len(set(seen)) == len(seen)  # no choices are drawn twice
    assert len({*Counter(part for part, _, _ in seen).values()}) == 1
    for part, length in enumerate(lengths):
        counts = Counter(record for at, record, _ in seen if at == part)
        assert sorted(counts) == list(range(length)) and len({*counts.values()}) == 1


def test_many_rows_are_located_as_each_is():
    parts = MixedOrder((3, 7))
    epoch, index = np.divmod(np.arange(60), len(parts))
    many = np.stack(parts.locate(epoch, index))
    one = [parts.locate(int(e), int(i)) for e, i in zip(epoch, index, strict=True)]
    assert many.T.tolist() == [list(map(int, each)) for each in one]


def test_of_a_single_dataset_the_record_is_the_index_and_the_turn_is_the_epoch():
    assert MixedOrder((9,)).locate(4, 7) == (0, 7, 4)


# --- datasets --------------------------------------------------------------------------------


def pixels(example: Example) -> tuple[bytes | None, ...]:
    return tuple(None if i is None else i.tobytes() for i in (example.target, *example.inputs))


def test_an_example_is_a_pure_function_of_seed_epoch_and_index(tmp_path: Path):
    place = write_texturing(tmp_path / "t", 4)
    keys = [(epoch, index) for epoch in range(3) for index in range(4)]
    forward = dataset("texturing", place)
    one = {key: pixels(forward.example(*key)) for key in keys}
    backward = dataset("texturing", place)
    assert {key: pixels(backward.example(*key)) for key in reversed(keys)} == one
    assert len({*one.values()}) > len(keys) / 2
    other = dataset("texturing", place, seed=1)
    assert [pixels(other.example(*key)) for key in keys] != [*one.values()]


def test_a_broken_record_gives_its_row_to_the_one_after_it(tmp_path: Path):
    place = write_pictures(tmp_path / "i", 4)
    whole = dataset("instruct", place)
    names = [record.name for record in whole.listed[0].records]
    (place / f"{names[3]}.png").write_text("no picture")
    drawn = dataset("instruct", place)[5, 3]
    assert drawn.example is not None
    assert pixels(drawn.example) == pixels(whole.load(0, 0, 5))
    assert len(drawn.broken) == 1 and names[3] in drawn.broken[0]


def test_a_broken_random_picture_gives_way_to_another_and_costs_no_record(tmp_path: Path):
    Image.new("RGB", (8, 8), "teal").save(tmp_path / "b.png")
    (tmp_path / "a.png").write_text("no picture")
    told = replace(TOLD, randoms=(tmp_path / "a.png", tmp_path / "b.png"))
    operator, recipe = find_recipe("union")
    place = str(write_unions(tmp_path / "u", 2))
    data = ExampleDataset(operator, recipe, [place], told, max_broken_share=0.5)
    drawn = [data[epoch, 0] for epoch in range(80)]
    assert {size for d in drawn if d.example for size in [d.example.target.size]} == {
        (8, 8),
        (48, 48),
    }
    assert {reason.split(" ")[0] for d in drawn for reason in d.broken} == {str(tmp_path / "a.png")}


def test_a_recipe_must_fit_its_operator(tmp_path: Path):
    _, recipe = find_recipe("instruct")
    data = ExampleDataset(
        find_recipe("union")[0], recipe, [str(write_pictures(tmp_path / "i", 1))], TOLD
    )
    with pytest.raises(DataError, match="instruct gives 1 inputs, but union has 2 slots"):
        data[0, 0]


# --- online ----------------------------------------------------------------------------------

PLAN = [[(0, 0), (1, 2)], [(0, 3), (0, 1), (2, 2)], [(7, 1)]]


@pytest.mark.parametrize("mode", ["texturing", "instruct"])
def test_the_same_rows_come_on_any_number_of_workers_and_in_any_batch(
    mode: str, tmp_path: Path, stack: Stack
):
    data = dataset(mode, WRITERS[mode](tmp_path / mode, 4))
    here = list(OnlineSource(data, stack).batches(PLAN))
    for batch, other in zip(here, OnlineSource(data, stack, 2).batches(PLAN), strict=True):
        assert_same(batch, other, 0.0)
    alone = list(OnlineSource(data, stack).batches([[key] for keys in PLAN for key in keys]))
    flat = [(batch, place) for batch in here for place in range(len(batch.target))]
    for one, (batch, place) in zip(alone, flat, strict=True):
        torch.testing.assert_close(one.target[0], batch.target[place], atol=1e-4, rtol=1e-4)
        length = one.conditions.tokens.shape[1]
        of_row = batch.conditions.tokens[place]
        torch.testing.assert_close(one.conditions.tokens[0], of_row[:length], atol=1e-4, rtol=1e-4)
        assert not of_row[length:].any() and not batch.conditions.mask[place, length:].any()


@pytest.mark.parametrize("mode", WRITERS)
def test_conditions_are_those_of_inference(mode: str, tmp_path: Path, stack: Stack):
    data = dataset(mode, WRITERS[mode](tmp_path / mode, 3))
    keys = [(epoch, index) for epoch in range(3) for index in range(3)]
    rows = []
    for key in keys:
        example = data.example(*key)
        slots = [
            None if i is None else normalise(stack.image_encoder.encode([i]), stack.clip_stats)[0]
            for i in example.inputs
        ]
        text = None
        if example.text is not None:
            text = stack.text_encoder.encode([example.text])[0].hidden_states
            text = torch.zeros_like(text) if example.text_dropped else text
        rows.append(condition_row(slots, 128, text))
    expected = pack(rows)
    made = only(OnlineSource(data, stack), [keys])
    torch.testing.assert_close(made.conditions.tokens, expected.tokens, atol=1e-4, rtol=1e-4)
    assert torch.equal(made.conditions.mask, expected.mask)


def test_the_text_that_is_drawn_to_is_embedded_as_it_is(tmp_path: Path, stack: Stack):
    data = dataset("instruct", write_pictures(tmp_path / "i", 2))
    made = only(OnlineSource(data, stack), [[(0, 0), (0, 1)]])
    texts = [data.example(0, index).target_text or "" for index in (0, 1)]
    expected = torch.stack([e.text_embeds for e in stack.text_encoder.encode(texts)])
    torch.testing.assert_close(made.text_embeds, expected, atol=1e-5, rtol=1e-5)


def test_each_distinct_picture_of_a_batch_is_prepared_once(tmp_path: Path, stack: Stack):
    data = dataset("instruct", write_pictures(tmp_path / "i", 3))
    examples = [data.example(epoch, index) for epoch in range(4) for index in range(3)]
    made = prepare(stack.image_encoder.processor, examples)
    assert len(made.pixels) == len(made.keys) == 3
    assert made.rows.shape == (12, 2)


def test_drawing_batches_leaves_the_random_numbers_of_training_alone(tmp_path: Path, stack: Stack):
    source = OnlineSource(dataset("union", write_unions(tmp_path / "u", 2)), stack)
    before = torch.get_rng_state()
    only(source, [[(0, 0), (0, 1)]])
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_can_be_trained_on(tmp_path: Path, stack: Stack):
    data = dataset("union", write_unions(tmp_path / "u", 2))
    batch = only(OnlineSource(data, stack), [[(0, 0), (0, 1)]])
    weight = torch.ones(128, requires_grad=True)
    ((batch.target - batch.conditions.tokens.sum(1) * weight) ** 2).mean().backward()
    assert weight.grad is not None and weight.grad.isfinite().all()


def test_broken_records_are_told_of_once_and_too_many_stop_it(
    tmp_path: Path, stack: Stack, caplog: pytest.LogCaptureFixture
):
    place = write_pictures(tmp_path / "i", 4)
    names = sorted(path.name for path in place.iterdir())
    (place / names[1]).write_text("no picture")
    plan = [[(epoch, index) for index in range(4)] for epoch in range(3)]
    source = OnlineSource(dataset("instruct", place, share=0.25), stack)
    assert len(list(source.batches(plan))) == 3
    assert len(source.broken) == 1
    assert [names[1] in message for message in caplog.messages] == [True]
    (place / names[2]).write_text("no picture")
    with pytest.raises(DataError, match="2 of 4 records are broken"):
        list(OnlineSource(dataset("instruct", place, share=0.25), stack).batches(plan))
