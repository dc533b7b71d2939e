"""From a dataclass to a command line: flags, a YAML file, help, and one line for every mistake.

Imports no torch, so that help and mistakes are instant.
"""

import atexit
import dataclasses
import errno
import gc
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pops.errors import PopsError, UsageError, nearest
from pops.io.names import expand_home
from pops.settings.flags.output import lenient_output
from pops.settings.flags.reading import Given, read_settings
from pops.settings.flags.values import Kind, find_kind, shown

__all__ = ["parse", "resumable", "run_command", "unknown_flag"]

Config = TypeVar("Config")
Setting = dataclasses.Field[Any]
OWN_FLAGS = ("config_path", "print_config", "help")  # that every command has
INTERRUPTED = 130  # as the shell says of a command ended by Ctrl-C
# Importing the models' libraries makes a million objects that all stay: looking for garbage among
# them costs a second at the default of 700, and another at the end of the process.
COLLECT_EVERY = 100_000
WORKER_DIED = (
    "DataLoader worker (pid"  # begins what torch raises, wherever the command is just then
)
MOST_SHOWN = 200  # letters of a wrong value
LONGEST = 2000  # letters of a message


def run_command(
    program: str, arguments: Sequence[str] | None, run: Callable[[list[str]], int]
) -> int:
    """Run a command and say every error in one line on stderr, unless `--debug` is given.

    Args:
        program: the name of the command in messages.
        arguments: what was typed after it; None for the arguments of this process.
        run: does the work and gives the exit status; it is called without `--debug`.

    Returns:
        The exit status: 2 for a wrong command, 130 for Ctrl-C, 1 for any other failure.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    inputs = given[given.index("--") :] if "--" in given else []  # where it would be a file
    flags = given[: len(given) - len(inputs)]
    debug = "--debug" in flags
    gc.set_threshold(COLLECT_EVERY)
    atexit.register(gc.freeze)
    try:
        with lenient_output():
            return run([flag for flag in flags if flag != "--debug"] + inputs)
    except KeyboardInterrupt as stop:
        print(f"{program}: stopped{stop}", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if debug:
            traceback.print_exc()
        message, status, span = str(error), 1, None
        if isinstance(error, PopsError):
            status, span = error.exit_status, error.span
            message = message.removesuffix(str(span))
        elif isinstance(error, OSError) and (told := _of_system(error)):
            message = told
        elif isinstance(error, RuntimeError) and message.startswith(WORKER_DIED):
            message = (
                "a worker process was ended, as the system does where memory runs out: give fewer "
                "--num_workers, and run the same command again"
            )
        else:  # a fault of pops: one line, and with --debug everything
            message = f"unexpected {type(error).__name__}: {message}; add --debug to see where"
        print(f"{program}: error: {_short(' '.join(message.split()), LONGEST)}", file=sys.stderr)
        if span is not None:
            print(span, file=sys.stderr)
        return status


def _of_system(error: OSError) -> str | None:
    """Tell what the system says of a file, or of the room that is left; None for anything else."""
    reason = (error.strerror or "").lower()
    if error.filename is not None and reason:
        return f"{os.fsdecode(error.filename)}: {reason}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"a file could not be written: {reason}; make room or choose another place"
    if error.errno == errno.ENOENT and not _is_somewhere():
        return "the folder that this was started in is gone: change into one that is there"
    return None


def _is_somewhere() -> bool:
    """Tell whether the working folder is there, from which paths are counted."""
    try:
        return bool(os.getcwd())
    except FileNotFoundError:
        return False


def parse(command: str, config: type[Config], arguments: Sequence[str]) -> Config | None:
    """Read the settings of a command.

    Flags win over the settings file, wherever they stand.

    Args:
        command: what is typed before the arguments.
        config: a dataclass whose fields are `setting`s and `argument`s.
        arguments: what is typed after the command.

    Returns:
        The settings; None where help or the settings themselves were asked for and printed.

    Raises:
        UsageError: an unknown flag or setting, with the nearest name, or a value that cannot be.
    """
    settings = {
        one.name: one
        for one in dataclasses.fields(config)  # type: ignore[arg-type]
        if not one.metadata.get("others")
    }
    others = next((f.name for f in dataclasses.fields(config) if f.metadata.get("others")), None)  # type: ignore[arg-type]
    types = get_type_hints(config, include_extras=True)
    kinds = {
        name: find_kind(types[name], field.metadata.get("choices"))
        for name, field in settings.items()
    }
    try:
        line = _read_line(arguments, kinds, others is not None)
        if line.help:
            print(_help(command, config, kinds), end="")
            return None
        values = {name: _default(field) for name, field in settings.items()}
        more: dict[str, Any] = {}
        for path in line.files:
            known, unknown = _split(read_settings(expand_home(path)), kinds)
            if own := next((name for name in unknown if name in OWN_FLAGS), None):
                raise UsageError(f"{path}: {own} cannot be set in a file: give it as a flag")
            if unknown and not others:
                first = next(iter(unknown))
                raise UsageError(f"{path}: unknown setting {first!r}{nearest(first, kinds)}")
            values |= _typed(known, kinds, f"{path}: ")
            more |= unknown
        known, unknown = _split(line.flags, kinds)
        if unknown and not others:
            raise UsageError(unknown_flag(next(iter(unknown)), kinds))
        values |= _typed(known, kinds)
        more |= unknown
        values |= _placed(line.inputs, settings, kinds)
        missing = [name for name, value in values.items() if value is dataclasses.MISSING]
        if line.print_config:
            print(_dumped(values | more), end="")
            return None
        if missing:
            raise UsageError(f"{missing[0]} is not given")
    except UsageError as error:
        raise UsageError(f"{error} (see {command} --help)") from error
    return config(**values, **({others: more} if others else {}))


def unknown_flag(name: str, known: Iterable[str]) -> str:
    """Say that a flag is unknown.

    Args:
        name: its name, without dashes.
        known: the names of the flags that are known.

    Returns:
        A message, with the nearest flag.
    """
    near = nearest(f"--{name}", (f"--{flag}" for flag in (*known, *OWN_FLAGS)))
    return f"unknown flag --{_short(name)}{near}"


@contextmanager
def resumable(config: object) -> Iterator[None]:
    """Say, where Ctrl-C ends the block, that the same command goes on.

    Args:
        config: the settings of the command; it goes on where they have a true `resumes`.

    Yields:
        Nothing.
    """
    try:
        yield
    except KeyboardInterrupt:
        goes_on = getattr(config, "resumes", False)
        raise KeyboardInterrupt(": the same command goes on where it stopped" * goes_on) from None


def _split(
    given: Mapping[str, Given], kinds: Mapping[str, Kind]
) -> tuple[dict[str, Given], dict[str, Given]]:
    """Part the settings that are known from those that are not."""
    known = {name: value for name, value in given.items() if name in kinds}
    return known, {name: value for name, value in given.items() if name not in kinds}


@dataclass
class _Line:
    """The arguments of a command, sorted but not yet read."""

    files: list[str] = field(default_factory=list)
    flags: dict[str, Given] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    help: bool = False
    print_config: bool = False


def _read_line(arguments: Sequence[str], kinds: Mapping[str, Kind], others: bool) -> _Line:
    """Sort the arguments; `--render-seeds 1,2` is `--render_seeds=1,2`.

    All that stands after `--` is an input, even where it looks like a flag. With `others`, flags
    that are unknown have a value too.
    """
    line, left = _Line(), list(arguments)
    while left:
        argument = left.pop(0)
        flag, equals, value = argument.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if argument == "--":
            line.inputs += left
            break
        if not argument.startswith("-") or argument == "-":
            line.inputs.append(argument)
        elif argument in ("-h", "--help"):
            line.help = True
        elif name == "print_config" and not equals:
            line.print_config = True
        elif not flag.startswith("--"):
            raise UsageError(f"unknown flag {argument} (write a file of that name after --)")
        elif name == "config_path":
            line.files.append(value or _next([] if equals else left, name, "a settings file"))
        elif equals:
            line.flags[name] = value
        elif name in kinds and not kinds[name].metavar:  # a switch, which may stand alone
            spoken = bool(left) and left[0].lower() in ("true", "false")
            line.flags[name] = left.pop(0) if spoken else "true"
        else:
            takes = kinds[name].takes if name in kinds else "a value" * others
            line.flags[name] = _next(left, name, takes) if takes else ""
    return line


def _next(left: list[str], name: str, takes: str) -> str:
    if not left or left[0] == "--":
        raise UsageError(f"--{name} takes {takes}, but nothing is given")
    return left.pop(0)


def _typed(
    given: Mapping[str, Given], kinds: Mapping[str, Kind], where: str = ""
) -> dict[str, Any]:
    """Read each value as its setting asks; UsageError for one that it cannot be."""
    values: dict[str, Any] = {}
    for name, value in given.items():
        try:
            values[name] = kinds[name].read(value)
        except (TypeError, ValueError):
            said = "null" if value is None else _short(str(value))
            takes = kinds[name].takes
            raise UsageError(f"{where}--{name} takes {takes}, not {said!r}") from None
    return values


def _short(text: str, most: int = MOST_SHOWN) -> str:
    """Leave out the middle of a text that is too long: its end says what to do."""
    return text if len(text) <= most else f"{text[: most // 2]}...{text[-most // 2 :]}"


def _placed(
    inputs: Sequence[str], settings: Mapping[str, Setting], kinds: Mapping[str, Kind]
) -> dict[str, Any]:
    """Give the inputs, in order, to the settings that are given by position."""
    left = list(inputs)
    values: dict[str, Any] = {}
    for name, one in settings.items():
        if left and one.metadata.get("positional"):
            count = len(left) if one.metadata["nargs"] == "*" else 1
            taken, left = left[:count], left[count:]
            values |= _typed({name: taken if one.metadata["nargs"] else taken[0]}, kinds)
    if left:
        raise UsageError(f"unexpected argument {left[0]!r}")
    return values


def _default(one: Setting) -> Any:
    return () if one.metadata.get("nargs") == "*" else one.default


def _dumped(values: Mapping[str, Any]) -> str:
    """Write the values as a settings file."""
    import yaml

    plain = {
        name: [str(item) if isinstance(item, Path) else item for item in value]
        if isinstance(value, tuple)
        else None
        if value is dataclasses.MISSING
        else str(value)
        if isinstance(value, str | Path)
        else value
        for name, value in values.items()
    }
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, default_flow_style=False)


def _help(command: str, config: type, kinds: Mapping[str, Kind]) -> str:
    from argparse import ArgumentParser, RawDescriptionHelpFormatter

    parser = ArgumentParser(
        prog=command,
        description=inspect.cleandoc(config.__doc__ or ""),
        epilog="\n  ".join(["examples:", *getattr(config, "examples", ())]),
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config_path", help="YAML file of settings", metavar="FILE")
    parser.add_argument(
        "--print_config",
        action="store_true",
        help="print the settings as YAML, and do nothing else",
    )
    for one in dataclasses.fields(config):
        if one.name not in kinds:
            continue
        says, kind = one.metadata["help"].replace("%", "%%"), kinds[one.name]
        if one.metadata.get("positional"):
            nargs = {"nargs": one.metadata["nargs"]} if one.metadata["nargs"] else {}
            parser.add_argument(one.name, help=says, metavar=one.name.upper(), **nargs)
        elif kind.metavar:
            if default := shown(one.default):
                says += f" (default: {default})"
            parser.add_argument(f"--{one.name}", help=says, metavar=kind.metavar)
        else:
            parser.add_argument(f"--{one.name}", help=says, action="store_true")
    return parser.format_help()
