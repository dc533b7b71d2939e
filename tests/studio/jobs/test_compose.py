"""Compositions in the studio: checked, run with what is known already, kept in one file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from pops import scene, texturing
from pops import text as made_from
from pops.engine import Engine
from pops.errors import InputError, UsageError
from pops.io.embeddings import Embeddings
from pops.studio.jobs.compose import Composer, check, read
from pops.studio.jobs.job import Event
from pops.studio.jobs.options import Options
from pops.studio.jobs.runner import Runner
from pops.studio.saved import open_composition, save_composition
from pops.studio.store import Store, StoredItem

QUICK_SETTINGS: dict[str, Any] = {"steps": 3, "render_steps": 1}
QUICK = Options.read(QUICK_SETTINGS)
SIZE = 32  # pixels of a side


class _Told:
    """Stands for a job: keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def tell(self, event: Event) -> None:
        self.events.append(event)

    def progress(self, what: str, done: int, total: int) -> None:
        assert 0 <= done <= total


class _Counting(Engine):
    """The engine, which counts what it samples and renders."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.stack)
        self.sampled = 0
        self.rendered = 0

    def apply(self, operator: str, inputs: Sequence[Any], **how: Any) -> Embeddings:
        self.sampled += len(inputs)
        return super().apply(operator, inputs, **how)

    def render(self, embeddings: Embeddings, **how: Any) -> list[Image.Image]:
        self.rendered += len(embeddings)
        return super().render(embeddings, **{**how, "size": SIZE})


@pytest.fixture
def counting(engine: Engine) -> _Counting:
    return _Counting(engine)


@pytest.fixture
def composer(counting: _Counting) -> Composer:
    return Composer(Runner(counting, Store(2**24)))


@pytest.fixture(scope="module")
def inputs() -> dict[str, StoredItem]:
    colours = {"mug.png": "red", "wood.png": "brown", "ice.png": "cyan", "sea.png": "blue"}
    return {
        name: StoredItem.of_picture(name, Image.new("RGB", (40, 30), colour))
        for name, colour in colours.items()
    }


NESTED = "scene(texturing('mug.png', 'wood.png'), 'sea.png')"


def run(
    composer: Composer, text: str, inputs: dict[str, StoredItem], options: Options = QUICK
) -> list[Event]:
    told = _Told()
    composer.run(told, read(text, inputs), inputs, options)  # type: ignore[arg-type]
    return told.events


def test_every_part_is_drawn_inputs_first(
    composer: Composer, inputs: dict[str, StoredItem]
) -> None:
    events = run(composer, NESTED, inputs)
    parts = [event["expression"] for event in events if event["state"] == "part"]
    inner = "texturing('mug.png', 'wood.png')"
    assert parts == ["'mug.png'", "'wood.png'", inner, "'sea.png'", NESTED]
    assert all(event["item"]["picture"] for event in events[:-1])
    assert events[-1]["state"] == "done" and events[-1]["sampled"] == parts


def test_the_result_is_that_of_the_engine(
    composer: Composer, inputs: dict[str, StoredItem], engine: Engine
) -> None:
    events = run(composer, NESTED, inputs)
    found = composer.runner.store.get(events[-1]["result"]["id"]).embedding
    mug, wood, sea = (inputs[f"{name}.png"].source for name in ("mug", "wood", "sea"))
    made = engine.run(scene(texturing(mug, wood), sea), seeds=[18], steps=3)
    assert found is not None and found.expressions == (NESTED,)
    torch.testing.assert_close(found.image_embeds, made.embeddings.image_embeds)


def test_only_what_depends_on_a_changed_leaf_is_made_again(
    composer: Composer, counting: _Counting, inputs: dict[str, StoredItem]
) -> None:
    run(composer, NESTED, inputs)
    before = counting.sampled, counting.rendered
    events = run(composer, NESTED.replace("sea", "ice"), inputs)
    changed = NESTED.replace("sea", "ice")
    assert events[-1]["sampled"] == ["'ice.png'", changed]
    assert (counting.sampled, counting.rendered) == (before[0] + 1, before[1] + 1)
    run(composer, changed, inputs)
    assert (counting.sampled, counting.rendered) == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize(
    "other",
    [
        {"seeds": [19]},
        {"steps": 4},
        {"guidance": 2.5},
        {"sampler": "ddim"},
    ],
)
def test_another_setting_of_the_sampling_makes_all_again(
    other: dict[str, Any], composer: Composer, counting: _Counting, inputs: dict[str, StoredItem]
) -> None:
    run(composer, NESTED, inputs)
    before = counting.sampled
    run(composer, NESTED, inputs, Options.read({**QUICK_SETTINGS, **other}))
    assert counting.sampled == before + 2


def test_another_drawing_seed_only_draws_again(
    composer: Composer, counting: _Counting, inputs: dict[str, StoredItem]
) -> None:
    run(composer, NESTED, inputs)
    before = counting.sampled, counting.rendered
    run(composer, NESTED, inputs, Options.read({**QUICK_SETTINGS, "render_seeds": [5]}))
    assert (counting.sampled, counting.rendered) == (before[0], before[1] + 2)


def test_equal_pictures_are_known_by_any_name_and_keep_their_own(
    composer: Composer, counting: _Counting, inputs: dict[str, StoredItem]
) -> None:
    run(composer, NESTED, inputs)
    before = counting.sampled
    theirs = {name.replace("mug", "secret"): item for name, item in inputs.items()}
    events = run(composer, NESTED.replace("mug", "secret"), theirs)
    assert counting.sampled == before
    item = composer.runner.store.get(events[-1]["result"]["id"])
    assert item.embedding is not None
    assert item.embedding.expressions == (NESTED.replace("mug", "secret"),)


def test_another_strength_samples_nothing_and_shows_no_other_parts(
    composer: Composer, counting: _Counting, inputs: dict[str, StoredItem]
) -> None:
    text = "texturing('mug.png', text('a car'), strength={})"
    run(composer, text.format(0.25), inputs)
    before = counting.sampled, counting.rendered
    events = run(composer, text.format(0.5), inputs)
    assert (counting.sampled, counting.rendered) == (before[0], before[1] + 1)
    parts = [event["expression"] for event in events if event["state"] == "part"]
    assert parts == ["'mug.png'", "text('a car')", text.format(0.5)]
    found = composer.runner.store.get(events[-1]["result"]["id"]).embedding
    mug = inputs["mug.png"].source
    plan = texturing(mug, made_from("a car"), strength=0.5)
    made = counting.run(plan, seeds=[18], steps=3).embeddings
    assert found is not None
    torch.testing.assert_close(found.image_embeds, made.image_embeds)


def test_functions_compose_and_texts_depend_on_the_seed(
    composer: Composer, inputs: dict[str, StoredItem]
) -> None:
    inner = "swap('mug.png', text('ice'), ['red', 'blue'])"
    text = f"add({inner}, direction('sea.png', 'ice.png'), -0.5)"
    for seed in (18, 19):
        options = Options.read({**QUICK_SETTINGS, "seeds": [seed]})
        last = run(composer, text, inputs, options)[-1]
        assert {text, inner, "text('ice')"} <= set(last["sampled"])
        assert last["result"]["expression"] == text
    assert run(composer, text, inputs, options)[-1]["sampled"] == []


def test_the_tree_tells_arguments_and_the_ends_of_their_sliders(
    inputs: dict[str, StoredItem],
) -> None:
    text = "texturing(slerp('mug.png', text('a car', negative='red'), 0.3), 'ice.png')"
    tree = check(text, inputs, Options())["tree"]
    assert tree["arguments"] == [
        {"name": "strength", "named": True, "value": 1.0, "least": 0.0, "most": 1.0}
    ]
    inner = tree["inputs"][0]
    assert inner["arguments"] == [
        {"name": "t", "named": False, "value": 0.3, "least": 0, "most": 1}
    ]
    words = inner["inputs"][1]
    assert (words["operator"], words["text"], words["inputs"]) == ("text", "a car", [])
    assert words["arguments"] == [{"name": "negative", "named": True, "written": "'red'"}]


@pytest.mark.parametrize("what", ["/etc/passwd", "../words.txt", "words.txt", "~/x", "a b", ""])
def test_a_visitor_reads_no_files_of_the_studio(what: str, inputs: dict[str, StoredItem]) -> None:
    told = check(f"mean(swap('mug.png', 'ice.png', '{what}'), 'sea.png')", inputs, Options())
    assert not told["ok"] and "not the name of a word list" in told["error"]


def test_a_plain_word_is_no_file(
    composer: Composer,
    inputs: dict[str, StoredItem],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("secret").write_text("one\ntwo\n")
    with pytest.raises(UsageError, match="there is no word list 'secret'"):
        run(composer, "swap('mug.png', 'ice.png', 'secret')", inputs)


def test_a_range_is_for_the_command_line(inputs: dict[str, StoredItem]) -> None:
    told = check("texturing('mug.png', 'ice.png', strength=0..1:6)", inputs, Options())
    assert not told["ok"] and "move its slider" in told["error"]


def test_a_part_that_was_forgotten_is_made_again(
    composer: Composer, inputs: dict[str, StoredItem]
) -> None:
    run(composer, NESTED, inputs)
    for key in list(composer._embeddings)[:-1]:  # all but the whole
        del composer._embeddings[key]
    run(composer, "texturing('mug.png', 'ice.png')", inputs)
    assert run(composer, NESTED, inputs)[-1]["state"] == "done"


def test_means_and_left_out_inputs_compose(
    composer: Composer, inputs: dict[str, StoredItem]
) -> None:
    text = "texturing(mean('mug.png', 'ice.png', 0.25), _)"
    assert run(composer, text, inputs)[-1]["result"]["expression"] == text


@pytest.mark.parametrize(
    "text, said, column",
    [
        ("texturing('mug.png', 'wood.png'", "'(' was never closed", 9),
        ("texturing('mug.png', 'wod.png')", "did you mean wood.png?", 21),
        ("texturin('mug.png', 'wood.png')", "did you mean texturing?", 0),
        ("texturing('mug.png')", "texturing takes 2 inputs", 0),
        ("texturing('mug.png', open('/etc/passwd'))", "unknown operator 'open'", 21),
        ("'/etc/passwd'", "there is no picture '/etc/passwd'", 0),
        ("texturing('mug.png', 'assets')", "there is no picture 'assets'", 21),
    ],
)
def test_a_fault_is_told_with_its_place(
    text: str, said: str, column: int, inputs: dict[str, StoredItem]
) -> None:
    told = check(text, inputs, Options())
    assert not told["ok"] and said in told["error"] and "\n" not in told["error"]
    assert (told["line"], told["column"]) == (text, column)


def test_a_composition_has_a_bounded_number_of_parts(inputs: dict[str, StoredItem]) -> None:
    text = "'mug.png'"
    for _ in range(33):
        text = f"texturing({text}, 'wood.png')"
    with pytest.raises(UsageError, match="more than 64 parts"):
        read(text, inputs)


def test_a_saved_composition_is_whole(engine: Engine, inputs: dict[str, StoredItem]) -> None:
    stack, dim = engine.stack.name, engine.dim
    embedding = Embeddings(torch.randn(1, dim), stack)
    mixed = {
        **inputs,
        "e.safetensors": StoredItem("embedding", "e.safetensors", embedding=embedding),
    }
    text = "texturing('e.safetensors', 'wood.png')"
    saved = json.dumps(save_composition(text, mixed, QUICK, stack)).encode()
    opened = open_composition(saved, stack, dim)
    assert (opened.expression, Options.read(opened.settings)) == (text, QUICK)
    assert set(opened.inputs) == {"e.safetensors", "wood.png"}
    assert all(item.digest == mixed[name].digest for name, item in opened.inputs.items())


def test_a_composition_that_was_saved_without_pictures_of_settings_opens(
    engine: Engine, inputs: dict[str, StoredItem]
) -> None:
    stack, dim = engine.stack.name, engine.dim
    saved = save_composition("'mug.png'", inputs, QUICK, stack)
    del saved["pictures"]
    assert open_composition(json.dumps(saved).encode(), stack, dim).pictures == {}


@pytest.mark.parametrize(
    "change, said",
    [
        ({"format": "other"}, "not a composition saved by the studio"),
        ({"settings": {"steps": -1}}, "--steps"),
        ({"settings": {"x": 1}}, "unknown setting"),
        ({"expression": "open('x')"}, "unknown operator"),
        ({"inputs": {"a.png": {"picture": "!!", "embedding": None}}}, "a.png is cut short"),
        ({"inputs": {"a.png": {"picture": "aGk=", "embedding": None}}}, "a.png is not a picture"),
        ({"inputs": {"a": {"picture": None, "embedding": [1, 2]}}}, "an embedding of the stack"),
        ({"inputs": {"a": {"picture": None, "embedding": ["x"]}}}, "embedding[0]: Expected float"),
        ({"inputs": {"a": {"picture": None, "embedding": [10**400]}}}, "embedding[0]"),
        ({"inputs": {"a": {"picture": None, "embedding": [[]] * 99_999}}}, "too many values"),
        ({"inputs": {"a": {"picture": 5}}}, "picture: Expected str | null, got int"),
        ({"inputs": {"a": {"picture": None, "path": "/etc/passwd"}}}, "unknown field 'path'"),
        (
            {"inputs": {"../../a.png": {}}},
            "an input '../../a.png', which is not the name of a file",
        ),
        ({"inputs": {"/etc/passwd": {}}}, "which is not the name of a file"),
        ({"inputs": {"..": {}}}, "which is not the name of a file"),
        ({"inputs": {"\ud800.png": {}}}, "not a composition saved by the studio"),
        ({"inputs": {"\U0001f600" * 300_000: {}}}, "which is not the name of a file"),
        ({"expression": "'a'" * 5000}, "expression"),
        ({"pictures": {"init": {"name": "a.png", "picture": "aGk="}}}, "a.png is not a picture"),
        (
            {"pictures": {"init": {"name": "../a.png", "picture": ""}}},
            "which is not the name of a file",
        ),
        ({"pictures": {"video": {"name": "a.png", "picture": ""}}}, "pictures"),
        ({"settings": {"init": "an-id"}}, "which cannot be among these settings"),
        ({"inputs": {str(n): {} for n in range(65)}}, "more than 64 inputs"),
    ],
)
def test_a_damaged_saved_composition_is_refused(
    change: dict[str, Any], said: str, engine: Engine, inputs: dict[str, StoredItem]
) -> None:
    saved = save_composition("'mug.png'", inputs, QUICK, engine.stack.name)
    content = json.dumps({**saved, **change}).encode()
    with pytest.raises((InputError, UsageError)) as refused:
        open_composition(content, engine.stack.name, engine.dim)
    assert said in str(refused.value)


def test_what_is_no_saved_composition_is_refused() -> None:
    for content in (b"", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 100_000):
        with pytest.raises(InputError, match="not a composition saved by the studio"):
            open_composition(content, "pocket", 8)
