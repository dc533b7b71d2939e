"""Uploads to the studio are refused in one friendly line, or are the same as the file itself."""

import base64
import io
import json
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from pops.engine import Engine
from pops.errors import InputError, UsageError
from pops.io.embeddings import Embeddings
from pops.studio.jobs.options import Options
from pops.studio.store import Store, StoredItem, plain_name
from pops.studio.uploads import read_upload
from tests.studio.studio_server import png_that_says

DIM = 32


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def _saved(embeds: torch.Tensor, stack: str | None = "pocket", **more: str) -> bytes:
    return save({"image_embeds": embeds}, {"stack": stack or "", **more})


class _Runs:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("the pickle ran",)


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        ("mug.png", pickle.dumps(_Runs()), "mug.png is not a picture"),
        (
            "mug.safetensors",
            pickle.dumps(_Runs()),
            "mug.safetensors is cut short or is not an embedding",
        ),
        ("mug.pth", b"x", "mug.pth is refused: embeddings are taken as .safetensors files only"),
        ("empty.png", b"", "empty.png is empty"),
        ("page.html", b"<html></html>", "it is text"),
        ("half.png", _png(Image.new("RGB", (64, 64)))[:60], "half.png is damaged or cut short"),
        ("../../etc/passwd", b"root:x:0:0", "passwd is not a picture"),
    ],
)
def test_what_is_no_input_is_named_with_its_reason(
    name: str, content: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError) as refused:
        read_upload(content, name, "pocket", DIM)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value) and "/tmp" not in str(refused.value)
    assert "ran" not in capsys.readouterr().out


def test_a_picture_of_900_megapixels_is_refused_from_its_header() -> None:
    content = png_that_says(30_000)
    assert len(content) < 10_000
    with pytest.raises(InputError, match="bomb.png is too large: more than 100 megapixels"):
        read_upload(content, "bomb.png", "pocket", DIM)


@pytest.mark.parametrize("size", [(64, 64), (512, 300), (700, 900), (1200, 40)])
def test_an_uploaded_picture_is_encoded_as_its_file_is(
    size: tuple[int, int], engine: Engine, tmp_path: Path
) -> None:
    noise = torch.randint(0, 256, (size[1], size[0], 3), dtype=torch.uint8).numpy()
    path = tmp_path / "noise.png"
    Image.fromarray(noise).save(path)
    item = read_upload(path.read_bytes(), "noise.png", engine.stack.name, engine.dim)
    alone, uploaded = (engine.encode([s]).image_embeds for s in (path, item.source))
    assert torch.equal(alone, uploaded)


def test_an_uploaded_embedding_is_the_embedding() -> None:
    embeds = torch.randn(1, DIM)
    item = read_upload(_saved(embeds), "made.safetensors", "pocket", DIM)
    assert isinstance(item.source, Embeddings)
    assert torch.equal(item.source.image_embeds, embeds)
    assert item.expression == "'made.safetensors'"


def test_no_metadata_of_an_upload_is_kept() -> None:
    told = {"expressions": json.dumps(["x" * 9000]), "seeds": "[7]", "guidance": "2.0"}
    content = _saved(torch.randn(1, DIM), **told, anything="y" * 100_000)
    item = read_upload(content, "made.safetensors", "pocket", DIM)
    assert item.size < 10_000
    assert item.embedding is not None and item.embedding.expressions == ("'made.safetensors'",)
    assert item.embedding.seeds == () and item.embedding.guidance is None


@pytest.mark.parametrize("nested", ["x" * 300_000, "[" * 150_000 + "]" * 150_000])
def test_a_file_that_is_too_large_for_one_embedding_is_not_read(nested: str) -> None:
    content = _saved(torch.randn(1, DIM), guidance=nested)
    with pytest.raises(InputError, match="larger than a file with one embedding can be"):
        read_upload(content, "made.safetensors", "pocket", DIM)


