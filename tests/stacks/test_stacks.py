import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from pops.data.cache.fingerprints import stack_digests
from pops.engine import Engine
from pops.errors import UsageError, WeightsError
from pops.operators import OPERATORS, OperatorCard, read_state_dict, save_operator
from pops.stacks.stack import Stack, open_stack

Parts = dict[str, Path]


@pytest.fixture
def folder(tmp_path: Path, stack_parts: Parts) -> Path:
    """A stack in one folder, which a test may damage."""
    whole = tmp_path / "tiny"
    for name, part in stack_parts.items():
        shutil.copytree(part, whole / name)
    return whole


def halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def test_a_folder_is_a_stack(folder: Path, stack_parts: Parts):
    stack = open_stack(folder)
    assert stack.name == "tiny"
    row, prior = stack.operator("texturing")
    assert row == OPERATORS["texturing"]
    assert prior.config.embedding_dim == 32
    assert (stack.render_settings.steps, stack.render_settings.size) == (50, 512)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_the_name_of_a_stack_is_text(folder: Path):
    assert open_stack(folder.rename(folder.with_name(os.fsdecode(b"caf\xe9")))).name == r"caf\xe9"


def test_an_unknown_stack_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"did you mean kandinsky-2\.2"):
        open_stack("kandinsky")


def test_a_folder_that_is_no_stack_is_named(tmp_path: Path):
    with pytest.raises(WeightsError, match="no folder named prior"):
        open_stack(tmp_path)


def test_a_decoder_says_how_it_likes_to_render(folder: Path):
    (folder / "decoder" / "render.json").write_text('{"steps": 5, "guidance": 2.0, "size": 64}')
    settings = open_stack(folder).render_settings
    assert (settings.steps, settings.guidance, settings.size) == (5, 2.0, 64)
    (folder / "decoder" / "render.json").write_text('{"stepps": 5}')
    with pytest.raises(WeightsError, match=r"render\.json"):
        _ = open_stack(folder).render_settings


def load(stack: Stack, part: str) -> object:
    return getattr(stack, part)


PARTS = {
    "image_encoder": "prior/image_encoder/model.safetensors",
    "text_encoder": "prior/text_encoder/model.safetensors",
    "clip_stats": "prior/prior/diffusion_pytorch_model.safetensors",
    "unet": "decoder/unet/diffusion_pytorch_model.safetensors",
    "movq": "decoder/movq/diffusion_pytorch_model.safetensors",
}


def test_hidden_files_that_systems_leave_are_no_part_of_a_stack(folder: Path):
    digests = stack_digests(open_stack(folder))
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7 of a system")
    stack = open_stack(folder)
    for part in PARTS:
        load(stack, part)
    assert stack_digests(stack) == digests


@pytest.mark.parametrize(("part", "file"), PARTS.items())
def test_weights_cut_short_are_named(folder: Path, part: str, file: str):
    halve(folder / file)
    with pytest.raises(WeightsError, match=r"\.safetensors is damaged or cut short"):
        load(open_stack(folder), part)


@pytest.mark.parametrize(("part", "file"), PARTS.items())
def test_missing_weights_are_named(folder: Path, part: str, file: str):
    (folder / file).unlink()
    with pytest.raises(WeightsError, match="is missing"):
        load(open_stack(folder), part)


CONFIGS = {
    "image_encoder": "prior/image_processor/preprocessor_config.json",
    "text_encoder": "prior/tokenizer/tokenizer.json",
    "prior_config": "prior/prior/config.json",
    "schedule": "prior/scheduler/scheduler_config.json",
    "unet": "decoder/unet/config.json",
    "decoder_scheduler": "decoder/scheduler/scheduler_config.json",
}


@pytest.mark.parametrize(("part", "file"), CONFIGS.items())
def test_a_config_cut_short_is_named(folder: Path, part: str, file: str):
    halve(folder / file)
    with pytest.raises(WeightsError, match=str(folder)):
        load(open_stack(folder), part)


