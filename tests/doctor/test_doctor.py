"""`pops doctor`: what it says of machines and stacks; the layout of the published stack."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants

from pops.cli.main import main
from pops.doctor import machine, models
from pops.doctor.lines import ReportLine, gigabytes
from pops.doctor.trial import try_step
from pops.io.hub.repositories import PART_FILES, REPOSITORIES
from pops.io.machine.placement import Placement
from pops.prior.model import Prior, PriorConfig, read_prior_config
from pops.prior.schedule import read_schedule
from pops.settings.rendering import RENDERERS
from pops.stacks.spec import PRIOR_CONFIGS, STACKS

DATA = Path(__file__).parents[1] / "data" / "kandinsky-2.2"
GOLDEN = Path(__file__).parents[1] / "golden"
FILES = json.loads((DATA / "files.json").read_text())
WIDTHS = {"F16": 2, "F32": 4, "I64": 8}


def write_hollow(path: Path, shapes: dict[str, tuple[int, ...]], kind: str = "F32") -> None:
    """A .safetensors file with a true header and, in place of the numbers, a hole in the disk."""
    header, end = {}, 0
    for name, shape in shapes.items():
        size = torch.Size(shape).numel() * WIDTHS[kind]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def meta_shapes(part: str, model: str) -> dict[str, tuple[int, ...]]:
    """The tensors of a model that the code makes of the published config."""
    with torch.device("meta"):
        made = models._from_config(models.MODELS[part][model], DATA / part / model)
    return {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub's cache of this test alone, and a hub that no one can reach."""

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub, "model_info", unreachable)
    return tmp_path / "hub"


@pytest.fixture
def kandinsky(cache: Path) -> Path:
    """The published stack in the cache: true configs, and weights that are holes of their size."""
    for part, known in FILES.items():
        owner, name = known["repository"].split("/")
        folder = cache / f"models--{owner}--{name}" / "snapshots" / known["revision"]
        shutil.copytree(DATA / part, folder)
        for file, facts in known["weights"].items():
            model = Path(file).parent.name
            kind = next(iter(facts["numbers"]))
            write_hollow(folder / file, meta_shapes(part, model), kind)
    prior = next(cache.glob("*prior/snapshots/*"))
    shutil.copytree(GOLDEN / "kandinsky-tiny-prior" / "tokenizer", prior / "tokenizer")
    return cache


Report = Callable[..., tuple[int, dict[str, dict[str, Any]]]]


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Report:
    def call(*arguments: object) -> tuple[int, dict[str, dict[str, Any]]]:
        status = main(["doctor", "--json", *map(str, arguments)])
        return status, {line["what"]: line for line in json.loads(capsys.readouterr().out)}

    return call


# The published layout


@pytest.mark.parametrize("part", FILES)
def test_the_configs_are_the_published_ones_byte_for_byte(part: str) -> None:
    known = FILES[part]
    assert REPOSITORIES[known["repository"]].revision == known["revision"]
    assert len(known["configs"]) == {"prior": 6, "decoder": 4}[part]
    for name, digest in known["configs"].items():
        assert hashlib.sha256((DATA / part / name).read_bytes()).hexdigest() == digest, name


def test_the_code_asks_for_files_that_are_published() -> None:
    for part, known in FILES.items():
        there = [*known["configs"], *known["weights"], *known["other"]]
        for pattern in PART_FILES[part]:
            assert any(Path(name).match(pattern) for name in there), pattern


@pytest.mark.parametrize(("part", "file"), [(p, f) for p in FILES for f in FILES[p]["weights"]])
def test_the_models_of_the_code_hold_the_numbers_that_are_published(part: str, file: str) -> None:
    facts = FILES[part]["weights"][file]
    shapes = meta_shapes(part, Path(file).parent.name)
    buffers = len([kind for kind in facts["numbers"] if kind == "I64"])  # position_ids of old
    assert len(shapes) == facts["tensors"] - buffers
    numbers = sum(torch.Size(shape).numel() for shape in shapes.values())
    (kind, published), *_ = facts["numbers"].items()
    assert numbers == published == models.PUBLISHED[Path(file).parent.name]
    header = facts["bytes"] - sum(n * WIDTHS[k] for k, n in facts["numbers"].items())
    assert 0 < header < 120_000


def test_the_prior_of_the_code_is_the_published_one() -> None:
    config = read_prior_config(DATA / "prior" / "prior")
    assert config == PriorConfig() == PRIOR_CONFIGS[FILES["prior"]["repository"]]
    schedule = read_schedule(DATA / "prior" / "scheduler")
    assert (len(schedule.betas), schedule.clip_range) == (1000, 10.0)


def test_the_sizes_that_downloads_are_told_with_are_the_published_ones() -> None:
    for known in FILES.values():
        size = sum(facts["bytes"] for facts in known["weights"].values())
        assert REPOSITORIES[known["repository"]].bytes == pytest.approx(size, rel=0.01)


# What the report says


def test_all_is_well_with_the_stack_inside_the_package(report: Report, cache: Path) -> None:
    status, lines = report()
    assert status == 0 and all(line["ok"] for line in lines.values())
    assert list(lines) == [
        "versions", "device", "number format", "prior", "decoder", "operators", "hub", "disk",
        "memory", "prior configs", "decoder configs", "one step",
    ]  # fmt: skip
    assert torch.__version__ in lines["versions"]["says"]
    assert lines["number format"]["says"].startswith("float32")
    assert "texturing, union" in lines["operators"]["says"]
    assert "25" in lines["one step"]["says"]


