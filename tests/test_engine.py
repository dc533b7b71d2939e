import gc
import io
import itertools
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from pops import scene, texturing, union
from pops.engine import Engine
from pops.errors import InputError, UsageError
from pops.io.embeddings import Embeddings
from pops.io.pictures import open_picture
from pops.prior.sampling import seeded_noise
from pops.settings.rendering import DecoderSettings
from pops.stacks.clip import ImageEncoder
from pops.stacks.stack import Stack

Cases = dict[str, list[dict[str, Any]]]
Expected = dict[str, torch.Tensor]
Parts = dict[str, Path]

CASES = [
    "texturing_s18",
    "texturing_s42",
    "union_s18",
    "union_s42",
    "scene_s18",
    "scene_s42",
    "texturing_drop_a_s18",
    "texturing_drop_b_s18",
    "clothes_s18",
    "instruct_shiny_s18",
    "instruct_shiny_cfg4_s18",
    "instruct_enormous_mug_s18",
    "instruct_enormous_mug_cfg4_s18",
    "scene_of_texturing_s18",
]


def request_of(case: dict[str, Any], golden: Path, expected: Expected) -> list[Any]:
    def source(name: str | None) -> Any:
        if name is None:
            return None
        return expected[name] if "/" in name else golden / f"inputs/input_{name}.png"

    return [source(name) for name in case["inputs"]]


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


def test_all_golden_cases_are_tried(cases: Cases):
    assert [case["name"] for case in cases["operators"]] == CASES


@pytest.mark.parametrize("name", CASES)
def test_a_golden_case_alone_comes_out(
    engine: Engine, golden: Path, cases: Cases, expected: Expected, name: str
):
    (case,) = (case for case in cases["operators"] if case["name"] == name)
    made = engine.apply(
        case["operator"],
        [request_of(case, golden, expected)],
        text=case.get("text"),
        seeds=[case["prior_seed"]],
        guidance=case["guidance_scale"],
        steps=case["prior_steps"],
    )
    close(made.image_embeds, expected[f"operator/{name}"])


def test_golden_cases_in_mixed_batches_come_out(
    engine: Engine, golden: Path, cases: Cases, expected: Expected
):
    """Dropped and whole inputs, and texts of different length, side by side in one batch."""

    def key(case: dict[str, Any]) -> tuple[str, float]:
        return case["operator"], case["guidance_scale"]

    for (operator, guidance), group in itertools.groupby(
        sorted(cases["operators"], key=key), key=key
    ):
        batch = [case for case in group if case["prior_seed"] == 18]
        made = engine.apply(
            operator,
            [request_of(case, golden, expected) for case in batch],
            text=[case["text"] for case in batch] if operator == "instruct" else None,
            seeds=[18, 42],
            guidance=guidance,
        )
        for i, case in enumerate(batch):
            close(made[2 * i].image_embeds, expected[f"operator/{case['name']}"])
            other = expected.get(f"operator/{case['name'].replace('s18', 's42')}")
            if other is not None:
                close(made[2 * i + 1].image_embeds, other)


def test_composition_from_pictures_comes_out(engine: Engine, golden: Path, expected: Expected):
    a, b, c = (golden / f"inputs/input_{name}.png" for name in "abc")
    textured = engine.apply("texturing", [(a, b)], seeds=[18])
    placed = engine.apply("scene", [(textured, c)], seeds=[18])
    close(placed.image_embeds, expected["operator/scene_of_texturing_s18"])
    assert placed.expressions == (f"scene(texturing({str(a)!r}, {str(b)!r}), {str(c)!r})",)


def test_a_composition_run_as_a_whole_comes_out(engine: Engine, golden: Path, expected: Expected):
    a, b, c = (str(golden / f"inputs/input_{name}.png") for name in "abc")
    text = f"scene(texturing({a!r}, {b!r}), {c!r})"
    for program in (text, scene(texturing(a, b), c)):
        made = engine.run(program, seeds=[18, 42])
        close(made.embeddings[0].image_embeds, expected["operator/scene_of_texturing_s18"])
        assert made.embeddings.expressions == (text, text) and made.embeddings.seeds == (18, 42)
        for row, seed in enumerate((18, 42)):
            inner = made[texturing(a, b)][row]
            close(inner.image_embeds, expected[f"operator/texturing_s{seed}"])


