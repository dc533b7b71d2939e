"""A composition as lines of Python and as a command, which run where they are pasted.

The pictures that the package brings are named by where they lie. A visitor's own pictures are named
as files of the folder in which the lines are run, since nothing more is known of them.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pops.compose.nodes import Apply, Leaf, Node
from pops.render import find_renderer
from pops.studio.jobs.options import Options

__all__ = ["Speller", "leaves_of", "place_of"]


@dataclass(frozen=True)
class Speller:
    """Spells compositions so that others make the same.

    Args:
        stack: The name of the stack, or its folder.
        examples: Where the shipped pictures lie, by their names.
        operators: Where the operators lie that the stack does not bring, by their names.
        index: Where the index of the renderer find lies.
        sdxl: The checkpoint of SDXL in place of the stack's own; empty for that.
    """

    stack: str = "pocket"
    examples: Mapping[str, str] = field(default_factory=dict)
    operators: Mapping[str, str] = field(default_factory=dict)
    index: str = ""
    sdxl: str = ""

    def spell(self, node: Node, options: Options) -> dict[str, Any]:
        """Spell a composition.

        Args:
            node: The composition; its leaves are named as in the studio.
            options: How it is sampled and rendered.

        Returns:
            `python` and `command`, and in `own` the names of the visitor's own files.
        """
        text = str(_moved(node, self.examples))
        names = [str(leaf.source) for leaf in leaves_of(node)]
        names += [item.name for item in options.pictures.values()]
        used = {name: self.operators[name] for name in _operators(node) if name in self.operators}
        folders = list(dict.fromkeys(used.values()))
        return {
            "python": self._python(text, options, folders),
            "command": self._command(text, options, folders),
            "own": [name for name in dict.fromkeys(names) if name not in self.examples],
        }

    def _python(self, text: str, options: Options, folders: list[str]) -> str:
        loaded: dict[str, Any] = {"stack": self.stack} if self.stack != "pocket" else {}
        if folders:
            loaded["operator_folders"] = folders
        loaded |= self._parts(options)
        plain = Options()
        sampled = _changed(options.sampling, plain.sampling)
        rendered = _changed(options.rendering, plain.rendering) | self._pictures(options)
        return (
            "from pops import Engine\n\n"
            f"engine = Engine.load({_arguments(loaded)})\n"
            f"result = engine.run({text!r}, {_arguments(sampled)})\n"
            f"pictures = engine.render(result.embeddings, {_arguments(rendered)})\n"
            'pictures[0].save("picture.png")\n'
        )

    def _pictures(self, options: Options) -> dict[str, str]:
        """Name the pictures among the settings, the shipped ones by where they lie."""
        named = {name: item.name for name, item in options.pictures.items()}
        return {name: self.examples.get(said, said) for name, said in named.items()}

    def _parts(self, options: Options) -> dict[str, str]:
        """Name what the renderer uses that the stack does not bring."""
        renderer = options.rendering.renderer
        parts = {"index": self.index} if renderer == "find" else {}
        if self.sdxl and "preset" in getattr(find_renderer(renderer), "takes", ()):
            parts["sdxl"] = self.sdxl
        return parts

    def _command(self, text: str, options: Options, folders: list[str]) -> str:
        plain = Options().told
        flags: dict[str, Any] = {
            name: ",".join(map(str, value)) if name.endswith("seeds") else shlex.quote(str(value))
            for name, value in options.told.items()
            if name == "seeds" or value != plain[name]
        }
        flags |= {name: shlex.quote(place) for name, place in self._pictures(options).items()}
        if self.stack != "pocket":
            flags["stack"] = shlex.quote(self.stack)
        if folders:
            flags["operators"] = shlex.quote(",".join(folders))
        flags |= {name: shlex.quote(part) for name, part in self._parts(options).items()}
        return " ".join(["pops run", _quoted(text), *(f"--{n} {v}" for n, v in flags.items())])


def place_of(path: Path, local: bool) -> str:
    """Spell a path so that a user of the studio can use it.

    Args:
        path: The path.
        local: Whether they are at this machine; nobody elsewhere is told its own paths.

    Returns:
        The path from the folder that the studio was started in, or its last parts.
    """
    if not local:
        return "/".join(path.parts[-3:] if path.suffix == ".png" else path.parts[-1:])
    with suppress(ValueError):
        return path.resolve().relative_to(Path.cwd()).as_posix()
    return path.resolve().as_posix()


def leaves_of(node: Node) -> list[Leaf]:
    """List the leaves of a composition.

    Args:
        node: The composition.

    Returns:
        Every leaf, in order, as often as it stands there.
    """
    if isinstance(node, Leaf):
        return [node]
    return [leaf for made in node.inputs if made is not None for leaf in leaves_of(made)]


def _operators(node: Node) -> set[str]:
    own = {node.operator} if isinstance(node, Apply) else set()
    return own.union(*(_operators(made) for made in node.inputs if made is not None))


def _moved(node: Node, places: Mapping[str, str]) -> Node:
    """Give the composition with every leaf named by its place, where that is known."""
    if isinstance(node, Leaf):
        name = str(node.source)
        return Leaf(places[name]) if name in places else node
    inputs = tuple(None if made is None else _moved(made, places) for made in node.inputs)
    return replace(node, inputs=inputs)  # type: ignore[arg-type]


def _changed(settings: object, plain: object) -> dict[str, Any]:
    """List the seeds, and the settings that are not what they are when nothing is said."""
    given = {n: v for n, v in vars(settings).items() if n == "seeds" or v != getattr(plain, n)}
    return {**given, "seeds": list(given["seeds"])}


def _arguments(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def _quoted(text: str) -> str:
    """Quote a text for a shell, in double quotes where no letter in it means anything there."""
    return shlex.quote(text) if set(text) & set('\\"$`!') else f'"{text}"'
