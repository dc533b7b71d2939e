"""The content of the small files of pops: operator cards, adapter configs and render settings."""

from __future__ import annotations

from typing import Annotated, Any

from pops.io.schema import Finite, Meta, PlainName, Schema, Share

__all__ = ["AdapterFile", "OperatorFile", "OperatorRow", "RenderFile"]

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Slots = Annotated[int, Meta(ge=0, le=64)]
# The name of a module of a model, or the end of one: no regular expression.
ModuleName = Annotated[str, Meta(max_length=200, pattern=r"^\w+(\.\w+)*\Z")]


class OperatorRow(Schema):
    """The operator of `operator.json`; the defaults are those of `Operator`."""

    name: PlainName
    inputs: Annotated[tuple[Name, ...], Meta(max_length=64)]
    takes_text: bool = False
    min_inputs: Slots | None = None
    guidance: Finite = 1.0
    drop_each: Share = 0.0
    drop_all: Share = 0.0
    text_loss: Finite = 0.0


class OperatorFile(Schema):
    """`operator.json` of an operator folder."""

    operator: OperatorRow
    stack: Name
    training: dict[Name, Any]


class RenderFile(Schema):
    """`render.json` of a stack's decoder."""

    steps: Annotated[int, Meta(ge=1, le=1000)] = 50
    guidance: Annotated[float, Meta(ge=0, le=1000)] = 4.0
    size: Annotated[int, Meta(ge=1, le=8192)] = 512


class AdapterFile(Schema):
    """The part of an `adapter_config.json` that is used: names of modules and four numbers."""

    target_modules: Annotated[tuple[ModuleName, ...], Meta(min_length=1, max_length=100)]
    r: Annotated[int, Meta(ge=1, le=4096)]
    lora_alpha: Annotated[float, Meta(gt=0, le=1e6)]
    lora_dropout: Share = 0.0
    use_rslora: bool = False
