"""Configs of models as other libraries write them: some fields vary here, and some may not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, ClassVar, Protocol, TypeVar

from pops.errors import WeightsError
from pops.io.formats.schema import Meta, fit

__all__ = ["Size", "fit_fields"]

Size = Annotated[int, Meta(ge=1, le=2**16)]  # of an embedding, a layer or a token


class Fields(Protocol):
    """A dataclass of the fields of a config that vary.

    Attributes:
        ONLY: The fields that may have this value alone, or be left out.
    """

    ONLY: ClassVar[Mapping[str, Any]]
    __dataclass_fields__: ClassVar[dict[str, Any]]


Made = TypeVar("Made", bound=Fields)


def fit_fields(config: Mapping[str, Any], kind: type[Made], source: str) -> Made:
    """Read the fields of a config that vary, and check those that may have one value alone.

    Args:
        config: The fields of a config; those that it names beside these change nothing.
        kind: A dataclass of the fields that vary.
        source: The name of the file, for messages.

    Returns:
        The fields that vary.

    Raises:
        WeightsError: A field does not fit, or has a value that is not supported.
    """
    for key, wanted in kind.ONLY.items():
        if config.get(key, wanted) != wanted:
            raise WeightsError(
                f"{source}: {key} is {config[key]!r}, but only {wanted!r} is supported"
            )
    own = {field.name for field in fields(kind)}
    return fit({k: v for k, v in config.items() if k in own}, kind, WeightsError, source)
