import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from safetensors.torch import save_file

from pops import __version__
from pops.errors import InputError, OutputError
from pops.io.embeddings import Embeddings, load_embeddings, save_embeddings
from pops.io.names import PICTURE_SUFFIXES, input_suffixes
from pops.io.sources import given_embedding


def some(n: int = 3) -> Embeddings:
    return Embeddings(
        torch.randn(n, 8),
        stack="pocket",
        expressions=tuple(f"scene('{i}.png', _)" for i in range(n)),
        seeds=tuple(range(18, 18 + n)),
        guidance=8.0,
    )


def same(a: Embeddings, b: Embeddings) -> bool:
    words = [(e.stack, e.expressions, e.seeds, e.guidance, e.version) for e in (a, b)]
    return torch.equal(a.image_embeds, b.image_embeds) and words[0] == words[1]


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
@pytest.mark.parametrize("embeddings", [some(), some(1), Embeddings(torch.randn(2, 8))])
def test_a_file_gives_back_what_was_saved(tmp_path: Path, suffix: str, embeddings: Embeddings):
    path = tmp_path / f"mug{suffix}"
    embeddings.save(path)
    assert same(Embeddings.load(path), embeddings)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # nothing beside it


def test_the_version_of_pops_is_kept(tmp_path: Path):
    save_embeddings(some(), tmp_path / "a.safetensors")
    assert load_embeddings(tmp_path / "a.safetensors").version == __version__


def test_our_pth_files_load_with_weights_only(tmp_path: Path):
    embeddings = some()
    save_embeddings(embeddings, tmp_path / "a.pth")
    content = torch.load(tmp_path / "a.pth", weights_only=True)
    assert torch.equal(content["image_embeds"], embeddings.image_embeds)


def test_an_ipadpt_file_is_the_bare_tensor_of_ip_adapter(tmp_path: Path):
    embeddings = some()
    embeddings.save(tmp_path / "a.ipadpt")
    content = torch.load(tmp_path / "a.ipadpt", weights_only=True)
    assert torch.equal(content, embeddings.image_embeds)
    assert torch.equal(load_embeddings(tmp_path / "a.ipadpt").image_embeds, content)
    embeddings.save(tmp_path / "b.ipadpt")
    assert (tmp_path / "a.ipadpt").read_bytes() == (tmp_path / "b.ipadpt").read_bytes()


@pytest.mark.parametrize("guided", [True, False])
def test_the_list_that_diffusers_saves_for_an_ip_adapter_is_read(tmp_path: Path, guided: bool):
    rows = torch.randn(1, 3, 8)  # one prompt, three pictures
    saved = torch.cat([torch.zeros_like(rows), rows]) if guided else rows
    torch.save([saved], tmp_path / "a.ipadpt")
    assert torch.equal(load_embeddings(tmp_path / "a.ipadpt").image_embeds, rows[0])


def test_the_embeddings_of_several_ip_adapters_are_refused(tmp_path: Path):
    torch.save([torch.randn(2, 1, 8), torch.randn(2, 1, 8)], tmp_path / "a.ipadpt")
    with pytest.raises(
        InputError, match=r"a\.ipadpt holds a list that is not of the embeddings of"
    ):
        load_embeddings(tmp_path / "a.ipadpt")


def test_a_published_pickle_is_read(golden: Path, expected: dict[str, torch.Tensor]):
    embeddings = load_embeddings(golden / "inputs/texturing_ab_s_18_cfg_8_img_emb.pth")
    torch.testing.assert_close(embeddings.image_embeds, expected["operator/texturing_s18"])


def test_a_bare_tensor_is_read(tmp_path: Path):
    row = torch.randn(8)
    torch.save(row, tmp_path / "a.pth")
    torch.testing.assert_close(load_embeddings(tmp_path / "a.pth").image_embeds, row[None])


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.target,)


def test_a_malicious_pickle_is_refused_and_nothing_runs(tmp_path: Path):
    touched = tmp_path / "touched"
    torch.save({"image_embeds": Malicious(touched)}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match="refused"):
        load_embeddings(tmp_path / "evil.pth")
    assert not touched.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.98])
