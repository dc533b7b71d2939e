import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pops import __version__
from pops.errors import InputError, OutputError
from pops.io.embeddings import Embeddings, load_embeddings, save_embeddings


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
