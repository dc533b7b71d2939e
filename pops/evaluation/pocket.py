"""The pocket benchmark: an operator on combinations that no training has seen.

For every held-out (object, material, background) the operator is given a picture of the object
in that place in another material, and an exemplar of the material: a flat swatch, or a patch cut
out of another object. Its output embedding should be nearest, of one picture of each of all
combinations, to the one of the true combination; all pictures have cameras, lights and cuts of
their own. Beside it stand chance, the mean of the two
input embeddings, and the ceiling: another picture of the true combination.

After rendering, a classifier that shares nothing with the encoders says what it sees.
"""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from os import cpu_count

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from pops.embeddings import Embeddings
from pops.engine import Engine
from pops.errors import UsageError
from pops.pocket.judge import QUESTIONS, Judge, load_judge
from pops.pocket.stages.pictures import crop_patch, find_patch
from pops.pocket.world.render import render, render_swatches
from pops.pocket.world.scene import Scene, Swatch, single
from pops.pocket.world.split import Combination, combinations, held_out, is_held_out
from pops.pocket.world.vocabulary import MATERIALS, OBJECTS
from pops.stacks import WEIGHTS

__all__ = ["Retrieval", "evaluate", "retrieve"]

SIZE = 64
GEOMETRIES = 10  # of every object in the gallery
SEED = 18
OPERATORS = ("texturing",)
_SOLID = ("ball", "cube", "mug", "vase", "hat")  # large enough to cut a patch out of

Progress = Callable[[str, int, int], None]
Report = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Retrieval:
    """How well queries find their own combination in the gallery."""

    top1: float
    top5: float
    mean_rank: float  # 1 is best
    object_and_material: float  # of the nearest picture, whatever its background


def retrieve(queries: Tensor, gallery: Tensor, targets: Sequence[int]) -> Retrieval:
    """Ranks by cosine of queries (Q, D) among gallery (G, D), row g of combination g."""
    likeness = F.normalize(queries, dim=1) @ F.normalize(gallery, dim=1).T
    right = torch.tensor(targets)
    own = likeness.gather(1, right[:, None])
    rank = (likeness > own).sum(1) + 1
    names = [c[:2] for c in combinations()]
    nearest = likeness.argmax(1).tolist()
    alike = [names[n] == names[t] for n, t in zip(nearest, targets, strict=True)]
    return Retrieval(
        top1=float((rank == 1).float().mean()),
        top5=float((rank <= 5).float().mean()),
        mean_rank=float(rank.float().mean()),
        object_and_material=sum(alike) / len(alike),
    )


def _gallery_scenes() -> list[Scene]:
    """One scene of every combination; objects share a few geometries, never a cut or a place."""
    rng = random.Random("gallery")
    poses = {
        shape: [single(shape, "red", "studio", rng) for _ in range(GEOMETRIES)] for shape in OBJECTS
    }
    scenes = []
    for i, (shape, material, background) in enumerate(combinations()):
        pose = poses[shape][i % GEOMETRIES]
        item = replace(pose.items[0], material=material, phase=rng.uniform(0, 20))
        scenes.append(replace(pose, items=(item,), background=background, phase=rng.uniform(0, 20)))
    return scenes


def _inputs(targets: Sequence[Combination]) -> tuple[list[Scene], list[Scene]]:
    """Object pictures, and other pictures of the targets, each with its own randomness."""
    rng = random.Random("inputs")
    objects, twins = [], []
    for shape, material, background in targets:
        others = [m for m in MATERIALS if m != material and not is_held_out(shape, m, background)]
        objects.append(single(shape, rng.choice(others), background, rng))
        twins.append(single(shape, material, background, rng))
    return objects, twins


def _exemplars(targets: Sequence[Combination]) -> list[Image.Image]:
    """By turns a flat swatch of the material, and a patch cut out of another object made of it."""
    rng = random.Random("exemplars")
    pictures = []
    for i, (shape, material, _) in enumerate(targets):
        if i % 2 == 0:
            swatch = Swatch(material, rng.uniform(0, 20), rng.uniform(1.0, 2.0))
            pictures.append(render_swatches([swatch], SIZE)[0])
            continue
        other = rng.choice([s for s in _SOLID if s != shape])
        rendering = render([single(other, material, "studio", rng)], SIZE)
        patch = find_patch(rendering.mask(0, 0).numpy(), rng)
        whole = rendering.pictures[0].permute(2, 0, 1).float() / 255
        cut = whole if patch is None else crop_patch(whole, patch)
        pictures.append((cut.permute(1, 2, 0) * 255).round().byte())
    return [Image.fromarray(p.numpy()) for p in pictures]


