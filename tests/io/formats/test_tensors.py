from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pops.errors import OutputError, WeightsError
from pops.io.formats.tensors import is_finite, read_pickle, read_tensors, save_tensors

STATE = {"a": torch.arange(6.0).reshape(2, 3), "b.c": torch.ones(2, dtype=torch.float16)}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_tensors_come_back_as_they_were(tmp_path: Path):
    save_tensors(tmp_path / "a.safetensors", STATE, {"z": "1", "a": "é"})
    assert equal(read_tensors(tmp_path / "a.safetensors"), STATE)
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata() == {"a": "é", "z": "1"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), min_size=2, max_size=12))
@settings(max_examples=40, deadline=None)
def test_any_metadata_gives_the_same_bytes_each_time(
    tmp_path_factory: pytest.TempPathFactory, metadata: dict[str, str]
):
    folder, contents = tmp_path_factory.mktemp("same"), set()
    for number in range(3):
        path = folder / f"{number}.safetensors"
        save_tensors(path, STATE, metadata)
        contents.add(path.read_bytes())
        assert equal(read_tensors(path), STATE)
    assert len(contents) == 1


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_of_either_format_is_read(tmp_path: Path, zipped: bool):
    torch.save(STATE, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    assert equal(read_tensors(tmp_path / "a.pth"), STATE)


@pytest.mark.parametrize("name", ["a.safetensors", "a.SAFETENSORS", "a.pth"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite_are_refused_by_tensor(tmp_path: Path, name: str, value: float):
    state = STATE | {"bad": torch.tensor([0.0, value])}
    (torch.save if name == "a.pth" else save_file)(state, tmp_path / name)
    with pytest.raises(WeightsError, match=rf"{name}: bad holds numbers that are not finite"):
        read_tensors(tmp_path / name)


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path):
    with pytest.raises(OutputError, match="not finite"):
        save_tensors(tmp_path / "a.safetensors", {"a": torch.tensor([torch.nan])})
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr("pops.io.formats.tensors.save_file", full)
    with pytest.raises(OutputError, match=r"cannot write .*a\.safetensors: no space left"):
        save_tensors(tmp_path / "a.safetensors", STATE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "state",
    [
        [torch.zeros(2)],
        {"a": 1},
        {"a": {"b": torch.zeros(2)}},
        {"a": torch.zeros(2).to_sparse()},
        {"a": torch.zeros(1).expand(2**20)},
        {"a": torch.zeros(2), "b": torch.device("cpu")},
        {"a": torch.zeros(2, device="meta")},
    ],
)
def test_what_is_no_state_dict_of_plain_tensors_is_refused(tmp_path: Path, state: object):
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"a\.pth"):
        read_tensors(tmp_path / "a.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_numbers_and_texts_beside_tensors_are_read(tmp_path: Path, zipped: bool):
    content = {"step": 3, "lr": 0.5, "names": ["a", None], "on": True, "state": {0: STATE["a"]}}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    found = read_pickle(tmp_path / "a.pt")
    assert torch.equal(found.pop("state")[0], STATE["a"])
    assert found == {k: v for k, v in content.items() if k != "state"}


def test_views_of_one_storage_are_no_fault(tmp_path: Path):
    whole = torch.arange(8.0)
    torch.save({"a": whole[:4], "b": whole[4:], "c": whole.view(2, 4).T}, tmp_path / "a.pth")
    assert read_tensors(tmp_path / "a.pth")["c"].tolist() == whole.view(2, 4).T.tolist()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_change_of_bytes_gives_tensors_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    folder = tmp_path_factory.mktemp("bytes")
    name = data.draw(st.sampled_from(["a.safetensors", "a.pth"]))
    (torch.save if name == "a.pth" else save_file)(STATE, folder / name)
    body = bytearray((folder / name).read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=4)):
        body[at] = data.draw(st.integers(0, 255))
    (folder / name).write_bytes(bytes(body))
    try:
        assert all(is_finite(tensor) for tensor in read_tensors(folder / name).values())
    except WeightsError as error:
        assert name in str(error) and "\n" not in str(error)


@given(arrays("float32", 5))
def test_a_tensor_is_finite_when_all_its_numbers_are(array):
    tensor = torch.from_numpy(array)
    assert is_finite(tensor) == bool(tensor.isfinite().all())
    assert is_finite(tensor.half()) == bool(tensor.half().isfinite().all())
