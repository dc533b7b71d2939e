"""Reads the fenced blocks of the documentation's pages, and the reasons why some are not run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Block", "blocks", "commands"]

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "comfyui/README.md"]

FENCED = re.compile(
    r"^(?:<!-- not run: (?P<reason>.+?) -->\n\s*)?"
    r"(?P<indent> *)```(?P<language>[^\n]*)\n(?P<body>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: The file that it stands in.
        line: The line of its fence, the first of the page being 1.
        language: `sh` where the page names none, since such blocks are what people type.
        body: Its lines, without the indentation of the fence.
        reason: Why it is not run here, or "".
    """

    page: Path
    line: int
    language: str
    body: str
    reason: str

    @property
    def where(self) -> str:
        """Tell the page and the line, as editors open them."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    for found in FENCED.finditer(text):
        line = text.count("\n", 0, found.end("indent")) + 1
        body = re.sub(rf"^{found['indent']}", "", found["body"], flags=re.MULTILINE)
        language = {"": "sh", "bash": "sh"}.get(found["language"], found["language"].strip())
        yield Block(page, line, language, body, found["reason"] or "")


def commands(block: Block) -> Iterator[str]:
    """Yield the commands of a shell block, each on one line, without comments."""
    for line in block.body.replace("\\\n", " ").splitlines():
        if command := re.sub(r"(^|\s+)#.*$", "", line).strip():
            yield command
