"""From a dataclass to a command line: flags, a YAML file, help, and one line for every mistake.

Imports no torch, so that help and mistakes are instant.
"""

import atexit
import dataclasses
import gc
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pops.errors import PopsError, UsageError, nearest
from pops.settings.fields import whole_numbers

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

__all__ = ["parse", "run_command"]

Config = TypeVar("Config")
INTERRUPTED = 130  # as the shell says of a command ended by Ctrl-C
# Importing the models' libraries makes a million objects that all stay: looking for garbage among
# them costs a second at the default of 700, and another at the end of the process.
COLLECT_EVERY = 100_000


def run_command(
    program: str, arguments: Sequence[str] | None, run: Callable[[list[str]], int]
) -> int:
    """The exit status of `run`. Every error is one line on stderr, unless `--debug` is given."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    gc.set_threshold(COLLECT_EVERY)
    atexit.register(gc.freeze)
    try:
        return run([argument for argument in given if argument != "--debug"])
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if debug:
            traceback.print_exc()
        message, status, place = str(error), 1, None
        if isinstance(error, PopsError):
            status, place = error.exit_status, error.place
            message = message.removesuffix(str(place))
        else:  # a fault of ours: said in one line, told in full on request
            message = f"unexpected {type(error).__name__}: {message}; add --debug to see where"
        print(f"{program}: error: {' '.join(message.split())}", file=sys.stderr)
        if place is not None:
            print(place, file=sys.stderr)
        return status


def parse(command: str, config: type[Config], arguments: Sequence[str]) -> Config | None:
    """The settings of a command; None where help or the settings themselves were asked for.

    `command`: what is typed before the arguments. `config`: a dataclass of `setting`s and
    `argument`s. Flags win over the settings file, wherever they stand.

    Raises:
        UsageError: an unknown flag or setting, with the nearest name, or a value that cannot be.
    """
    try:
        found = _parser(command, config).parse_args(_spelled(arguments, get_type_hints(config)))
    except SystemExit:
        return None
    values = {field.name: found[field.name] for field in _fields(config)}
    listed = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    return config(**values | listed)


def _fields(config: type) -> Sequence["dataclasses.Field[Any]"]:
    return dataclasses.fields(config)


def _spelled(arguments: Sequence[str], types: Mapping[str, Any]) -> list[str]:
    """The arguments as the parser wants them.

    `--render-seeds=1-2` is `--render_seeds=1-2`, a switch alone is `true`, and the settings file
    comes first, so that flags before it win too.
    """
    file, rest = [], []
    given = [_underscored(argument) for argument in arguments]
    while given:
        argument = given.pop(0)
        if argument == "--config_path" and given:
            file += [argument, given.pop(0)]
        elif argument.startswith("--config_path="):
            file.append(argument)
        elif types.get(argument[2:]) is bool and argument.startswith("--"):
            spoken = bool(given) and given[0].lower() in ("true", "false")
            rest.append(f"{argument}={given.pop(0) if spoken else 'true'}")
        else:
            rest.append(argument)
    return file + rest


def _underscored(argument: str) -> str:
    flag, equals, value = argument.partition("=")
    return flag[:2] + flag[2:].replace("-", "_") + equals + value if flag[:2] == "--" else argument


def _parser(command: str, config: type) -> "ArgumentParser":
    from argparse import RawDescriptionHelpFormatter

    from jsonargparse import ActionConfigFile, ArgumentParser

    class Parser(ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
            raise UsageError(_explain(" ".join(message.split()), command, config)) from ex

    examples = getattr(config, "examples", ())
    parser = Parser(
        prog=command,
        description=inspect.cleandoc(config.__doc__ or ""),
        epilog="\n  ".join(["examples:", *examples]),
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config_path", action=ActionConfigFile, help="YAML file of settings")
    for action in parser._actions:
        if "--print_config" in action.option_strings:
            action.help, action.metavar = "print the settings as YAML, and do nothing else", ""
    types = get_type_hints(config)
    for field in _fields(config):
        _add(parser, field, types[field.name])
    return parser


def _add(parser: "ArgumentParser", field: "dataclasses.Field[Any]", kind: Any) -> None:
    says = field.metadata["help"]
    if field.metadata.get("positional"):
        nargs = {"nargs": field.metadata["nargs"]} if field.metadata["nargs"] else {}
        parser.add_argument(field.name, type=str, help=says, metavar=field.name.upper(), **nargs)
        return
    if kind is not bool:
        says += f" (default: {_shown(field.default)})"
    metavar = None if get_origin(kind) is Literal else _metavar(kind)
    parser.add_argument(
        f"--{field.name}",
        type=_PARSERS.get(kind, kind),
        default=field.default,
        help=says,
        metavar=metavar,
    )


def _switch(value: str | bool) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _numbers(value: str | float | Iterable[float]) -> tuple[float, ...]:
    """`1,8`, `[1,8]`, `8` or a YAML list."""
    if isinstance(value, int | float):
        return (float(value),)
    return tuple(float(part) for part in (_items(value) if isinstance(value, str) else value))


def _names(value: str | Iterable[object]) -> tuple[str, ...]:
    """`a,b`, `['a', 'b']` or a YAML list; `null` or nothing at all for none."""
    if value in ("", "null"):
        return ()
    return tuple(_items(value) if isinstance(value, str) else map(str, value))


def _names_or_none(value: str | Iterable[object] | None) -> tuple[str, ...] | None:
    return None if value is None or value == "null" else _names(value)


def _items(text: str) -> list[str]:
    if not text.lstrip().startswith("["):
        return text.split(",")
    import yaml

    items = yaml.load(text, yaml.BaseLoader)  # leaves every item the text that it is
    if not all(isinstance(item, str) for item in items):
        raise ValueError(f"{text!r} is not a plain list")
    return list(items)


_PARSERS: dict[Any, Callable[[Any], Any]] = {
    bool: _switch,
    tuple[int, ...]: whole_numbers,
    tuple[float, ...]: _numbers,
    tuple[str, ...]: _names,
    tuple[str, ...] | None: _names_or_none,
    Path: Path,
}


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value)
    return "null" if value is None else str(value)


def _wanted(kind: Any) -> str:
    """What a value of type `kind` looks like, in words."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    words = {
        bool: "true or false",
        int: "a whole number",
        int | None: "a whole number or null",
        float | None: "a number or null",
        tuple[int, ...]: "whole numbers, as in 18,42",
        tuple[float, ...]: "numbers, as in 1,8",
        tuple[str, ...]: "texts, as in [a,b]",
        tuple[str, ...] | None: "texts, as in [a,b], or null",
    }
    return words.get(kind, "a text")