def test_weights_that_lack_a_tensor_are_not_filled_with_noise(folder: Path):
    from safetensors.torch import load_file, save_file

    path = folder / "prior/image_encoder/model.safetensors"
    tensors = load_file(path)
    del tensors["visual_projection.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"visual_projection\.weight"):
        load(open_stack(folder), "image_encoder")


def test_a_missing_decoder_is_named_only_when_it_is_used(folder: Path):
    shutil.rmtree(folder / "decoder")
    stack = open_stack(folder)
    stack.operator("scene")
    with pytest.raises(WeightsError, match="decoder is missing"):
        load(stack, "unet")


def test_an_operator_the_stack_does_not_have_is_named(folder: Path):
    shutil.rmtree(folder / "operators" / "models" / "union")
    with pytest.raises(WeightsError, match="has no operator union"):
        open_stack(folder).operator("union")
    shutil.rmtree(folder / "operators")
    with pytest.raises(WeightsError, match="has no operators there"):
        open_stack(folder).operator("scene")


def test_operator_weights_of_another_shape_are_refused_by_key(folder: Path):
    path = folder / "operators/models/scene/learned_prior.pth"
    state = torch.load(path, weights_only=True)
    state["proj_in.weight"] = torch.zeros(32, 16)
    del state["prd_embedding"]
    torch.save(state, path)
    with pytest.raises(WeightsError, match=r"prd_embedding.*proj_in\.weight is \(32, 16\)"):
        open_stack(folder).operator("scene")


def test_an_operator_folder_brings_its_own_row_and_weights(folder: Path, tmp_path: Path):
    state = read_state_dict(folder / "operators/models/scene/learned_prior.pth")
    own = save_operator(tmp_path / "mine", OperatorCard(OPERATORS["scene"], "tiny"), state)
    stack = open_stack(folder)
    for row, prior in (stack.operator(str(own)), stack.operator("scene", own)):
        assert row == OPERATORS["scene"]
        torch.testing.assert_close(prior.proj_in.weight, state["proj_in.weight"])
    with pytest.raises(UsageError, match="holds the operator scene, not union"):
        stack.operator("union", own)


def test_a_stack_s_own_operator_folder_is_found_by_name(folder: Path):
    state = read_state_dict(folder / "operators/models/scene/learned_prior.pth")
    card = OperatorCard(OPERATORS["scene"], "tiny", {"steps": 3})
    save_operator(folder / "operators" / "scene", card, state)
    (folder / "operators/models/scene/learned_prior.pth").unlink()
    assert open_stack(folder).operator("scene")[0] == OPERATORS["scene"]


def test_an_operator_of_another_stack_is_refused_by_name(stack_parts: Parts, tmp_path: Path):
    card = OperatorCard(OPERATORS["scene"], "kandinsky-2.2")
    own = save_operator(tmp_path / "mine", card, {})
    with pytest.raises(WeightsError, match=r"use --stack kandinsky-2\.2"):
        open_stack("pocket", **stack_parts).operator(str(own))


def test_clip_statistics_stay_whole_in_half_precision(stack_parts: Parts):
    stack = open_stack("pocket", **stack_parts, dtype="bfloat16")
    _, prior = stack.operator("scene")
    assert prior.proj_in.weight.dtype == torch.bfloat16
    torch.testing.assert_close(prior.clip_std.data, stack.clip_stats["clip_std"], rtol=0, atol=0)


def test_half_precision_stays_close_to_the_full_one(stack_parts: Parts, engine: Engine):
    half = Engine.load("pocket", "cpu", "bfloat16", **stack_parts)
    picture = Image.effect_noise((40, 30), 80).convert("RGB")
    made = [e.apply("scene", [(picture, None)], seeds=[1]).image_embeds for e in (half, engine)]
    torch.testing.assert_close(*made, rtol=0, atol=0.15)


def test_a_folder_in_half_precision_loads_in_full_on_a_cpu(folder: Path):
    from safetensors.torch import load_file, save_file

    path = folder / "prior/image_encoder/model.safetensors"
    save_file({k: v.half() for k, v in load_file(path).items()}, path, metadata={"format": "pt"})
    config = json.loads((path.parent / "config.json").read_text()) | {"dtype": "float16"}
    (path.parent / "config.json").write_text(json.dumps(config))
    assert open_stack(folder, device="cpu").image_encoder.model.dtype == torch.float32


def test_no_hub_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    import huggingface_hub

    def unreachable(*args: object, **options: object) -> str:
        raise FileNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(WeightsError, match=r"pOpsPaper/operators .*--stack pocket"):
        open_stack("kandinsky-2.2").operator("texturing")
    said = caplog.messages
    assert len(said) == 1
    assert "about 4.1 GB" in said[0]


def test_what_is_downloaded_already_is_used_without_a_word(
    monkeypatch: pytest.MonkeyPatch, stack_parts: Parts, capsys: pytest.CaptureFixture[str]
):
    import huggingface_hub

    def cached(repository: str, *, local_files_only: bool = False, **options: object) -> str:
        assert local_files_only, "asked the network"
        places = {"prior": "prior", "coder": "decoder", "ators": "operators"}
        return str(stack_parts[places[repository[-5:]]])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", cached)
    # A tiny stack stands in for the hub's.
    monkeypatch.setattr("pops.stacks.models.PRIOR_CONFIGS", {})
    stack = open_stack("kandinsky-2.2")
    row, prior = stack.operator("texturing")
    assert (row.name, prior.config.embedding_dim) == ("texturing", 32)
    assert stack.unet.config.encoder_hid_dim == 32
    assert capsys.readouterr().err == ""


def test_an_interrupted_download_is_taken_up_again(
    monkeypatch: pytest.MonkeyPatch, folder: Path, stack_parts: Parts
):
    import huggingface_hub

    asked = []

    def half_there(repository: str, *, local_files_only: bool = False, **options: object) -> str:
        asked.append(local_files_only)
        return str(folder / "decoder" if local_files_only else stack_parts["decoder"])

    shutil.rmtree(folder / "decoder" / "movq")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", half_there)
    monkeypatch.setattr(huggingface_hub, "model_info", lambda *_, **__: None)  # the hub is there
    assert open_stack("kandinsky-2.2").movq.config.latent_channels == 4
    assert asked == [True, False]


def test_parts_that_no_stack_has_are_refused(stack_parts: Parts):
    with pytest.raises(TypeError, match="decodr"):
        open_stack("pocket", decodr=stack_parts["decoder"])


def test_a_folder_brings_the_models_of_other_renderers_where_it_has_them(folder: Path):
    (folder / "sdxl").mkdir()
    spec = open_stack(folder).spec
    assert spec.sdxl == str(folder / "sdxl")
    assert spec.controlnet == "diffusers/controlnet-depth-sdxl-1.0"


def test_a_config_that_is_missing_is_one_line_and_no_report(
    folder: Path, capfd: pytest.CaptureFixture[str]
):
    (folder / "prior/image_encoder/config.json").unlink()
    with pytest.raises(WeightsError, match=r"image_encoder/config\.json is missing"):
        load(open_stack(folder), "image_encoder")
    assert capfd.readouterr() == ("", "")


def test_five_operators_share_one_set_of_encoders_and_few_are_kept(
    stack_parts: Parts, monkeypatch: pytest.MonkeyPatch
):
    from pops.stacks import models

    loaded: list[str] = []

    def counted(kind: type, *arguments: object) -> object:
        loaded.append(kind.__name__)
        return load_model(kind, *arguments)

    load_model = models.load_model
    monkeypatch.setattr(models, "load_model", counted)
    engine = Engine.load("pocket", "cpu", **stack_parts)
    monkeypatch.setattr("pops.engine.RESIDENT_BYTES", 2 * engine.stack.prior_bytes)
    picture = Image.effect_noise((40, 30), 80).convert("RGB")
    for name, row in OPERATORS.items():
        text = "shiny" if row.takes_text else None
        inputs = (picture,) * min(2, len(row.inputs))
        engine.apply(name, [inputs], text=text, seeds=[0], steps=2)
        assert len(engine._operators) <= 2
    assert loaded == ["CLIPTextModelWithProjection"]


def test_a_prior_weighs_what_its_stack_says(stack_parts: Parts):
    for dtype in ("float32", "bfloat16"):
        stack = open_stack("pocket", **stack_parts, dtype=dtype, device="cpu")
        _, prior = stack.operator("scene")
        weights = sum(p.numel() * stack.placement.dtype.itemsize for p in prior.parameters())
        assert stack.prior_bytes == weights