def _draw(scenes: Sequence[Scene]) -> Tensor:
    torch.set_num_threads(1)
    return render(scenes, SIZE).pictures


def _pictures(scenes: Sequence[Scene], progress: Progress | None) -> list[Image.Image]:
    """Scenes as pictures, drawn by one process per core."""
    workers = cpu_count() or 1
    each = 160
    chunks = [scenes[i : i + each] for i in range(0, len(scenes), each)]
    drawn: list[Tensor] = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for chunk in pool.map(_draw, chunks):
            drawn.append(chunk)
            if progress:
                progress("render pictures", sum(map(len, drawn)), len(scenes))
    return [Image.fromarray(p.numpy()) for p in torch.cat(drawn)]


def _judged(
    judge: Judge, pictures: Sequence[Image.Image], targets: Sequence[Combination]
) -> dict[str, float]:
    """Share of pictures in which the judge sees the true object, material and background."""
    stacked = torch.stack(
        [torch.frombuffer(bytearray(p.tobytes()), dtype=torch.uint8) for p in pictures]
    )
    pixels = stacked.reshape(-1, SIZE, SIZE, 3).permute(0, 3, 1, 2).float() / 255
    said = judge.answer(pixels)
    return {
        f"rendered_{question}": sum(
            QUESTIONS[question][int(a)] == t[at] for a, t in zip(answers, targets, strict=True)
        )
        / len(targets)
        for at, (question, answers) in enumerate(said.items())
    }


def evaluate(
    operator: str = "texturing",
    *,
    engine: Engine | None = None,
    judge: Judge | None = None,
    progress: Progress | None = None,
    guidance: float | None = None,
    limit: int | None = None,
) -> Report:
    """Measure an operator of the pocket stack, and its decoder, on held-out combinations.

    Returns `{operator: {...}, "decoder": {...}}`; every figure is a share of the held-out
    combinations but `mean_rank`, a place among all of them. `limit` takes that many.

    Raises:
        UsageError: an operator that this benchmark does not know.
    """
    if operator not in OPERATORS:
        raise UsageError(f"no pocket benchmark of {operator!r}; there is one of {OPERATORS}")
    engine = engine or Engine.load("pocket")
    judge = judge or load_judge(WEIGHTS / "judge" / "model.safetensors")
    targets = list(held_out())[:limit]
    index = {c: i for i, c in enumerate(combinations())}
    rows = [index[t] for t in targets]
    objects, twins = _inputs(targets)
    drawn = _pictures([*_gallery_scenes(), *objects, *twins], progress)
    count = len(index)
    gallery = engine.encode(drawn[:count], progress).image_embeds
    first = drawn[count : count + len(targets)]
    true = engine.encode(drawn[count + len(targets) :], progress)
    pairs = list(zip(first, _exemplars(targets), strict=True))
    made = engine.apply(operator, pairs, seeds=(SEED,), guidance=guidance, progress=progress)
    mean = engine.mean(pairs)

    def seen(embeddings: Embeddings) -> tuple[dict[str, float], list[Image.Image]]:
        shown = engine.render(embeddings, seeds=(0,), progress=progress)
        return _judged(judge, shown, targets), shown

    ceiling = retrieve(true.image_embeds, gallery, rows)
    found = retrieve(made.image_embeds, gallery, rows)
    plain = retrieve(mean.image_embeds, gallery, rows)
    judged_made, shown_made = seen(made)
    judged_true, shown_true = seen(true)
    again = {
        name: retrieve(engine.encode(shown).image_embeds, gallery, rows).object_and_material
        for name, shown in (("made", shown_made), ("true", shown_true))
    }
    numbers = {
        **asdict(found),
        **{f"ceiling_{k}": v for k, v in asdict(ceiling).items()},
        **{f"mean_{k}": v for k, v in asdict(plain).items()},
        "chance": 1 / count,
        **judged_made,
        "rendered_recognised_by_clip": again["made"],
    }
    judged_pictures = _judged(judge, drawn[count + len(targets) :], targets)
    return {
        operator: numbers,
        "decoder": {**judged_true, "rendered_recognised_by_clip": again["true"]},
        "judge": {k.replace("rendered_", "true_"): v for k, v in judged_pictures.items()},
    }
