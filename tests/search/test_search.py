"""Indexes of pictures, and what is found in them: exactly, by LanceDB, by the renderer `find`."""

import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pops.cli.main import main
from pops.engine import Engine
from pops.errors import DataError, UsageError
from pops.io.pictures import save_picture
from pops.search.build import build_index, list_pictures
from pops.search.exact import Index, nearest_rows
from pops.search.format import IndexFile, IndexShard, write_index_file, write_shard
from pops.search.lance import LanceIndex, write_table
from pops.search.stats import measure

DIM = 32


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Seven small pictures, two of them in a folder of their own, and what is none."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c", "d", "e", "more/f", "more/g"):
        noise = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        save_picture(Image.fromarray(noise), folder / f"{name}.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def made_index(folder: Path, rows: np.ndarray, shards: int = 2) -> Path:
    """An index of embeddings that are given, without any picture."""
    folder.mkdir(parents=True)
    write_index_file(folder, IndexFile("pocket", {}, rows.shape[1], str(folder)))
    for number, part in enumerate(np.array_split(np.arange(len(rows)), shards)):
        names = [f"{row}.png" for row in part]
        write_shard(folder, number, IndexShard(names, rows[part].astype(np.float16), {}))
    return folder


# Building


def test_an_index_holds_every_picture_below_its_folder(
    engine: Engine, pictures: Path, tmp_path: Path
) -> None:
    names = list_pictures(pictures)
    assert names == ["a.png", "b.png", "c.png", "d.png", "e.png", "more/f.png", "more/g.png"]
    assert build_index(tmp_path / "i", pictures, names, engine.stack, batch=3) == {}
    index = Index(tmp_path / "i")
    assert [index.path(row) for row in range(len(index))] == [pictures / name for name in names]
    embeds = engine.encode([pictures / name for name in names]).image_embeds
    stored = torch.from_numpy(np.concatenate(list(index.blocks()))).float()
    torch.testing.assert_close(stored, embeds, rtol=1e-3, atol=1e-3)
    hits = index.find(embeds, 3)
    assert [found[0].path for found in hits] == [pictures / name for name in names]
    assert all(found[0].score > 0.999 for found in hits)


def test_pictures_that_are_new_are_added_and_nothing_is_done_twice(
    engine: Engine, pictures: Path, tmp_path: Path
) -> None:
    names, out = list_pictures(pictures), tmp_path / "i"
    build_index(out, pictures, names[:3], engine.stack, shard_pictures=2)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    told: list[tuple[str, int, int]] = []
    build_index(
        out, pictures, names, engine.stack, shard_pictures=2,
        progress=lambda *one: told.append(one),
    )  # fmt: skip
    assert told[-1] == ("index", 4, 4)
    assert {n: (out / n).stat().st_mtime_ns for n in before} == before
    assert len(Index(out)) == len(names)


def test_machines_that_share_the_work_make_the_same_index(
    engine: Engine, pictures: Path, tmp_path: Path
) -> None:
    names = list_pictures(pictures)
    for number in range(3):
        build_index(tmp_path / "i", pictures, names, engine.stack, (number, 3), 1)
    index = Index(tmp_path / "i")
    assert sorted(index.path(row) for row in range(len(index))) == [pictures / n for n in names]


def test_a_broken_picture_is_left_out_with_its_reason(
    engine: Engine, pictures: Path, tmp_path: Path
) -> None:
    (pictures / "c.png").write_bytes(b"nothing")
    names = list_pictures(pictures)
    broken = build_index(tmp_path / "i", pictures, names, engine.stack)
    assert list(broken) == ["c.png"] and "is not a picture" in broken["c.png"]
    assert len(Index(tmp_path / "i")) == len(names) - 1
    assert build_index(tmp_path / "i", pictures, names, engine.stack) == broken
    assert len(list((tmp_path / "i").glob("shard-*.json"))) == 1
    shutil.copy(pictures / "a.png", pictures / "c.png")  # all of it is there now
    for _ in range(2):
        assert build_index(tmp_path / "i", pictures, names, engine.stack) == {}
        assert len(Index(tmp_path / "i")) == len(names)


def test_a_folder_that_cannot_be_read_is_named(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refusing(place: str) -> Iterator[os.DirEntry[str]]:
        if Path(place).name == "more":
            raise PermissionError(errno.EACCES, "Permission denied", place)
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match="cannot read .*more: permission denied"):
        list_pictures(pictures)


def test_an_index_of_other_pictures_is_refused(
    engine: Engine, pictures: Path, tmp_path: Path
) -> None:
    build_index(tmp_path / "i", pictures, ["a.png"], engine.stack)
    with pytest.raises(DataError, match="an index made from another folder"):
        build_index(tmp_path / "i", pictures / "more", ["f.png"], engine.stack)
    with pytest.raises(DataError, match="holds no index"):
        Index(pictures)
    with pytest.raises(DataError, match="holds no picture"):
        list_pictures(tmp_path / "i")


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    folder = made_index(tmp_path / "i", np.eye(8, dtype=np.float32))
    np.save(folder / "embeds-00001.npy", np.zeros((3, 8), np.float16))
    with pytest.raises(DataError, match="embeds-00001.npy is .*lists 4 pictures"):
        Index(folder)


# Exact search


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems hold no such name")
def test_a_picture_whose_name_is_no_text_is_left_out_and_named(
    engine: Engine, pictures: Path, tmp_path: Path
) -> None:
    odd = os.fsdecode(b"caf\xe9.png")
    shutil.copy(pictures / "a.png", pictures / odd)
    broken = build_index(tmp_path / "i", pictures, list_pictures(pictures), engine.stack)
    assert list(broken) == [odd] and "its name is not UTF-8" in broken[odd]
    assert len(Index(tmp_path / "i")) == 7


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_index_with_numbers_that_are_not_finite_is_refused(bad: float, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(6, DIM))
    rows[4, 2] = bad
    index = Index(made_index(tmp_path / "i", rows))
    with pytest.raises(DataError, match=r"embeds-00001.npy holds numbers that are not finite"):
        index.find(torch.ones(1, DIM), 1)
    with pytest.raises(DataError, match="not finite"), np.errstate(invalid="ignore"):
        measure(index)


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "a/../../b.png", "..", "C:\\a", ""])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    folder = made_index(tmp_path / "i", np.ones((2, DIM)), shards=1)
    write_shard(folder, 0, IndexShard(["a..b/..c.png", name], np.ones((2, DIM), np.float16), {}))
    with pytest.raises(DataError, match=r"shard-00000.json: names"):
        Index(folder)
    write_shard(
        folder, 0, IndexShard(["a..b/..c.png", "12:30.png"], np.ones((2, DIM), np.float16), {})
    )
    assert Index(folder).path(1).name == "12:30.png"


