"""The documentation site, as `make docs` has built it."""

import re
from pathlib import Path

import pytest
import yaml
from mkdocs.config import load_config

import pops
from tests.test_house import modules, public

ROOT = Path(__file__).parent.parent
SITE = ROOT / "site"
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)#\s]+)")


@pytest.mark.site
def test_the_reference_has_every_public_name() -> None:
    shown = "".join(page.read_text(encoding="utf-8") for page in SITE.glob("reference/*/*.html"))
    anchors = set(re.findall(r'id="(pops[\w.]+)"', shown))
    assert len(anchors) > 500
    missing = {name for module in modules() for name, _, _ in public(module)} - anchors
    assert not missing, sorted(missing)


@pytest.mark.site
def test_no_page_fetches_anything_from_elsewhere() -> None:
    loaded = re.compile(
        r'<(?:script|img|link rel="(?!canonical)\w+")[^>]* (?:src|href)="(https?:[^"]+)'
    )
    for page in SITE.rglob("*.html"):
        assert not loaded.findall(page.read_text(encoding="utf-8")), page


def test_every_package_has_a_page_in_the_reference() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs/reference").glob("*"))
    shown = re.findall(r"^::: (pops[\w.]+)$", text, re.MULTILINE)
    for unit in {module.unit for module in modules()} - {"pops", "pops.__main__", "pops.pocket"}:
        assert unit in shown, f"{unit} has no page in docs/reference"


def test_the_reference_begins_with_all_names_of_pops() -> None:
    text = (ROOT / "docs/reference/index.md").read_text(encoding="utf-8")
    assert not [name for name in pops.__all__ if f"`{name}`" not in text]


def test_the_links_of_the_files_at_the_root_lead_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"):
        for link in LINK.findall((ROOT / name).read_text(encoding="utf-8")):
            assert "://" in link or (ROOT / link).exists(), f"{name}: {link}"


def test_every_page_is_in_the_menu() -> None:
    menu = yaml.dump(load_config(str(ROOT / "mkdocs.yml"))["nav"])
    for page in (ROOT / "docs").rglob("*.md"):
        assert page.relative_to(ROOT / "docs").as_posix() in menu, page


def test_the_workflows_pin_what_they_use() -> None:
    uses = [
        line.split("uses:")[1].split("#")[0].strip()
        for workflow in (ROOT / ".github/workflows").glob("*.yml")
        for line in workflow.read_text(encoding="utf-8").splitlines()
        if "uses:" in line
    ]
    assert len(uses) > 10
    for one in uses:
        assert one.startswith("./") or re.fullmatch(r"[\w./-]+@v\d+\.\d+\.\d+", one), one


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == pops.__version__
    assert citation["references"][0]["identifiers"][0]["value"] == "arXiv:2406.01300"


def test_the_files_that_pages_name_exist() -> None:
    folders = "pops|docs|configs|tests|benchmarks|scripts|assets|examples"
    named = re.compile(rf"`((?:{folders})/[\w./-]*)`")
    pages = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")]
    for page in pages:
        for path in named.findall(page.read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), f"{page.name} names {path}"


def test_the_architecture_names_every_package() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    tree = text.split("```")[3]
    for part in (ROOT / "pops").iterdir():
        if part.name.startswith("__") or part.name == "py.typed":
            continue
        name = f"{part.name}/" if part.is_dir() and not part.is_symlink() else part.name
        assert re.search(rf"^ +{re.escape(name)} ", tree, re.MULTILINE), name
