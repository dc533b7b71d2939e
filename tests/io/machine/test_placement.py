import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pops.engine import Engine
from pops.errors import DeviceMemoryError, UsageError
from pops.io.machine import placement
from pops.io.machine.placement import (
    HOST,
    Placement,
    choose_device,
    choose_placement,
    has_bfloat16,
    in_batches,
)

AWAY = torch.device("meta")  # a device that every machine has, beside its memory


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def places(*models: nn.Module) -> set[str]:
    return {t.device.type for m in models for t in m.state_dict().values()}


def test_an_offloaded_model_is_on_the_device_only_while_it_is_used():
    used = model()
    before = {name: id(tensor) for name, tensor in used.named_parameters()}
    with Placement(AWAY, offload=True).using(used):
        assert places(used) == {"meta"}
    assert places(used) == {"cpu"}
    assert {name: id(tensor) for name, tensor in used.named_parameters()} == before


def test_offloading_keeps_what_models_share_shared_and_copies_it_once():
    first, second = model(), model()
    second[0].weight = first[0].weight
    with Placement(AWAY, offload=True).using(first, second):
        assert second[0].weight is first[0].weight
    with Placement(AWAY, offload=True).using(first):
        assert places(second) == {"cpu"}
    assert second[0].weight is first[0].weight


def test_an_offloaded_model_goes_back_after_an_error():
    used = model()
    with pytest.raises(ZeroDivisionError), Placement(AWAY, offload=True).using(used):
        _ = 1 / 0
    assert places(used) == {"cpu"}


def test_without_offload_a_model_stays_on_the_device():
    used = model()
    with Placement(AWAY).using(used):
        pass
    assert places(used) == {"meta"}
    assert Placement(AWAY).rest == AWAY


def test_a_model_that_does_not_fit_goes_back_and_the_way_out_is_named(
    monkeypatch: pytest.MonkeyPatch,
):
    used, copied = model(), []

    def copy(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        copied.append(tensor)
        if len(copied) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return tensor.to(device)

    monkeypatch.setattr(placement, "_copy", copy)
    with pytest.raises(DeviceMemoryError) as caught, Placement(AWAY, offload=True).using(used):
        pass
    assert places(used) == {"cpu"}
    said = str(caught.value)
    assert "meta has too little memory for models of 0.0 GB" in said
    assert "--dtype float16" in said and "--render_size" in said and "\n" not in said
    assert "--offload" not in said  # it is on


def test_memory_that_is_too_small_for_the_work_names_offloading():
    with pytest.raises(DeviceMemoryError, match="--offload model"), HOST.using(model()):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_another_error_is_told_as_it_is():
    with pytest.raises(RuntimeError, match="shapes"), HOST.using(model()):
        raise RuntimeError("shapes do not fit")


@given(st.integers(0, 40), st.integers(1, 16), st.integers(1, 16))
def test_batches_halve_until_they_fit_and_every_row_is_done_once(count: int, most: int, fits: int):
    rows: list[int] = []
    counts: list[tuple[int, int]] = []

    def run(batch: slice, done: int, batches: int) -> None:
        counts.append((done, batches))
        if batch.stop - batch.start > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        rows.extend(range(batch.start, batch.stop))

    in_batches(count, most, run)
    assert rows == list(range(count))
    assert all(0 <= done < batches for done, batches in counts)
    assert not counts or counts[-1][0] + 1 == counts[-1][1]


def test_a_row_that_does_not_fit_alone_is_an_error():
    def run(batch: slice, done: int, batches: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        in_batches(5, 4, run)


def test_another_error_in_a_batch_is_not_tried_again():
    tried = []

    def run(batch: slice, done: int, batches: int) -> None:
        tried.append(batch)
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        in_batches(5, 4, run)
    assert len(tried) == 1


def test_words_are_chosen_or_refused():
    assert choose_placement("cpu") == HOST
    assert choose_placement("cpu", "float16", "model") == Placement(
        torch.device("cpu"), torch.float16, offload=True
    )
    for words, said in (
        (("cpu", "int4"), "unknown dtype 'int4'"),
        (("gpu",), "unknown device 'gpu'"),
        (("cpu", "auto", "disk"), "unknown offload 'disk': use none or model"),
    ):
        with pytest.raises(UsageError, match=said):
            choose_placement(*words)


def one_card(monkeypatch: pytest.MonkeyPatch, *, bfloat16: bool) -> None:
    """Let torch say that there is one CUDA card, which may have to emulate bfloat16."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: bfloat16 or including_emulation,
    )


def test_a_device_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for word in ("cuda", "cuda:0", "cpu:3", "cpu:128", "cpu:256", "meta"):
        with pytest.raises(UsageError, match="not on this machine"):
            choose_placement(word)


def test_a_card_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch):
    one_card(monkeypatch, bfloat16=True)
    assert choose_device("cuda:0") == torch.device("cuda", 0)
    with pytest.raises(UsageError, match="'cuda:7' is not on this machine: the last one.* cuda:0"):
        choose_device("cuda:7")
    with pytest.raises(UsageError, match="'cuda:256' is not on this machine"):
        choose_device("cuda:256")


def test_auto_takes_the_card_and_half_precision(monkeypatch: pytest.MonkeyPatch):
    one_card(monkeypatch, bfloat16=True)
    assert choose_placement() == Placement(torch.device("cuda"), torch.float16)


@pytest.mark.parametrize("own", [True, False])
def test_a_card_that_emulates_bfloat16_does_not_have_it(monkeypatch: pytest.MonkeyPatch, own: bool):
    one_card(monkeypatch, bfloat16=own)
    assert has_bfloat16(torch.device("cuda")) is own
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": own, "avx2": True})
    assert has_bfloat16(torch.device("cpu")) is own
    assert not has_bfloat16(torch.device("mps"))


def test_auto_takes_a_mac_s_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_placement() == Placement(torch.device("mps"), torch.float16)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_offloading_changes_no_result_and_leaves_nothing_on_the_device(
    stack_parts: dict[str, Path], golden: Path
):
    made = []
    request = tuple(golden / "inputs" / f"input_{name}.png" for name in "ab")
    for offload in ("none", "model"):
        engine = Engine.load("pocket", "cuda", "float32", offload=offload, **stack_parts)
        embeddings = engine.apply("texturing", [request], seeds=[18])
        engine.render(embeddings, seeds=[0], steps=2, size=32)
        made.append(embeddings.image_embeds)
    torch.testing.assert_close(*made)
    stack = engine.stack
    for model in (
        stack.image_encoder.model,
        stack.unet,
        stack.movq,
        engine.operator("texturing")[1],
    ):
        assert next(model.parameters()).device.type == "cpu"


def test_auto_is_a_cpu_in_tests_that_ask_for_no_gpu():
    assert choose_device() == torch.device("cpu")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
