"""The nodes of the pack, run on the pocket stack."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from pops import Embeddings, Engine
from pops.errors import InputError, PopsError, UsageError
from pops.io.pictures import open_picture
from pops.operators import OPERATORS, Operator
from tests.comfyui.runner import Runner

ASSETS = Path(__file__).parents[2] / "assets"
POCKET = {"stack_name": "pocket", "device": "cpu", "dtype": "auto", "offload": "model"}
SAMPLING: dict[str, Any] = {"seed": 18, "steps": 3}
TEXT: dict[str, Any] = {"seed": 18, "steps": 3}
RENDER: dict[str, Any] = {"steps": 2}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load("pocket", "cpu")


@pytest.fixture
def stack(run: Runner) -> Engine:
    engine: Engine = run.one("PopsLoadStack", **POCKET)
    return engine


def picture(name: str) -> torch.Tensor:
    """A shipped picture as an IMAGE (1, H, W, 3)."""
    pixels = torch.frombuffer(
        bytearray(open_picture(ASSETS / f"{name}.png").tobytes()), dtype=torch.uint8
    )
    side = int((len(pixels) // 3) ** 0.5)
    return pixels.reshape(1, side, side, 3).float() / 255


def embeds(count: int, length: int = 128, stack: str | None = None) -> Embeddings:
    return Embeddings(torch.randn(count, length), stack)


# What ComfyUI shows.


def test_every_name_is_the_packs_own(comfy: dict[str, Any]) -> None:
    core = importlib.import_module("nodes").NODE_CLASS_MAPPINGS
    assert all(name.startswith("Pops") for name in comfy)
    assert not set(comfy) & set(core)


def test_every_input_and_output_tells_what_it_is(comfy: dict[str, Any]) -> None:
    for name, node in comfy.items():
        schema = node.GET_SCHEMA()
        assert schema.description.endswith("."), name
        assert schema.category.split("/")[0] == "pops", name
        assert schema.display_name.endswith("(pOps)"), name
        for one in [*schema.inputs, *schema.outputs]:
            assert one.tooltip and one.tooltip.endswith((".", "out.")), f"{name}: {one.id}"


@pytest.mark.parametrize("row", OPERATORS.values(), ids=OPERATORS)
def test_each_operator_of_the_table_is_a_node(comfy: dict[str, Any], row: Operator) -> None:
    inputs = comfy[f"PopsOperator_{row.name}"].INPUT_TYPES()
    kind = "required" if row.min_inputs is None else "optional"
    assert [name for name in inputs[kind] if name in row.inputs] == list(row.inputs)
    assert ("text" in inputs["required"]) == row.takes_text


def test_an_operator_may_have_slots_named_as_other_inputs(comfy: dict[str, Any]) -> None:
    operators = importlib.import_module("comfyui.nodes.operators")
    row = Operator("mine", ("seed", "stack", "seed_", "object"))
    names = operators.slot_names(row)
    assert list(names.values()) == list(row.inputs)
    operators.operator_node(row).GET_SCHEMA()  # refuses two inputs of one name


# The same numbers as the engine gives.


def test_an_operator_gives_what_the_engine_gives(
    run: Runner, stack: Engine, engine: Engine
) -> None:
    names = ("objects/mug", "textures/brick")
    made = run.one(
        "PopsOperator_texturing",
        stack=stack,
        object=picture(names[0]),
        texture=picture(names[1]),
        **SAMPLING,
    )
    same = engine.apply(
        "texturing", [tuple(ASSETS / f"{name}.png" for name in names)], seeds=[18], steps=3
    )
    torch.testing.assert_close(made.image_embeds, same.image_embeds, atol=1e-5, rtol=0)
    assert (made.stack, made.seeds, made.guidance) == ("pocket", (18,), same.guidance)


def test_clothes_keep_their_slots(run: Runner, stack: Engine, engine: Engine) -> None:
    bag, hat = embeds(1), embeds(1)
    made = run.one("PopsOperator_clothes", stack=stack, bag=bag, hat=hat, **SAMPLING)
    request = [None] * 12
    request[0], request[10] = hat, bag  # type: ignore[call-overload]
    same = engine.apply("clothes", [request], seeds=[18], steps=3)
    torch.testing.assert_close(made.image_embeds, same.image_embeds, atol=1e-5, rtol=0)


def test_a_text_is_given_to_the_operator_that_takes_one(
    run: Runner, stack: Engine, engine: Engine
) -> None:
    one = embeds(1)
    made = run.one("PopsOperator_instruct", stack=stack, object=one, text="tiny", **SAMPLING)
    same = engine.apply("instruct", [[one]], text="tiny", seeds=[18], steps=3)
    torch.testing.assert_close(made.image_embeds, same.image_embeds, atol=1e-5, rtol=0)


def test_a_composition_gives_what_its_operators_give(run: Runner, stack: Engine) -> None:
    a, b, c = embeds(1), embeds(1), embeds(1)
    made = run.one(
        "PopsCompose",
        stack=stack,
        expression="scene(texturing('a', 'b'), 'c')",
        a=a,
        b=b,
        c=c,
        **SAMPLING,
    )
    inner = run.one("PopsOperator_texturing", stack=stack, object=a, texture=b, **SAMPLING)
    outer = run.one("PopsOperator_scene", stack=stack, object=inner, background=c, **SAMPLING)
    torch.testing.assert_close(made.image_embeds, outer.image_embeds, atol=1e-5, rtol=0)


def test_a_composition_reads_files_of_the_input_folder(
    run: Runner, stack: Engine, tmp_path: Path, engine: Engine
) -> None:
    mug = open_picture(ASSETS / "objects/mug.png")
    mug.save(tmp_path / "input" / "mug.png")
    made = run.one("PopsCompose", stack=stack, expression="mean('mug.png', 'a')", a=embeds(1),
                   **SAMPLING)  # fmt: skip
    assert made.image_embeds.shape == (1, 128)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "input" / "linked").symlink_to(tmp_path / "elsewhere")
    mug.save(tmp_path / "elsewhere" / "mug.png")
    alone = run.one("PopsCompose", stack=stack, expression="'linked/mug.png'", **SAMPLING)
    torch.testing.assert_close(alone.image_embeds, engine.encode([mug]).image_embeds)


@pytest.mark.parametrize("strength", [0.0, 0.4])
def test_a_strength_goes_part_of_the_way(
    run: Runner, stack: Engine, engine: Engine, strength: float
) -> None:
    a, b = embeds(1), embeds(1)
    made = run.one("PopsOperator_union", stack=stack, first=a, second=b,
                   **{**SAMPLING, "strength": strength})  # fmt: skip
    node = engine.function("union")(a, b, strength=strength)
    same = engine.run(node, seeds=[18], steps=3).embeddings
    torch.testing.assert_close(made.image_embeds, same.image_embeds, atol=1e-5, rtol=0)


def test_a_text_becomes_an_embedding(run: Runner, stack: Engine, engine: Engine) -> None:
    made = run.one("PopsEncodeText", stack=stack, text="a red mug", negative="blue", **TEXT)
    same = engine.text("a red mug", negative="blue", seeds=[18], steps=3)
    torch.testing.assert_close(made.image_embeds, same.image_embeds, atol=1e-5, rtol=0)
    assert made.seeds == (18,)


A, B, C = embeds(2), embeds(1), embeds(2)
COMBINED: list[tuple[str, dict[str, Any], str]] = [
    (
        "PopsMix",
        {"first": A, "third": B, "first_weight": 3.0},
        "mix('a', 'b', weights=[3, 1])",
    ),
    ("PopsSlerp", {"first": A, "second": B, "t": 0.3}, "slerp('a', 'b', 0.3)"),
    ("PopsSlerp", {"first": A, "second": B, "frames": 3}, "slerp('a', 'b', 0..1:3)"),
    ("PopsAdd", {"embeddings": A, "end": B, "amount": -0.5}, "add('a', 'b', -0.5)"),
    (
        "PopsAdd",
        {"embeddings": A, "start": B, "end": C},
        "add('a', direction('b', 'c'))",
    ),
    ("PopsSwap", {"embeddings": A, "source": B, "concept": "colour"}, "swap('a', 'b', 'colour')"),
    (
        "PopsSwap",
        {"embeddings": A, "source": B, "concept": "red\n\nblue ", "rank": 1},
        "swap('a', 'b', ['red', 'blue'], rank=1)",
    ),
]


@pytest.mark.parametrize("node, given, expression", COMBINED)
def test_a_node_gives_what_its_expression_gives(
    run: Runner, stack: Engine, node: str, given: dict[str, Any], expression: str
) -> None:
    made = run.one(node, stack=stack, **given)
    same = run.one("PopsCompose", stack=stack, expression=expression, a=A, b=B, c=C)
    torch.testing.assert_close(made.image_embeds, same.image_embeds)
    assert len(made) == (6 if "frames" in given else 2)


def test_a_list_of_texts_is_read_from_the_input_folder(
    run: Runner, stack: Engine, tmp_path: Path
) -> None:
    (tmp_path / "input" / "two.txt").write_text("red\nblue\n")
    (tmp_path / "two.txt").write_text("red\nblue\n")
    given = {"stack": stack, "a": A, "b": B}
    named = run.one("PopsCompose", expression="swap('a', 'b', 'two.txt')", **given)
    told = run.one("PopsCompose", expression="swap('a', 'b', ['red', 'blue'])", **given)
    torch.testing.assert_close(named.image_embeds, told.image_embeds)
    with pytest.raises(InputError, match="'../two.txt' is not a file in ComfyUI's input folder"):
        run.one("PopsCompose", expression="swap('a', 'b', '../two.txt')", **given)


def test_pictures_are_rendered_as_the_engine_renders(
    run: Runner, stack: Engine, engine: Engine
) -> None:
    given = embeds(2)
    image = run.one("PopsRender", stack=stack, embeddings=given, **{**RENDER, "variations": 2})
    pictures = engine.render(given, seeds=[0, 1], steps=2)
    assert image.shape == (4, *reversed(pictures[0].size), 3)
    assert image.dtype == torch.float32
    for one, same in zip(image, pictures, strict=True):
        assert Image.fromarray((one * 255).round().byte().numpy()).tobytes() == same.tobytes()


# What comes in and goes out.


def test_pictures_and_all_kinds_of_embeddings_are_taken(run: Runner, stack: Engine) -> None:
    image = picture("objects/mug")
    ours = run.one("PopsEncodePictures", stack=stack, image=image)
    vision = importlib.import_module("comfy.clip_vision").Output()
    vision.image_embeds = ours.image_embeds
    for given in (image, ours, vision, ours.image_embeds):
        made = run.one("PopsCompose", stack=stack, expression="'a'", a=given, **SAMPLING)
        torch.testing.assert_close(made.image_embeds, ours.image_embeds)


def test_a_transparent_picture_is_laid_on_white(run: Runner, stack: Engine) -> None:
    clear = torch.zeros(1, 64, 64, 4)
    white = torch.ones(1, 64, 64, 3)
    made = [run.one("PopsEncodePictures", stack=stack, image=one) for one in (clear, white)]
    torch.testing.assert_close(made[0].image_embeds, made[1].image_embeds)


def test_a_clip_vision_output_is_made_for_each_embedding(run: Runner) -> None:
    given = embeds(3, 1280)
    prompt = {"1": {"class_type": "PopsToClipVision", "inputs": {"embeddings": given}}}
    (outputs,) = run(prompt, "1")
    rows = torch.cat([one.image_embeds for one in outputs])
    assert len(outputs) == 3 and torch.equal(rows, given.image_embeds)
    assert type(outputs[0]) is importlib.import_module("comfy.clip_vision").Output
    assert outputs[0].penultimate_hidden_states is None  # what IPAdapter plus would ask for


def test_ip_adapter_is_given_a_tensor_and_zeros(run: Runner) -> None:
    given = embeds(2, 1280)
    prompt = {"1": {"class_type": "PopsToIPAdapter", "inputs": {"embeddings": given}}}
    (positive,), (negative,) = run(prompt, "1")
    assert torch.equal(positive, given.image_embeds)
    assert torch.equal(negative, torch.zeros(2, 1280))


@pytest.mark.parametrize("kind", ["safetensors", "ipadpt", "pth"])
def test_saved_embeddings_are_loaded_again(
    run: Runner, comfy: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    given = Embeddings(torch.randn(2, 128), "pocket", ("'a.png'", "'b.png'"))
    save = {"embeddings": given, "filename_prefix": "kept/mug", "format": kind}
    for _ in range(2):  # under a new number each time
        comfy["PopsSaveEmbeddings"].execute(**save)
    files = sorted(path.name for path in (tmp_path / "output" / "kept").iterdir())
    assert files == [f"mug_00001_.{kind}", f"mug_00002_.{kind}"]
    name = f"kept/{files[0]} [output]"
    assert comfy["PopsLoadEmbeddings"].validate_inputs(name) is True
    loaded = run.one("PopsLoadEmbeddings", file=name)
    assert torch.equal(loaded.image_embeds, given.image_embeds)
    if kind != "ipadpt":  # which is a bare tensor
        assert (loaded.stack, loaded.expressions) == ("pocket", given.expressions)


def test_a_file_that_changes_is_read_again(comfy: dict[str, Any], tmp_path: Path) -> None:
    node, path = comfy["PopsLoadEmbeddings"], tmp_path / "input" / "a.safetensors"
    embeds(1).save(path)
    first = node.fingerprint_inputs(file="a.safetensors")
    assert node.fingerprint_inputs(file="a.safetensors") == first
    embeds(2).save(path)
    assert node.fingerprint_inputs(file="a.safetensors") != first


def test_an_operator_of_ones_own_is_found_and_a_change_of_it_seen(
    run: Runner, comfy: dict[str, Any], tmp_path: Path
) -> None:
    from pops.operators import OperatorCard, save_card

    places = importlib.import_module("comfyui.places")
    node = comfy["PopsLoadStack"]
    before = node.fingerprint_inputs(**POCKET)
    home = tmp_path / "models" / "operators"
    save_card(home / "rust", OperatorCard(Operator("rusting", ("object",)), "pocket"))
    (home / "broken").mkdir()
    (home / "broken" / "operator.json").write_text("{")
    assert places.own_operators() == [home / "rust"]
    assert node.fingerprint_inputs(**POCKET) != before
    stack = run.one("PopsLoadStack", **POCKET)
    assert "rusting" in stack.stack.operators


def test_a_stack_in_the_folder_of_models_is_offered(comfy: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "models" / "stacks" / "mine" / "prior").mkdir(parents=True)
    options = comfy["PopsLoadStack"].INPUT_TYPES()["required"]["stack_name"][1]["options"]
    assert options == ["pocket", "kandinsky-2.2", "mine"]


# Batches.


def test_batches_are_paired_and_a_single_row_goes_with_all(run: Runner, stack: Engine) -> None:
    objects, texture = embeds(3), embeds(1)
    both = {**SAMPLING, "variations": 2}
    made = run.one("PopsOperator_texturing", stack=stack, object=objects, texture=texture, **both)
    assert made.seeds == (18, 19) * 3
    for at in range(3):
        one = run.one(
            "PopsOperator_texturing", stack=stack, object=objects[at], texture=texture, **both
        )
        torch.testing.assert_close(
            made[2 * at : 2 * at + 2].image_embeds, one.image_embeds, atol=1e-4, rtol=0
        )


def test_a_composition_works_row_by_row(run: Runner, stack: Engine) -> None:
    a, b = embeds(2), embeds(1)
    whole = run.one("PopsCompose", stack=stack, expression="union('a', 'b')", a=a, b=b, **SAMPLING)
    parts = [
        run.one("PopsCompose", stack=stack, expression="union('a', 'b')", a=one, b=b, **SAMPLING)
        for one in a
    ]
    rows = torch.cat([part.image_embeds for part in parts])
    torch.testing.assert_close(whole.image_embeds, rows, atol=1e-4, rtol=0)


def test_rows_are_batched_picked_and_split(run: Runner) -> None:
    a, b = embeds(2, stack="pocket"), embeds(1)
    whole = run.one("PopsBatchEmbeddings", first=a, third=b)
    assert whole.stack == "pocket"
    assert torch.equal(whole.image_embeds, torch.cat([a.image_embeds, b.image_embeds]))
    picked = run.one("PopsPickEmbeddings", embeddings=whole, row=1, count=2)
    assert torch.equal(picked.image_embeds, whole.image_embeds[1:])
    prompt = {
        "1": {"class_type": "PopsSplitEmbeddings", "inputs": {"embeddings": whole}},
        "2": {
            "class_type": "PopsPickEmbeddings",
            "inputs": {"embeddings": ["1", 0], "row": 0, "count": 1},
        },
    }
    (rows,) = run(prompt, "2")
    assert torch.equal(torch.cat([row.image_embeds for row in rows]), whole.image_embeds)


# Progress and interruption.


def test_the_bar_goes_to_its_end(
    run: Runner, stack: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []

    def hook(done: int, total: int, preview: object, node_id: object = None) -> None:
        told.append((done, total))

    monkeypatch.setattr(importlib.import_module("comfy.utils"), "PROGRESS_BAR_HOOK", hook)
    run.one("PopsOperator_union", stack=stack, first=embeds(1), second=embeds(1), **SAMPLING)
    assert told and told[-1] == (3, 3)


def test_work_stops_where_the_user_interrupts(run: Runner, stack: Engine) -> None:
    management = importlib.import_module("comfy.model_management")
    management.interrupt_current_processing(True)
    with pytest.raises(management.InterruptProcessingException):
        run.one("PopsOperator_union", stack=stack, first=embeds(1), second=embeds(1), **SAMPLING)
    made = run.one("PopsOperator_union", stack=stack, first=embeds(1), second=embeds(1), **SAMPLING)
    assert len(made) == 1  # the stack is as good as before


def test_comfyui_makes_room_on_a_gpu_alone(stack: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, torch.device]] = []
    work = importlib.import_module("comfyui.work")
    management = importlib.import_module("comfy.model_management")
    monkeypatch.setattr(management, "free_memory", lambda *given: asked.append(given))
    work.make_room(stack)
    assert not asked
    monkeypatch.setattr(type(stack.stack), "device", torch.device("cuda", 0))
    work.make_room(stack)
    assert asked == [(2 * stack.stack.prior_bytes + 2**31, torch.device("cuda", 0))]


# One clear line, whatever goes wrong.


WRONG: list[tuple[str, dict[str, Any], str]] = [
    (
        "PopsOperator_texturing",
        {"object": embeds(1, 1280), "texture": embeds(1)},
        "object holds embeddings of 1280 numbers, of the stack unknown, but pocket has ",
    ),
    (
        "PopsOperator_texturing",
        {"object": embeds(1, stack="kandinsky-2.2"), "texture": embeds(1)},
        "object holds embeddings of 128 numbers, of the stack kandinsky-2.2, but",
    ),
    (
        "PopsOperator_texturing",
        {"object": embeds(3), "texture": embeds(2)},
        "object has 3, texture has 2 rows; give all the same number, or a single row",
    ),
    (
        "PopsOperator_texturing",
        {"object": torch.zeros(1, 257, 1664), "texture": embeds(1)},
        "object has the shape (1, 257, 1664): embeddings are (number, length)",
    ),
    (
        "PopsOperator_texturing",
        {"object": torch.zeros(0, 64, 64, 3), "texture": embeds(1)},
        "object has the shape (0, 64, 64, 3), which is not a batch of pictures",
    ),
    (
        "PopsOperator_texturing",
        {"object": torch.full((1, 8, 8, 3), torch.nan), "texture": embeds(1)},
        "object holds a number that is not finite",
    ),
    (
        "PopsOperator_texturing",
        {"object": object(), "texture": embeds(1)},
        "object is object, which holds no image embedding",
    ),
    (
        "PopsOperator_texturing",
        {"object": embeds(0), "texture": embeds(1)},
        "object is an empty batch",
    ),
    (
        "PopsOperator_texturing",
        {"object": Embeddings(torch.full((1, 128), torch.nan)), "texture": embeds(1)},
        "not finite",
    ),
    ("PopsOperator_clothes", {}, "clothes has no input: connect one or more of its slots"),
    ("PopsCompose", {"expression": ""}, "the composition is empty"),
    ("PopsCompose", {"expression": "texture('a', 'b')"}, "did you mean texturing?"),
    ("PopsCompose", {"expression": "union('a', 'b')"}, "uses 'a', but nothing is connected there"),
    ("PopsCompose", {"expression": "'../x.png'"}, "'../x.png' is not a file in ComfyUI's input"),
    ("PopsCompose", {"expression": "'/etc/passwd'"}, "is not a file in ComfyUI's input folder"),
]  # fmt: skip


@pytest.mark.parametrize("node, given, said", WRONG, ids=[said[:30] for *_, said in WRONG])
def test_what_is_wrong_is_said_in_a_line(
    run: Runner, stack: Engine, node: str, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(PopsError) as found:
        run.one(node, stack=stack, **given, **SAMPLING)
    assert said in str(found.value)
    assert "\n" not in found.value.args[0]


@pytest.mark.parametrize(
    "node, given, said",
    [
        ("PopsToClipVision", {"embeddings": embeds(1)}, "embeddings of 128 numbers"),
        ("PopsToIPAdapter", {"embeddings": embeds(1)}, "fit no model outside pOps"),
        ("PopsPickEmbeddings", {"embeddings": embeds(2), "row": 1, "count": 2}, "the batch has 2"),
        ("PopsBatchEmbeddings", {"first": embeds(1), "second": embeds(1, 64)}, "make no batch"),
        (
            "PopsBatchEmbeddings",
            {"first": embeds(1, stack="pocket"), "second": embeds(1, stack="kandinsky-2.2")},
            "second has 128 numbers of the stack kandinsky-2.2",
        ),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(
    run: Runner, node: str, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        run.one(node, **given)


def test_a_concept_that_is_no_word_list_is_refused(run: Runner, stack: Engine) -> None:
    for concept in ("patern", "/etc/passwd", ""):
        with pytest.raises(UsageError, match="unknown word list .*pattern"):
            run.one("PopsSwap", stack=stack, embeddings=A, source=B, concept=concept)


def test_a_vision_output_without_an_embedding_is_refused(run: Runner, stack: Engine) -> None:
    empty = importlib.import_module("comfy.clip_vision").Output()
    empty.image_embeds = None
    with pytest.raises(InputError, match="a is Output, which holds no image embedding"):
        run.one("PopsCompose", stack=stack, expression="'a'", a=empty, **SAMPLING)


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"stack_name": "pokcet"}, "did you mean pocket?"),
        ({"device": "cuda"}, "device 'cuda' is not on this machine"),
    ],
)
def test_a_stack_that_cannot_be_loaded_is_named(
    run: Runner, changed: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError, match=said.replace("?", r"\?")):
        run.one("PopsLoadStack", **{**POCKET, **changed})


def test_a_size_of_ones_own_is_rendered(run: Runner, stack: Engine) -> None:
    image = run.one("PopsRender", stack=stack, embeddings=embeds(1), **{**RENDER, "size": 100})
    assert image.shape == (1, 100, 100, 3)


@pytest.mark.parametrize("size", [4097, 64_000])
def test_a_size_that_cannot_be_rendered_is_refused(run: Runner, stack: Engine, size: int) -> None:
    with pytest.raises(UsageError, match="size must be"):
        run.one("PopsRender", stack=stack, embeddings=embeds(1), **{**RENDER, "size": size})


@pytest.mark.parametrize("name", ["gone.safetensors", "../secret.npy", "/etc/passwd", ""])
def test_a_file_outside_the_folders_is_refused(
    comfy: dict[str, Any], tmp_path: Path, name: str
) -> None:
    embeds(1).save(tmp_path / "secret.pth")
    said = comfy["PopsLoadEmbeddings"].validate_inputs(name)
    assert "is not an embedding file in ComfyUI's input or output folder" in said


def test_a_damaged_file_is_named(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "input" / "bad.ipadpt").write_bytes(b"\x80\x04no")
    with pytest.raises(InputError, match="bad.ipadpt"):
        run.one("PopsLoadEmbeddings", file="bad.ipadpt")


def test_a_seed_beyond_the_largest_starts_again(run: Runner, stack: Engine) -> None:
    high = {**SAMPLING, "seed": 2**64 - 1, "variations": 2}
    made = run.one("PopsOperator_union", stack=stack, first=embeds(1), second=embeds(1), **high)
    assert made.seeds == (2**63 - 1, 0)
