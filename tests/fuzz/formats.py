"""A small valid folder of each file format that pops reads, and how it is read."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pops.cli.main import COMMANDS, main
from pops.compose.parse import parse as parse_composition
from pops.data.cache.build import embed_dataset, make_index
from pops.data.cache.format import write_index
from pops.data.cache.read import CachedSource
from pops.data.sources.batches import Batch
from pops.data.word_lists import read_word_list
from pops.datagen.words import read_prompt_words
from pops.errors import PopsError
from pops.evaluation.store import Lines, PictureLine, read_lines
from pops.evaluation.study.make import ANSWERS, KEY
from pops.evaluation.study.report import report_study
from pops.io.embeddings import Embeddings, load_embeddings
from pops.io.formats.tensors import save_tensors
from pops.io.pictures import open_picture
from pops.operators import OPERATORS, OperatorCard, read_state_dict, save_card, save_operator
from pops.pocket.judge import JUDGE_CONFIG, JUDGE_WEIGHTS, Judge, JudgeConfig, load_judge
from pops.prior.adapters import adapter_state, add_adapter, save_adapter
from pops.prior.joint import MARKED, save_own, save_shared
from pops.prior.model import Prior, PriorConfig
from pops.search.exact import Index
from pops.search.format import IndexFile, IndexShard, write_index_file, write_shard
from pops.search.stats import measure
from pops.settings.flags.parsing import parse
from pops.settings.shard import Shard
from pops.stacks.stack import Stack, open_stack
from pops.training.outputs.metrics import read_metrics
from pops.training.state import State, latest_checkpoint, save_checkpoint
from tests.conftest import GOLDEN
from tests.data.tiny_data import WRITERS, dataset

__all__ = ["FORMATS", "Format", "Refused"]


class Refused(PopsError):
    """A command ended with an error; its message is the line that it printed."""


@dataclass(frozen=True)
class Format:
    """A file format: `build` fills a folder with valid files, `read` reads one that was changed."""

    name: str
    build: Callable[[Path], None]
    read: Callable[[Path, Path], object]  # the folder, and the file that was changed
    files: Callable[[Path], Iterable[Path]] = lambda folder: folder.rglob("*.*")


# --- pictures and embeddings -------------------------------------------------------------------


def _pictures(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 4), np.uint8)
    whole = Image.fromarray(noise)
    plain, turned = whole.convert("RGB"), Image.Exif()
    turned[0x0112] = 6
    for suffix in ("jpg", "webp", "gif", "tiff", "bmp", "jp2", "ppm", "png", "avif"):
        plain.save(folder / f"plain.{suffix}")
    for suffix in ("png", "webp", "tiff"):
        whole.save(folder / f"clear.{suffix}")
    for suffix in ("jpg", "png", "webp", "tiff"):
        plain.save(folder / f"turned.{suffix}", exif=turned)
    plain.quantize(16).save(folder / "palette.png")
    plain.save(folder / "moving.gif", save_all=True, append_images=[plain, plain])
    plain.save(folder / "moving.png", save_all=True, append_images=[plain])
    plain.convert("CMYK").save(folder / "cmyk.jpg")
    plain.save(folder / "phone.jpg", "MPO", save_all=True, append_images=[plain])
    plain.save(folder / "packed.tiff", compression="tiff_lzw")
    Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    Image.fromarray(noise[..., 0].astype(np.float32)).save(folder / "float.tiff")


def _embeddings(folder: Path) -> None:
    rows = torch.randn(2, 32)
    known = Embeddings(rows, "tiny", ("scene('a.png', _)", "b"), (1, 2), 8.0)
    for suffix in ("safetensors", "pth", "pt"):
        known.save(folder / f"known.{suffix}")
    torch.save(rows, folder / "bare.ipadpt")
    torch.save({"image_embeds": rows.half()}, folder / "half.bin")
    torch.save({"image_embeds": rows}, folder / "old.pt", _use_new_zipfile_serialization=False)
    shutil.copy(next(GOLDEN.glob("inputs/*.pth")), folder / "published.pth")
    np.save(folder / "plain.npy", rows.numpy())
    np.savez_compressed(folder / "packed.npz", image_embeds=rows.numpy())


# --- stacks and operators ----------------------------------------------------------------------

PLACES = {"prior": "kandinsky-tiny-prior", "decoder": "kandinsky-tiny-decoder"}


@cache
def _stack() -> Stack:
    places = {part: GOLDEN / name for part, name in PLACES.items()}
    return open_stack("pocket", device="cpu", operators=GOLDEN / "operators", **places)


def _operators(folder: Path) -> None:
    published = GOLDEN / "operators/models/scene/learned_prior.pth"
    shutil.copy(published, folder / "scene.pth")
    state = read_state_dict(published)
    card = OperatorCard(OPERATORS["scene"], "pocket", {"steps": 3})
    save_operator(folder / "whole", card, state)
    (folder / "whole" / "README.md").unlink()
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
    prior = _stack().base_prior.sharing()
    add_adapter(prior, 2)
    save_card(folder / "adapter", card)
    (folder / "adapter" / "README.md").unlink()
    save_adapter(folder / "adapter", adapter_state(prior), 2)
    save_shared(folder / "joint", state)
    save_card(folder / "joint" / "scene", card)
    save_own(folder / "joint" / "scene", {name: state[name] for name in MARKED})
    (folder / "joint" / "scene" / "README.md").unlink()


def _read_operator(folder: Path, path: Path) -> object:
    place = path if path.suffix == ".pth" else path.parent
    place = place / "scene" if place.name == "joint" else place
    stack = replace(_stack())  # which has kept none
    return stack.operator("scene" if place == path else str(place), place)


def _judges(folder: Path) -> None:
    config = JudgeConfig(16, (4, 4), {"object": 3, "background": 2})
    save_tensors(folder / JUDGE_WEIGHTS, Judge(config).state_dict())
    (folder / JUDGE_CONFIG).write_text(json.dumps(config.to_dict()))


def _read_judge(folder: Path, path: Path) -> object:
    return load_judge(folder).answer(torch.zeros(1, 3, 16, 16))


PARTS = {
    "prior/image_encoder": "image_encoder",
    "prior/image_processor": "image_encoder",
    "prior/text_encoder": "text_encoder",
    "prior/tokenizer": "text_encoder",
    "prior/prior": "base_prior",
    "prior/scheduler": "schedule",
    "decoder/unet": "unet",
    "decoder/movq": "movq",
    "decoder/scheduler": "decoder_scheduler",
    "decoder": "decoder_settings",
}


def _stacks(folder: Path) -> None:
    for part, name in PLACES.items():
        shutil.copytree(GOLDEN / name, folder / part)
    (folder / "decoder" / "render.json").write_text('{"steps": 5, "guidance": 2.0, "size": 64}')
    for index in folder.rglob("model_index.json"):
        index.unlink()  # of diffusers alone: pops reads none


def _read_stack(folder: Path, path: Path) -> object:
    part = PARTS[path.parent.relative_to(folder).as_posix()]
    stack = open_stack(folder, device="cpu")
    loaded = getattr(stack, part if hasattr(type(stack), part) else "render_settings")
    if part == "image_encoder":
        return loaded.encode([Image.new("RGB", (8, 8))])
    return loaded.encode(["a"]) if part == "text_encoder" else loaded


# --- texts -------------------------------------------------------------------------------------


def _settings(folder: Path) -> None:
    examples = {
        "apply": {"operator": "scene", "inputs": ["a.png"], "seeds": [1, 2], "guidance": 2.0},
        "train": {"mode": "scene", "stack": "pocket", "lr": 1e-4, "use_ema": True},
        "embed": {"mode": "scene", "dataset_path": ["a"], "variants": 3},
        "studio": {"stack": "pocket", "port": 7000, "open": False},
        "generate scenes": {"count": 3, "preset": "pocket", "seed": 1},
        "eval pocket": {"stack": "pocket", "seeds": [1]},
    }
    for command, values in examples.items():
        known = set(COMMANDS[command].config.__dataclass_fields__)
        lines = [f"{key}: {json.dumps(value)}" for key, value in values.items() if key in known]
        (folder / f"{command.replace(' ', '_')}.yaml").write_text("\n".join(lines) + "\n")


def _read_settings(folder: Path, path: Path) -> object:
    command = path.stem.replace("_", " ")
    try:
        return parse(f"pops {command}", COMMANDS[command].config, [f"--config_path={path}"])
    except PopsError as error:
        if "--" not in str(error):  # names neither the file nor a flag
            raise
        raise Refused(f"{path}: {error}") from error


def _words(folder: Path) -> None:
    (folder / "words.txt").write_text("wood\nglass\n# a comment\n/m/01,Tortoise\n")


def _read_words(folder: Path, path: Path) -> object:
    return read_word_list(path), read_prompt_words(path)


def _compositions(folder: Path) -> None:
    picture = folder / "a.png"
    Image.new("RGB", (8, 8)).save(picture)
    texts = ("scene(texturing('a.png', 'b.png'), 'c')", "mean(union('a', _), 'b', 0.3)")
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_text(text)


def _read_composition(folder: Path, path: Path) -> object:
    if path.suffix != ".txt":
        return open_picture(path)
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        return parse_composition(text)
    except PopsError as error:  # which names the place in the text, not a file
        raise Refused(f"{path}: {error}") from error


def _saved(folder: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    import base64

    inputs = {
        "a.png": {"picture": base64.b64encode(picture.getvalue()).decode(), "embedding": None},
        "b": {"picture": None, "embedding": [0.5] * 32},
    }
    text = "scene('a.png', 'b')"
    saved = {"format": "pops-composition-1", "stack": "tiny", "expression": text, "settings": {}}
    (folder / "saved.json").write_text(json.dumps(saved | {"inputs": inputs}))


def _read_saved(folder: Path, path: Path) -> object:
    from pops.studio.saved import open_composition

    try:
        return open_composition(path.read_bytes(), "tiny", 32)
    except PopsError as error:  # a file that was uploaded, and has no path
        raise Refused(f"{path}: {error}") from error


# --- data --------------------------------------------------------------------------------------


@cache
def _pocket() -> Stack:
    return open_stack("pocket", device="cpu")


def _records(folder: Path) -> None:
    for mode, write in WRITERS.items():
        write(folder / mode, 2)


def _read_record(folder: Path, path: Path) -> object:
    """The examples of the dataset; a record that cannot be used is named and left out."""
    mode = path.relative_to(folder).parts[0]
    data = dataset(mode, folder / mode)
    loaded = [data[epoch, index] for epoch, index in product(range(2), range(len(data)))]
    broken = [reason for one in loaded for reason in one.broken]
    if broken:
        raise Refused(" ".join(broken))
    return loaded


def _caches(folder: Path) -> None:
    for mode in ("texturing", "instruct"):
        data = dataset(mode, WRITERS[mode](folder.parent / f"of-{mode}", 3))
        index = make_index(data, _pocket(), 2, shard_records=2)
        (folder / mode).mkdir()
        write_index(folder / mode, index)
        embed_dataset(folder / mode, index, data, _pocket())


def _read_cache(folder: Path, path: Path) -> list[Batch]:
    mode = path.parent.name
    source = CachedSource([path.parent], _pocket().clip_stats, OPERATORS[mode])
    every = [(epoch, index) for epoch in range(2) for index in range(len(source))]
    batches = list(source.batches([every[:64]]))
    if source.broken:
        raise Refused(" ".join(source.broken))
    return batches


def _generated(folder: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        flags = [
            "--preset=pocket",
            f"--output_dir={folder / 'scenes'}",
            "--count=2",
            "--device=cpu",
        ]
        if main(["generate", "scenes", *flags]) != 0:
            raise RuntimeError("no scenes could be generated")


def _read_generated(folder: Path, path: Path) -> object:
    """`generate inspect`, which says what is broken, and `generate export`."""
    place, out = str(folder / "scenes"), folder.parent / "exported"
    said = _command("generate", "inspect", place, f"--out={out / 'sheet.jpg'}")
    _command("generate", "export", place, f"--out={out}")
    return said


def _command(*arguments: str) -> str:
    """Run a command and give what it prints; Refused, with its line, if it ends with an error."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        status = main(list(arguments))
    if "error: unexpected" in errors.getvalue():
        raise RuntimeError(errors.getvalue())
    if status:
        raise Refused(errors.getvalue() + out.getvalue())
    return out.getvalue()


