import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pops.errors import WeightsError
from pops.prior.adapters import Adapter, adapter_state, add_adapter, save_adapter
from pops.prior.model import Prior, PriorConfig

SMALL = PriorConfig(num_attention_heads=2, attention_head_dim=8, num_layers=2, embedding_dim=16)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A folder with an adapter of rank 2."""
    prior = Prior(SMALL)
    add_adapter(prior, 2)
    save_adapter(tmp_path, adapter_state(prior), 2)
    return tmp_path


def test_a_saved_adapter_is_read_with_its_rank(adapter: Path):
    found = Adapter.read(adapter)
    assert found.rank == 2
    found.put_into(Prior(SMALL))


def test_what_other_versions_of_peft_write_at_its_default_is_taken(adapter: Path):
    path = adapter / "adapter_config.json"
    config = json.loads(path.read_text()) | {"newer": None, "newer_list": [], "newest": False}
    path.write_text(json.dumps(config))
    assert Adapter.read(adapter).rank == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("target_modules", "(a+)+$"),
        ("target_modules", ["(.*)*x"]),
        ("target_modules", []),
        ("rank_pattern", {"(a+)+$": 2}),
        ("alpha_pattern", {"to_q": 8}),
        ("layers_pattern", "(a+)+$"),
        ("exclude_modules", "(a+)+$"),
        ("modules_to_save", ["proj_in"]),
        ("use_dora", True),
        ("bias", "all"),
        ("r", 10**6),
        ("r", 3),
        ("lora_alpha", "far"),
        ("peft_type", "OFT"),
        ("arrow_config", {"a": 1}),
        ("newer", {"a": 1}),
    ],
)
def test_only_module_names_and_numbers_are_taken_of_an_adapter(
    adapter: Path, key: str, value: object
):
    config = json.loads((adapter / "adapter_config.json").read_text()) | {key: value}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"adapter_config\.json: "):
        Adapter.read(adapter)


def test_an_adapter_that_is_not_finite_is_refused(adapter: Path):
    path = adapter / "adapter_model.safetensors"
    state = load_file(path)
    next(iter(state.values())).view(-1)[0] = torch.nan
    save_file(state, path)
    with pytest.raises(WeightsError, match=r"adapter_model\.safetensors: .* not finite"):
        Adapter.read(adapter)
