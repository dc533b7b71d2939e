"""Facts about the stack: those that the page is made from, and those that it shows."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pops import __version__
from pops.compose.nodes import function_name
from pops.io.assets import example_pictures
from pops.io.hub.repositories import REPOSITORIES
from pops.io.hub.snapshots import is_repository
from pops.io.names import expand_home
from pops.io.pictures import open_picture
from pops.operators import Operator, read_operator_card
from pops.prior.sampling import SAMPLERS
from pops.render import RENDERERS
from pops.settings.rendering import PRESETS, RenderSettings
from pops.studio.store import StoredItem

if TYPE_CHECKING:
    from pops.engine import Engine
    from pops.stacks.stack import Stack
    from pops.studio.store import Store

__all__ = ["add_examples", "describe", "offered_operators", "offered_renderers"]

PACKAGE = Path(__file__).parent.parent
PUBLISHED = ("texturing", "union", "scene", "instruct")  # the operators in the hub's repository
ADAPTER_DIM = 1280  # of the embeddings that the SDXL renderers take
SAYS = {
    "texturing": "Give an object the look of a texture.",
    "union": "Put two things into one picture.",
    "scene": "Place an object in front of a background.",
    "instruct": "Change an object by a word or two.",
    "clothes": "Dress a person from single garments.",
}
OWN_SAYS = "An operator of your own."
FINDING = "find"  # the renderer that needs an index of pictures
# Renderers that take embeddings of one length only, and the part of a stack that decides it.
ADAPTED = {
    "ip_adapter": "ip_adapter",
    "depth": "ip_adapter",
    "revision": "sdxl",
    "inpaint": "inpaint_decoder",
    "kandinsky_depth": "depth_decoder",
}
UNNAMED = ("stable_unclip",)  # where it fits, it is the stack's own
# What renderers take beside the embedding, as their classes say, which are not imported for it.
TAKES = {
    "ip_adapter": ("preset", "prompt", "ip_adapter_scale"),
    "depth": ("preset", "prompt", "ip_adapter_scale"),
    "revision": ("preset", "prompt"),
    "img2img": ("init", "init_strength"),
    "inpaint": ("init", "mask"),
    "stable_unclip": ("prompt",),
}
# The instructions offered for an operator whose card names none: words of the paper.
WORDS = ["shiny", "golden", "broken", "made of glass", "melting", "a painting"]
RENDERER_SAYS = {
    "kandinsky": "the stack's own",
    "ip_adapter": "SDXL, IP-Adapter",
    "depth": "SDXL, keeping the first input's shape",
    "find": "nearest picture of the index",
    "revision": "SDXL, without an adapter",
    "img2img": "from a picture",
    "inpaint": "a part of a picture",
    "kandinsky_depth": "Kandinsky, keeping the first input's shape",
}


def offered_operators(stack: Stack) -> list[Operator]:
    """List the operators that a stack has weights for, and those of one's own that it knows.

    Args:
        stack: The stack.

    Returns:
        Their rows, those of the table first.
    """
    place = expand_home(stack.spec.operators)
    published = "models/{}/learned_prior.pth"

    def there(name: str) -> bool:
        if name in stack.operator_folders or (place / name / "operator.json").is_file():
            return True
        if place.is_dir():
            return (place / published.format(name)).is_file()
        return name in PUBLISHED and is_repository(stack.spec.operators)

    return [stack.operator_row(name) for name in stack.operators if there(name)]


def offered_renderers(stack: Stack) -> list[str]:
    """List the renderers that can be used with a stack.

    Args:
        stack: The stack.

    Returns:
        Their names: those that take embeddings of this length, or that the stack brings.
    """

    def fits(name: str) -> bool:
        if name == "img2img":  # by the models of the stack's own decoder
            return stack.own_renderer == RenderSettings.renderer
        part = ADAPTED.get(name)
        known = stack.prior_config.embedding_dim == ADAPTER_DIM
        return part is None or known or Path(getattr(stack.spec, part)).is_dir()

    offered = (name for name in RENDERERS if name not in UNNAMED and fits(name))
    return [name for name in offered if name != FINDING or stack.spec.index]


def add_examples(store: Store) -> dict[str, Path]:
    """Put the shipped pictures into a store, with ids such as objects/mug.

    Args:
        store: The store.

    Returns:
        Where each lies, by the name that expressions use. Of two files of one name, the second is
        named with its folder.
    """
    named: dict[str, Path] = {}
    for path in sorted(example_pictures().values(), key=_in_order):
        name = path.name
        if name in named:
            name = f"{path.parent.name.removesuffix('s')}-{name}"
        named[name] = path
        item = StoredItem.of_picture(name, open_picture(path), "example")
        store.add_example(f"{path.parent.name}/{path.stem}", item)
    return named


def describe(engine: Engine, store: Store, limits: dict[str, int]) -> dict[str, Any]:
    """Tell all that the page is made from: operators with their slots, examples, and the stack.

    Args:
        engine: The engine.
        store: Where the examples are.
        limits: What the page must know of the bounds.

    Returns:
        The same as JSON.
    """
    stack = engine.stack
    folders = sorted({name.split("/")[0] for name in store.examples}, key=_objects_first)
    return {
        "version": __version__,
        "operators": [_operator(row, stack, store) for row in offered_operators(stack)],
        "samplers": list(SAMPLERS),
        "renderers": [_renderer(name, stack) for name in offered_renderers(stack)],
        "presets": [
            {"name": name, "steps": few.steps, "size": few.size} for name, few in PRESETS.items()
        ],
        "examples": {
            folder: [
                {**item.told, "kind": "example"}
                for name, item in store.examples.items()
                if name.startswith(f"{folder}/")
            ]
            for folder in folders
        },
        "limits": limits,
        "finds": bool(stack.spec.index),
        "about": {
            "facts": _facts(engine),
            "parts": _parts(stack),
            "quality": _quality(stack),
        },
    }


def _in_order(path: Path) -> tuple[bool, str]:
    return _objects_first(path.parent.name)[0], path.as_posix()


def _objects_first(folder: str) -> tuple[bool, str]:
    return folder != "objects", folder


def _operator(row: Operator, stack: Stack, store: Store) -> dict[str, Any]:
    known = _known_words(row, stack) if row.takes_text else []
    return {
        "name": row.name,
        "function": function_name(row.name),
        "says": OWN_SAYS if row.name in stack.operator_folders else SAYS.get(row.name, ""),
        "slots": [{"name": slot, "examples": _examples(row, slot, store)} for slot in row.inputs],
        "takes_text": row.takes_text,
        "words": known or (WORDS if row.takes_text else []),
        "words_known": bool(known),
        "optional": row.min_inputs is not None,
        "guidance": row.guidance,
    }


def _renderer(name: str, stack: Stack) -> dict[str, Any]:
    meant = stack.own_renderer if name == RenderSettings.renderer else name
    says = RENDERER_SAYS.get(name, "")
    return {"name": name, "says": says, "takes": list(TAKES.get(meant, ()))}


def _known_words(row: Operator, stack: Stack) -> list[str]:
    """List the words that an operator was trained on, where its card names them."""
    shipped = expand_home(stack.spec.operators) / row.name
    folder = stack.operator_folders.get(row.name, shipped)
    if not (folder / "operator.json").is_file():
        return []
    said = str(read_operator_card(folder).training.get("words", ""))
    return [word.strip() for word in said.split(",") if word.strip()]


def _examples(row: Operator, slot: str, store: Store) -> str:
    """Choose the folder of pictures that suit a slot.

    It is the folder of the slot's name, else one with pictures of the operator's slots, else that
    of the objects.
    """
    pictures = [tuple(name.split("/", 1)) for name in store.examples]
    folders = dict.fromkeys(folder for folder, _ in pictures)
    if f"{slot}s" in folders:
        return f"{slot}s"
    held = {folder: sum((folder, one) in pictures for one in row.inputs) for folder in folders}
    best = max(held, key=lambda folder: held[folder], default="objects")
    return best if held.get(best, 0) > 1 else "objects"


def _facts(engine: Engine) -> dict[str, str]:
    stack = engine.stack
    facts = {
        "stack": stack.name,
        "device": str(stack.device),
        "number format": stack.placement.number_format,
        "embedding": f"{engine.dim} numbers",
        "pictures": f"{stack.render_settings.size} pixels, {stack.render_settings.steps} steps",
        "memory in use": _memory(stack),
        "pops": __version__,
    }
    return {name: said for name, said in facts.items() if said}


def _memory(stack: Stack) -> str:
    """Tell the memory that this process takes now and, on a GPU, what is used of the device's."""
    import torch

    used = _resident_bytes()
    said = [f"{used / 2**20:,.0f} MB of memory"] if used else []
    if stack.device.type == "cuda":
        free, whole = torch.cuda.mem_get_info(stack.device)
        said.append(f"{(whole - free) / 2**30:.1f} of {whole / 2**30:.0f} GB of the GPU")
    return ", ".join(said)


