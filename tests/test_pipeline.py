"""The pipeline of diffusers gives what the engine gives."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, KandinskyV22Pipeline
from PIL import Image

from pops.cli import main as cli
from pops.engine import Engine
from pops.errors import OutputError, UsageError, WeightsError
from pops.pipeline import PopsPipeline
from tests.io.limits import no_larger_than

Parts = dict[str, Path]


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder of its own for the class that diffusers copies there, not the user's."""
    from diffusers.utils import dynamic_modules_utils

    with pytest.MonkeyPatch.context() as patch:
        place = str(tmp_path_factory.mktemp("modules"))
        patch.setattr(dynamic_modules_utils, "HF_MODULES_CACHE", place)
        yield


@pytest.fixture(scope="module")
def pipe(stack_parts: Parts) -> PopsPipeline:
    found = PopsPipeline.from_operator("texturing", "pocket", device="cpu", **stack_parts)
    found.set_progress_bar_config(disable=True)
    return found


@pytest.fixture(scope="module")
def pictures(golden: Path) -> Sequence[Path]:
    return [golden / "inputs" / f"input_{name}.png" for name in "abc"]


def loaded(folder: Path) -> Any:
    made = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    made.set_progress_bar_config(disable=True)
    return made


def test_it_gives_what_the_engine_gives(
    pipe: PopsPipeline, engine: Engine, pictures: Sequence[Path]
):
    a, b, c = pictures
    wanted = engine.apply("texturing", [(a, b), (c, None)], seeds=[18, 42])
    out = pipe([[a, b], [c, None]], num_images_per_prompt=2, generator=seeded(18, 42, 18, 42))
    close(out.image_embeds, wanted.image_embeds)
    close(out.negative_image_embeds, engine.stack.image_encoder.zero_embed().expand(4, -1))


def test_settings_are_those_of_the_engine(
    pipe: PopsPipeline, engine: Engine, pictures: Sequence[Path]
):
    request = tuple(pictures[:2])
    wanted = engine.apply("texturing", [request], seeds=[5], guidance=1.5, steps=4, sampler="ddim")
    out = pipe(
        request, generator=seeded(5), guidance_scale=1.5, num_inference_steps=4, sampler="ddim"
    )
    close(out.image_embeds, wanted.image_embeds)


def test_inputs_may_be_pictures_embeddings_or_given_by_name(
    pipe: PopsPipeline, engine: Engine, pictures: Sequence[Path]
):
    a, b = (Image.open(path).convert("RGB") for path in pictures[:2])
    embedding = engine.encode([b]).image_embeds[0]
    by_place = pipe([a, embedding], generator=seeded(1)).image_embeds
    close(pipe({"texture": b, "object": a}, generator=seeded(1)).image_embeds, by_place)


def test_a_text_operator_takes_a_prompt(
    stack_parts: Parts, engine: Engine, pictures: Sequence[Path]
):
    instruct = PopsPipeline.from_operator("instruct", "pocket", device="cpu", **stack_parts)
    instruct.set_progress_bar_config(disable=True)
    wanted = engine.apply("instruct", [(pictures[0],)] * 2, text=["shiny", "mug"], seeds=[18])
    out = instruct([[pictures[0]]] * 2, ["shiny", "mug"], generator=seeded(18, 18))
    close(out.image_embeds, wanted.image_embeds)
    with pytest.raises(UsageError, match="needs a text"):
        instruct([pictures[0]])


def test_a_used_generator_gives_something_new_that_can_be_made_again(
    pipe: PopsPipeline, pictures: Sequence[Path]
):
    def twice() -> list[torch.Tensor]:
        (generator,) = seeded(7)
        few: dict[str, Any] = {"generator": generator, "num_inference_steps": 2}
        return [pipe(pictures[:2], **few).image_embeds for _ in range(2)]

    (first, second), (again, second_again) = twice(), twice()
    close(first, again)
    close(second, second_again)
    assert (first - second).abs().max() > 0.01


def test_one_generator_serves_several_and_none_draws_by_torch_s_own(
    pipe: PopsPipeline, pictures: Sequence[Path]
):
    few: dict[str, Any] = {"num_inference_steps": 2, "num_images_per_prompt": 2}
    both = pipe(pictures[:2], generator=seeded(3)[0], **few).image_embeds
    alone = pipe(pictures[:2], generator=seeded(3), num_inference_steps=2).image_embeds
    close(both[:1], alone)
    assert (both[0] - both[1]).abs().max() > 0.01
    torch.manual_seed(9)
    first = pipe(pictures[:2], **few).image_embeds
    torch.manual_seed(9)
    close(pipe(pictures[:2], **few).image_embeds, first)
    with pytest.raises(UsageError, match="1 generators for 2"):
        pipe(pictures[:2], generator=seeded(1), **few)