# --- indexes and evaluations --------------------------------------------------------------------


def _indexes(folder: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(6, 32)).astype(np.float16)
    write_index_file(folder, IndexFile("pocket", {"image": "0"}, 32, "pictures"))
    for number, at in enumerate((slice(0, 4), slice(4, 6))):
        names = [f"more/{row}.png" for row in range(*at.indices(6))]
        write_shard(folder, number, IndexShard(names, rows[at], {"bad.png": "bad.png is empty"}))


def _read_index(folder: Path, path: Path) -> object:
    index = Index(folder)
    return index.find(torch.ones(1, index.file.dim), 3), measure(index)


LOCK = ".lock-0-of-1"
RUN = {"operator": "texturing", "seeds": [1], "models": {"judge": "pocket"}}


def _evaluations(folder: Path) -> None:
    lines = Lines(folder / "run", Shard(), PictureLine)
    with lines.open(RUN):
        for index in range(3):
            words = {"object": "mug", "texture": "wood"}
            lines.add(
                PictureLine(index, 0, "pops", 1, words, {"colour": 0.5}, None, {"render": 1.0})
            )
    (folder / "run" / LOCK).unlink()
    study = folder / "study"
    (study / ANSWERS).mkdir(parents=True)
    sides = {"name": "mug", "left": "first", "right": "second"}
    key = {"study": "s", "question": "?", "first": "pops", "second": "mean", "pairs": {"a": sides}}
    (study / KEY).write_text(json.dumps(key))
    for rater in ("Ann", "Bo"):
        sent = {"study": "s", "rater": rater, "answers": {"a": "left"}}
        (study / ANSWERS / f"{rater}.json").write_text(json.dumps(sent))


