"""A table between two marks of a page, which a benchmark writes anew."""

from __future__ import annotations

from pathlib import Path

from pops.errors import UsageError
from pops.io.files import atomic_path

__all__ = ["check_page", "write_table"]


def check_page(page: Path, name: str) -> tuple[str, str]:
    """Read the text before and after the marked table of a page.

    Args:
        page: A Markdown file.
        name: The name in the marks.

    Returns:
        The text up to and with the first mark, and that from the second mark on.

    Raises:
        UsageError: The page has no such marks.
    """
    begin, end = (f"<!-- {name}: {edge} -->" for edge in ("begin", "end"))
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise UsageError(f"{page} has no lines {begin} and {end}: add them where the table belongs")
    return before + begin, end + after


def write_table(page: Path, name: str, table: str) -> None:
    """Replace what stands between the marks of a page.

    Args:
        page: A Markdown file.
        name: The name in the marks.
        table: The new content.

    Raises:
        UsageError: The page has no such marks.
    """
    before, after = check_page(page, name)
    with atomic_path(page) as part:
        part.write_text(f"{before}\n{table}\n{after}", encoding="utf-8")
