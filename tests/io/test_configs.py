import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from pops.errors import PopsError, WeightsError
from pops.operators import OPERATORS, OperatorCard, read_operator_card, save_card
from pops.prior.model import read_prior_config
from pops.prior.schedule import read_schedule
from pops.stacks.stack import Stack, open_stack

PARTS = {
    "image_encoder": "prior/image_encoder/config.json",
    "text_encoder": "prior/text_encoder/config.json",
    "unet": "decoder/unet/config.json",
    "movq": "decoder/movq/config.json",
    "prior_config": "prior/prior/config.json",
    "schedule": "prior/scheduler/scheduler_config.json",
    "decoder_scheduler": "decoder/scheduler/scheduler_config.json",
}


@pytest.fixture
def folder(tmp_path: Path, stack_parts: dict[str, Path]) -> Path:
    """A stack in one folder, which a test may damage."""
    for name in ("prior", "decoder"):
        shutil.copytree(stack_parts[name], tmp_path / "tiny" / name)
    return tmp_path / "tiny"


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def load(folder: Path, part: str, **options: Any) -> object:
    stack: Stack = open_stack(folder, device="cpu", **options)
    return getattr(stack, part)


@pytest.mark.parametrize("part", ["image_encoder", "text_encoder", "unet"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("_attn_implementation", "someone/kernels"),
        ("attn_implementation", "someone/kernels:main"),
        ("_attn_implementation_internal", "paged|someone/kernels"),
        ("auto_map", {"AutoModel": "evil.Model"}),
        ("trust_remote_code", True),
        ("quantization_config", {"quant_method": "gptq"}),
        ("text_config", {"auto_map": {"AutoModel": "evil.Model"}}),
    ],
)
def test_a_config_that_asks_for_code_is_refused(folder: Path, part: str, key: str, value: object):
    change(folder / PARTS[part], **{key: value})
    with pytest.raises(WeightsError, match=r"config\.json: refused, since its .* asks for code"):
        load(folder, part)


@pytest.mark.parametrize("part", ["image_encoder", "text_encoder"])
@pytest.mark.parametrize("key", ["num_attention_heads", "hidden_size", "num_hidden_layers"])
def test_a_size_below_0_is_refused_by_its_name(folder: Path, part: str, key: str):
    change(folder / PARTS[part], **{key: -1})
    with pytest.raises(WeightsError, match=rf"config\.json: {key} is -1, but it cannot be below 0"):
        load(folder, part)


@pytest.mark.parametrize("name", ["image_processor/preprocessor", "tokenizer/tokenizer"])
def test_settings_of_inputs_that_ask_for_code_are_refused(folder: Path, name: str):
    change(folder / "prior" / f"{name}_config.json", auto_map={"AutoTokenizer": ["evil.T", None]})
    with pytest.raises(WeightsError, match="asks for code"):
        load(folder, "image_encoder" if "image" in name else "text_encoder")


def test_the_ways_of_attention_that_torch_has_are_taken(folder: Path):
    change(folder / PARTS["image_encoder"], _attn_implementation="eager")
    assert load(folder, "image_encoder")


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("prior_config", "num_layers", 10_000_000),
        ("prior_config", "embedding_dim", -1),
        ("prior_config", "num_layers", 2.5),
        ("prior_config", "num_attention_heads", "4"),
        ("schedule", "num_train_timesteps", 10**12),
        ("schedule", "clip_sample_range", "far"),
        ("schedule", "stepps", 3),
        ("decoder_scheduler", "num_train_timesteps", 10**9),
        ("image_encoder", "num_hidden_layers", 10_000_000),
        ("image_encoder", "hidden_size", 2**20),
        ("text_encoder", "vocab_size", 2**40),
        ("unet", "block_out_channels", [2**16, 2**16]),
        ("movq", "num_vq_embeddings", 2**40),
    ],
)
def test_absurd_sizes_are_refused_before_anything_is_built(
    folder: Path, part: str, key: str, value: object
):
    change(folder / PARTS[part], **{key: value})
    with pytest.raises(WeightsError, match=rf"config\.json: .*({key}|layers of width)"):
        load(folder, part)