def _read_evaluation(folder: Path, path: Path) -> object:
    if path.is_relative_to(folder / "study"):
        return report_study(folder / "study")
    lines = read_lines(folder / "run", PictureLine)
    if not lines:  # it would begin anew, and write its settings
        return lines
    try:
        with Lines(folder / "run", Shard(), PictureLine).open(RUN) as there:
            return there
    finally:
        (folder / "run" / LOCK).unlink(missing_ok=True)


# --- training ----------------------------------------------------------------------------------

SMALL = PriorConfig(num_attention_heads=1, attention_head_dim=8, num_layers=1, embedding_dim=8)


def _state() -> State:
    torch.manual_seed(0)
    prior = Prior(SMALL)
    parameters = {n: p for n, p in prior.named_parameters() if not n.startswith("clip_")}
    optimiser = torch.optim.AdamW(parameters.values(), lr=1e-3)
    for parameter in parameters.values():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    return State(parameters, optimiser, ema_decay=0.9)


def _checkpoints(folder: Path) -> None:
    state = _state()
    for step in (1, 2):
        state.step = step
        save_checkpoint(state, folder / "checkpoints", keep=5, extra={"settings": {"lr": 1e-3}})
    lines = [{"step": step, "loss": 0.5, "lr": 1e-3} for step in (1, 2)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text)


def _read_checkpoint(folder: Path, path: Path) -> object:
    if path.suffix == ".jsonl":
        return read_metrics(path)
    latest = latest_checkpoint(folder / "checkpoints")
    return _state().load(path.parent if latest is None else path.parent)


FORMATS = {
    one.name: one
    for one in (
        Format("pictures", _pictures, lambda _, path: open_picture(path)),
        Format("embeddings", _embeddings, lambda _, path: load_embeddings(path)),
        Format("operators", _operators, _read_operator),
        Format("stacks", _stacks, _read_stack),
        Format("judges", _judges, _read_judge),
        Format("settings", _settings, _read_settings),
        Format("words", _words, _read_words),
        Format("compositions", _compositions, _read_composition),
        Format("saved", _saved, _read_saved),
        Format("records", _records, _read_record),
        Format("caches", _caches, _read_cache),
        Format("generated", _generated, _read_generated),
        Format("indexes", _indexes, _read_index),
        Format("evaluations", _evaluations, _read_evaluation),
        Format("checkpoints", _checkpoints, _read_checkpoint),
    )
}