def _resident_bytes() -> int:
    """Measure the memory of this process now, else the most it ever had; 0 if neither is told."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        try:
            import resource
        except ImportError:  # on Windows
            return 0
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def _parts(stack: Stack) -> list[dict[str, str]]:
    """Tell of each part of the stack where it is from, its size and its licence."""
    told = []
    for part in ("prior", "decoder", "operators"):
        place = getattr(stack.spec, part)
        if is_repository(place) and not Path(place).is_dir():
            known = REPOSITORIES.get(place)
            size, licence = (known.size, known.licence) if known else ("", "see the hub")
            told.append({"part": part, "from": place, "size": size, "licence": licence})
        else:
            folder = expand_home(place)
            inside = folder.is_relative_to(PACKAGE)
            held = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            told.append(
                {
                    "part": part,
                    "from": "in the package" if inside else folder.name,
                    "size": f"{held / 2**20:.1f} MB",
                    "licence": "Apache-2.0" if inside else "as its owner says",
                }
            )
    return told


# The words for each number of a report; those of the truth and of the mean begin with ceiling_ and
# mean_.
ROWS = {
    "top1": "nearest to the right one of {:,} pictures",
    "top5": "right one among the nearest five",
    "object_and_material": "right objects and materials, by embedding",
    "adjective": "right adjective, by embedding",
    "lost": "an object is lost (less is better)",
    "leak": "a material is on the wrong object (less is better)",
    "rendered_object": "object recognised in the picture",
    "rendered_material": "material recognised in the picture",
    "rendered_background": "background recognised in the picture",
}


def _quality(stack: Stack) -> list[dict[str, Any]]:
    """Read the measured tables of a stack that has a report beside its weights."""
    path = Path(stack.spec.prior).parent / "report.json"
    if not path.is_file():
        return []
    report = json.loads(path.read_text(encoding="utf-8")).get("benchmark", {})
    tables = []
    for name in stack.operators:
        found = report.get(name, {})
        gallery = round(1 / found.get("chance", 1))
        rows = [
            [says.format(gallery), *(found.get(f"{of}{key}") for of in ("", "ceiling_", "mean_"))]
            for key, says in ROWS.items()
            if key in found
        ]
        if rows:
            tables.append({"operator": name, "rows": rows})
    return tables