@pytest.mark.parametrize("part", ["image_encoder", "unet", "movq", "clip_stats"])
def test_weights_that_are_not_finite_are_named(folder: Path, part: str):
    (path,) = (folder / PARTS.get(part, PARTS["prior_config"])).parent.glob("*.safetensors")
    tensors = load_file(path)
    name = "clip_std" if part == "clip_stats" else next(iter(tensors))
    tensors[name].view(-1)[0] = torch.nan
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(WeightsError, match=rf"{name} holds numbers that are not finite"):
        load(folder, part)


def test_weights_that_a_small_format_cannot_hold_are_named(folder: Path):
    (path,) = (folder / PARTS["image_encoder"]).parent.glob("*.safetensors")
    tensors = load_file(path)
    tensors["visual_projection.weight"][0, 0] = 1e6
    save_file(tensors, path, {"format": "pt"})
    assert load(folder, "image_encoder")
    with pytest.raises(WeightsError, match=r"float16: visual_projection\.weight"):
        load(folder, "image_encoder", dtype="float16")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_change_of_a_config_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, golden: Path, data: st.DataObject
):
    folder = tmp_path_factory.mktemp("config")
    name, read = data.draw(
        st.sampled_from([("config", read_prior_config), ("scheduler_config", read_schedule)])
    )
    place = "prior" if name == "config" else "scheduler"
    shutil.copy(golden / f"kandinsky-tiny-prior/{place}/{name}.json", folder)
    values = json.loads((folder / f"{name}.json").read_text())
    key = data.draw(st.sampled_from([*values, "other"]))
    change(folder / f"{name}.json", **{key: data.draw(VALUES)})
    try:
        read(folder)
    except PopsError as error:
        assert f"{name}.json" in str(error) and "\n" not in str(error)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_change_of_a_card_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    folder = tmp_path_factory.mktemp("card")
    save_card(folder, OperatorCard(OPERATORS["scene"], "pocket", {"steps": 3}))
    values = json.loads((folder / "operator.json").read_text())
    where = data.draw(st.sampled_from([values, values["operator"]]))
    where[data.draw(st.sampled_from([*where, "other"]))] = data.draw(VALUES)
    (folder / "operator.json").write_text(json.dumps(values))
    try:
        assert isinstance(read_operator_card(folder), OperatorCard)
    except WeightsError as error:
        assert "operator.json" in str(error) and "\n" not in str(error)


def test_a_card_s_name_leads_into_no_other_folder(tmp_path: Path):
    save_card(tmp_path, OperatorCard(OPERATORS["scene"], "pocket"))
    values = json.loads((tmp_path / "operator.json").read_text())
    values["operator"]["name"] = "../../scene"
    (tmp_path / "operator.json").write_text(json.dumps(values))
    with pytest.raises(WeightsError, match=r"operator\.name: Expected str"):
        read_operator_card(tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        {"crop_size": {"height": 16, "width": 16}},
        {"size": None},
        {"size": {"shortest_edge": 90_000}},
        {"image_mean": "x" * 5000},
        {"image_std": [0.0, 0.0, 0.0]},
        {"rescale_factor": 1e308},
    ],
)
def test_settings_that_make_no_input_of_a_picture_are_refused_when_loaded(
    folder: Path, values: dict[str, object]
):
    change(folder / "prior/image_processor/preprocessor_config.json", **values)
    with pytest.raises(WeightsError, match="image_processor"):
        load(folder, "image_encoder")


def test_a_token_that_the_encoder_does_not_know_is_refused_when_loaded(folder: Path):
    change(folder / "prior/tokenizer/tokenizer_config.json", bos_token="<other>")
    with pytest.raises(WeightsError, match="tokenizer"):
        load(folder, "text_encoder")
