"""The command line: parse, call, print. Imports no torch, so that help is instant."""

import dataclasses
import difflib
import inspect
import re
import sys
import traceback
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from pops import __version__
from pops.config import (
    ApplyConfig,
    DemoConfig,
    EvalPocketConfig,
    PocketSheetConfig,
    whole_numbers,
)
from pops.errors import PopsError, UsageError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

__all__ = ["COMMANDS", "main"]

# Each is the function of pops.commands of the same name, with _ for a space.
COMMANDS: dict[str, type] = {
    "apply": ApplyConfig,
    "demo": DemoConfig,
    "pocket sheet": PocketSheetConfig,
    "eval pocket": EvalPocketConfig,
}
INTERRUPTED = 130  # as the shell says of a command ended by Ctrl-C


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status. Every error is one line, unless `--debug` is given."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    try:
        return _run([argument for argument in arguments if argument != "--debug"])
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if debug:
            traceback.print_exc()
        message, status = str(error), 1
        if isinstance(error, PopsError):
            status = error.exit_status
        else:  # a fault of ours: said in one line, told in full on request
            message = f"unexpected {type(error).__name__}: {message}; add --debug to see where"
        print(f"pops: error: {' '.join(message.split())}", file=sys.stderr)
        return status


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        print(f"pops {__version__}")
        return 0
    name, rest = _find_command(arguments)
    if name is None:
        print(_overview(arguments[0]))
        return 0
    config = _parse(name, rest)
    if config is None:
        return 0
    command = getattr(import_module("pops.commands"), name.replace(" ", "_"))
    return int(command(config))


def _overview(group: str = "") -> str:
    names = [name for name in COMMANDS if name.startswith(group)]
    rows = [f"  pops {name:<14}{_summary(COMMANDS[name])}" for name in names]
    return "\n".join(
        ["usage: pops COMMAND ...", "", "Operators on CLIP image embeddings.", "", "commands:"]
        + rows
        + ["", "pops COMMAND --help tells more, with examples; --debug shows where an error arose."]
    )


def _summary(config: type) -> str:
    return (config.__doc__ or "").splitlines()[0]


def _find_command(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The command and what is left for it; None where only a group's name and help are given."""
    for words in (1, 2):
        name = " ".join(arguments[:words])
        if name in COMMANDS:
            return name, arguments[words:]
    first, *rest = arguments
    group = [name for name in COMMANDS if name.startswith(f"{first} ")]
    if group and (not rest or rest[0] in ("-h", "--help")):
        return None, []
    said = f"{first} {rest[0]}" if group else first
    near = _nearest(said, group or [*COMMANDS, *(name.split()[0] for name in COMMANDS)])
    raise UsageError(f"unknown command {said!r}{near} (see pops --help)")


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(set(known)), n=1, cutoff=0.5)
    return f": did you mean {close[0]}?" if close else ""


def _parse(name: str, arguments: list[str]) -> Any:
    """The command's configuration; None where help or the configuration was asked for."""
    parser = _parser(name, COMMANDS[name])
    try:
        found = parser.parse_args([_underscored(argument) for argument in arguments])
    except SystemExit:
        return None
    values = {field.name: found[field.name] for field in dataclasses.fields(COMMANDS[name])}
    listed = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    return COMMANDS[name](**values | listed)


def _underscored(argument: str) -> str:
    """`--render-seeds=1-2` as `--render_seeds=1-2`."""
    flag, equals, value = argument.partition("=")
    return flag[:2] + flag[2:].replace("-", "_") + equals + value if flag[:2] == "--" else argument


def _parser(name: str, config: type) -> "ArgumentParser":
    from argparse import RawDescriptionHelpFormatter

    from jsonargparse import ActionConfigFile, ArgumentParser

    class Parser(ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
            raise UsageError(_explain(" ".join(message.split()), name, config)) from ex

    examples = getattr(config, "examples", ())
    parser = Parser(
        prog=f"pops {name}",
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
    for field in dataclasses.fields(config):
        _add(parser, field, types[field.name])
    return parser


def _add(parser: "ArgumentParser", field: "dataclasses.Field[Any]", kind: Any) -> None:
    says = field.metadata["help"]
    if field.metadata.get("positional"):
        nargs = {"nargs": field.metadata["nargs"]} if field.metadata["nargs"] else {}
        parser.add_argument(field.name, type=str, help=says, metavar=field.name.upper(), **nargs)
        return
    says += f" (default: {_shown(field.default)})"
    if kind is bool:
        parser.add_argument(f"--{field.name}", action="store_true", help=field.metadata["help"])
        return
    parse = {tuple[int, ...]: whole_numbers, tuple[str, ...]: _names, Path: Path}.get(kind, kind)
    metavar = None if get_origin(kind) is Literal else _metavar(kind)
    parser.add_argument(
        f"--{field.name}", type=parse, default=field.default, help=says, metavar=metavar
    )


def _names(value: str | Iterable[str]) -> tuple[str, ...]:
    return tuple(value.split(",") if isinstance(value, str) else map(str, value))


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "null" if value is None else str(value)


def _wanted(kind: Any) -> str:
    """What a value of type `kind` looks like, in words."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    words = {
        int: "a whole number",
        int | None: "a whole number or null",
        float | None: "a number or null",
        tuple[int, ...]: "whole numbers, as in 18,42",
    }
    return words.get(kind, "a text")


def _metavar(kind: Any) -> str:
    numbers = {int: "N", int | None: "N", float | None: "X", tuple[int, ...]: "N,N"}
    return numbers.get(kind, {Path: "FOLDER", tuple[str, ...]: "A,B"}.get(kind, "TEXT"))


def _explain(message: str, command: str, config: type) -> str:
    """jsonargparse's message as one line that names the flag, what it wants, the nearest name."""
    types = get_type_hints(config)
    flags = [field.name for field in dataclasses.fields(config)] + ["config_path", "print_config"]
    more = f" (see pops {command} --help)"
    if unknown := re.match(r"unrecognized arguments: (\S+)", message):
        argument = unknown[1].split("=")[0]
        if not argument.startswith("-"):
            return f"unexpected argument {argument!r}{more}"
        near = _nearest(argument, (f"--{flag}" for flag in flags))
        return f"unknown flag {argument}{near}{more}"
    if unknown := re.match(r"Option '(\S+)' is not accepted", message):
        return f"unknown setting {unknown[1]!r}{_nearest(unknown[1], flags)}{more}"
    wrong = re.match(r"(?:Parser key \"|argument --)(\w+)\W", message)
    if wrong and wrong[1] in types:
        return f"--{wrong[1]} wants {_wanted(types[wrong[1]])}{_given(message)}{more}"
    return re.sub(r'^Parser key "(\w+)"', r"--\1", message) + more


def _given(message: str) -> str:
    value = re.search(r"(?:Got value:|value:) '?(.*?)'?$", message)
    return f", not {value[1]!r}" if value else ""
