"""Values mean what is written: in settings files, in flags, and in what looks like a flag."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from pops.cli.main import main
from pops.errors import UsageError, nearest
from pops.settings.fields import PathOrName, PathsOrNames, argument, setting, whole_numbers
from pops.settings.flags.parsing import parse, run_command


@dataclass(frozen=True, kw_only=True)
class Example:
    """One setting of every kind."""

    inputs: PathsOrNames = argument("inputs", "*")
    word: str = setting("plain", "a word")
    words: tuple[str, ...] = setting((), "words")
    optional: str | None = setting(None, "a word or none")
    count: int = setting(1, "how many")
    counts: tuple[int, ...] = setting((1,), "how many, each")
    share: float = setting(0.5, "a number")
    switch: bool = setting(False, "yes or no")
    out: Path = setting(Path("out"), "folder")
    folder: Path | None = setting(None, "folder or none")
    place: PathOrName = setting("pocket", "a name or a folder")
    places: PathsOrNames = setting((), "names or folders")
    size: int | None = setting(None, "pixels of 100% of a side")


Read = Callable[[str | bytes], Example]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    path = tmp_path_factory.mktemp("settings") / "settings.yaml"

    def call(content: str | bytes) -> Example:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        found = parse("example", Example, ["--config_path", str(path)])
        assert found is not None
        return found

    return call


def flags(*arguments: str) -> Example:
    found = parse("example", Example, arguments)
    assert found is not None
    return found


# Words


@pytest.mark.parametrize(
    "word",
    [
        "shiny",
        "on",
        "no",
        "010",
        "1e3",
        "true",
        "0x10",
        "1_000",
        "2024-06-05",
        ".inf",
        "1:30",
        "=",
        "+1",
    ],
)
def test_a_word_of_a_settings_file_is_what_is_written(word: str, read: Read) -> None:
    made = read(
        f"word: {word}\nwords: [{word}, {word}]\noptional: {word}\nout: {word}\nplace: {word}"
    )
    assert (made.word, made.words, made.optional) == (word, (word, word), word)
    assert (made.out, made.place) == (Path(word), word)


@given(text=st.text(st.characters(codec="utf-8"), max_size=30))
def test_any_text_that_yaml_writes_is_read_as_it_is(text: str, read: Read) -> None:
    content = yaml.safe_dump({"word": text, "words": [text, "b"], "optional": text})
    made = read(content)
    assert (made.word, made.words, made.optional) == (text, (text, "b"), text)


@given(
    scalar=st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.dates(),
        st.datetimes(),
        st.text(st.characters(codec="utf-8"), max_size=9),
    )
)
@example(scalar="~0")  # no such user
@example(scalar="a" * 5000)  # no file system has such a name
def test_any_scalar_is_taken_as_its_setting_wants_it_or_refused_by_name(
    scalar: object, read: Read
) -> None:
    for name in ("word", "words", "count", "counts", "share", "switch", "out", "size", "places"):
        try:
            made = read(yaml.safe_dump({name: scalar}))
        except UsageError as error:
            assert f"--{name} takes" in str(error)
        else:
            value = getattr(made, name)
            if name == "count":
                assert value == int(scalar) and not isinstance(scalar, bool | float)  # type: ignore[call-overload]
            if name == "counts":
                assert value == (scalar,) or isinstance(scalar, str)


@pytest.mark.parametrize(
    "value", ["true", "1.5", "[1.5]", "[true]", "1e3", "many", "[1, [2]]", "{a: 1}"]
)
def test_what_is_no_whole_number_is_refused(value: str, read: Read) -> None:
    with pytest.raises(UsageError, match="--counts "):
        read(f"counts: {value}")


def test_a_plain_null_is_none_and_a_quoted_one_a_word(read: Read) -> None:
    assert read("optional: null").optional is None
    assert read("optional: 'null'").optional == "null"
    assert read("words: ['null', null]").words == ("null", "null")
    assert flags("--optional", "null").optional is None


# Settings files


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_is_no_part_of_a_setting(encoding: str, read: Read) -> None:
    assert read("word: ünï\n".encode(encoding)).word == "ünï"


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_file_in_another_encoding_is_named(encoding: str, read: Read) -> None:
    with pytest.raises(UsageError, match=r"settings\.yaml is not UTF-8 text"):
        read("word: ünï\n".encode(encoding))


@pytest.mark.parametrize(
    "content, says",
    [
        ("words: &a [*a]", "--words takes a single value"),
        ("a: &a [x,x]\nwords: [*a,*a]", "--words takes a single value"),
        ("[" * 5000, "nested too deeply"),
        ("word: a\nword: b", "line 2: word is given twice"),
        ("- word", "holds no settings"),
        ("wrod: a", "unknown setting 'wrod': did you mean word?"),
        ("word: a\n---\nword: b", "is not YAML"),
        ("word: {a: b}", "--word takes a single value"),
        ("? [a]\n: b", "a plain word"),
        ("config_path: more.yaml", "config_path cannot be set in a file"),
    ],
)
def test_a_file_that_holds_no_settings_is_refused_by_name(
    content: str, says: str, read: Read
) -> None:
    with pytest.raises(UsageError) as caught:
        read(content)
    assert "settings.yaml" in str(caught.value) and says in str(caught.value)


def test_a_settings_file_without_a_name_is_none() -> None:
    for given_ in (["--config_path="], ["--config_path"], ["--config_path", "--", "a"]):
        with pytest.raises(UsageError, match="--config_path takes a settings file, but nothing is"):
            parse("example", Example, given_)


def test_an_empty_file_sets_nothing(read: Read) -> None:
    assert read("# nothing yet\n") == flags()


# The home folder


def test_the_home_folder_is_expanded_wherever_a_path_is_given(
    read: Read, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    home = str(tmp_path)
    for made in (
        read(
            "inputs: [~/a.png, _]\nout: ~/x\nfolder: ~/y\nplace: ~/s\nplaces: [~/a, ~/b]\nword: ~/w"
        ),
        flags(
            "~/a.png",
            "_",
            "--out=~/x",
            "--folder",
            "~/y",
            "--place=~/s",
            "--places=~/a,~/b",
            "--word=~/w",
        ),
    ):
        assert made.inputs == (f"{home}/a.png", "_")
        assert (made.out, made.folder, made.place) == (tmp_path / "x", tmp_path / "y", f"{home}/s")
        assert made.places == (f"{home}/a", f"{home}/b")
        assert made.word == "~/w"


# Flags


def test_all_that_stands_after_two_dashes_is_an_input() -> None:
    made = flags("--out", "o", "--", "-mug.png", "--count", "wood.png")
    assert made.inputs == ("-mug.png", "--count", "wood.png")
    assert made.out == Path("o") and made.count == 1


def test_inputs_may_stand_before_between_and_after_flags() -> None:
    assert flags("a", "--count", "3", "b", "--switch", "c").inputs == ("a", "b", "c")


def test_a_value_may_look_like_a_flag() -> None:
    assert flags("--share", "-1").share == -1
    assert flags("--word", "--x").word == "--x"


def test_a_path_with_a_comma_is_one_path_where_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    assert flags("--places", f"{tmp_path}/a,b").places == (f"{tmp_path}/a,b",)
    assert flags("--places", "gone,b").places == ("gone", "b")
    assert flags("--places", "['gone,b', c]").places == ("gone,b", "c")


def test_every_kind_of_setting_is_shown_in_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse("example", Example, ["--help"]) is None
    said = capsys.readouterr().out
    for shown in ("--count N", "--share X", "--words A,B", "--place PATH", "100% of a side"):
        assert shown in said


def test_printed_settings_are_read_as_they_were(
    capsys: pytest.CaptureFixture[str], read: Read
) -> None:
    given = ["a.png", "--word=010", "--words=on,null", "--optional=1e3", "--counts=3,4", "--switch"]
    assert parse("example", Example, [*given, "--print_config"]) is None
    assert read(capsys.readouterr().out) == flags(*given)


@pytest.mark.parametrize("size", ["64000", "4097", "0"])
def test_an_absurd_size_is_refused_in_a_line(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--render_size", size]) == 2
    assert "--render_size must be from 1 to 4096" in capsys.readouterr().err


@pytest.mark.parametrize(
    "word", ["-" * 100_000, "--" + "x" * 100_000, "x" * 100_000, "a/" * 50_000]
)
def test_a_word_of_any_length_makes_a_short_message(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for typed in ([word], ["apply", word], ["apply", "scene", word, word], ["run", f"'{word}'"]):
        assert main(typed) in (1, 2)
        said = capsys.readouterr().err
        assert said.startswith("pops: error: ") and len(said) < 2500


# Nearest names


@pytest.mark.parametrize(
    "name, known, near",
    [
        ("nofile.png", ["ice.png", "wood.png"], None),
        ("mugg.png", ["mug.png", "rug.png"], "mug.png"),
        ("MUG.PNG", ["mug.png"], "mug.png"),
        ("textring", ["texturing", "union"], "texturing"),
        ("qqqq", ["texturing", "union"], None),
        ("x", [], None),
    ],
)
def test_a_name_is_suggested_only_where_one_is_near(
    name: str, known: list[str], near: str | None
) -> None:
    assert nearest(name, known) == ("" if near is None else f": did you mean {near}?")


@pytest.mark.parametrize("given", ["--place=", "--places=a,", "--out=", "--folder="])
def test_an_empty_path_is_refused_and_is_not_the_folder_one_is_in(given: str) -> None:
    with pytest.raises(UsageError, match=f"{given.partition('=')[0]} takes .*path"):
        flags(given)
    with pytest.raises(UsageError, match="inputs takes paths or names"):
        flags("mug.png", "")


def test_the_separator_of_paths_is_that_of_the_system() -> None:
    assert flags("--out", f"a{os.sep}b").out == Path("a") / "b"


# Paths that the system cannot have


@pytest.mark.parametrize("odd", ["a\ud800b", "a" * 300, "b/" * 3000 + "c"])
@pytest.mark.parametrize("flag", ["out", "folder", "place", "places"])
def test_a_path_that_no_file_can_have_is_refused_in_a_line(flag: str, odd: str) -> None:
    with pytest.raises(UsageError, match=f"--{flag} takes ") as refusal:
        flags(f"--{flag}={odd}")
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize("key", ["out", "folder", "place", "places"])
def test_a_path_with_a_null_character_is_refused_in_a_settings_file(read: Read, key: str) -> None:
    with pytest.raises(UsageError, match=f"--{key} takes "):
        read(f'{key}: "a\\0b"')


# What the system says


@pytest.mark.parametrize(
    "error, says",
    [
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), "/a/b: permission denied"),
        (OSError(errno.ELOOP, "Too many levels of symbolic links", b"/a"), "/a: too many levels"),
        (OSError(errno.ENOSPC, "No space left on device"), "no space left on device; make room"),
    ],
)
def test_what_the_system_says_of_a_file_is_a_line(
    error: OSError, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(given: list[str]) -> int:
        raise error

    assert run_command("pops", [], fail) == 1
    said = capsys.readouterr().err
    assert says in said and "unexpected" not in said and len(said.splitlines()) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no folder that is in use")
def test_a_working_folder_that_is_gone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").mkdir()
    os.chdir("gone")
    (tmp_path / "gone").rmdir()
    assert main(["run", "texturing('a.png', 'b.png')"]) == 1
    assert "the folder that this was started in is gone" in capsys.readouterr().err


def test_a_worker_that_was_ended_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: list[str]) -> int:
        raise RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. ")

    assert run_command("pops", [], fail) == 1
    said = "pops: error: a worker process was ended, as the system does where memory runs out"
    assert capsys.readouterr().err.startswith(said)


def test_any_other_error_of_the_system_is_unexpected(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(given: list[str]) -> int:
        raise OSError(errno.EBADF, "Bad file descriptor")

    assert run_command("pops", [], fail) == 1
    assert "unexpected OSError" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given, numbers",
    [
        ("1..4", (1, 2, 3, 4)),
        ("[3..1]", (3, 2, 1)),
        ("18,1..2,7", (18, 1, 2, 7)),
        (["5..6", 9], (5, 6, 9)),
        ("4..4", (4,)),
    ],
)
def test_whole_numbers_may_be_given_as_a_range(given: object, numbers: tuple[int, ...]) -> None:
    assert whole_numbers(given) == numbers  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["1..", "..4", "1...4", "1..4..5", "1.5..3", "0..10000"])
def test_what_is_no_range_of_whole_numbers_is_refused(given: str) -> None:
    with pytest.raises(ValueError):
        whole_numbers(given)
