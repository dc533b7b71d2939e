"""Compositions are read or refused, part by part; nothing of a text is ever evaluated."""

import os
import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import pops
from pops.compose.calls import add, direction, mean, mix, slerp, swap
from pops.compose.calls import text as made_from
from pops.compose.functions import functions
from pops.compose.nodes import FUNCTION_NAMES, MOST_DEPTH, Apply, Leaf, Node, Number, Sweep
from pops.compose.parse import parse
from pops.errors import PopsError, UsageError
from pops.io.embeddings import Embeddings
from pops.operators import OPERATORS

A, B = Leaf("a.png"), Leaf("b.png")


def refusal(text: str) -> list[str]:
    """The lines of the error that reading `text` gives."""
    with pytest.raises(UsageError) as caught:
        parse(text)
    return str(caught.value).split("\n")


def named_files() -> st.SearchStrategy[str]:
    return st.text(min_size=1, max_size=12).filter(lambda s: s.strip() and "\0" not in s)


def numbers(least: float, most: float) -> st.SearchStrategy[Number]:
    """A number, or a range of numbers."""
    single = st.floats(least, most)
    ends = st.tuples(single, single).filter(lambda two: two[0] != two[1])
    return single | st.builds(lambda two, count: Sweep(*two, count), ends, st.integers(2, 999))


