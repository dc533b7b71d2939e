"""The benchmarks run, and both ways give the same; how fast they are is not tested."""

import json
from pathlib import Path

import pytest
import torch
from transformers import CLIPTextConfig, CLIPVisionConfig

from benchmarks import formats, full_size, functions, grid, linear, prior, samplers, sizes
from benchmarks.harness.machine import Limits, measure_limits
from benchmarks.models.published import PublishedPrior
from pops.engine import Engine
from pops.errors import UsageError
from pops.operators import TEXTURING
from pops.prior.model import PriorConfig

TINY = ["--layers=2", "--heads=2", "--dim=16", "--batches=1,3", "--steps=2", "--repeats=1"]
QUICK = ["--matmul_size=32", "--mebibytes=1", "--threads=1", "--device=cpu"]

SMALL = full_size.Sizes(
    image_encoder=CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
        projection_dim=16,
    ),
    text_encoder=CLIPTextConfig(
        vocab_size=600,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        projection_dim=16,
    ),
    prior=PriorConfig(2, 8, 1, 16),
    unet={
        **sizes.KANDINSKY_UNET,
        "block_out_channels": (32,) * 4,
        "layers_per_block": 1,
        "attention_head_dim": 8,
        "cross_attention_dim": 16,
        "encoder_hid_dim": 16,
    },
    movq={**sizes.MOVQ, "block_out_channels": (32,) * 4, "layers_per_block": 1},
)


def last_line(text: str) -> dict[str, float]:
    values: dict[str, float] = json.loads(text.splitlines()[-1])
    return values


@pytest.mark.parametrize("full", [[], ["--full"]])
def test_the_prior_s_benchmark_ends_in_one_json_object(
    full: list[str], capsys: pytest.CaptureFixture[str]
):
    assert prior.main([*TINY, *QUICK, *full, "--json"]) == 0
    values = last_line(capsys.readouterr().out)
    assert values["max_abs_difference"] < 1e-4
    for batch in (1, 3):
        assert values[f"throughput_ratio_batch{batch}"] > 0
        assert values[f"fraction_of_peak_batch{batch}"] > 0
        assert values[f"fraction_of_bandwidth_batch{batch}"] > 0
        assert values[f"ours_batch{batch}_step"] > 0
    assert values["ours_batch3_flops"] < values["published_flops"]


def test_a_request_is_computed_from_its_parts(capsys: pytest.CaptureFixture[str]):
    assert prior.main([*TINY, *QUICK, "--json"]) == 0
    values = last_line(capsys.readouterr().out)
    for way in ("published", "ours_batch1", "ours_batch3"):
        parts = values[f"{way}_before_steps"] + 25 * values[f"{way}_step"]
        assert values[f"{way}_request"] == pytest.approx(parts)
    ratio = values["published_request"] / values["ours_batch1_request"]
    assert values["throughput_ratio_batch1"] == pytest.approx(ratio)


def test_both_ways_share_their_weights():
    ours = prior.random_prior(PriorConfig(2, 8, 1, 12), torch.device("cpu"), torch.float32)
    theirs = PublishedPrior(ours).model.state_dict()
    for name, tensor in ours.state_dict().items():
        assert tensor.data_ptr() == theirs[name].data_ptr(), name


def test_a_random_prior_says_different_things_of_different_inputs():
    ours = prior.random_prior(PriorConfig(2, 64, 2, 32), torch.device("cpu"), torch.float32)
    theirs = PublishedPrior(ours)
    first, second = (
        theirs.sample(tokens, 18, TEXTURING.guidance, steps=2) for tokens in torch.randn(2, 2, 32)
    )
    assert (first - second).abs().max() > 1e-2


def test_the_better_of_two_limits_is_kept():
    limits = measure_limits(torch.device("cpu"), torch.float32, 16, 1)
    assert limits.flops > 0 and limits.bandwidth > 0
    assert Limits(1.0, 5.0) | Limits(2.0, 4.0) == Limits(2.0, 5.0)


def test_the_grid_s_benchmark_ends_in_one_json_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(grid, "WEIGHTS", tmp_path)  # so that the tiny random stack is used
    flags = ["--rows=2", "--columns=1", "--steps=2", "--render_steps=2", "--repeats=1"]
    assert grid.main([*flags, "--threads=1", "--device=cpu", "--json"]) == 0
    text = capsys.readouterr().out
    assert "a tiny random stack" in text
    values = last_line(text)
    assert values["throughput_ratio_grid"] > 0
    assert values["pairs"] == 2
    assert values["max_abs_difference_embeddings"] < 1e-4
    assert values["max_abs_difference_pictures"] < 0.01  # a rounding of 1 in 255