@dataclass
class Work:
    """A record of the calls that an engine received."""

    encoded: int = 0
    loaded: list[str] = field(default_factory=list)
    sampled: list[int] = field(default_factory=list)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    seen = Work()
    encode_pixels, load, noise = ImageEncoder.encode_pixels, Stack.operator, seeded_noise

    def encoding(self: ImageEncoder, pixels: torch.Tensor) -> torch.Tensor:
        seen.encoded += len(pixels)
        return encode_pixels(self, pixels)

    def loading(self: Stack, name: str, *rest: Any) -> Any:
        seen.loaded.append(name)
        return load(self, name, *rest)

    def sampling(seeds: Sequence[int], *rest: Any) -> Any:
        seen.sampled.append(len(seeds))
        return noise(seeds, *rest)

    monkeypatch.setattr(ImageEncoder, "encode_pixels", encoding)
    monkeypatch.setattr(Stack, "operator", loading)
    monkeypatch.setattr("pops.prior.batching.seeded_noise", sampling)
    return seen


def test_each_file_is_encoded_part_sampled_and_operator_loaded_once(
    stack_parts: Parts, golden: Path, work: Work, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pops.engine.RESIDENT_BYTES", 1)  # no room for two operators
    a, b, c = (golden / f"inputs/input_{name}.png" for name in "abc")
    wooden = texturing(a, b)
    program = union(scene(wooden, c), texturing(scene(wooden, a), texturing(b, a)))
    engine = Engine.load("pocket", "cpu", **stack_parts)
    engine.run(program, seeds=[18, 42, 7], steps=2)
    assert work.encoded == 3
    assert work.sampled == [6, 6, 3, 3]  # two parts, two parts, one, one; for each of three seeds
    assert work.loaded == ["texturing", "scene", "texturing", "union"]  # it feeds what feeds it
    work.loaded.clear()
    engine.run(union(texturing(a, b), texturing(scene(a, b), c)), seeds=[18], steps=2)
    assert work.loaded == ["scene", "texturing", "union"]


def test_a_grid_encodes_each_file_and_samples_each_part_once(
    stack_parts: Parts, golden: Path, work: Work, tmp_path: Path
):
    for name in "abc":
        (tmp_path / f"{name}.png").symlink_to(golden / f"inputs/input_{name}.png")
    engine = Engine.load("pocket", "cpu", **stack_parts)
    made = engine.run(scene(texturing(tmp_path, tmp_path / "a.png"), tmp_path), seeds=[1], steps=2)
    assert len(made.embeddings) == 9
    assert (work.encoded, work.sampled) == (3, [3, 9])


def test_requests_can_have_seeds_of_their_own(engine: Engine):
    requests = [tuple(torch.randn(2, 32)) for _ in range(2)]
    made = engine.apply("scene", requests, seeds=[[1], [2, 3]], steps=3)
    assert made.seeds == (1, 2, 3)
    alone = engine.apply("scene", [requests[1]], seeds=[3], steps=3)
    close(made[2].image_embeds, alone.image_embeds)
    with pytest.raises(UsageError, match="seeds for 1 of 2 requests"):
        engine.apply("scene", requests, seeds=[[1]])


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_a_batch_gives_what_its_members_give_alone(engine: Engine, guidance: float):
    requests = [tuple(torch.randn(n, 32)) for n in (1, 4, 12, 4)] + [(None, torch.randn(32))]
    together = engine.apply("clothes", requests, seeds=[1, 2], guidance=guidance, steps=5)
    for i, (request, seed) in enumerate(itertools.product(requests, [1, 2])):
        alone = engine.apply("clothes", [request], seeds=[seed], guidance=guidance, steps=5)
        close(together[i].image_embeds, alone.image_embeds)
        assert together[i].seeds == (seed,)


def test_more_than_a_batch_is_sampled_in_turns(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    requests = [(torch.randn(32), torch.randn(32)) for _ in range(3)]
    whole = engine.apply("texturing", requests, seeds=[1, 2], steps=3)
    monkeypatch.setattr("pops.prior.batching.MOST_ROWS", 4)
    seen: list[tuple[str, int, int]] = []
    turns = engine.apply(
        "texturing", requests, seeds=[1, 2], steps=3, progress=lambda *s: seen.append(s)
    )
    close(turns.image_embeds, whole.image_embeds)
    assert seen == [("texturing", done, 6) for done in range(1, 7)]


def test_guidance_has_no_effect_when_every_input_is_dropped(engine: Engine):
    made = [engine.apply("union", [(None, None)], guidance=scale) for scale in (1.0, 8.0)]
    close(*(m.image_embeds for m in made))


def test_ddim_needs_no_noise_but_the_start_s(engine: Engine):
    pair = [(torch.randn(32), torch.randn(32))]
    fine = engine.apply("scene", pair, seeds=[1], sampler="ddim", steps=200)
    coarse = engine.apply("scene", pair, seeds=[1], sampler="ddim", steps=50)
    torch.testing.assert_close(fine.image_embeds, coarse.image_embeds, rtol=0, atol=0.05)


def test_the_mean_is_the_published_baseline(engine: Engine, golden: Path, expected: Expected):
    pair = (golden / "inputs/input_a.png", golden / "inputs/input_b.png")
    close(engine.mean([pair]).image_embeds, expected["mean/ab"])
    close(engine.mean([pair], weight=1.0).image_embeds, expected["image_embeds/b"])
    prior = engine.operator("scene")[1]
    a, b = (prior.normalise(engine.encode([p]).image_embeds) for p in pair)
    wanted = prior.denormalise(0.7 * a + 0.3 * b)
    close(engine.mean([pair], weight=0.3).image_embeds, wanted)


def test_a_source_can_come_in_any_form(
    engine: Engine, golden: Path, expected: Expected, tmp_path: Path
):
    path = golden / "inputs/input_a.png"
    embedding = Embeddings(expected["image_embeds/a"])
    embedding.save(tmp_path / "a.safetensors")
    sources = [
        path,
        str(path),
        open_picture(path),
        expected["image_embeds/a"],
        expected["image_embeds/a"][0],
        embedding,
        tmp_path / "a.safetensors",
    ]
    encoded = engine.encode(sources).image_embeds
    close(encoded, expected["image_embeds/a"].expand(len(sources), -1))


def test_each_distinct_source_is_opened_once(
    engine: Engine, golden: Path, monkeypatch: pytest.MonkeyPatch
):
    opened = []

    def noted(source: Any) -> Image.Image:
        opened.append(source)
        return open_picture(source)

    monkeypatch.setattr("pops.stacks.encoding.open_picture", noted)
    a, b = golden / "inputs/input_a.png", golden / "inputs/input_b.png"
    grid = [(x, y) for x in (a, b) for y in (a, b)]
    seen: list[tuple[str, int, int]] = []
    encoded = engine.encode([x for pair in grid for x in pair], lambda *s: seen.append(s))
    assert len(encoded) == 8
    assert opened == [a, b]
    assert seen == [("encode", 2, 2)]


def test_nothing_in_gives_nothing_out(engine: Engine):
    assert engine.encode([]).image_embeds.shape == (0, 32)
    assert engine.apply("scene", []).image_embeds.shape == (0, 32)
    assert engine.mean([]).image_embeds.shape == (0, 32)
    assert engine.render(Embeddings(torch.zeros(0, 32)), size=32) == []


def test_pictures_come_embedding_by_embedding_then_seed_by_seed(engine: Engine):
    two = Embeddings(torch.randn(2, 32))
    pictures = engine.render(two, seeds=[0, 1], steps=1, size=32)
    assert len(pictures) == 4
    alone = engine.render(two[1], seeds=[1], steps=1, size=32)
    difference = torch.tensor(list(pictures[3].tobytes())) - torch.tensor(list(alone[0].tobytes()))
    assert difference.abs().max() <= 1


def test_wrong_numbers_of_inputs_are_answered_with_the_slots_before_anything_is_loaded():
    engine = Engine.load("pocket", "cpu", prior="/nowhere", operators="/nowhere")
    with pytest.raises(UsageError, match=r"takes 2 inputs \(object, texture\), not 1"):
        engine.apply("texturing", [("mug.png",)])
    with pytest.raises(UsageError, match="did you mean texturing"):
        engine.apply("textring", [("mug.png", "wood.png")])
    with pytest.raises(UsageError, match="ancestral, ddim"):
        engine.apply("texturing", [("mug.png", "wood.png")], sampler="euler")


def test_one_text_or_one_for_each_request_is_asked_for(engine: Engine):
    requests = [(torch.zeros(32),)] * 3
    with pytest.raises(UsageError, match="2 texts for 3 requests"):
        engine.apply("instruct", requests, text=["shiny", "dark"])
    with pytest.raises(UsageError, match="needs a text"):
        engine.apply("instruct", requests)


def test_a_missing_picture_is_named(engine: Engine):
    with pytest.raises(InputError, match=r"nowhere\.png"):
        engine.apply("scene", [("nowhere.png", None)])


@pytest.mark.parametrize(
    "foreign",
    [torch.zeros(33), Embeddings(torch.zeros(1, 32), stack="kandinsky-2.2")],
)
def test_an_embedding_of_another_stack_is_refused(engine: Engine, foreign: Any):
    with pytest.raises(InputError, match="pocket has embeddings of 32"):
        engine.apply("scene", [(foreign, None)])


def test_many_embeddings_where_one_is_wanted_are_refused(engine: Engine, tmp_path: Path):
    Embeddings(torch.zeros(2, 32)).save(tmp_path / "two.pth")
    with pytest.raises(InputError, match=r"two\.pth holds 2 embeddings, but one is wanted"):
        engine.encode([tmp_path / "two.pth"])


def test_rendering_another_stack_s_embeddings_is_refused(engine: Engine):
    with pytest.raises(InputError, match="encode the picture with this one"):
        engine.render(Embeddings(torch.zeros(1, 99)))


def test_operators_make_room_for_one_another(stack_parts: Parts, monkeypatch: pytest.MonkeyPatch):
    engine = Engine.load("pocket", "cpu", **stack_parts)
    first = engine.operator("scene")
    assert engine.operator("scene") is first
    engine.operator("union")
    assert engine.operator("scene") is first  # room for both
    monkeypatch.setattr("pops.engine.RESIDENT_BYTES", 1)
    engine.operator("union")
    assert engine.operator("scene") is not first


def test_a_single_request_is_taken_as_it_is_meant(engine: Engine, golden: Path):
    one = [golden / "inputs/input_a.png", golden / "inputs/input_b.png"]
    alone = engine.apply("texturing", one, seeds=[18], steps=2)
    listed = engine.apply("texturing", [one], seeds=[18], steps=2)
    assert len(alone) == 1 and torch.equal(alone.image_embeds, listed.image_embeds)
    with pytest.raises(UsageError, match="texturing takes 2 inputs"):
        engine.apply("texturing", one[:1])


def test_a_notebook_shows_a_line_and_pictures(
    engine: Engine, golden: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine.renderer(), "settings", DecoderSettings(2, 4.0, 32))
    a, b = (str(golden / f"inputs/input_{name}.png") for name in "ab")
    made = engine.apply("texturing", (a, b), seeds=[18, 42], steps=2)
    assert repr(made) == f"<Embeddings 2 x 32 of pocket: texturing({a!r}, {b!r}) (seed 18, 42)>"
    shown = made._repr_png_()
    assert shown is not None
    with Image.open(io.BytesIO(shown)) as picture:
        assert picture.format == "PNG" and picture.width > 2 * 224
    result = engine.run(f"texturing({a!r}, {b!r})", seeds=[18, 42], steps=2)
    assert repr(result) == f"<Result of texturing({a!r}, {b!r}): {made!r}>"
    assert result._repr_png_() == shown
    assert Embeddings(torch.zeros(1, 32))._repr_png_() is None  # of no known stack


def test_showing_keeps_no_engine_alive(stack_parts: dict[str, Path]):
    own = Engine.load("pocket", "cpu", **stack_parts)
    own.apply("scene", (None, None), seeds=[1], steps=1)
    gone = weakref.ref(own)
    del own
    gc.collect()
    assert gone() is None