@pytest.mark.parametrize(
    "embeds, stack, said",
    [
        (torch.zeros(2, DIM), "pocket", "holds 2 embeddings"),
        (torch.zeros(1, 7), "pocket", "7 numbers"),
        (torch.zeros(1, DIM), "kandinsky-2.2", "of the stack kandinsky-2.2"),
        (torch.full((1, DIM), torch.nan), "pocket", "finite"),
    ],
)
def test_an_embedding_that_does_not_fit_is_refused(
    embeds: torch.Tensor, stack: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        read_upload(_saved(embeds, stack), "made.safetensors", "pocket", DIM)


def test_reading_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    read_upload(_png(Image.new("RGB", (8, 8))), "a.png", "pocket", DIM)
    with pytest.raises(InputError):
        read_upload(b"no", "b.png", "pocket", DIM)
    assert list(tmp_path.iterdir()) == []


@given(st.text(max_size=300))
def test_a_name_can_stand_in_an_expression_whatever_it_was(name: str) -> None:
    from pops.compose.parse import parse

    plain = plain_name(name)
    assert 0 < len(plain) <= 60 and "/" not in plain
    assert str(parse(repr(plain))) == repr(plain)
    assert plain_name(plain) == plain


def test_an_item_is_found_by_its_name_alone() -> None:
    store = Store(2**20)
    a, b = (store.add(StoredItem("figure", "x", shown=bytes([n]))) for n in (1, 2))
    assert a.id != b.id and len(a.id) >= 20
    assert (store.get(a.id).shown, store.get(b.id).shown) == (b"\1", b"\2")
    with pytest.raises(InputError, match="no longer here: add it again"):
        store.get(base64.b64encode(b"guess").decode())


def test_the_store_forgets_what_was_not_used_but_no_example() -> None:
    store = Store(10_000)
    store.add_example("objects/mug", StoredItem("example", "mug.png", shown=bytes(5000)))
    items = [store.add(StoredItem("figure", str(n), shown=bytes(4000))) for n in range(3)]
    assert store.bytes <= 10_000
    assert store.get("objects/mug").name == "mug.png"
    assert store.get(items[-1].id) is not None
    with pytest.raises(InputError):
        store.get(items[0].id)


@given(st.lists(st.tuples(st.text(max_size=9), st.text(max_size=99), st.integers(0, 9000))))
def test_what_is_kept_never_grows_beyond_its_bound(made: list[tuple[str, str, int]]) -> None:
    store = Store(20_000)
    for name, expression, size in made:
        item = store.add(StoredItem("figure", name, bytes(size), expression=expression))
        assert store.get(item.id) is item
        assert store.bytes <= 20_000
    assert store.bytes == sum(item.size for item in store._items.values())
    assert not made or store.bytes >= size + 4 * len(name + expression)


def test_what_is_larger_than_the_store_is_refused() -> None:
    with pytest.raises(InputError, match="vast.png is larger than all that the studio keeps"):
        Store(10_000).add(StoredItem("figure", "vast.png", bytes(10_000)))


@pytest.mark.parametrize(
    "given, said",
    [
        ({"seeds": []}, "--seeds is empty"),
        ({"seeds": ["a"]}, "seeds must be a list of whole numbers"),
        ({"seeds": "18"}, "seeds must be a list"),
        ({"seeds": list(range(17))}, "at most 16 pictures"),
        ({"seeds": [-1]}, "--seeds must be from 0"),
        ({"steps": 100_000}, "--steps must be from 1 to 250"),
        ({"steps": "25"}, "steps must be a whole number"),
        ({"steps": True}, "steps must be a whole number"),
        ({"guidance": float("nan")}, "guidance must be a number"),
        ({"guidance": "x"}, "guidance must be a number"),
        ({"renderer": "../x"}, "unknown renderer '../x'"),
        ({"sampler": None}, "sampler must be one of"),
        ({"render_guidance": 101}, "render_guidance must be a number from 0 to 100"),
        ({"weights": "/etc/passwd"}, "unknown setting 'weights'"),
        ([1], "the settings must be an object"),
    ],
)
def test_a_setting_that_cannot_be_is_named(given: object, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        Options.read(given)  # type: ignore[arg-type]
    assert said in str(refused.value)