def test_a_callback_sees_every_step_and_may_change_it(pipe: PopsPipeline, pictures: Sequence[Path]):
    few: dict[str, Any] = {"num_inference_steps": 3}
    seen: list[tuple[int, int, torch.Tensor]] = []

    def look(_: Any, step: int, t: int, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        seen.append((step, t, given["latents"].clone()))
        return given

    plain = pipe(pictures[:2], generator=seeded(1), **few).image_embeds
    watched = pipe(pictures[:2], generator=seeded(1), callback_on_step_end=look, **few)
    close(watched.image_embeds, plain)
    assert [(step, t) for step, t, _ in seen] == [(0, 999), (1, 500), (2, 0)]
    close(pipe._prior().denormalise(seen[-1][2]), plain)

    def swap(_: Any, step: int, t: int, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"latents": seen[step][2]}

    other = pipe(pictures[1:], generator=seeded(2), callback_on_step_end=swap, **few)
    close(other.image_embeds, plain)
    with pytest.raises(UsageError, match="not prompt_embeds"):
        pipe(pictures[:2], callback_on_step_end_tensor_inputs=["prompt_embeds"])


def test_an_exported_operator_is_loaded_and_saved_again_unchanged(
    pipe: PopsPipeline, pictures: Sequence[Path], tmp_path: Path, modules: None
):
    if os.name != "nt":
        with no_larger_than(1000), pytest.raises(OutputError, match=f"cannot write {tmp_path}"):
            pipe.save_pretrained(tmp_path / "full")
    pipe.save_pretrained(tmp_path / "a")
    loaded(tmp_path / "a").save_pretrained(tmp_path / "b")
    index = json.loads((tmp_path / "b" / "model_index.json").read_text())
    assert index["_class_name"] == ["pops_pipeline", "PopsPipeline"]
    again = loaded(tmp_path / "b")
    assert type(again) is PopsPipeline
    assert (again.operator, again.config.stack) == (pipe.operator, "pocket")
    wanted = pipe(pictures[:2], generator=seeded(18)).image_embeds
    close(again(pictures[:2], generator=seeded(18)).image_embeds, wanted)


def test_the_command_exports_what_the_engine_and_the_decoder_draw_alike(
    tmp_path: Path, modules: None, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "texturing"
    assert cli.main(["export", "texturing", "--stack", "pocket", f"--out={out}"]) == 0
    assert str(out) in capsys.readouterr().out
    engine = Engine.load("pocket", "cpu")
    request = ("assets/objects/mug.png", "assets/textures/wood.png")
    wanted = engine.apply("texturing", [request], seeds=[18])
    made = loaded(out)(request, generator=seeded(18))
    close(made.image_embeds, wanted.image_embeds)
    stack = engine.stack
    decoder = KandinskyV22Pipeline(*stack.diffusers_decoder())
    decoder.set_progress_bar_config(disable=True)
    own = stack.render_settings
    theirs = decoder(
        **made,
        num_inference_steps=own.steps,
        guidance_scale=own.guidance,
        height=own.size,
        width=own.size,
        generator=seeded(0),
        output_type="np",
    ).images[0]
    (ours,) = engine.render(wanted, seeds=[0])
    assert np.abs(np.asarray(ours) / 255 - theirs).max() < 0.01
    assert cli.main(["export", "texturing", f"--out={out}"]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_arrays_and_tuples_are_given_on_request(pipe: PopsPipeline, pictures: Sequence[Path]):
    few: dict[str, Any] = {"num_inference_steps": 1, "generator": seeded(0)}
    embeds, negative = pipe(pictures[:2], output_type="np", return_dict=False, **few)
    assert (type(embeds), embeds.shape, negative.shape) == (np.ndarray, (1, 32), (1, 32))
    with pytest.raises(UsageError, match="'pt' or 'np'"):
        pipe(pictures[:2], output_type="pil")


def test_a_pipeline_without_its_operator_says_so(pipe: PopsPipeline, pictures: Sequence[Path]):
    parts = {name: part for name, part in pipe.components.items() if name != "operator"}
    with pytest.raises(WeightsError, match="export it again"):
        PopsPipeline(**parts)(pictures[:2])


def test_half_precision_is_near(stack_parts: Parts, pictures: Sequence[Path], pipe: PopsPipeline):
    half = PopsPipeline.from_operator("texturing", "pocket", device="cpu", **stack_parts)
    half.set_progress_bar_config(disable=True)
    half.to(dtype=torch.bfloat16)
    made = half(pictures[:2], generator=seeded(1), num_inference_steps=3)
    wanted = pipe(pictures[:2], generator=seeded(1), num_inference_steps=3).image_embeds
    assert made.image_embeds.dtype == torch.bfloat16
    likeness = torch.cosine_similarity(made.image_embeds.float(), wanted).item()
    assert likeness > 0.99
