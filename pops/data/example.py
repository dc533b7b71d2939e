"""Training examples: the pictures and texts that a recipe makes of a record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image

__all__ = ["Example"]


@dataclass(frozen=True)
class Example:
    """One training example. An input that is None is a null input: a zero token, but visible."""

    target: Image.Image
    inputs: tuple[Image.Image | None, ...]
    text: str | None = None
    text_dropped: bool = False  # the tokens of the text are then zeros, as many as it has
    target_text: str | None = None  # the text loss pulls the prediction to its embedding

    def without(self, inputs: Sequence[bool], text: bool) -> Example:
        """Drop conditions of this example.

        Args:
            inputs: For each slot, whether its input is dropped.
            text: Whether the text is dropped.

        Returns:
            A new example; what was dropped before stays dropped.
        """
        if text and not self.inputs:  # guidance leads a base prior away from the empty text
            return replace(self, text="", target_text="")
        kept = tuple(
            None if gone else given for given, gone in zip(self.inputs, inputs, strict=True)
        )
        return replace(self, inputs=kept, text_dropped=self.text_dropped or text)
