"""The pictures that come with pops are found in a package, and in a checkout without links."""

from __future__ import annotations

from pathlib import Path

import pytest

from pops.io import assets
from pops.io.pictures import open_picture

ROOT = Path(__file__).parents[2]


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A package that holds no pictures, in a folder that holds them."""
    package = tmp_path / "pops"
    package.mkdir()
    (tmp_path / "assets" / "objects").mkdir(parents=True)
    monkeypatch.setattr(assets, "PACKAGE", package)
    monkeypatch.setattr(assets, "assets_folder", assets.assets_folder.__wrapped__)
    return package


def test_every_picture_has_a_name_and_opens() -> None:
    found = assets.example_pictures()
    assert found["objects/mug"].samefile(ROOT / "assets" / "objects" / "mug.png")
    assert {open_picture(path).mode for path in found.values()} == {"RGB"}
    assert list(found) == sorted(found)


def test_a_package_uses_its_own_pictures(package: Path) -> None:
    (package / "assets").mkdir()
    assert assets.assets_folder() == package / "assets"


def test_a_file_in_the_place_of_the_link_is_passed_over(package: Path) -> None:
    (package / "assets").write_text("../assets")  # a link, as Git writes it on Windows
    assert assets.assets_folder() == package.parent / "assets"
    (package.parent / "assets" / "objects" / "mug.png").touch()
    assert list(assets.example_pictures()) == ["objects/mug"]