def test_what_is_not_here_is_told_with_its_revision_size_and_licence(
    report: Report, cache: Path
) -> None:
    status, lines = report("--stack", "kandinsky-2.2", "--step", "false")
    assert status == 1
    assert "9fc51ad5" in lines["prior"]["says"] and "10.6 GB" in lines["prior"]["says"]
    assert "Apache-2.0" in lines["decoder"]["says"]
    assert not lines["hub"]["ok"] and "hf download" in lines["hub"]["advice"]
    assert "20.0 GB still to be fetched" in lines["disk"]["says"]


def test_the_published_stack_fits_the_code_without_its_weights(
    report: Report, kandinsky: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda where: 10**12)
    status, lines = report("--stack", "kandinsky-2.2", "--step", "false")
    assert status == 0, lines
    assert lines["prior"]["says"].endswith("is in the hub's cache (Apache-2.0)")
    assert "unet (1,253 million numbers)" in lines["decoder configs"]["says"]
    assert "image encoder (1,845 million numbers)" in lines["prior configs"]["says"]
    whole = 4 * sum(models.PUBLISHED.values())
    assert f"about {gigabytes(whole * 1.15)} needed" in lines["memory"]["says"]


def test_a_config_that_does_not_fit_its_weights_is_named(report: Report, kandinsky: Path) -> None:
    (config,) = kandinsky.glob("*prior/snapshots/*/prior/config.json")
    config.write_text(config.read_text().replace('"num_layers": 20', '"num_layers": 19'))
    status, lines = report("--stack", "kandinsky-2.2", "--step", "false")
    assert status == 1
    assert "prior: 16 tensors do not fit its config" in lines["prior configs"]["says"]
    assert lines["decoder configs"]["ok"]


def test_a_stack_without_a_part_is_told_what_is_missing(
    report: Report, cache: Path, tmp_path: Path
) -> None:
    shutil.copytree(GOLDEN / "kandinsky-tiny-prior", tmp_path / "stack" / "prior")
    status, lines = report("--stack", tmp_path / "stack")
    assert status == 1
    assert lines["decoder"]["says"].endswith("decoder is missing")
    assert not lines["operators"]["ok"] and lines["prior configs"]["ok"]


def test_lines_for_people_begin_with_ok_or_with_what_is_to_be_done(
    capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    assert main(["doctor", "--stack", "kandinsky-2.2", "--step", "false"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("ok ", "TO DO ")) for line in lines)
    assert [line for line in lines if line.startswith("TO DO hub")]
    assert str(ReportLine("disk", "full", "make room")).endswith("full; to do: make room")


# Memory, disk and the trial


@pytest.mark.parametrize(
    ("free", "dtype", "offload", "advice"),
    [
        (30, torch.float16, False, ""),
        (10, torch.float16, False, "--offload model"),
        (10, torch.float16, True, ""),
        (20, torch.float32, True, ""),
        (16, torch.float32, False, "--offload model or use --dtype float16"),
        (4, torch.float16, True, "use --dtype int8"),
        (2, torch.float16, True, "a machine with more"),
    ],
)
def test_memory_is_told_with_what_helps(
    free: int, dtype: torch.dtype, offload: bool, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda where: free * 10**9)
    size = dtype.itemsize * 10**9
    placement = Placement(torch.device("cuda"), dtype, offload)
    line = machine.memory(placement, 5 * size, 2 * size, 2 * 10**9)
    assert line.ok == (not advice) and advice in line.advice


def test_a_disk_that_is_too_small_is_told(tmp_path: Path) -> None:
    assert machine.disk(tmp_path / "not" / "there", 1).ok
    assert "HF_HOME" in machine.disk(tmp_path, 10**18).advice


def test_half_precision_is_advised_against_on_a_cpu_that_does_not_compute_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not machine.number_format(Placement(dtype=torch.float16), "float16").ok
    for own in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda own=own: {"avx512_bf16": own})
        assert machine.number_format(Placement(dtype=torch.bfloat16), "bfloat16").ok is own
    assert machine.number_format(Placement(int8=True), "int8").says == "int8: asked for"
    assert machine.number_format(Placement(), "auto").ok


def test_a_step_is_tried_only_where_there_is_memory_for_it() -> None:
    config = PriorConfig(2, 8, 2, 16)
    assert "for 25" in try_step(config, Placement(), 10**9).says
    line = try_step(PriorConfig(), Placement(), 10**9)
    assert line.ok and line.says.startswith("not tried: a random prior of 1,026 million numbers")


def test_a_step_that_is_not_finite_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Prior, "denormalise", lambda prior, x: x / 0)
    line = try_step(PriorConfig(2, 8, 2, 16), Placement(), None)
    assert not line.ok and "not finite" in line.says


def test_every_named_stack_has_its_parts_in_the_tables() -> None:
    assert models.PARTS.keys() == RENDERERS.keys()
    for spec in STACKS.values():
        for names in models.PARTS.values():
            assert all(hasattr(spec, name) and name in PART_FILES for name in names)
