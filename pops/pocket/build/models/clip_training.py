"""Stage `clip`: the image encoder and the text encoder.

Several losses make them learn on a small budget. Their heads are not part of the stack:

- The embedding answers questions about the things in the picture and its background.
- Captions often name only a part of the picture, so that colour and background alone do not tell
  which caption belongs to which picture.
- Two pictures of one content are positives among near misses of it.
- The token of each piece of the picture tells what the piece shows (Jiang et al. 2021, "token
  labeling").
- The embedding tells the leading principal components of the picture, which keeps pose and light
  in it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTokenizer

from pops.io.files import atomic_path
from pops.pocket.build.data.batches import Batch, Batches, jitter, soften
from pops.pocket.build.data.labels import IGNORE, NOTHING, PERSON, WHAT
from pops.pocket.build.data.pictures import Pictures, load_pictures
from pops.pocket.build.fit import Fit, in_processes
from pops.pocket.build.models.clip import DETAILS, Clip, make_tokenizer, start_from_patches
from pops.pocket.build.models.components import softened_components
from pops.pocket.world.vocabulary import MATERIALS

__all__ = ["ask_questions", "clip_fit", "train_clip"]

DETAIL_SIDE = 32  # pixels along a side of the pictures whose components are told
REFRESH = 400  # steps after which pictures that have been rendered since are used, too


# --- details of a picture beside its content ------------------------------------------------


@dataclass(frozen=True)
class Details:
    """The leading principal components of small pictures, scaled to a mean variance of 1."""

    mean: Tensor  # (3 * 32 * 32,)
    components: Tensor  # (3 * 32 * 32, 256)

    def of(self, pictures: Tensor) -> Tensor:
        """Compute the components (N, 256) of pictures (N, 3, H, W) in [0, 1]."""
        small = F.interpolate(pictures, (DETAIL_SIDE,) * 2, mode="area").flatten(1)
        return (small - self.mean) @ self.components


def find_details(pictures: Tensor) -> Details:
    """Find the components of pictures (N, 3, H, W) in [0, 1]."""
    small = F.interpolate(pictures, (DETAIL_SIDE,) * 2, mode="area").flatten(1)
    return Details(*softened_components(small, DETAILS, least=1e-9))


def load_details(folder: Path, data: Pictures) -> Details:
    """Read the components of a build, or find them in its pictures and keep them."""
    path = folder / "details.pt"
    if not path.exists():
        step = max(1, len(data.records) // 6000)
        found = find_details(data.batch(range(0, len(data.records), step)))
        with atomic_path(path) as part:
            torch.save({"mean": found.mean, "components": found.components}, part)
    return Details(**torch.load(path, weights_only=True))


# --- losses ---------------------------------------------------------------------------------

# The weights of the questions, and of the losses.
WEIGHTS = {"object": 1.5, "material": 1.0, "object_b": 1.0, "material_b": 1.0, "background": 0.5}
ADJECTIVE, WORN, PIECE, CAPTION, TWIN, DETAIL = 0.7, 0.4, 1.0, 0.4, 1.0, 3.0
NONE = 0.5  # the weight of all pictures together that have none of what is asked about


def _agree(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute the cross-entropy of rows with several right answers; rows without do not count."""
    count = targets.sum(1, keepdim=True)
    asked = -(targets / count.clamp_min(1) * logits.log_softmax(1)).sum(1)
    return asked.sum() / (count > 0).sum().clamp_min(1)


def ask_questions(clip: Clip, embeds: Tensor, batch: Batch) -> Tensor:
    """Compute the loss of the answers to all questions.

    Most pictures have no second thing, garment or adjective. So the pictures that have one count
    twice as much, all together, as all that have none. Only of people it is asked what they wear.

    Args:
        clip: the encoders and their heads.
        embeds: (N, D), embeddings of the batch's pictures.
        batch: the batch.

    Returns:
        The loss, a scalar.
    """
    asked = torch.zeros((), device=embeds.device)
    person = torch.tensor([a["object"] == PERSON for a in batch.answers], device=embeds.device)
    for name, logits in clip.answers(embeds).items():
        right = torch.tensor([answers[name] for answers in batch.answers]).to(embeds.device)
        weight = ADJECTIVE if name == "adjective" else WEIGHTS.get(name, WORN)
        loss = F.cross_entropy(logits.float(), right, reduction="none")
        none = right == NOTHING[name]
        asks = person if name.startswith("worn ") else torch.ones_like(none)
        for group, share in ((asks & ~none, 1.0), (asks & none, NONE)):
            asked = asked + weight * share * loss[group].sum() / group.sum().clamp_min(1)
    return asked