def compositions() -> st.SearchStrategy[Node]:
    def larger(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        def applied(name: str) -> st.SearchStrategy[Node]:
            row = OPERATORS[name]
            least = row.min_inputs or len(row.inputs)
            slots = st.lists(inner | st.none(), min_size=least, max_size=len(row.inputs))
            texts = st.text(max_size=9) if row.takes_text else st.none()

            def make(given: list[Node | None], text: str | None, strength: Number) -> Apply:
                return Apply(name, tuple(given), text, strength if any(given) else 1.0)

            return st.builds(make, slots, texts, numbers(0, 1))

        weights = st.lists(numbers(0.1, 9), min_size=3, max_size=3)
        words = st.text(max_size=9)
        texts = words | st.lists(words, min_size=2, max_size=4)
        ranks = st.integers(1, 99) | st.none()
        return st.one_of(
            st.sampled_from(sorted(OPERATORS)).flatmap(applied),
            st.builds(mean, inner, inner, numbers(0, 1)),
            st.builds(slerp, inner, inner, numbers(0, 1)),
            st.builds(add, inner, inner, numbers(-100, 100)),
            st.builds(direction, inner, inner),
            st.builds(lambda a, b, c, w: mix(a, b, c, weights=w), inner, inner, inner, weights),
            st.builds(mix, inner, inner),
            st.builds(lambda a, b, t, r: swap(a, b, t, rank=r), inner, inner, texts, ranks),
        )

    said = st.builds(
        lambda words, negative, scale: made_from(words, negative=negative, guidance=scale),
        st.text(max_size=12),
        st.text(max_size=9),
        numbers(0, 100),
    )
    return st.recursive(named_files().map(Leaf) | said, larger, max_leaves=8)


# What is read


@settings(deadline=None)  # the first call of a session is slow
@given(compositions())
def test_what_is_printed_is_read_back_as_the_same(composition: Node) -> None:
    assert parse(str(composition)) == composition


def test_text_says_operators_files_texts_weights_and_what_is_left_out() -> None:
    made = parse("mean(scene(instruct('a.png', 'shiny'), _), clothes('b.png'), 0.3)")
    scene = Apply("scene", (Apply("instruct", (A,), "shiny"), None))
    assert made == mean(scene, Apply("clothes", (B,)), 0.3)


@pytest.mark.parametrize(
    "text, same",
    [
        (" texturing( 'a.png','b.png' )\n", "texturing('a.png', 'b.png')"),
        ('texturing("a.png", "b.png",)  # wood', "texturing('a.png', 'b.png')"),
        ("texturing('a.png',\n\n  'b.png')", "texturing('a.png', 'b.png')"),
        ("texturing(texture='b.png', object='a.png')", "texturing('a.png', 'b.png')"),
        ("instruct(object='a.png', text='shiny')", "instruct('a.png', 'shiny')"),
        ("clothes(skirt='b.png', hat='a.png')", "clothes('a.png', _, _, _, 'b.png')"),
        ("clothes(upper_clothes='a.png')", "clothes(_, _, _, 'a.png')"),
        ("mean('a.png', 'b.png')", "mean('a.png', 'b.png', 0.5)"),
        ("mean('a.png', 'b.png', weight=1)", "mean('a.png', 'b.png', 1.0)"),
        (r"scene('dir\wood.png', _)", r"scene('dir\\wood.png', _)"),
        ("'a.png'", "'a.png'"),
        ("text(words='a cup', negative='')", "text('a cup')"),
        ("text('a cup', guidance=4)", "text('a cup')"),
        ("texturing('a.png', 'b.png', strength=1)", "texturing('a.png', 'b.png')"),
        ("texturing('a.png', 'b.png', strength=.6)", "texturing('a.png', 'b.png', strength=0.6)"),
        ("slerp('a.png', 'b.png', t=0..1)", "slerp('a.png', 'b.png', 0..1:2)"),
        ("slerp('a.png', 'b.png', 0.25..1e-1:3)", "slerp('a.png', 'b.png', 0.25..0.1:3)"),
        ("add('a.png', 'b.png', -3..+3)", "add('a.png', 'b.png', -3..3:7)"),
        (
            "mix('a.png', 'b.png', weights=[1, 0..1:5])",
            "mix('a.png', 'b.png', weights=[1.0, 0..1:5])",
        ),
        ("swap('a.png', '0..1', 'pattern')", "swap('a.png', '0..1', 'pattern')"),
        ("swap('é', 'b', ['x', \"y\"], rank=2)  # 0..1", "swap('é', 'b', ['x', 'y'], rank=2)"),
    ],
)
def test_the_same_can_be_written_in_several_ways(text: str, same: str) -> None:
    assert str(parse(text)) == same


def test_two_names_of_one_file_are_one_leaf() -> None:
    there = Path.cwd() / "a.png"
    assert parse("'a.png'") == parse("'./a.png'") == parse(repr(str(there))) == Leaf(there) == A
    assert len({A, Leaf("./a.png"), B}) == 2


def test_the_home_folder_is_found_in_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", os.sep + "home")
    assert parse("'~/a.png'") == Leaf(Path(os.sep, "home", "a.png"))
    odd = Leaf("./~")  # a file of that name
    assert parse(str(odd)) == odd


# In Python


def test_calling_operators_builds_what_the_text_says() -> None:
    made = pops.scene(pops.texturing("a.png", Path("b.png")), None)
    assert made == parse("scene(texturing('a.png', 'b.png'), _)")
    assert (
        mean(A, "b.png", 0.3)
        == pops.mean("a.png", B, weight=0.3)
        == parse("mean('a.png', 'b.png', 0.3)")
    )
    assert pops.instruct("a.png", text="dark") == pops.instruct("a.png", "dark")
    assert repr(made) == "scene(texturing('a.png', 'b.png'), _)"


@pytest.mark.parametrize("name", [*OPERATORS, *FUNCTION_NAMES])
def test_every_operator_is_a_function_of_the_package_and_says_what_it_takes(name: str) -> None:
    function = getattr(pops, name)
    assert function is functions(OPERATORS)[name]
    assert name in pops.__all__ and function.__name__ == name
    for slot in OPERATORS[name].inputs if name in OPERATORS else signature(function).parameters:
        assert slot.replace("-", "_") in (function.__doc__ or "")


def test_open_pictures_and_embeddings_are_inputs_each_equal_to_itself_alone() -> None:
    picture, tensor = Image.new("RGB", (4, 4)), torch.zeros(3)
    embedding = Embeddings(torch.zeros(1, 3), expressions=("scene('a.png', _)",))
    made = pops.clothes(picture, tensor, embedding)
    assert str(made) == "clothes(picture, embedding, scene('a.png', _))"
    assert made == pops.clothes(picture, tensor, embedding)
    assert made != pops.clothes(picture.copy(), tensor, embedding)


@pytest.mark.parametrize("value", [3, 0.5, True, b"a", ["a.png"], object()])
def test_what_cannot_be_an_input_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="is not an input"):
        pops.scene(value, "b.png")


