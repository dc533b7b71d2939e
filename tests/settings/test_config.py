"""Settings that cannot be meant are refused, with the flag named."""

import dataclasses
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pops.cli.main import COMMANDS
from pops.compat.config import BinaryConfig, ClothesConfig, InstructConfig
from pops.errors import UsageError
from pops.settings.commands import ApplyConfig, DemoConfig, PocketSheetConfig
from pops.settings.fields import MOST_NUMBERS, Range, Settings, whole_numbers
from pops.settings.flags.parsing import parse
from pops.settings.shard import Shard

APPLY: dict[str, Any] = {"operator": "texturing", "inputs": ("a", "b")}
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PUBLISHED = (BinaryConfig, InstructConfig, ClothesConfig)
CONFIGS: tuple[Any, ...] = (*(command.config for command in COMMANDS.values()), *PUBLISHED)


def kinds_in(hint: Any) -> set[Any]:
    """List the types that a type is made of."""
    return {hint}.union(*map(kinds_in, get_args(hint)))


def numbers_of(config: Any) -> Iterator[dataclasses.Field[Any]]:
    """Find the settings that are numbers, or several."""
    types = get_type_hints(config)
    return (one for one in dataclasses.fields(config) if kinds_in(types[one.name]) & {int, float})


def benchmarks() -> Iterator[Any]:
    """Find the settings of all benchmarks."""
    for path in BENCHMARKS.glob("[a-z]*.py"):
        for _, one in inspect.getmembers(import_module(f"benchmarks.{path.stem}"), inspect.isclass):
            if dataclasses.is_dataclass(one) and hasattr(one, "examples"):
                yield one


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


def test_every_number_that_may_be_given_has_a_range_which_its_default_is_in() -> None:
    found = [(config, one) for config in (*CONFIGS, *benchmarks()) for one in numbers_of(config)]
    assert len(found) > 150
    for config, one in found:
        assert issubclass(config, Settings)
        within = one.metadata["within"]
        assert isinstance(within, Range), f"{config.__name__}.{one.name} has no range"
        assert within.most <= 2**63 - 1
        within.check(one.name, one.default)


@pytest.mark.parametrize("config", CONFIGS)
def test_an_absurd_number_is_refused_by_every_command(config: Any) -> None:
    places = [one for one in dataclasses.fields(config) if one.metadata.get("positional")]
    inputs = ["x" for one in places if not one.metadata["nargs"]]
    for one in numbers_of(config):
        whole = float not in kinds_in(get_type_hints(config)[one.name])
        absurd = [str(10**30), str(-(10**30))] + ([] if whole else ["1e39", "-1e39", "nan", ".inf"])
        for value in absurd:
            with pytest.raises(UsageError, match=f"^--{one.name} must be from ") as told:
                parse("pops", config, [f"--{one.name}={value}", *inputs])
            assert "\n" not in str(told.value) and len(str(told.value)) < 200


@given(st.floats(allow_nan=True), st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_range_takes_what_is_in_it_alone(value: float, least: float, width: float) -> None:
    within = Range(least, least + width)
    if least <= value <= least + width:
        within.check("x", value)
        within.check("x", (least, value))
    else:
        for given_ in (value, (least, value)):
            with pytest.raises(UsageError, match="--x must be from"):
                within.check("x", given_)


def test_a_setting_takes_a_bounded_number_of_numbers() -> None:
    many = tuple(range(MOST_NUMBERS + 1))
    assert ApplyConfig(**APPLY | {"seeds": many[1:]}).seeds == many[1:]
    with pytest.raises(UsageError, match="--seeds takes at most 10000 numbers, not 10001"):
        ApplyConfig(**APPLY | {"seeds": many})


@pytest.mark.parametrize("shard", ["0/0", "4/4", "1/", "/1", "-1/2", "0/1000000", "0/" + "9" * 99])
def test_a_shard_that_cannot_be_is_refused(shard: str) -> None:
    assert Shard.parse("3/4") == Shard(3, 4)
    with pytest.raises(UsageError, match="--shard takes i/n"):
        Shard.parse(shard)


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