def test_a_file_cut_short_anywhere_is_named(tmp_path: Path, suffix: str, kept: float):
    path = tmp_path / f"cut{suffix}"
    save_embeddings(some(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InputError, match="cut"):
        load_embeddings(path)


@pytest.mark.parametrize(
    "content",
    [
        {"something": torch.zeros(2, 8)},
        {"image_embeds": torch.zeros(2, 2, 8)},
        {"image_embeds": torch.zeros(2, 8, dtype=torch.long)},
        {"image_embeds": torch.full((1, 8), torch.nan)},
        {"image_embeds": torch.zeros(1, 8), "seeds": "[1, 2]"},
        {"image_embeds": torch.zeros(1, 8), "expressions": "[cut"},
        [torch.zeros(1, 8)],
    ],
)
def test_what_is_no_embedding_is_refused(tmp_path: Path, content: object):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(InputError, match=r"odd\.pth"):
        load_embeddings(tmp_path / "odd.pth")


@given(st.binary(max_size=300), st.sampled_from([".pth", ".safetensors"]))
def test_bytes_that_are_no_embeddings_are_named(content: bytes, suffix: str):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"noise{suffix}"
        path.write_bytes(content)
        with pytest.raises(InputError, match="noise"):
            load_embeddings(path)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"no\.pth is missing"):
        load_embeddings(tmp_path / "no.pth")


def test_an_unwritable_place_is_named_and_nothing_left(tmp_path: Path):
    with pytest.raises(OutputError, match="nowhere"):
        some().save(tmp_path / "nowhere" / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


@given(st.integers(1, 6), st.data())
def test_rows_keep_their_own_words(n: int, data: st.DataObject):
    embeddings = some(n)
    index = data.draw(st.lists(st.integers(0, n - 1), min_size=1))
    part = embeddings[index]
    assert torch.equal(part.image_embeds, embeddings.image_embeds[index])
    assert part.seeds == tuple(embeddings.seeds[i] for i in index)
    assert part.expressions == tuple(embeddings.expressions[i] for i in index)


def test_iteration_gives_every_row():
    embeddings = some(3)
    assert [e.seeds for e in embeddings] == [(18,), (19,), (20,)]
    assert same(embeddings[-1], embeddings[2])
    assert len(embeddings[1:]) == 2


def test_words_for_other_rows_are_refused():
    with pytest.raises(ValueError, match="2 seeds for 1 embeddings"):
        Embeddings(torch.zeros(1, 8), seeds=(1, 2))
    with pytest.raises(ValueError, match="are \\(N, D\\)"):
        Embeddings(torch.zeros(8))


@pytest.mark.parametrize("name", ["a.SAFETENSORS", "a.Pth", "a.PT"])
def test_the_case_of_an_ending_does_not_matter(tmp_path: Path, name: str):
    embeddings = some(1)
    embeddings.save(tmp_path / name)
    assert same(load_embeddings(tmp_path / name), embeddings)
    assert same(given_embedding(tmp_path / name), embeddings)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.ipadpt", "a.bin", "a.pt", "a.safetensors"])
def test_a_plain_array_of_any_kind_is_read(tmp_path: Path, name: str):
    path, rows = tmp_path / name, torch.randn(2, 8)
    if path.suffix == ".npy":
        np.save(path, np.asfortranarray(rows.numpy()))
    elif path.suffix == ".npz":
        np.savez_compressed(path, embeds=rows.numpy())
    elif path.suffix == ".safetensors":
        save_file({"embeds": rows}, path)
    else:
        torch.save(rows, path)
    assert torch.equal(load_embeddings(path).image_embeds, rows)


def test_an_array_of_several_must_be_named(tmp_path: Path):
    np.savez(tmp_path / "a.npz", image_embeds=np.ones((1, 4), np.float16), other=np.zeros(3))
    assert load_embeddings(tmp_path / "a.npz").image_embeds.tolist() == [[1.0] * 4]
    np.savez(tmp_path / "a.npz", one=np.ones((1, 4)), other=np.zeros(3))
    with pytest.raises(InputError, match=r"a\.npz holds 2 arrays, but none named image_embeds"):
        load_embeddings(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", image_embeds=np.array([{}], object))
    with pytest.raises(InputError, match=r"a\.npz: image_embeds: .* holds object, not numbers"):
        load_embeddings(tmp_path / "a.npz")


@pytest.mark.parametrize("kind", [">f4", "<f8", ">f8", ">f2", np.longdouble])
def test_a_plain_array_is_read_whatever_its_numbers_are_kept_as(tmp_path: Path, kind: str):
    np.save(tmp_path / "a.npy", np.array([[1.5, -2.0]], dtype=kind))
    assert load_embeddings(tmp_path / "a.npy").image_embeds.tolist() == [[1.5, -2.0]]


def test_an_array_of_objects_is_refused_and_nothing_runs(tmp_path: Path):
    touched = tmp_path / "touched"
    np.save(tmp_path / "a.npy", np.array([[Malicious(touched)]], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"a\.npy"):
        load_embeddings(tmp_path / "a.npy")
    assert not touched.exists()


def test_an_array_whose_header_says_more_than_is_there_is_refused_unread(tmp_path: Path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1099511627776), }"
    header = header.ljust(117) + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header)
    with pytest.raises(InputError, match=r"a\.npy"):
        load_embeddings(tmp_path / "a.npy")


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16])
@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
def test_small_formats_of_numbers_are_read(tmp_path: Path, name: str, dtype: torch.dtype):
    rows = torch.tensor([[0.5, -2.0, 1.0, 0.0]])
    save = save_file if name == "a.safetensors" else torch.save
    save({"image_embeds": rows.to(dtype)}, tmp_path / name)
    assert torch.equal(load_embeddings(tmp_path / name).image_embeds, rows)


