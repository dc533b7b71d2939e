"""Compositions: checked as they are written, run with what is known already, kept in one file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from cachetools import LRUCache
from PIL import Image

from pops import Result, draw_tree
from pops.compose.calls import FUNCTIONS, slerp
from pops.compose.nodes import Apply, Argument, Call, Leaf, Node, Span, Sweep, function_name
from pops.compose.parse import parse
from pops.compose.plan import Plan
from pops.errors import PopsError, UsageError, nearest
from pops.io.embeddings import Embeddings
from pops.operators import OPERATORS, Operator
from pops.studio.jobs.job import Job
from pops.studio.jobs.options import Options
from pops.studio.jobs.runner import Runner
from pops.studio.spelling import Speller, leaves_of
from pops.studio.store import StoredItem, embedding_size, encode_picture

__all__ = ["LONGEST_EXPRESSION", "MOST_PARTS", "Composer", "check", "read"]

MOST_PARTS = 64  # of a composition
LONGEST_EXPRESSION = 8000  # letters of one
KNOWN_BYTES = 128 * 2**20
Inputs = Mapping[str, StoredItem]  # by what the expression calls them
Operators = Mapping[str, Operator]  # by their names


def read(text: str, inputs: Inputs, operators: Operators = OPERATORS) -> Node:
    """Read a composition.

    Args:
        text: The composition.
        inputs: What its leaves may name.
        operators: What it may apply.

    Returns:
        The tree, every leaf of it one of `inputs`.

    Raises:
        UsageError: It is not a composition, too long, or names what is not there; with the span.
    """
    if not isinstance(text, str):
        raise UsageError("the composition must be a text")
    if len(text) > LONGEST_EXPRESSION:
        raise UsageError(f"the composition is too long: it may have {LONGEST_EXPRESSION} letters")
    node = parse(text, operators)
    if node.parts > MOST_PARTS:
        raise UsageError(f"the composition has more than {MOST_PARTS} parts: use fewer here")
    _check_arguments(node)
    for leaf in leaves_of(node):
        name = str(leaf.source)
        if name not in inputs:
            hint = nearest(name, inputs) or ": add a picture of that name"
            raise UsageError(f"there is no picture {name!r}{hint}").at(leaf.span)
    return node


def _check_arguments(node: Node) -> None:
    """Refuse what is not for visitors: ranges, and files that lie where the studio runs."""
    files = FUNCTIONS[node.function].files if isinstance(node, Call) else ()
    for name, value, _ in node.arguments:
        several = value if isinstance(value, tuple) else (value,)
        if any(isinstance(one, Sweep) for one in several):
            raise UsageError(f"{name}: write one number here, and move its slider in the tree")
        if name in files and isinstance(value, str) and not re.fullmatch(r"\w+", value):
            raise UsageError(
                f"{str(value)!r} is not the name of a word list: name one, or write texts in "
                "brackets"
            ).at(getattr(value, "span", None))
    for made in node.inputs:
        if made is not None:
            _check_arguments(made)


def check(
    text: str,
    inputs: Inputs,
    options: Options,
    operators: Operators = OPERATORS,
    speller: Speller | None = None,
) -> dict[str, Any]:
    """Check a composition that is being written.

    Args:
        text: The composition.
        inputs: What its leaves may name.
        options: The settings beside it.
        operators: What it may apply.
        speller: How it is spelled as Python and as a command.

    Returns:
        As JSON, the tree and the other spellings, or what is wrong and where.
    """
    try:
        node = read(text, inputs, operators)
    except PopsError as error:
        span = error.span if isinstance(error.span, Span) else None
        said = str(error.at(None))
        line = {"line": span.line, "column": span.column} if span else {}
        return {"ok": False, "error": said, **line}
    spelled = (speller or Speller()).spell(node, options)
    return {"ok": True, "expression": str(node), "tree": _tree(node, operators), **spelled}


def _tree(node: Node | None, operators: Operators) -> dict[str, Any]:
    if node is None:
        return {"kind": "empty"}
    if isinstance(node, Leaf):
        return {"kind": "leaf", "name": str(node.source), "expression": str(node)}
    if isinstance(node, Call):
        row = FUNCTIONS[node.function]
        name, spelled, slots = node.function, node.function, row.notes(node)
        text, sliders = node.values.get("words"), row.sliders
        arguments = [one for one in node.arguments if one.name != "words"]
    else:
        name, spelled = node.operator, function_name(node.operator)
        slots, text, sliders = operators[node.operator].inputs, node.text, {"strength": (0.0, 1.0)}
        arguments = [Argument("strength", node.strength, True)]
    inputs = [{"slot": s, **_tree(n, operators)} for s, n in zip(slots, node.inputs, strict=False)]
    return {
        "kind": "made",
        "expression": str(node),
        "operator": name,
        "function": spelled,
        "text": text,
        "arguments": [_argument(one, sliders) for one in arguments],
        "inputs": inputs,
    }


def _argument(argument: Argument, sliders: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """Describe an argument as it is written and, where it has a slider, the slider's ends."""
    told = {"name": argument.name, "named": argument.named}
    if argument.name not in sliders:
        return {**told, "written": str(argument._replace(named=False))}
    least, most = sliders[argument.name]
    return {**told, "value": argument.value, "least": least, "most": most}