@given(
    st.integers(1, 60), st.integers(1, 4), st.integers(1, 80), st.integers(1, 30), st.integers(0, 9)
)
@settings(max_examples=40)
def test_blocks_find_what_a_whole_product_finds(
    rows: int, queries: int, k: int, block: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    table = rng.integers(-3, 4, (rows, 4)).astype(np.float16) + np.float16(0.5)  # with equal rows
    wanted = torch.from_numpy(rng.standard_normal((queries, 4)).astype(np.float32))
    blocks = (table[start : start + block] for start in range(0, rows, block))
    scores, found = nearest_rows(wanted, blocks, k)
    whole = F.normalize(wanted, dim=1) @ F.normalize(torch.from_numpy(table).float(), dim=1).T
    best = whole.sort(dim=1, descending=True).values[:, :k]
    torch.testing.assert_close(scores, best, atol=1e-5, rtol=0)
    torch.testing.assert_close(whole.gather(1, found), scores, atol=1e-5, rtol=0)
    assert all(len(set(row)) == len(row) for row in found.tolist())


def test_queries_of_another_length_are_refused(tmp_path: Path) -> None:
    index = Index(made_index(tmp_path / "i", np.eye(8, dtype=np.float32)))
    with pytest.raises(UsageError, match="embeddings of 8 numbers"):
        index.find(torch.zeros(1, 9), 1)


# LanceDB


def test_lance_finds_what_is_exact_where_rows_are_few(tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    rows = np.random.default_rng(0).standard_normal((500, DIM)).astype(np.float16)
    folder = made_index(tmp_path / "i", rows)
    with pytest.raises(DataError, match="holds no table"):
        LanceIndex(folder)
    write_table(folder)
    queries = torch.randn(5, DIM)
    exact, found = Index(folder).find(queries, 7), LanceIndex(folder).find(queries, 7)
    assert [[hit.path for hit in hits] for hits in found] == [[h.path for h in e] for e in exact]
    for mine, theirs in zip(sum(found, []), sum(exact, []), strict=True):
        assert mine.score == pytest.approx(theirs.score, abs=1e-3)
    write_shard(folder, 2, IndexShard(["new.png"], rows[:1], {}))
    with pytest.raises(DataError, match="is older than the index"):
        LanceIndex(folder)


# The renderer and the commands


def test_the_renderer_find_shows_pictures_by_rank(
    stack_parts: dict[str, Path], engine: Engine, pictures: Path, tmp_path: Path
) -> None:
    names = list_pictures(pictures)
    build_index(tmp_path / "i", pictures, names, engine.stack)
    finder = Engine.load("pocket", "cpu", index=tmp_path / "i", **stack_parts)
    made = finder.encode([pictures / "b.png", pictures / "more" / "g.png"])
    shown = finder.render(made, renderer="find", seeds=[0, 1])
    assert len(shown) == 4
    np.testing.assert_array_equal(shown[0], Image.open(pictures / "b.png"))
    np.testing.assert_array_equal(shown[2], Image.open(pictures / "more" / "g.png"))
    assert not np.array_equal(shown[0], shown[1])
    with pytest.raises(UsageError, match="picture 8 of 7"):
        finder.render(made, renderer="find", seeds=[7])
    with pytest.raises(UsageError, match="name an index of them by --index"):
        engine.render(made, renderer="find", seeds=[0])


@pytest.fixture
def tiny(stack_parts: dict[str, Path], tmp_path: Path) -> Path:
    for part, folder in stack_parts.items():
        shutil.copytree(folder, tmp_path / "tiny" / part)
    return tmp_path / "tiny"


def test_what_is_indexed_is_found_from_the_command_line(
    tiny: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--stack", str(tiny), "--index", str(tmp_path / "i"), "--out", str(tmp_path / "o")]
    status = main(
        ["index", str(pictures), "--out", str(tmp_path / "i"), "--stack", str(tiny),
         "--num_workers", "0"]
    )  # fmt: skip
    assert status == 0 and "(7 pictures)" in capsys.readouterr().out
    query = f"'{pictures / 'd.png'}'"
    assert main(["find", query, "--k", "3", "--json", *common]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert len(found["found"]) == 3
    assert found["found"][0]["path"] == str(pictures / "d.png")
    assert found["found"][0]["score"] == pytest.approx(1, abs=1e-3)
    text = f"texturing({query}, '{pictures / 'a.png'}')"
    assert main(["find", text, "--k", "2", "--seeds", "1,2", "--html", "true", *common]) == 0
    out = capsys.readouterr().out
    assert out.count("(seed ") == 2 and "the nearest of 7 pictures" in out
    assert len(list((tmp_path / "o").glob("*.jpg"))) == 2
    (page,) = (tmp_path / "o").glob("*.html")
    shown = page.read_text(encoding="utf-8")
    assert shown.count("data:image/") == 1 + 2 * 2  # the strip, and what each seed found
    assert "pops find" in shown and "default-src 'none'" in shown
    (pictures / "d.png").rename(pictures / os.fsdecode(b"caf\xe9.bin"))  # gone since
    again = ["find", f"'{pictures / 'a.png'}'", "--k", "7", "--html", "true", *common]
    assert main(again) == 1
    captured = capsys.readouterr()
    assert captured.out.count(".png\n") == 7
    assert "not drawn: d.png is gone" in captured.err
    shutil.copy(pictures / "b.png", pictures / "d.png")
    run = ["run", text, "--renderer", "find", "--stack", str(tiny), "--seeds", "1"]
    assert main([*run, "--index", str(tmp_path / "i"), "--out", str(tmp_path / "r")]) == 0
    assert list((tmp_path / "r").glob("*_tree.jpg"))


def test_a_stack_with_another_encoder_is_refused(
    tiny: Path, pictures: Path, engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_index(tmp_path / "i", pictures, ["a.png"], engine.stack)
    call = ["find", f"'{pictures / 'a.png'}'", "--index", str(tmp_path / "i")]
    assert main([*call, "--out", str(tmp_path / "o")]) == 2
    assert "is not that of pocket" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