def test_a_function_of_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="textring"):
        _ = pops.compose.parse.textring  # type: ignore[attr-defined]


def test_building_a_composition_imports_no_torch() -> None:
    code = (
        "import sys, pops; pops.scene(pops.texturing('a', 'b'), None);print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# What is refused


@pytest.mark.parametrize(
    "text, says, under",
    [
        ("textring('a', 'b')", "did you mean texturing?", "textring"),
        ("scene(unoin('a', 'b'), 'c')", "did you mean union?", "unoin"),
        ("meen('a', 'b')", "did you mean mean?", "meen"),
        ("qqqq('a')", "the operators are texturing, union", "qqqq"),
        ("scene(texturing('a'), 'b')", "takes 2 inputs (object, texture), not 1", "texturing"),
        ("scene('a', 'b', 'c')", "(object, background), not 3", "scene"),
        ("clothes()", "1 to 12 inputs (hat, hair,", "clothes"),
        ("instruct('a')", "instruct needs a text beside its object", "instruct"),
        ("instruct('a', scene('b', 'c'))", "must be a quoted text", "instruct"),
        ("instruct('a', 3)", "must be a quoted text", "instruct"),
        ("scene('a', textur='b')", "scene has no input 'textur'", "scene"),
        ("scene('a', bakground='b')", "did you mean background?", "scene"),
        ("scene('a', object='b')", "object is given twice", "scene"),
        ("scene(object='a', object='b')", "object is given twice", "object='b'"),
        ("texturing(texture='b')", "not 1", "texturing"),
        ("scene('a', text='b', background='c')", "takes no text", "scene"),
        ("mean('a')", "mean takes (a, b, weight)", "mean"),
        ("mean('a', _)", "none can be left out", "mean"),
        ("mean('a', 'b', 2)", "a number from 0 to 1", "mean"),
        ("mean('a', 'b', 'c')", "a number from 0 to 1", "mean"),
        ("mix('a')", "mix takes two or more inputs", "mix"),
        ("mix('a', _)", "mix needs both of its inputs", "mix"),
        ("mix('a', 'b', weights=[1])", "must be 2 numbers of 0 or more", "mix"),
        ("mix('a', 'b', weights=[1, -1])", "must be 2 numbers of 0 or more", "mix"),
        ("mix('a', 'b', weights=[0, 0])", "are all 0", "mix"),
        ("mix('a', 'b', weights=['x', 'y'])", "must be 2 numbers of 0 or more", "mix"),
        ("slerp('a', 'b', 1.5)", "the t of slerp must be a number from 0 to 1", "slerp"),
        ("slerp('a', 'b', 0..2)", "the t of slerp must be a number from 0 to 1", "slerp"),
        ("add('a', 'b', 'c')", "the amount of add must be a number from -100 to 100", "add"),
        ("text(5)", "text takes a quoted text", "text"),
        ("text(scene('a', 'b'))", "text takes a quoted text", "text"),
        ("text('a', guidance=-1)", "the guidance of text must be a number from 0 to 100", "text"),
        ("text('a', 'b')", "text takes (words, negative, guidance)", "text"),
        ("txt('a')", "did you mean text?", "txt"),
        ("swap('a', 'b', ['x'])", "two or more texts in brackets", "swap"),
        ("swap('a', 'b', [1, 2])", "two or more texts in brackets", "swap"),
        ("swap('a', 'b', 'x', rank=0)", "a whole number of 1 or more", "swap"),
        (
            "texturing('a', 'b', strength=1.1)",
            "strength of texturing must be a number from",
            "texturing",
        ),
        ("texturing(_, _, strength=0.5)", "give the input that it begins at", "texturing"),
        ("slerp('a', 'b', 0.1..0.9)", "say how many values", "0.1..0.9"),
        ("slerp('a', 'b', 0..1:1)", "a range must have from 2 to 1000 values", "0..1:1"),
        ("slerp('a', 'b', 1..1)", "the ends of a range must be finite numbers", "1..1"),
        ("slerp('é', 'b', 0..1:9999)", "from 2 to 1000 values", "0..1:9999"),
        ("scene('a', 0..1)", "0..1:2 is not an input", "scene"),
        ("scene(['a', 'b'], 'b')", "is not an input", "scene"),
        ("scene('a', [['b']])", "is not allowed", "['b']"),
        ("scene(mug.jpg, 'b')", "quoted, as in 'mug.jpg'", "mug.jpg"),
        ("scene(photos/mug.jpg, 'b')", "quoted, as in 'photos/mug.jpg'", "photos"),
        ("scene(mug, 'b')", "quoted, as in 'mug'", "mug"),
        ("scene('a', '')", "'' is not the name of a file", "''"),
        ("scene('a', 5)", "5 is not an input", "scene"),
        ("_", "cannot be _ alone", "_"),
        ("5", "5 is not an input", "5"),
        ("scene('a', 'b'", "'(' was never closed", "("),
        ("scene('a', 'b'))", "unmatched ')'", "')')"),
        ("scene('a 'b')", "cannot read the composition", ""),
        ("scene('a', \n textring('b', 'c'))", "did you mean texturing?", "textring"),
    ],
)
def test_a_mistake_is_named_and_shown_where_it_is(text: str, says: str, under: str) -> None:
    said, line, caret = refusal(text)
    assert says in said
    assert line[2:] in text.split("\n")
    if under != "')')":
        assert line[caret.index("^") :].startswith(under)
    else:
        assert line[caret.index("^") :] == ")"


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').mkdir('made')",
        "os.mkdir('made')",
        "open('made', 'w')",
        "eval(\"open('made', 'w')\")",
        "scene(open('made', 'w'), 'b')",
        "scene.__class__('a')",
        "scene('a', 'b').__class__",
        "(lambda: open('made', 'w'))()",
        "[open('made', 'w') for _ in 'a'][0]",
        "scene(*[open('made', 'w')])",
        "scene(**{'a': open('made', 'w')})",
        "scene(f\"{open('made', 'w')}\", 'b')",
        "scene('a' + 'b', 'c')",
        "scene('%s' % 'a', 'c')",
        "scene('a' if True else 'b', 'c')",
        "scene((x := 'a'), 'b')",
        "scene(b'a', 'b')",
        "scene(True, 'b')",
        "scene(None, 'b')",
        "scene(..., 'b')",
        "scene(1j, 'b')",
        "scene(-1, 'b')",
        "scene(['a'], 'b')",
        "scene({'a'}, 'b')",
        "scene('a'[0], 'b')",
        "scene('a' 'b' < 'c', 'd')",
        "scene(scene, 'b')",
        "_('a')",
        "_Leaf('a')",
        "await scene('a', 'b')",
        "import os",
        "x = 'a'",
        "scene('a', 'b'); open('made', 'w')",
        "def f(): pass",
        "",
        "  \n ",
        "# scene('a', 'b')",
        "scene('a', 'b')\nscene('a', 'b')",
        "scene('a\0', 'b')",
        "scene('a\\0', 'b')",
        "scene('\ud800', 'b')",
        "scene('\\N{no such letter}', 'b')",
        "\ufeffscene('a', 'b')",
        "9" * 9999,
        "1e999",
    ],
)
def test_everything_else_is_refused_and_nothing_is_evaluated(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refusal(text)
    assert not list(tmp_path.iterdir())


def test_the_caret_stands_under_the_place_in_any_script() -> None:
    said, line, caret = refusal("scene('é杯', textring('b', 'c'))")
    assert line.index("textring") + 1 == caret.index("^")  # 杯 is two columns wide
    said, line, caret = refusal("scene('a\x1b[31m\tb', textring('b', 'c'))")
    assert "\x1b" not in line and line[caret.index("^") :].startswith("textring")


def test_of_a_long_line_the_part_around_the_place_is_shown() -> None:
    said, line, caret = refusal(f"scene('{'x' * 500}', textring('{'y' * 500}', 'z'))")
    assert len(line) < 90 and line.startswith("  ...") and line.endswith("...")
    assert line[caret.index("^") :].startswith("textring")


# Depth and length


def nested(depth: int) -> str:
    return "scene(" * depth + "'a'" + ", 'b')" * depth


def test_a_deep_composition_is_read_printed_and_compared() -> None:
    deepest = parse(nested(MOST_DEPTH))
    assert str(deepest) == nested(MOST_DEPTH)
    assert deepest == parse(nested(MOST_DEPTH)) and hash(deepest)


@pytest.mark.parametrize("depth", [MOST_DEPTH + 1, 150, 199, 200, 201, 1000, 7000])
def test_deeper_nesting_than_that_is_refused(depth: int) -> None:
    assert "nested too deeply" in refusal(nested(depth))[0]
    made: Node = A
    with pytest.raises(UsageError, match="nested too deeply"):
        for _ in range(depth):
            made = pops.scene(made, None)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 90_000,
        "-" * 90_000 + "1",
        "not " * 20_000 + "1",
        "a" + ".b" * 40_000,
        "scene" + "()" * 40_000,
        "lambda:" * 12_000 + "1",
        "1 if 1 else " * 8_000 + "1",
        "1**" * 30_000 + "1",
        "1+" * 40_000 + "1",
        "[" * 199 + "]" * 199,
        "'a'" * 30_000,
        "f'{" * 30_000,
        "scene(" * 90 + "'a'",
        "x" * 100_001,
    ],
)
def test_a_text_made_to_exhaust_the_reader_is_refused_like_any_other(text: str) -> None:
    refusal(text + " !")