class Composer:
    """Runs compositions. Parts that were made before with equal inputs are not made again.

    Args:
        runner: What renders parts and keeps them.
        operators: The operators that compositions may apply.
    """

    def __init__(self, runner: Runner, operators: Operators = OPERATORS) -> None:
        self.runner = runner
        self.operators = operators
        self._embeddings: LRUCache[bytes, Embeddings] = LRUCache(KNOWN_BYTES // 4, embedding_size)
        self._pictures: LRUCache[bytes, bytes] = LRUCache(KNOWN_BYTES, len)

    def run(self, job: Job, node: Node, inputs: Inputs, options: Options) -> None:
        """Run a composition; each part is rendered and told as soon as it is there, inputs first.

        Args:
            job: Is told of the parts.
            node: The composition.
            inputs: The items that its leaves name.
            options: How it is sampled and rendered.
        """
        keys: dict[Node, bytes] = {}
        _keys(node, inputs, options, keys)
        job.progress("loading", 0, 1)
        made, sampled = self._sample(job, node, keys, inputs, options)
        shown: dict[tuple[Node, int], Image.Image] = {}
        drawn: list[StoredItem] = []
        visible = _visible(node)
        parts = {part: embedding for part, embedding in made.items() if part in visible}
        for part, embedding in parts.items():
            picture = self._picture(job, part, keys, embedding, inputs, options)
            shown[part, 0] = picture
            item = inputs[str(part.source)] if isinstance(part, Leaf) else None
            if item is None or not item.shown:
                name = item.name if item else _maker(part)
                item = self.runner.keep(embedding, picture, name, options.rendering.seeds[0])
            drawn.append(item)
            told = {"state": "part", "expression": str(part), "item": item.told}
            job.tell({**told, "new": part in sampled, "made": len(drawn), "of": len(parts)})
        result = Result(Plan(node, (), (node,), self.operators), options.sampling.seeds[:1], made)
        figure = self.runner.keep_figure("composition", draw_tree(result, _never, shown))
        job.tell(
            {
                "state": "done",
                "result": drawn[-1].told,
                "sampled": [str(part) for part in parts if part in sampled],
                "figure": figure.told,
            }
        )

    def embedding(self, job: Job, node: Node, inputs: Inputs, options: Options) -> Embeddings:
        """Make what a composition gives, without a picture of it.

        Args:
            job: Is told of the progress.
            node: The composition.
            inputs: The items that its leaves name.
            options: How it is sampled.

        Returns:
            One embedding.
        """
        keys: dict[Node, bytes] = {}
        _keys(node, inputs, options, keys)
        job.progress("loading", 0, 1)
        return self._sample(job, node, keys, inputs, options)[0][node]

    def _sample(
        self,
        job: Job,
        node: Node,
        keys: Mapping[Node, bytes],
        inputs: Inputs,
        options: Options,
    ) -> tuple[dict[Node, Embeddings], set[Node]]:
        """Make the embedding of every part, inputs first, and tell which are new.

        What is known already goes into the engine's composition as a leaf.
        """
        made: dict[Node, Embeddings] = {}
        bound: dict[Node, Node] = {}
        for part, key in keys.items():
            known = self._embeddings.get(key)
            if known is not None:
                made[part] = replace(known, expressions=(str(part),))
                bound[part] = Leaf(known)
            elif isinstance(part, Leaf):
                bound[part] = Leaf(inputs[str(part.source)].source)
            elif isinstance(part, Apply) and part.strength != 1:
                first, whole = part.needs
                bound[part] = slerp(bound[first], bound[whole], part.strength)
            else:
                within = tuple(None if one is None else bound[one] for one in part.inputs)
                bound[part] = replace(part, inputs=within)  # type: ignore[arg-type]
        sampled = {part for part in keys if part not in made}
        for part in reversed(list(keys)):  # the whole first, which brings all that is in it
            if part in made:
                continue
            result = self.runner.engine.run(
                bound[part],
                progress=job.progress,
                **{**vars(options.sampling), "seeds": options.sampling.seeds[:1]},
            )
            for one in sampled:
                if one not in made and bound[one] in result.parts:
                    made[one] = replace(result.parts[bound[one]], expressions=(str(one),))
                    self._embeddings[keys[one]] = made[one]
        return {part: made[part] for part in keys}, sampled

    def _picture(
        self,
        job: Job,
        part: Node,
        keys: Mapping[Node, bytes],
        embedding: Embeddings,
        inputs: Inputs,
        options: Options,
    ) -> Image.Image:
        """Give the picture of a part: an input's own where it has one, else rendered."""
        from io import BytesIO

        if isinstance(part, Leaf) and inputs[str(part.source)].shown:
            content = inputs[str(part.source)].shown
            return Image.open(BytesIO(content), formats=["PNG", "JPEG"])
        seed = options.rendering.seeds[0]
        settings = {**options.told_rendering, "render_seeds": seed}
        key = _digest(keys[part], repr(sorted(settings.items())).encode())
        known = self._pictures.get(key)
        if known is None:
            ((_, picture),) = self.runner.render(job, embedding, seed, options)
            known = self._pictures[key] = encode_picture(picture)
        return Image.open(BytesIO(known), formats=["PNG"])


def _maker(part: Node) -> str:
    """Give the name of what made a part."""
    return part.function if isinstance(part, Call) else getattr(part, "operator", "")


def _never(_: Embeddings) -> list[Image.Image]:
    raise AssertionError("every part of the tree has been rendered")


def _keys(node: Node, inputs: Inputs, options: Options, keys: dict[Node, bytes]) -> None:
    """Name what each part gives, inputs first; names are equal where results must be equal."""
    if node in keys:
        return
    for made in node.needs:
        _keys(made, inputs, options, keys)
    within = [b"-" if made is None else keys[made] for made in node.inputs]
    if isinstance(node, Leaf):
        keys[node] = _digest(b"leaf", inputs[str(node.source)].digest)
    elif isinstance(node, Call):
        sampling = options.sampling
        sampled = (sampling.seeds[0], sampling.steps, sampling.sampler)
        seeded = sampled if FUNCTIONS[node.function].is_sampled else ()
        what = repr((node.function, node.arguments, *seeded)).encode()
        keys[node] = _digest(b"call", what, *within)
    elif node.strength != 1:
        first, whole = node.needs
        keys[node] = _digest(b"strength", repr(node.strength).encode(), keys[first], keys[whole])
    else:
        how = (node.operator, node.text)
        every = sorted({**vars(options.sampling), "seeds": options.sampling.seeds[0]}.items())
        keys[node] = _digest(b"apply", repr((how, every)).encode(), *within)


def _visible(node: Node) -> set[Node]:
    """List the parts that the tree shows: no wholes that parts of less strength lead to."""
    inputs = (made for made in node.inputs if made is not None)
    return {node}.union(*map(_visible, inputs))


def _digest(*parts: bytes) -> bytes:
    whole = blake2b(digest_size=16)
    for part in parts:
        whole.update(len(part).to_bytes(4, "little") + part)
    return whole.digest()
