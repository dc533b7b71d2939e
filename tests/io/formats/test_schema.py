import json
import os
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pops.errors import DataError, InputError, OutputError, WeightsError
from pops.io.formats.schema import (
    Finite,
    Meta,
    PlainName,
    Schema,
    Share,
    decode_json,
    fit,
    read_json,
    read_lines,
    read_text,
    write_json,
)


class Card(Schema):
    name: PlainName
    steps: Annotated[int, Meta(ge=1, le=10)] = 1
    scale: Finite = 1.0
    share: Share = 0.5
    inputs: Annotated[tuple[str, ...], Meta(max_length=2)] = ()


def decode(text: str | bytes) -> Card:
    return decode_json(text, Card, WeightsError, "card.json")


def test_what_fits_is_read_with_its_defaults():
    assert decode('{"name": "a", "steps": 2}') == Card(name="a", steps=2)
    assert decode(b'\xef\xbb\xbf{"name": "a", "inputs": ["x"]}').inputs == ("x",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"name": "a", "stepps": 2}', "unknown field 'stepps'"),
        ('{"name": "a", "steps": 11}', "steps: Expected int <= 10"),
        ('{"name": "a", "steps": 1.5}', "steps: Expected int, got float"),
        ('{"name": "a", "steps": true}', "steps: Expected int, got bool"),
        ('{"name": "a", "scale": NaN}', "is not JSON"),
        ('{"name": "a", "scale": 1e999}', "scale: Number out of range"),
        ('{"name": "a", "inputs": ["a", 1]}', r"inputs\[1\]: Expected str"),
        ('{"name": "a", "inputs": ["a", "b", "c"]}', "inputs: Expected array of length <= 2"),
        ('{"name": "../a"}', "name: Expected str matching"),
        ('{"steps": 1}', "missing required field 'name'"),
        ('{"name": "a"', "damaged or is not JSON"),
        ("", "damaged or is not JSON"),
        (b'{"name": "\xff"}', "damaged or is not JSON"),
    ],
)
def test_what_does_not_fit_is_refused_by_file_and_field(text: str | bytes, said: str):
    with pytest.raises(WeightsError, match=rf"^card\.json: .*{said}") as caught:
        decode(text)
    assert "\n" not in str(caught.value)


def test_an_entry_ends_at_the_end_of_its_line_and_nowhere_else(tmp_path: Path):
    text = "rusty\u2028iron\r\nold\x0bwood\rred\x85brick\n# no entry\n\n"
    (tmp_path / "words.txt").write_bytes(text.encode())
    found = read_lines(tmp_path / "words.txt", InputError)
    assert found == ("rusty\u2028iron", "old\x0bwood", "red\x85brick")


def test_deep_nesting_is_refused():
    with pytest.raises(InputError, match="nested too deeply"):
        decode_json("[" * 100_000, Any, InputError, "deep.json")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e39])
def test_numbers_that_are_not_finite_do_not_fit(value: float):
    with pytest.raises(DataError, match="scale"):
        fit({"name": "a", "scale": value}, Card, DataError, "settings")


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\\b", "c:x", "a\0", "a\n"])
def test_a_name_that_leads_elsewhere_is_no_plain_name(name: str):
    with pytest.raises(DataError, match="name"):
        fit({"name": name}, Card, DataError, "manifest")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(JSON, st.sampled_from(["name", "steps", "scale", "share", "inputs", "other"]))
def test_any_value_in_any_field_fits_or_is_refused(value: Any, field: str):
    content = json.dumps({"name": "a"} | {field: value})
    try:
        assert isinstance(decode(content), Card)
    except WeightsError as error:
        assert str(error).startswith("card.json: ")


def test_a_file_too_large_is_refused_unread(tmp_path: Path):
    (tmp_path / "a.json").write_text('{"name": "a"}' + " " * 100)
    assert read_json(tmp_path / "a.json", Card, DataError).name == "a"
    with pytest.raises(DataError, match=r"a\.json is too large: such a file has at most 100 bytes"):
        read_json(tmp_path / "a.json", Card, DataError, most_bytes=100)


@pytest.mark.parametrize("place", ["gone.json", "folder", "a\0b"])
def test_what_is_no_file_is_named(tmp_path: Path, place: str):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="is missing|is a folder|cannot read"):
        read_json(tmp_path / place, Card, InputError)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(InputError, match="not a regular file"):
        read_json(tmp_path / "a.json", Card, InputError)


def test_a_text_is_read_without_its_mark_and_in_utf_8_alone(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes("\ufeffwood\r\nglass\r\n".encode())
    assert read_text(tmp_path / "a.txt", InputError) == "wood\nglass\n"
    (tmp_path / "a.txt").write_bytes("wood".encode("utf-16"))
    with pytest.raises(InputError, match="not UTF-8"):
        read_text(tmp_path / "a.txt", InputError)


@given(st.dictionaries(st.text(), st.text(st.characters(exclude_categories=()))))
def test_json_that_is_written_can_be_read_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, str]
):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.unlink(missing_ok=True)
    try:
        write_json(path, value)
    except OutputError as error:
        assert any("\ud800" <= letter <= "\udfff" for text in value.values() for letter in text)
        assert "any.json: a name in it is not UTF-8" in str(error)
        assert not path.exists()
    else:
        assert read_json(path, dict[str, str], InputError) == value