@pytest.mark.parametrize("flag", ["--steps=1", "--steps=26", "--repeats=0", "--layers=0"])
def test_settings_that_cannot_be_measured_are_refused(
    flag: str, capsys: pytest.CaptureFixture[str]
):
    assert prior.main([flag]) == UsageError("").exit_status
    assert flag.split("=")[0] in capsys.readouterr().err


def test_a_grid_without_pairs_is_refused(capsys: pytest.CaptureFixture[str]):
    assert grid.main(["--rows=0"]) == UsageError("").exit_status
    assert "--rows" in capsys.readouterr().err


def test_a_random_stack_in_the_layout_of_the_hub_runs_from_pictures_to_pictures(tmp_path: Path):
    settings = full_size.FullSizeBenchmark(steps=2, render_steps=1, render_size=64, threads=1)
    with full_size.stack_folder(tmp_path, SMALL):
        stages = full_size.run_stages(tmp_path, settings)
    assert (tmp_path / "operators").is_dir()  # it stays, and is not made again
    with full_size.stack_folder(tmp_path):
        pass
    assert [stage.name for stage in stages] == ["encode", "texturing", "instruct", "render"]
    peaks = [stage.peak_bytes for stage in stages]
    assert peaks == sorted(peaks) and peaks[0] > 2**20
    values = full_size.Report(settings, 1, stages).values()
    assert values["peak_bytes"] == peaks[-1]
    assert values["seconds"] == pytest.approx(sum(stage.seconds for stage in stages))


def test_samplers_are_compared_with_the_published_way(capsys: pytest.CaptureFixture[str]):
    assert samplers.main(["--steps=2,25", "--limit=3", "--json"]) == 0
    values = last_line(capsys.readouterr().out)
    assert values["ancestral_25_same"] == pytest.approx(1, abs=1e-5)
    assert -1 <= values["ddim_2_same"] < values["ancestral_25_same"]
    assert 0 <= values["ddim_2_top1"] <= 1
    assert values["ceiling_right"] > 0.5


def test_a_stack_without_a_folder_of_its_own_is_removed_in_the_end():
    with full_size.stack_folder(None, SMALL) as folder:
        assert (folder / "operators" / "texturing" / "operator.json").is_file()
    assert not folder.exists()


def test_functions_are_told_by_table_and_row() -> None:
    row = functions.Row("slerp(a, b)", 0.25, 0.5, 0.75, 0.3, 0.8, 0.9, {"judged_object": 0.6})
    report = functions.Report(functions.FunctionsBenchmark(), {"texturing": [row]})
    assert report.values()["texturing/slerp(a, b)/top1"] == 0.25
    assert report.values()["texturing/slerp(a, b)/judged_object"] == 0.6
    head, line = functions.show(report).splitlines()
    assert "judged object" in head and "0.600" in line
    with pytest.raises(UsageError, match="--limit"):
        functions.FunctionsBenchmark(limit=2, pictures=3)
    # Every way without training can be computed on this stack.
    stack, rows = Engine.load("pocket", "cpu").stack, torch.randn(2, 3, 128)
    for ways in functions.WAYS.values():
        assert all(way(stack, *rows).isfinite().all() for way in ways.values())


def test_every_way_of_a_linear_layer_is_timed(capsys: pytest.CaptureFixture[str]) -> None:
    assert linear.main(["--rows=3,41", "--width=128", "--repeats=1", "--json"]) == 0
    values = last_line(capsys.readouterr().out)
    assert {f"{way}_rows41" for way in ("pops", "bfloat16", "int8")} < set(values)
    assert min(values.values()) > 0
    with pytest.raises(UsageError, match="--rows"):
        linear.LinearBenchmark(rows=(0,))


def test_formats_are_compared_on_both_stacks(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--layers=2", "--heads=2", "--dim=32", "--inputs=1", "--pictures=1", "--steps=2"]
    more = ["--guidances=8", "--batches=1", "--repeats=1", "--device=cpu", "--json"]
    assert formats.main([*flags, *more]) == 0
    values = last_line(capsys.readouterr().out)
    for name in formats.FORMATS:
        for part in ("encoder", "prior_guidance8", "random_prior_guidance8"):
            assert 0.9 < values[f"{part}_{name}"] <= 1.00001
        assert values[f"random_prior_time_batch1_{name}"] > 0
    sizes_ = [values[f"random_prior_bytes_{name}"] for name in (formats.EXACT, "float16", "int8")]
    assert sizes_ == sorted(sizes_, reverse=True)