def _metavar(kind: Any) -> str:
    known = {
        bool: "",
        int: "N",
        int | None: "N",
        float | None: "X",
        tuple[int, ...]: "N,N",
        tuple[float, ...]: "X,X",
        tuple[str, ...]: "A,B",
        tuple[str, ...] | None: "A,B",
        Path: "PATH",
        Path | None: "PATH",
    }
    return known.get(kind, "TEXT")


def _explain(message: str, command: str, config: type) -> str:
    """jsonargparse's message as one line that names the flag, what it wants, the nearest name."""
    types = get_type_hints(config)
    flags = [field.name for field in _fields(config)] + ["config_path", "print_config"]
    more = f" (see {command} --help)"
    if unknown := re.match(r"unrecognized arguments: (\S+)", message):
        argument = unknown[1].split("=")[0]
        if not argument.startswith("-"):
            return f"unexpected argument {argument!r}{more}"
        near = nearest(argument, (f"--{flag}" for flag in flags))
        return f"unknown flag {argument}{near}{more}"
    if unknown := re.match(r"Option '(\S+)' is not accepted", message):
        return f"unknown setting {unknown[1]!r}{nearest(unknown[1], flags)}{more}"
    wrong = re.match(r"(?:Parser key \"|argument --)(\w+)\W", message)
    if wrong and wrong[1] in types:
        return f"--{wrong[1]} wants {_wanted(types[wrong[1]])}{_given(message)}{more}"
    return re.sub(r'^Parser key "(\w+)"', r"--\1", message) + more


def _given(message: str) -> str:
    value = re.search(r"(?:Got value:|value:) '?(.*?)'?$", message)
    return f", not {value[1]!r}" if value else ""