def _pieces(clip: Clip, tokens: Tensor, batch: Batch) -> Tensor:
    """Compute the loss of what each piece of the whole pictures shows, and of what material."""
    assert batch.what is not None and batch.material is not None
    said = clip.pieces(tokens[: len(batch.rows)]).float().flatten(0, 1)
    what, material = said.split([len(WHAT), len(MATERIALS) + 1], 1)
    pairs = ((what, batch.what), (material, batch.material))
    return sum(
        (
            F.cross_entropy(one, right.flatten().to(one.device), ignore_index=IGNORE)
            for one, right in pairs
        ),
        torch.zeros((), device=said.device),
    )


def _captions(clip: Clip, image: Tensor, batch: Batch) -> Tensor:
    """Compute the contrastive loss between pictures and captions; a picture may have several."""
    captions, true = batch.true()
    text = F.normalize(clip.texts(captions).float(), dim=1)
    logits = clip.log_scale.exp().clamp_max(50) * image @ text.T
    true = true.to(image)
    return 0.5 * (_agree(logits, true) + _agree(logits.T, true.T))


def _twins(clip: Clip, image: Tensor, batch: Batch) -> Tensor:
    """Compute the contrastive loss between pictures of one content; near misses do not count."""
    same, near = (m.to(image.device) for m in batch.same())
    logits = clip.log_image_scale.exp().clamp_max(50) * image @ image.T
    return _agree(logits.masked_fill(near, -1e4), same.float())


def losses(clip: Clip, batches: Batches, details: Details, rng: random.Random) -> dict[str, Tensor]:
    """Compute the losses of a step on a random batch."""
    batch = batches.draw(rng, clip.grid)
    where = clip.log_scale.device
    clean = jitter(torch.stack(batch.pictures), rng)
    embeds, tokens = clip.see(soften(clean, rng).to(where))
    image = F.normalize(embeds.float(), dim=1)
    return {
        "asked": ask_questions(clip, embeds, batch),
        "pieces": PIECE * _pieces(clip, tokens, batch),
        "caption": CAPTION * _captions(clip, image, batch),
        "twin": TWIN * _twins(clip, image, batch),
        "detail": DETAIL * F.mse_loss(clip.details(embeds).float(), details.of(clean).to(where)),
    }


def clip_fit(folder: Path, captions: Sequence[str]) -> Fit:
    """Open the training of the encoders.

    Args:
        folder: the folder of their state and of the tokenizer.
        captions: the captions from which a tokenizer is trained where there is none yet.

    Returns:
        The training, as it stands.
    """
    path = folder / "tokenizer"
    if not path.exists():
        make_tokenizer(captions).save_pretrained(path)
    clip = Clip(CLIPTokenizer.from_pretrained(path))
    return Fit(folder, clip, lr=7e-4, weight_decay=0.05, half=True)


def _work(
    rank: int, world: int, folder: Path, pictures: Path, garments: Path, seconds: float
) -> None:
    torch.manual_seed(0)
    data = load_pictures(pictures)
    fit = clip_fit(folder, [r["caption"] for r in data.records[:5000]])
    clip = fit.module
    assert isinstance(clip, Clip)
    if fit.step == 0:
        start_from_patches(clip.vision, data.batch(range(0, len(data.records), 23)))
        fit.ema.load_state_dict(clip.state_dict())
    torch.manual_seed(1 + fit.step * world + rank)
    details = load_details(folder, data)
    batches = Batches(data, load_pictures(garments), 1 / world)

    def step(number: int) -> dict[str, Tensor]:
        nonlocal batches
        if number % REFRESH == 0:
            batches = Batches(load_pictures(pictures), load_pictures(garments), 1 / world)
        rng = random.Random(f"clip/{number * world + rank}")
        return losses(clip, batches, details, rng)

    fit.run(seconds, step)


def train_clip(
    folder: Path, pictures: Path, garments: Path, seconds: float, world: int = 1
) -> None:
    """Train the encoders for some time.

    Args:
        folder: the folder of their state.
        pictures: the folder of pictures, to which more may be added meanwhile.
        garments: the folder of pictures of garments without a wearer; so may it.
        seconds: the time.
        world: the number of processes, each of which draws its share of a batch.
    """
    data = load_pictures(pictures)
    clip_fit(folder, [r["caption"] for r in data.records[:5000]])
    load_details(folder, data)
    in_processes(_work, world, folder, pictures, garments, seconds)
