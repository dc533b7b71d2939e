"""The arithmetic of compositions: its ends, its lengths, and what it leaves alone."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pops import Sweep, add, direction, mean, mix, slerp, swap, text, texturing
from pops.compose import algebra
from pops.compose.calls import FUNCTIONS
from pops.compose.nodes import FUNCTION_NAMES, function_name
from pops.compose.run import find_function
from pops.engine import Engine
from pops.errors import NotFiniteError, UsageError
from pops.io.embeddings import Embeddings
from pops.stacks.concepts import find_concepts, read_concept
from pops.stacks.stack import open_stack

RED, GREEN, BLUE = (Image.new("RGB", (16, 16), name) for name in ("red", "lime", "blue"))
STEPS = 2
DIM = 32


def rows(seed: int, count: int = 1) -> torch.Tensor:
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed)) * 3


def normalised(engine: Engine, embeds: torch.Tensor) -> torch.Tensor:
    stats = engine.stack.clip_stats
    return (embeds - stats["clip_mean"]) / stats["clip_std"]


def close(found: torch.Tensor, wanted: torch.Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=atol)


seeds = st.integers(0, 2**20)
shares = st.floats(0, 1)
amounts = st.floats(-5, 5)

# The table


def test_every_function_of_the_table_is_known_by_its_name_and_computes_something() -> None:
    assert tuple(FUNCTIONS) == FUNCTION_NAMES
    for name, row in FUNCTIONS.items():
        assert callable(find_function(row.compute))
        assert function_name(name) == f"{name}_"  # an operator of that name


# Numbers


HUGE = torch.full((1, DIM), 3e38)  # finite, and more than sums and lengths can take


@pytest.mark.parametrize("bad", [mean(-HUGE, HUGE), direction(-HUGE, HUGE)])
def test_what_a_function_makes_is_finite_or_lost_and_the_rest_goes_on(
    engine: Engine, bad: Any, tmp_path: Path
) -> None:
    with pytest.raises(NotFiniteError, match="is not finite"):
        engine.run(bad)
    for name, row in (("a", rows(1)), ("huge", HUGE), ("z", rows(2))):
        Embeddings(row).save(tmp_path / f"{name}.safetensors")
    result = engine.run(mean(tmp_path, -HUGE))
    assert len(result.embeddings) == 2 and result.embeddings.image_embeds.isfinite().all()
    assert ["huge" in str(node) for node in result.lost] == [True]


def test_a_mean_and_a_strength_are_finite_or_refused(engine: Engine) -> None:
    with pytest.raises(NotFiniteError) as caught:
        engine.mean([(rows(1), rows(2)), (-HUGE, HUGE)])
    assert caught.value.rows == (1,)
    with pytest.raises(NotFiniteError):
        engine.apply("texturing", (HUGE, rows(1)), strength=0.5, steps=STEPS, seeds=[0])


@given(seeds, shares)
def test_an_arc_begins_and_ends_at_its_inputs_and_turns_evenly(
    engine: Engine, seed: int, t: float
) -> None:
    a, b = rows(seed), rows(seed + 1)
    stack = engine.stack
    assert torch.equal(algebra.slerp(stack, a, b, 0.0), a)
    assert torch.equal(algebra.slerp(stack, a, b, 1.0), b)
    x, y, made = (normalised(engine, e) for e in (a, b, algebra.slerp(stack, a, b, t)))
    close(made.norm(dim=1), torch.lerp(x.norm(dim=1), y.norm(dim=1), t), 1e-3)

    def angle(p: torch.Tensor, q: torch.Tensor) -> float:
        return math.acos(max(-1, min(1, torch.cosine_similarity(p.double(), q.double()).item())))

    assert angle(x, made) == pytest.approx(t * angle(x, y), abs=2e-3)


@given(seeds, shares)
def test_an_arc_between_equal_and_opposite_embeddings_is_finite(
    engine: Engine, seed: int, t: float
) -> None:
    a, centre = rows(seed), engine.stack.clip_stats["clip_mean"]
    close(algebra.slerp(engine.stack, a, a, t), a)
    assert algebra.slerp(engine.stack, a, 2 * centre - a, t).isfinite().all()


@given(seeds, amounts)
def test_a_sum_keeps_the_length_and_adding_nothing_changes_nothing(
    engine: Engine, seed: int, amount: float
) -> None:
    a, b = rows(seed), rows(seed + 1)
    assert torch.equal(algebra.add(engine.stack, a, b, 0.0), a)
    made = normalised(engine, algebra.add(engine.stack, a, b, amount))
    close(made.norm(dim=1), normalised(engine, a).norm(dim=1), 1e-3)


@given(seeds)
def test_a_direction_leads_from_its_start_to_its_end(engine: Engine, seed: int) -> None:
    start, end = rows(seed), rows(seed + 1)
    way = algebra.direction(engine.stack, start, end)
    close(normalised(engine, way), normalised(engine, end) - normalised(engine, start), 1e-3)
    made = normalised(engine, algebra.add(engine.stack, start, way, 1.0))
    close(
        torch.nn.functional.normalize(made),
        torch.nn.functional.normalize(normalised(engine, end)),
        1e-3,
    )


@given(seeds, st.lists(st.floats(0.1, 9), min_size=3, max_size=3))
def test_a_mix_of_two_is_a_mean_and_weights_are_shares(
    engine: Engine, seed: int, weights: list[float]
) -> None:
    a, b, c = rows(seed), rows(seed + 1), rows(seed + 2, 4)
    stack = engine.stack
    close(algebra.mix(stack, a, b, weights=(3.0, 1.0)), algebra.take_mean(stack, a, b, 0.25))
    close(algebra.mix(stack, a, b, c, weights=(0, 0, 2.0)), c)
    for few in (1e-320, 1e300, 1.7e308):  # of which a sum, or a number of 32 bits, is no number
        close(algebra.mix(stack, a, b, weights=(few, few)), algebra.take_mean(stack, a, b, 0.5))
        assert FUNCTIONS["mix"].notes(mix("a", "b", weights=[few, few])) == ["50%", "50%"]
    double = [2 * weight for weight in weights]
    made = algebra.mix(stack, a, b, c, weights=weights)
    close(made, algebra.mix(stack, a, b, c, weights=double))
    assert made.shape == c.shape


@given(seeds, st.integers(1, 3))
def test_a_swap_takes_the_part_in_the_space_of_the_texts_and_leaves_the_rest(
    engine: Engine, seed: int, rank: int
) -> None:
    a, b = rows(seed), rows(seed + 1)
    texts = ("red", "a shiny cat", "wood", "a car")
    stack = engine.stack
    directions = algebra.Subspace(texts, rank)(stack).float()
    assert directions.shape == (rank, DIM)
    close(directions @ directions.T, torch.eye(rank))
    made = algebra.swap(stack, a, b, texts, rank)
    close(made @ directions.T, b @ directions.T, 1e-3)
    close(made - made @ directions.T @ directions, a - a @ directions.T @ directions, 1e-3)
    assert torch.equal(algebra.swap(stack, a, a, texts, rank), a)
    back = algebra.swap(stack, made, a, texts, rank)
    close(back, a, 1e-3)


# In compositions


def test_full_strength_is_the_operator_itself_and_none_is_its_first_input(engine: Engine) -> None:
    plain = engine.run(texturing(RED, GREEN), seeds=[1, 2], steps=STEPS)
    swept = engine.run(texturing(RED, GREEN, strength=Sweep(0, 1, 3)), seeds=[1, 2], steps=STEPS)
    made = swept.embeddings.image_embeds.view(3, 2, -1)
    assert torch.equal(made[2], plain.embeddings.image_embeds)
    assert torch.equal(made[0], engine.encode([RED, RED]).image_embeds)
    half = algebra.slerp(engine.stack, made[0], made[2], 0.5)
    assert torch.equal(made[1], half)
    assert [step.operator for step in swept.plan.steps] == ["texturing", None]  # sampled once
    assert swept.embeddings.seeds == (1, 2) * 3 and swept.embeddings.guidance == 8.0


@pytest.mark.parametrize("strength", [0, 0.6, 1])
def test_a_strength_means_the_same_alone_as_in_a_composition(
    strength: float, engine: Engine
) -> None:
    pairs = [(RED, GREEN), (None, GREEN)]
    alone = engine.apply("texturing", pairs, strength=strength, seeds=[1, 2], steps=STEPS)
    for at, pair in enumerate(pairs):
        run = engine.run(texturing(*pair, strength=strength), seeds=[1, 2], steps=STEPS)
        rows = alone[2 * at : 2 * at + 2]
        close(rows.image_embeds, run.embeddings.image_embeds.expand(2, -1), 1e-4)
        assert rows.expressions == (run.embeddings.expressions[0],) * 2
    assert alone.seeds == (1, 2) * 2 and alone.guidance == 8.0


@pytest.mark.parametrize("strength", [1.1, -0.1, float("nan"), "half", True, Sweep(0, 1, 3)])
def test_a_strength_that_is_none_is_refused_before_anything_is_loaded(
    strength: Any, engine: Engine
) -> None:
    with pytest.raises(UsageError, match="strength"):
        engine.apply("texturing", (RED, GREEN), strength=strength)


def test_strength_begins_at_the_first_input_that_is_given(engine: Engine) -> None:
    made = engine.run(texturing(None, GREEN, strength=0), seeds=[1], steps=STEPS)
    assert torch.equal(made.embeddings.image_embeds, engine.encode([GREEN]).image_embeds)


def test_functions_pair_rows_by_seed(engine: Engine) -> None:
    made = text("red")
    both = engine.run(slerp(RED, made, 0.5), seeds=[1, 2], steps=STEPS)
    assert both.embeddings.seeds == (1, 2)
    alone = engine.run(slerp(RED, made, 0.5), seeds=[2], steps=STEPS)
    close(both.embeddings[1].image_embeds, alone.embeddings.image_embeds)
    parts = [add(RED, direction(GREEN, made), -0.5), mix(RED, GREEN, made), mean(made, RED)]
    whole = engine.run(mix(*parts, weights=[1, 2, 3]), seeds=[1, 2], steps=STEPS)
    for part in parts:
        assert whole[part].seeds == (1, 2) and whole[part].expressions == (str(part),) * 2


def test_texts_are_sampled_together_with_each_seed(engine: Engine) -> None:
    a, b = text("red"), text("a car", negative="red", guidance=2)
    made = engine.run(mean(a, b), seeds=[3, 4], steps=STEPS)
    assert len(made.plan.steps) == 2
    for part, words, settings in ((a, "red", {}), (b, "a car", {"negative": "red", "guidance": 2})):
        alone = engine.text(words, seeds=[4], steps=STEPS, **settings)
        close(made[part][1].image_embeds, alone.image_embeds)
        assert alone.expressions == (str(part),)
    assert made[b].guidance == 2 and made[a].guidance == 4


def test_several_texts_give_what_each_gives_alone(engine: Engine) -> None:
    words = ["red", "a shiny cat", "wood"]
    many = engine.text(words, negative=["", "wood", "wood"], seeds=[1, 2], steps=STEPS)
    assert many.seeds == (1, 2) * 3
    close(
        many[3].image_embeds,
        engine.text(words[1], negative="wood", seeds=[2], steps=STEPS).image_embeds,
    )
    with pytest.raises(UsageError, match="has 102 tokens"):
        engine.text("cat " * 100)


# Word lists


def test_a_concept_is_a_list_by_name_a_file_or_texts(engine: Engine, tmp_path: Path) -> None:
    assert "material" in find_concepts(engine.stack)
    assert "a wooden mug" in read_concept(engine.stack, "material")
    own = tmp_path / "own.txt"
    own.write_text("# mine\nred\n\nblue\n")
    assert read_concept(engine.stack, str(own)) == ("red", "blue")
    made = engine.run(swap(RED, BLUE, str(own)))
    same = engine.run(swap(RED, BLUE, ["red", "blue"]))
    assert torch.equal(made.embeddings.image_embeds, same.embeddings.image_embeds)
    own.write_text("red\n")
    with pytest.raises(UsageError, match="holds 1 texts"):
        engine.run(swap(RED, BLUE, str(own)))
    with pytest.raises(UsageError, match="or name a file of texts"):
        read_concept(engine.stack, str(tmp_path))


def test_lists_of_other_stacks_are_general() -> None:
    names = find_concepts(open_stack("kandinsky-2.2"))
    assert {"pattern", "material", "colour", "style", "lighting"} <= names.keys()
    assert all(len(read_concept(open_stack("kandinsky-2.2"), name)) > 20 for name in names)


def test_an_unknown_word_list_is_shown_where_it_stands_before_anything_is_loaded() -> None:
    engine = Engine.load("pocket", "cpu", prior="/nowhere", operators="/nowhere")
    with pytest.raises(UsageError, match="did you mean material") as caught:
        engine.run("swap(text('a'), text('b'), 'materiel')")
    assert str(caught.value).split("\n")[2].index("^") == 2 + len("swap(text('a'), text('b'), ")
