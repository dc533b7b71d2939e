"""Stable unCLIP as the decoder of a stack, on tiny random models loaded as the hub's are."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableUnCLIPImg2ImgPipeline

from benchmarks import tiny_unclip
from pops.engine import Engine
from pops.errors import UsageError, WeightsError
from pops.io.embeddings import Embeddings
from pops.io.loading import quietly
from pops.render.stable_unclip import StableUnCLIPRenderer
from pops.settings.rendering import DecoderSettings

FEW = DecoderSettings(steps=3, guidance=10.0, size=32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, golden: Path) -> Path:
    """A stack whose decoder is Stable unCLIP."""
    stack = tmp_path_factory.mktemp("unclip") / "open-clip"
    shutil.copytree(golden / "kandinsky-tiny-prior", stack / "prior")
    with quietly():
        tiny_unclip.make_decoder(stack / "decoder", stack / "prior" / "tokenizer")
    settings = {"renderer": "stable_unclip", "steps": 3, "guidance": 10, "size": 32}
    (stack / "decoder" / "render.json").write_text(json.dumps(settings))
    return stack


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return Engine.load(folder, "cpu")


@pytest.fixture(scope="module")
def renderer(engine: Engine) -> StableUnCLIPRenderer:
    found = engine.renderer("kandinsky")
    assert isinstance(found, StableUnCLIPRenderer)
    return found


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Iterator[StableUnCLIPImg2ImgPipeline]:
    with quietly():
        made = StableUnCLIPImg2ImgPipeline.from_pretrained(folder / "decoder")
    made.set_progress_bar_config(disable=True)
    yield made


@pytest.mark.parametrize(("prompt", "guidance"), [("", 10.0), ("a red cat", 4.0), ("", 1.0)])
def test_it_renders_as_diffusers_does_one_by_one(
    renderer: StableUnCLIPRenderer,
    pipeline: StableUnCLIPImg2ImgPipeline,
    prompt: str,
    guidance: float,
) -> None:
    embeds, seeds = torch.randn(3, 32), [0, 1, 1]
    theirs = [
        pipeline(
            prompt=prompt,
            image_embeds=embed[None],
            num_inference_steps=FEW.steps,
            guidance_scale=guidance,
            height=FEW.size,
            width=FEW.size,
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
        ).images[0]
        for embed, seed in zip(embeds, seeds, strict=True)
    ]
    asked = DecoderSettings(FEW.steps, guidance, FEW.size, prompt=prompt)
    ours = renderer.render_arrays(embeds, seeds, asked)
    np.testing.assert_allclose(ours, np.stack(theirs), rtol=0, atol=1e-4)


def test_the_stack_s_own_decoder_is_the_one_that_render_json_names(
    engine: Engine, renderer: StableUnCLIPRenderer
) -> None:
    made = Embeddings(torch.randn(2, 32), "open-clip")
    first, second = engine.render(made, seeds=[0])
    (named, _) = engine.render(made, seeds=[0], renderer="stable_unclip")
    assert first.size == (32, 32)
    assert first.tobytes() == named.tobytes() != second.tobytes()
    assert (renderer.settings.steps, renderer.settings.guidance) == (3, 10)


def test_steps_of_all_batches_are_counted(
    renderer: StableUnCLIPRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pops.render.stable_unclip.BATCH_PIXELS", 2 * 32 * 32)
    seen: list[tuple[str, int, int]] = []
    renderer.render_arrays(torch.randn(3, 32), [0, 1, 2], FEW, lambda *one: seen.append(one))
    assert seen == [("render", done, 6) for done in range(1, 7)]


@pytest.mark.parametrize(("steps", "size"), [(0, 32), (1001, 32), (3, 0), (3, 34)])
def test_steps_and_sizes_that_do_not_fit_are_refused(
    renderer: StableUnCLIPRenderer, steps: int, size: int
) -> None:
    with pytest.raises(UsageError, match="multiple of 4|between 1 and 1000"):
        renderer.render(torch.zeros(1, 32), [0], DecoderSettings(steps, 5.0, size))


def test_a_decoder_of_another_kind_or_length_is_refused(
    folder: Path, stack_parts: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="not a Stable unCLIP"):
        Engine.load("pocket", "cpu", **stack_parts).renderer("stable_unclip")
    other = shutil.copytree(folder, tmp_path / "other")
    named = other / "decoder" / "scheduler" / "scheduler_config.json"
    named.write_text(json.dumps(json.loads(named.read_text()) | {"_class_name": "Engine"}))
    with pytest.raises(WeightsError, match="'Engine' is not a scheduler"):
        Engine.load(other, "cpu").renderer()