def test_sharing_parts_of_parts_cannot_make_an_endless_composition() -> None:
    made: Node = A
    with pytest.raises(UsageError, match="too long: more than 10000 parts"):
        for _ in range(50):
            made = pops.union(made, made)


# Whatever is written


TOKENS = [
    *functions(OPERATORS),
    *("(", ")", ",", "=", "_", "'a.png'", '"b"', "0.3", "object", "text", "*", "**", "[", "]"),
    *("..", "0..1:3", "strength", "-", "weights", "'wood'"),
    *("lambda", ":", ".", "\n", " ", "#", "\\", "'", "f'", "{", "}", "\0", "é", "-", "None", "if"),
]


@settings(deadline=None)
@given(st.text(max_size=60) | st.lists(st.sampled_from(TOKENS), max_size=24).map("".join))
def test_any_text_is_a_composition_or_one_error_with_its_place(text: str) -> None:
    try:
        made = parse(text)
    except PopsError as error:
        message, *place = str(error).split("\n")
        assert message and len(place) in (0, 2)
    else:
        assert parse(str(made)) == made


@settings(deadline=None)
@given(st.sampled_from(["texturing", "instruct", "mean", "clothes"]), st.data())
def test_any_call_in_python_builds_a_composition_or_is_one_error(
    name: str, data: st.DataObject
) -> None:
    values = st.none() | st.text(max_size=4) | st.floats() | st.just(A) | st.booleans()
    keys = st.sampled_from(["object", "texture", "text", "hat", "a", "b", "weight"])
    inputs = data.draw(st.lists(values, max_size=4))
    named = data.draw(st.dictionaries(keys, values, max_size=2))
    try:
        made = functions(OPERATORS)[name](*inputs, **named)
    except (PopsError, TypeError) as error:
        assert isinstance(error, PopsError) or name == "mean"
    else:
        assert parse(str(made)) == made
