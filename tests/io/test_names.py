"""Any name becomes a file name that every file system takes, and that tells it from others."""

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pops
from pops.errors import OutputError
from pops.io.names import (
    LONGEST_NAME,
    can_be_path,
    check_name,
    distinct_names,
    expand_home,
    name_of_words,
    safe_name,
    shown_files,
)

TEXT = st.text(max_size=300)


@given(name=TEXT)
def test_a_path_of_a_user_that_does_not_exist_is_left_as_it_is(name: str) -> None:
    assert expand_home(f"~no such user/{name}") == Path(f"~no such user/{name}")
    assert expand_home(f"~\0{name}") == Path(f"~\0{name}")
    assert expand_home(f"~/{name}") == Path.home() / name.lstrip("/")
    assert isinstance(expand_home(name), Path)


ODD_PATHS = [
    "a\0b",
    "\ud800",
    "~\0",
    "a" * 300,
    "a/" * 5000 + "b",
    "x" * 300 + ".png",
    "/proc/1/root/x",
]


@pytest.mark.skipif(os.name == "nt", reason="Windows takes fewer names")
@given(path=TEXT | st.sampled_from(ODD_PATHS))
def test_a_path_is_refused_where_the_system_can_have_none_of_its_kind(path: str) -> None:
    parts = path.encode("utf-8", "surrogatepass").split(b"/")
    fits = "\0" not in path and all(len(part) < 256 for part in parts)
    encodes = not any(
        "\ud800" <= letter <= "\udc7f" or "\udd00" <= letter <= "\udfff" for letter in path
    )
    assert can_be_path(path) == (
        fits and encodes and len(path.encode("utf-8", "surrogatepass")) < 4096
    )


def test_the_home_folder_is_put_in_place_in_one_way() -> None:
    package = Path(pops.__file__).parent
    wrong = [
        p for p in package.rglob("*.py") if ".expanduser(" in p.read_text() and p.name != "names.py"
    ]
    assert not wrong, "use expand_home: Path.expanduser raises for a user that does not exist"


@given(name=TEXT, words=st.lists(TEXT, max_size=6))
def test_any_text_is_a_name_that_can_be_written(
    name: str, words: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    for made in (safe_name(name), name_of_words(["scene", *words]), safe_name(name, apart_by="x")):
        assert 0 < len(made.encode()) <= LONGEST_NAME
        assert not set('/\\:*?"<>|\0\n') & set(made)
        assert made not in (".", "..") and made == made.strip(" .")
        check_name(tmp_path_factory.getbasetemp(), f"{made}_s{2**63 - 1}_r{2**63 - 1}.safetensors")


@given(st.lists(TEXT, max_size=8))
def test_names_are_told_apart_whatever_their_case(names: list[str]) -> None:
    made = distinct_names([safe_name(name) for name in names])
    assert len({name.casefold() for name in made}) == len(names)


@pytest.mark.parametrize(
    "word", ["हिन्दी", "ภาษาไทย", "が", "é", "木製の椅子", "naïve_2.5-x", "ελληνικά", "עִבְרִית"]
)
def test_letters_and_marks_of_every_script_are_kept(word: str) -> None:
    composed = unicodedata.normalize("NFC", word)
    assert name_of_words([word]) == name_of_words([unicodedata.normalize("NFD", word)]) == composed


def test_names_of_symbols_alone_are_told_apart() -> None:
    names = [name_of_words(["mug", word]) for word in ("🎉", "🎈", "!!", "??", "...")]
    assert len(set(names)) == 5 and all(name.startswith("mug_") for name in names)


@pytest.mark.parametrize("name", ["con", "NUL", "aux.b", "Com1", "lpt9.tar", "prn.", "con "])
def test_names_that_windows_keeps_for_devices_are_set_apart(name: str) -> None:
    made = safe_name(name)
    assert made.startswith("_") and made[1:] == name.strip(" .")
    for like in ("console", "con-1", "com10", "xaux", "a.con"):
        assert safe_name(like) == like


def test_long_names_are_cut_by_bytes_and_told_apart() -> None:
    first, second = (name_of_words(["texturing", "椅子" * 60, end]) for end in "ab")
    assert first != second
    assert first[:40] == second[:40] == "texturing_" + "椅子" * 15


@pytest.mark.parametrize(
    "words, name",
    [
        (["texturing", "mug", "wood"], "texturing_mug_wood"),
        (["instruct", "mug", "a/b ../c"], "instruct_mug_a-b-..-c"),
        (["scene", "my mug (2)", ""], "scene_my-mug-2"),
    ],
)
def test_ordinary_names_are_as_they_were(words: list[str], name: str) -> None:
    assert name_of_words(words) == name


def test_what_systems_leave_beside_files_is_not_shown() -> None:
    paths = [Path("b/._a.png"), Path("b/c.png"), Path("b/.DS_Store"), Path(".b/a.png")]
    assert shown_files(paths) == [Path(".b/a.png"), Path("b/c.png")]


def test_a_name_that_the_folder_refuses_is_said_beforehand(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="too long"):
        check_name(tmp_path, "x" * 300)
    assert not list(tmp_path.iterdir())
