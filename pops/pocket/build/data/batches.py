"""Batches of pictures that the encoders are trained on.

A batch shows families of near misses, things cut out, swatches and patches. It shows a few contents
of every family, each in both of its geometries, so that each picture has another one of the same
content beside it, and many of nearly the same.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pops.evaluation.pocket.patches import crop_patch
from pops.pocket.build.data.labels import answer, piece_labels
from pops.pocket.build.data.pictures import Pictures, cut_record
from pops.pocket.world.cutout import cut_out, on_white, slots_of
from pops.pocket.world.scene import plural, with_article
from pops.pocket.world.vocabulary import BACKGROUND_WORDS, MATERIAL_WORDS

Choice = TypeVar("Choice")

__all__ = ["Batch", "Batches", "caption_facts", "jitter", "soften"]

# Kind of family -> how many families of it a batch has, and how many contents of each; each content
# is there twice. Many small families teach shapes faster than few large ones, as a family shows one
# object.
FAMILIES = {"single": (12, 2), "adjective": (4, 2), "pair": (5, 3), "outfit": (4, 3)}
SWATCHES, EMPTY, PATCHES = 4, 2, 4  # how many a batch has
CUTS = 6  # things on white in a batch; each is there twice
REACH = 21  # a picture is moved by at most its side divided by this
ALONE = 0.3  # share of cut-outs that are garments pictured without a wearer


@dataclass
class Batch:
    """N pictures and all that is known of them.

    Attributes:
        pictures: N pictures (3, H, W) in [0, 1].
        answers: for each picture the right answer to every question of `CLASSES`.
        names: for each picture a name of what it shows; two of one name show the same.
        alike: for each picture a name of what it nearly shows. That two share it, but not their
            name, counts neither for nor against them.
        captions: a caption of each picture.
        wanted: for each picture the facts that its caption states.
        facts: for each picture all the facts that are true of it.
        rows: the rows of the pictures that are whole; these come first in the batch.
        what: (W, grid * grid), what each piece of the W whole pictures shows.
        material: (W, grid * grid), of what material it is.
    """

    pictures: list[Tensor] = field(default_factory=list)
    answers: list[dict[str, int]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    alike: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    wanted: list[frozenset[str]] = field(default_factory=list)
    facts: list[frozenset[str]] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    what: Tensor | None = None
    material: Tensor | None = None

    def true(self) -> tuple[list[str], Tensor]:
        """Tell which captions are true of which pictures.

        Returns:
            The C captions, each once, and (N, C) of booleans.
        """
        said = dict(zip(self.captions, self.wanted, strict=True))
        rows = [[wanted <= facts for wanted in said.values()] for facts in self.facts]
        return list(said), torch.tensor(rows)

    def same(self) -> tuple[Tensor, Tensor]:
        """Tell which pictures show the same.

        Returns:
            Two (N, N) of booleans: two different pictures show the same; they show nearly the same,
            or are one picture.
        """
        same, near = (_equal(names) for names in (self.names, self.alike))
        near = (near & ~same).fill_diagonal_(True)
        return same.fill_diagonal_(False), near


def _equal(names: Sequence[str]) -> Tensor:
    index = {name: i for i, name in enumerate(dict.fromkeys(names))}
    ids = torch.tensor([index[name] for name in names])
    return ids[:, None] == ids[None]


# --- captions -------------------------------------------------------------------------------


def caption_facts(record: Mapping[str, Any]) -> frozenset[str]:
    """List all that is true of a picture.

    Args:
        record: the record of the picture.

    Returns:
        The facts, one of which is its whole caption.
    """
    facts = {record["caption"]}
    if record["kind"] in ("single", "adjective", "cut"):
        ((shape, material),) = record["things"]
        facts |= {f"shape {shape}", f"material {material}"}
        facts |= {f"{key} {record[key]}" for key in ("background", "adjective") if record.get(key)}
    return frozenset(facts)


def _caption(record: Mapping[str, Any], rng: random.Random) -> tuple[str, frozenset[str]]:
    """Draw the whole caption or one that names a part, so that no part can be ignored."""
    if record["kind"] == "cut":
        return record["caption"], caption_facts(record) - {record["caption"]}
    way = rng.random()
    if record["kind"] not in ("single", "adjective") or way < 0.4:
        return str(record["caption"]), frozenset({record["caption"]})
    (shape, material), adjective = record["things"][0], record["adjective"]
    place = record["background"]
    if adjective and way < 0.7:
        said = f"many {plural(shape)}" if adjective == "many" else f"{adjective} {shape}"
        told = said if adjective == "many" else with_article(said)
        return told, frozenset({f"shape {shape}", f"adjective {adjective}"})
    if way < 0.65:
        return with_article(shape), frozenset({f"shape {shape}"})
    word, made = MATERIAL_WORDS[material], f"material {material}"
    if way < 0.8:
        return with_article(f"{word} {shape}"), frozenset({f"shape {shape}", made})
    if way < 0.9:
        said = with_article(f"{shape} {BACKGROUND_WORDS[place]}")
        return said, frozenset({f"shape {shape}", f"background {place}"})
    return with_article(f"{word} thing"), frozenset({made})


# --- pictures -------------------------------------------------------------------------------


def jitter(pictures: Tensor, rng: random.Random) -> Tensor:
    """Move each picture by a few pixels.

    Args:
        pictures: (N, 3, H, H).
        rng: chooses how far each is moved.

    Returns:
        The moved pictures (N, 3, H, H); their edges are repeated where nothing was.
    """
    reach = pictures.shape[-1] // REACH
    wide = F.pad(pictures, (reach,) * 4, mode="replicate")
    side = pictures.shape[-1]
    moved = []
    for picture in wide:
        y, x = rng.randint(0, 2 * reach), rng.randint(0, 2 * reach)
        moved.append(picture[:, y : y + side, x : x + side])
    return torch.stack(moved)


def soften(pictures: Tensor, rng: random.Random) -> Tensor:
    """Blur some pictures, make some noisy and change the light of all, as a decoder would.

    Args:
        pictures: (N, 3, H, H) in [0, 1].
        rng: chooses the pictures that are blurred; light and noise are of torch's own generator.

    Returns:
        The changed copies (N, 3, H, H) in [0, 1].
    """
    out = pictures.clone()
    n, size = len(out), out.shape[-1]
    for factor in (2.6, 1.6):
        rows = torch.tensor(rng.sample(range(n), n // 8))
        small = F.interpolate(out[rows], (int(size / factor),) * 2, mode="area")
        out[rows] = F.interpolate(small, (size, size), mode="bilinear")
    light = torch.empty(n, 1, 1, 1).uniform_(0.9, 1.1)
    return (out * light + 0.02 * torch.randn_like(out) * (torch.rand(n, 1, 1, 1) < 0.3)).clamp(0, 1)


class Batches:
    """Random batches of pictures.

    Args:
        data: pictures of families, swatches and empty places.
        alone: pictures of garments, each without its wearer.
        share: how much of a whole batch is drawn.
    """

    def __init__(self, data: Pictures, alone: Pictures, share: float = 1.0) -> None:
        self.data, self.alone, self.share = data, alone, share
        self.families: dict[str, list[dict[str, list[int]]]] = {kind: [] for kind in FAMILIES}
        self.rows: dict[str, list[int]] = {"swatch": [], "empty": []}
        groups: dict[str, dict[str, list[int]]] = {}
        for row, record in enumerate(data.records):
            if record["kind"] in self.rows:
                self.rows[record["kind"]].append(row)
            else:
                own = groups.setdefault(record["group"], {})
                own.setdefault(record["caption"], []).append(row)
        for group in groups.values():
            kinds = {data.records[rows[0]]["kind"] for rows in group.values()}
            twice = {name: rows for name, rows in group.items() if len(rows) > 1}
            if len(twice) >= 2:
                kind = "adjective" if "adjective" in kinds else kinds.pop()
                self.families[kind].append(twice)
        self.patched = [i for i, r in enumerate(data.records) if r.get("patch")]
        self.portraits: dict[str, list[int]] = {}
        for row, record in enumerate(alone.records):
            self.portraits.setdefault(record["caption"], []).append(row)

    def draw(self, rng: random.Random, grid: int) -> Batch:
        """Draw a batch.

        Args:
            rng: chooses the pictures and captions.
            grid: pieces along a side of a picture, each of which is labelled.

        Returns:
            The batch.
        """
        batch = Batch()
        for kind, (many, contents) in FAMILIES.items():
            for family in self._some(self.families[kind], many, rng):
                for name in rng.sample(list(family), min(contents, len(family))):
                    batch.rows += rng.sample(family[name], 2)
        for kind, many in (("swatch", SWATCHES), ("empty", EMPTY)):
            batch.rows += self._some(self.rows[kind], many, rng)
        pictures = self.data.batch(batch.rows)
        records = [self.data.records[row] for row in batch.rows]
        for row, record in zip(batch.rows, records, strict=True):
            whole = record["kind"] not in self.rows
            self._add(batch, record, rng, record["caption"] if whole else f"#{row}")
        batch.pictures = list(pictures)
        seen = self.data.seen(batch.rows)
        batch.what, batch.material = piece_labels(records, seen, grid)
        self._add_patches(batch, rng)
        for _ in range(self._many(CUTS)):
            self._add_cuts(batch, rng)
        return batch

    def _many(self, of_a_batch: int) -> int:
        return math.ceil(self.share * of_a_batch)

    def _some(self, of: list[Choice], of_a_batch: int, rng: random.Random) -> list[Choice]:
        return rng.sample(of, min(self._many(of_a_batch), len(of)))

    def _add(self, batch: Batch, record: Mapping[str, Any], rng: random.Random, name: str) -> None:
        caption, wanted = _caption(record, rng)
        batch.answers.append(answer(record))
        batch.captions.append(caption)
        batch.wanted.append(wanted)
        batch.facts.append(caption_facts(record))
        batch.names.append(name)
        place = record.get("background")
        things = sorted("/".join(thing) for thing in record["things"])
        order = record["kind"] == "pair"
        batch.alike.append(f"{place} {things}" if order else name)

    def _add_patches(self, batch: Batch, rng: random.Random) -> None:
        for row in self._some(self.patched, PATCHES, rng):
            record = self.data.records[row]
            material = record["things"][0][1]
            batch.pictures.append(crop_patch(self.data.batch([row])[0], record["patch"]))
            told = with_article(f"{MATERIAL_WORDS[material]} texture")
            swatch = {"kind": "swatch", "caption": told, "things": [["", material]]}
            self._add(batch, swatch, rng, f"#patch {row}")

    def _add_cuts(self, batch: Batch, rng: random.Random) -> None:
        """Add one thing on white, twice: cut out of two pictures of it, or pictured alone."""
        if rng.random() < ALONE:
            rows = rng.sample(self.portraits[rng.choice(list(self.portraits))], 2)
            pair = [(self.alone.records[row], self.alone.batch([row])[0]) for row in rows]
        else:
            kind = rng.choice(("single", "pair", "outfit", "outfit"))
            family = rng.choice(self.families[kind])
            rows = family[rng.choice(list(family))][:2]
            which = rng.randrange(len(self.data.records[rows[0]]["things"]))
            side = rng.random() < 0.5
            pair = [found for row in rows if (found := self._cut(row, which, side)) is not None]
        for record, picture in pair:
            batch.pictures.append(picture)
            self._add(batch, record, rng, f"cut {record['caption']}")

    def _cut(self, row: int, which: int, other: bool) -> tuple[dict[str, Any], Tensor] | None:
        """Cut thing number `which` out of a picture; `other` chooses between two shoes."""
        record = self.data.records[row]
        shape, material = record["things"][which]
        worn = record["kind"] == "outfit"
        picture, mask = self.data.batch([row])[0], self.data.seen([row])[0] == which + 1 + worn
        slot = ""
        if worn:
            parts = list(slots_of(shape.removeprefix("worn "), mask).items())
            slot, mask = parts[other % len(parts)]
        if record["kind"] == "single":
            cut: Tensor | None = on_white(picture, mask)
        else:
            cut = cut_out(picture, mask, picture.shape[-1])
        if cut is None:
            return None
        return cut_record(shape, material, slot or shape), cut
