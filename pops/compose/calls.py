"""Functions of compositions that need no training: texts, means, sums, directions, swaps.

Calling one makes a part of a composition; `Engine.run` computes it. Nothing is opened or run here,
and torch is not imported. `FUNCTIONS` is the table: for each function what makes the part, what
computes it, and what figures write under its inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from pops.compose.nodes import (
    Apply,
    Argument,
    Call,
    Leaf,
    Node,
    Number,
    Span,
    Sweep,
    plain_number,
)
from pops.errors import UsageError

__all__ = [
    "FUNCTIONS",
    "TEXT_GUIDANCE",
    "Function",
    "Quoted",
    "add",
    "as_node",
    "as_number",
    "direction",
    "mean",
    "mix",
    "slerp",
    "swap",
    "text",
]

TEXT_GUIDANCE = 4.0  # that of diffusers' prior pipeline
MOST_AMOUNT = 100  # of a sum


class Quoted(str):
    """A quoted text of a composition, which knows where it stands."""

    span: Span | None = None


def text(words: str, *, negative: str = "", guidance: object = TEXT_GUIDANCE) -> Call:
    """Make an embedding from a text, with the stack's own base prior.

    Args:
        words: what the picture should show.
        negative: what it should not show.
        guidance: the scale of guidance, from 0 to 100.

    Returns:
        The part of a composition, to be run by `Engine.run`.

    Raises:
        UsageError: what is given is not a text, or the guidance is out of range.
    """
    for said in (words, negative):
        if not isinstance(said, str):
            raise UsageError("text takes a quoted text, as in text('rusty iron')")
    scale = as_number("text", "guidance", guidance, 0, 100)
    named = [Argument("negative", negative, True)] if negative else []
    named += [Argument("guidance", scale, True)] if scale != TEXT_GUIDANCE else []
    return Call("text", (), (Argument("words", words), *named))


def mean(a: object, b: object, weight: object = 0.5) -> Call:
    """Take the mean of two embeddings, on the straight line between them.

    Args:
        a: a picture, an embedding, a file, a folder or another composition.
        b: another one.
        weight: the weight of `b`, from 0 to 1: 0 gives `a`, 1 gives `b`.

    Returns:
        The part of a composition, to be run by `Engine.run`.

    Raises:
        UsageError: an input is left out, or the weight is out of range.
    """
    if _is_off(weight, 0, 1):
        raise UsageError(
            "the weight of mean, that of its second input, must be a number from 0 to 1"
        )
    return _call("mean", (a, b), Argument("weight", _plain(weight)))


def mix(*inputs: object, weights: object = None) -> Call:
    """Take the weighted mean of any number of embeddings.

    Args:
        inputs: two or more pictures, embeddings, files, folders or other compositions.
        weights: a number for each, which are divided by their sum; None for equal ones.

    Returns:
        The part of a composition, to be run by `Engine.run`.

    Raises:
        UsageError: there are fewer than two inputs, one is left out, or the weights do not fit.
    """
    if len(inputs) < 2:
        raise UsageError("mix takes two or more inputs, as in mix(a, b, c, weights=[2, 1, 1])")
    if weights is None:
        return _call("mix", inputs)
    several = weights if isinstance(weights, list | tuple) else ()
    if len(several) != len(inputs) or any(_is_off(one, 0, math.inf) for one in several):
        raise UsageError(
            f"the weights of mix must be {len(inputs)} numbers of 0 or more, in brackets"
        )
    if not any(isinstance(one, Sweep) or one for one in several):
        raise UsageError("the weights of mix are all 0: give one that is more")
    return _call("mix", inputs, Argument("weights", tuple(map(_plain, several)), True))


def slerp(a: object, b: object, t: object = 0.5) -> Call:
    """Go from one embedding to another on an arc, so that nothing fades between them.

    Args:
        a: a picture, an embedding, a file, a folder or another composition.
        b: another one.
        t: how far to go, from 0 to 1: 0 gives `a`, 1 gives `b`.

    Returns:
        The part of a composition, to be run by `Engine.run`.

    Raises:
        UsageError: an input is left out, or `t` is out of range.
    """
    return _call("slerp", (a, b), Argument("t", as_number("slerp", "t", t, 0, 1)))


def add(a: object, b: object, amount: object = 1.0) -> Call:
    """Add what is special about an embedding, or a direction, to another embedding.

    Args:
        a: a picture, an embedding, a file, a folder or another composition.
        b: what is added; a `direction`, or any of the above.
        amount: how much of it, from -100 to 100; below 0 takes it away.

    Returns:
        The part of a composition, to be run by `Engine.run`.

    Raises:
        UsageError: an input is left out, or the amount is out of range.
    """
    how_much = as_number("add", "amount", amount, -MOST_AMOUNT, MOST_AMOUNT)
    return _call("add", (a, b), Argument("amount", how_much))


def direction(start: object, end: object) -> Call:
    """Take the way from one embedding to another, for `add`.

    Args:
        start: a picture, an embedding, a file, a folder or another composition.
        end: another one.

    Returns:
        The part of a composition, to be run by `Engine.run`.

    Raises:
        UsageError: an input is left out.
    """
    return _call("direction", (start, end))


def swap(a: object, b: object, what: object, *, rank: object = None) -> Call:
    """Replace in an embedding the concept that texts differ in by that of another embedding.

    Args:
        a: a picture, an embedding, a file, a folder or another composition.
        b: another one.
        what: the name of a word list of the stack, such as pattern; a file of texts, one a line;
            or a list of two or more texts.
        rank: the number of directions that are replaced, 1 or more; None for the stack's own.

    Returns:
        The part of a composition, to be run by `Engine.run`.

    Raises:
        UsageError: an input is left out, or `what` or `rank` is something else.
    """
    several = isinstance(what, list | tuple)
    texts = tuple(what) if isinstance(what, list | tuple) else (what,)
    if not all(isinstance(one, str) for one in texts) or len(texts) < 1 + several:
        raise UsageError(
            "swap takes the name of a word list, a file, or two or more texts in brackets, as in "
            "swap(a, b, ['wooden', 'golden', 'striped'])"
        )
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or rank < 1):
        raise UsageError("the rank of swap must be a whole number of 1 or more")
    named = [] if rank is None else [Argument("rank", rank, True)]
    given = Argument("what", texts if several else texts[0])
    return _call("swap", (a, b), given, *named)


def as_node(value: object) -> Node | None:
    """Take what a function is given as a node: nodes as they are, sources as leaves.

    Args:
        value: a node, a source, or None for an input that is left out.

    Returns:
        The node, or None.

    Raises:
        UsageError: the value is not an input.
    """
    if value is None or isinstance(value, Leaf | Apply | Call):
        return value
    embedding = hasattr(value, "image_embeds") or hasattr(value, "detach")
    if isinstance(value, str | Path | Image.Image) or embedding:
        span = value.span if isinstance(value, Quoted) else None
        return Leaf(value, span)  # type: ignore[arg-type]
    raise UsageError(
        f"{value!r} is not an input: give a picture, an embedding, a file, or another composition"
    )


def as_number(of: str, name: str, value: object, least: float, most: float) -> Number:
    """Take what a function is given as a number.

    Args:
        of: the name of the function.
        name: what the number is called there.
        value: a number or a range.
        least: the smallest that it may be.
        most: the largest that it may be.

    Returns:
        The number or the range.

    Raises:
        UsageError: the value is something else, or out of range.
    """
    if _is_off(value, least, most):
        raise UsageError(f"the {name} of {of} must be a number from {least} to {most}")
    return _plain(value)


def _call(name: str, inputs: Sequence[object], *arguments: Argument) -> Call:
    nodes = [node for node in map(as_node, inputs) if node is not None]
    if len(nodes) < len(inputs):
        which = "both" if len(inputs) == 2 else "all"
        raise UsageError(f"{name} needs {which} of its inputs, so that none can be left out")
    return Call(name, tuple(nodes), arguments)


def _is_off(value: object, least: float, most: float) -> bool:
    """Tell whether a value is neither a number nor a range of numbers between two others."""
    ends = (value.start, value.stop) if isinstance(value, Sweep) else (value,)
    return not all(
        isinstance(end, int | float)
        and not isinstance(end, bool)
        and math.isfinite(end)
        and least <= end <= most
        for end in ends
    )


def _plain(value: object) -> Number:
    return value if isinstance(value, Sweep) else float(value)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Function:
    """One function that compositions may call.

    Args:
        build: makes the part of a composition, as it is called in text and in Python.
        compute: "module:function" that computes rows from the stack, the rows of its inputs and
            its arguments; for a function that is sampled, many calls of it at once.
        is_sampled: whether it is sampled by the base prior, once for each seed.
        notes: gives the words under each input in figures, from the arguments.
        check: "module:function" that checks the arguments against the stack, before it is loaded.
        sliders: the ends between which people choose a number, by the name of the argument.
        files: the names of arguments that may be a file.
    """

    build: Callable[..., Call]
    compute: str
    is_sampled: bool = False
    notes: Callable[[Call], Sequence[str]] = lambda call: [""] * len(call.inputs)
    check: str | None = None
    sliders: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    files: tuple[str, ...] = ()


def _shares(call: Call) -> list[str]:
    """Write the share of each input of a mean, as percentages."""
    count = len(call.inputs)
    values = call.values
    weights = values.get("weights") or (1.0,) * count
    last = values.get("weight", values.get("t"))
    if last is not None:
        weights = (last if isinstance(last, Sweep) else 1 - last, last)
    if any(isinstance(one, Sweep) for one in weights):
        return [str(one) if isinstance(one, Sweep) else "" for one in weights]
    shares = [one / max(weights) for one in weights]  # so that the sum of huge ones is finite
    return [f"{one / sum(shares):.0%}" for one in shares]


def _amounts(call: Call) -> list[str]:
    amount = call.values["amount"]
    return ["", f"× {amount if isinstance(amount, Sweep) else plain_number(amount)}"]


HOME = "pops.compose.algebra"
FUNCTIONS: dict[str, Function] = {
    "text": Function(text, f"{HOME}:sample_texts", is_sampled=True),
    "mean": Function(mean, f"{HOME}:take_mean", notes=_shares, sliders={"weight": (0, 1)}),
    "mix": Function(mix, f"{HOME}:mix", notes=_shares),
    "slerp": Function(slerp, f"{HOME}:slerp", notes=_shares, sliders={"t": (0, 1)}),
    "add": Function(add, f"{HOME}:add", notes=_amounts, sliders={"amount": (-2, 2)}),
    "direction": Function(direction, f"{HOME}:direction", notes=lambda _: ["from", "to"]),
    "swap": Function(swap, f"{HOME}:swap", check=f"{HOME}:check_swap", files=("what",)),
}
