"""Settings that cannot be meant are refused, with the flag named."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pops.cli.main import COMMANDS
from pops.errors import UsageError
from pops.settings.commands import ApplyConfig, DemoConfig, PocketSheetConfig
from pops.settings.fields import whole_numbers

APPLY: dict[str, Any] = {"operator": "texturing", "inputs": ("a", "b")}


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=6))
def test_seeds_read_the_same_with_and_without_brackets(seeds: list[int]) -> None:
    plain = ",".join(map(str, seeds))
    assert whole_numbers(plain) == whole_numbers(f"[{plain}]") == whole_numbers(seeds)


@pytest.mark.parametrize("text", ["", "a", "1.5", "1;2", "[]", "1,,2"])
def test_what_is_no_list_of_whole_numbers_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        whole_numbers(text)


@pytest.mark.parametrize(
    "flag, value",
    [
        ("seeds", ()),
        ("seeds", (18, -1)),
        ("seeds", (2**63,)),
        ("render_seeds", (-1,)),
        ("steps", 0),
        ("steps", 1001),
        ("render_steps", 0),
        ("guidance", float("nan")),
        ("render_guidance", float("inf")),
    ],
)
def test_a_setting_out_of_range_names_its_flag(flag: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"--{flag} "):
        ApplyConfig(**APPLY | {flag: value})


def test_the_published_seeds_and_steps_are_the_defaults() -> None:
    config = ApplyConfig(**APPLY)
    assert (config.seeds, config.steps, config.sampler) == ((18, 42), 25, "ancestral")
    assert config.guidance is None


def test_a_negative_world_seed_is_refused() -> None:
    with pytest.raises(UsageError, match="--seed "):
        PocketSheetConfig(seed=-1)


def test_the_demo_shows_several_pairs() -> None:
    assert len(DemoConfig().pairs) >= 4


@pytest.mark.parametrize("config", [command.config for command in COMMANDS.values()])
def test_every_setting_has_help_and_every_command_examples(config: Any) -> None:
    assert all(field.metadata.get("help") for field in dataclasses.fields(config))
    assert config.examples
    assert all(line.split()[0] in ("pops", "python", "accelerate") for line in config.examples)