def test_a_number_that_float32_cannot_hold_is_refused(tmp_path: Path):
    for name, save in (("a.pth", torch.save), ("a.npy", lambda rows, path: np.save(path, rows))):
        save(torch.tensor([[1e39, 0.0]], dtype=torch.float64), tmp_path / name)
        with pytest.raises(InputError, match=rf"{name}.*finite float32"):
            load_embeddings(tmp_path / name)


def test_a_sparse_tensor_is_refused_in_words(tmp_path: Path):
    torch.save({"image_embeds": torch.eye(3).to_sparse()}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="more than plain embeddings"):
        load_embeddings(tmp_path / "a.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_tensor_that_repeats_one_number_without_holding_it_is_refused(
    tmp_path: Path, zipped: bool
):
    vast = torch.zeros(1).expand(1, 2**30)
    path = tmp_path / "a.pth"
    torch.save({"image_embeds": vast}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"a\.pth"):
        load_embeddings(path)


class Vast:
    def __reduce__(self) -> tuple[object, tuple[int]]:
        return bytearray, (2**40,)


def test_what_torch_would_allocate_for_a_file_is_refused(tmp_path: Path):
    torch.save({"image_embeds": torch.zeros(1, 4), "seeds": Vast()}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="more than plain embeddings"):
        load_embeddings(tmp_path / "a.pth")


def test_a_compressed_archive_is_refused(tmp_path: Path):
    some().save(tmp_path / "a.pth")
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as whole,
        zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for entry in whole.namelist():
            small.writestr(entry, whole.read(entry))
    with pytest.raises(InputError, match="refused"):
        load_embeddings(tmp_path / "b.pth")


def test_metadata_as_plain_values_is_read(tmp_path: Path):
    content = {"image_embeds": torch.zeros(2, 4), "seeds": [1, 2], "guidance": 8, "stack": None}
    torch.save(content | {"expressions": ("a", "b"), "epoch": 3}, tmp_path / "a.pth")
    read = load_embeddings(tmp_path / "a.pth")
    assert (read.seeds, read.guidance, read.expressions) == ((1, 2), 8.0, ("a", "b"))


def test_deep_metadata_is_refused_by_name(tmp_path: Path):
    save_file(
        {"image_embeds": torch.zeros(1, 4)}, tmp_path / "a.safetensors", {"seeds": "[" * 9999}
    )
    with pytest.raises(InputError, match=r"a\.safetensors: its metadata seeds: is nested"):
        load_embeddings(tmp_path / "a.safetensors")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_equal_embeddings_are_equal_bytes(tmp_path: Path, suffix: str):
    embeddings = Embeddings(torch.randn(2, 8), "é\x7f\x00", ('"\\', "木"), (1, 2), 8.0)
    contents = set()
    for number in range(8):
        embeddings.save(tmp_path / f"{number}{suffix}")
        contents.add((tmp_path / f"{number}{suffix}").read_bytes())
        assert same(load_embeddings(tmp_path / f"{number}{suffix}"), embeddings)
    assert len(contents) == 1


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.ipadpt"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_is_not_written(tmp_path: Path, name: str, value: float):
    with pytest.raises(OutputError, match=name):
        Embeddings(torch.tensor([[0.0, value]])).save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        st.sampled_from([np.float16, np.float32, np.float64]),
        st.tuples(st.integers(1, 3), st.integers(1, 4)),
    ),
    st.sampled_from([".npy", ".npz", ".pth", ".safetensors"]),
)
def test_any_finite_array_is_read_and_any_other_refused(array: np.ndarray, suffix: str):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"any{suffix}"
        if suffix == ".npy":
            np.save(path, array)
        elif suffix == ".npz":
            np.savez(path, array)
        else:
            save = save_file if suffix == ".safetensors" else torch.save
            save({"image_embeds": torch.from_numpy(array)}, path)
        rows = torch.from_numpy(array).float()
        if rows.isfinite().all():
            assert torch.equal(load_embeddings(path).image_embeds, rows)
        else:
            with pytest.raises(InputError, match="any"):
                load_embeddings(path)


def test_the_endings_are_those_of_pillow():
    kinds = {"AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"}
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in kinds}
    assert set(PICTURE_SUFFIXES) == known
    assert {".ipadpt", ".pt", ".gif", ".avif", ".jpg"} <= set(input_suffixes())
    assert not {".npy", ".npz", ".bin"} & set(input_suffixes())  # masks lie beside pictures
