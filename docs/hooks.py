"""Lets pages of the site show pictures that lie elsewhere in the repository.

On a code host `../pops/pocket/weights/curves.png` works from a page in `docs/`. The site holds only
what lies below `docs/`, so such a picture is copied beside the others while the site is built.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

OUTSIDE = re.compile(r"(!\[[^\]]*\]\()(\.\./[^)\s]+\.(?:png|jpg|svg))\)")


def _target(page_file: str, link: str, config: MkDocsConfig) -> tuple[Path, str] | None:
    docs = Path(config.docs_dir)
    source = (docs / page_file).parent.joinpath(link).resolve()
    if source.is_relative_to(docs) or not source.is_file():
        return None
    return source, "images/" + "-".join(source.relative_to(docs.parent).parts)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every picture outside `docs/` that a page shows."""
    for page in files.documentation_pages():
        for _, link in OUTSIDE.findall(page.content_string):
            found = _target(page.src_uri, link, config)
            if found is not None and files.get_file_from_path(found[1]) is None:
                files.append(File.generated(config, found[1], abs_src_path=str(found[0])))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point the links at the copies."""

    def moved(match: re.Match[str]) -> str:
        found = _target(page.file.src_uri, match[2], config)
        up = "../" * page.file.src_uri.count("/")
        return match[0] if found is None else f"{match[1]}{up}{found[1]})"

    return OUTSIDE.sub(moved, markdown)
