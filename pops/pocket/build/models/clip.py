"""Stage `clip`: the image and text encoders.

What makes it learn on a small budget, all of it heads that serve training alone and are not
shipped: questions about the picture, thing by thing and by place; captions that name only a part of
it (so that no batch is solved by colour and place alone); two pictures of one content as positives
among near misses of it; what each piece of the picture shows, asked of the piece's own token (Jiang
et al. 2021, "token labeling"); and the picture's leading principal components, which keep pose and
light in the embedding.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, trainers
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)
from transformers.models.clip.modeling_clip import CLIPVisionModelOutput

from pops.io.files import atomic_path
from pops.pocket.build.data.batches import Batch, Batches, jitter, soften
from pops.pocket.build.data.labels import CLASSES, IGNORE, NOTHING, PERSON, WHAT
from pops.pocket.build.data.pictures import Pictures, load_pictures
from pops.pocket.build.fit import Fit, in_processes
from pops.pocket.world.vocabulary import ADJECTIVES, GARMENTS, MATERIAL_WORDS, MATERIALS, OBJECTS

__all__ = ["DIM", "MEAN", "STD", "Clip", "ask_questions", "clip_fit", "see", "train_clip"]

DIM = 256
MEAN = (0.48145466, 0.4578275, 0.40821073)  # the constants of OpenAI's CLIP
STD = (0.26862954, 0.26130258, 0.27577711)
SEEN_SIZE = 96  # pixels a side that the encoder sees of a picture
DETAILS, DETAIL_SIDE = 256, 32  # principal components of a picture of so many pixels a side
REFRESH = 400  # steps after which it takes in what has been rendered since

_VISION = CLIPVisionConfig(
    hidden_size=DIM,
    intermediate_size=4 * DIM,
    num_hidden_layers=6,
    num_attention_heads=8,
    image_size=SEEN_SIZE,
    patch_size=16,
    projection_dim=DIM,
    hidden_act="gelu",
)


def text_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=DIM,  # the operators take its hidden states beside image embeddings
        intermediate_size=2 * DIM,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=DIM,
        hidden_act="gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def make_tokenizer(captions: Sequence[str]) -> CLIPTokenizer:
    """A byte-pair tokenizer in CLIP's format whose merges come from the captions.

    Its base is all bytes, so that any text can be said, if not understood.
    """
    words = " ".join([*OBJECTS, *GARMENTS, *MATERIAL_WORDS.values(), *ADJECTIVES])
    corpus = [*captions, *[words] * 50, "".join(w + "s " for w in OBJECTS)]
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = CLIPTokenizer().backend_tokenizer.pre_tokenizer
    alphabet = sorted(ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        min_frequency=2,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator((c.lower() for c in corpus), trainer)
    state = json.loads(bpe.to_str())["model"]
    return CLIPTokenizer(vocab=state["vocab"], merges=[tuple(m) for m in state["merges"]])


def _pixels(pictures: Tensor, size: int) -> Tensor:
    """Pictures (N, 3, H, W) in [0, 1] as an encoder of some size takes them."""
    mean, std = (torch.tensor(v, device=pictures.device)[:, None, None] for v in (MEAN, STD))
    small = F.interpolate(pictures, (size, size), mode="bilinear", antialias=True)
    return (small - mean) / std


def see(encoder: CLIPVisionModelWithProjection, pictures: Tensor) -> CLIPVisionModelOutput:
    """The output of an image encoder for pictures (N, 3, H, W) in [0, 1]."""
    pixels = _pixels(pictures, encoder.config.image_size)
    out: CLIPVisionModelOutput = encoder(pixel_values=pixels.to(encoder.dtype))
    return out


class Clip(nn.Module):
    """Both encoders, the temperature, and the heads of training."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        # On a CPU the plain attention of so few tokens is trained twice as fast.
        self.vision = CLIPVisionModelWithProjection._from_config(
            _VISION, attn_implementation="eager"
        )
        self.text = CLIPTextModelWithProjection(text_config(tokenizer))
        self.heads = nn.Linear(DIM, sum(CLASSES.values()))
        self.pieces = nn.Linear(_VISION.hidden_size, len(WHAT) + len(MATERIALS) + 1)
        self.details = nn.Sequential(nn.Linear(DIM, 512), nn.GELU(), nn.Linear(512, DETAILS))
        self.log_scale = nn.Parameter(torch.tensor(2.5))
        self.log_image_scale = nn.Parameter(torch.tensor(2.5))

    @property
    def grid(self) -> int:
        """Pieces along a side of a picture."""
        return int(_VISION.image_size // _VISION.patch_size)

    def see(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (N, D) and the tokens of the pieces (N, grid * grid, hidden)."""
        out = see(self.vision, pictures)
        return out.image_embeds, out.last_hidden_state[:, 1:]

    def images(self, pictures: Tensor) -> Tensor:
        """Embeddings (N, D) of pictures (N, 3, 128, 128) in [0, 1]."""
        return self.see(pictures)[0]

    def texts(self, captions: Sequence[str]) -> Tensor:
        ids = self.tokenizer(list(captions), padding=True, return_tensors="pt").to(
            self.log_scale.device
        )
        out: Tensor = self.text(ids.input_ids, attention_mask=ids.attention_mask).text_embeds
        return out

    def answers(self, embeds: Tensor) -> dict[str, Tensor]:
        """Logits of every question from the direction of an embedding."""
        logits = self.heads(F.normalize(embeds, dim=1) * DIM**0.5)
        return dict(zip(CLASSES, logits.split(list(CLASSES.values()), 1), strict=True))


@torch.no_grad()
def start_from_patches(vision: CLIPVisionModelWithProjection, pictures: Tensor) -> None:
    """Begin with whitened principal components of the patches instead of noise.

    The first layer then passes fine detail as loud as broad colour; noise learns that slowly.
    """
    conv = vision.vision_model.embeddings.patch_embedding
    size = conv.kernel_size[0]
    patches = (
        F.unfold(_pixels(pictures, SEEN_SIZE), size, stride=size).transpose(1, 2).flatten(0, 1)
    )
    centred = patches - patches.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    values, vectors = values.flip(0), vectors.flip(1)
    n = conv.weight.shape[0]
    scale = (values[:n].clamp_min(0) + 0.02 * values[:n].mean()).rsqrt()
    conv.weight.copy_((vectors[:, :n] * scale).T.reshape(conv.weight.shape) * 0.3)


# --- what the picture holds beside its content ----------------------------------------------


@dataclass(frozen=True)
class Details:
    """A picture's leading principal components, scaled to a mean variance of 1."""

    mean: Tensor  # (3 * 32 * 32,)
    components: Tensor  # (3 * 32 * 32, 256)

    def of(self, pictures: Tensor) -> Tensor:
        small = F.interpolate(pictures, (DETAIL_SIDE,) * 2, mode="area").flatten(1)
        return (small - self.mean) @ self.components


def find_details(pictures: Tensor) -> Details:
    """Between raw components, of which the first drown the rest, and whitened ones."""
    small = F.interpolate(pictures, (DETAIL_SIDE,) * 2, mode="area").flatten(1)
    mean = small.mean(0)
    centred = small - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    values, vectors = values.flip(0)[:DETAILS], vectors.flip(1)[:, :DETAILS]
    scale = values.clamp_min(1e-9) ** -0.25
    return Details(mean, vectors * (scale / (scale.square() * values).mean().sqrt()))


def load_details(folder: Path, data: Pictures) -> Details:
    """The components of a build, found once from its pictures."""
    path = folder / "details.pt"
    if not path.exists():
        step = max(1, len(data.records) // 6000)
        found = find_details(data.batch(range(0, len(data.records), step)))
        with atomic_path(path) as part:
            torch.save({"mean": found.mean, "components": found.components}, part)
    return Details(**torch.load(path, weights_only=True))


# --- losses ---------------------------------------------------------------------------------

WEIGHTS = {"object": 1.5, "material": 1.0, "object_b": 1.0, "material_b": 1.0, "background": 0.5}
ADJECTIVE, WORN, PIECE, CAPTION, TWIN, DETAIL = 0.7, 0.4, 1.0, 0.4, 1.0, 3.0
NONE = 0.5  # of those that have none of what is asked about


def _agree(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy with several right answers to a row; rows without any do not count."""
    count = targets.sum(1, keepdim=True)
    asked = -(targets / count.clamp_min(1) * logits.log_softmax(1)).sum(1)
    return asked.sum() / (count > 0).sum().clamp_min(1)


def ask_questions(clip: Clip, embeds: Tensor, batch: Batch) -> Tensor:
    """Loss of the answers to all questions.

    Most pictures have no second thing, garment or adjective: those that have one count for as much
    as all that have none, or more, and only people are asked what they wear.
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
    """What each piece of the whole pictures shows, and of what material."""
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
    captions, true = batch.true()
    text = F.normalize(clip.texts(captions).float(), dim=1)
    logits = clip.log_scale.exp().clamp_max(50) * image @ text.T
    true = true.to(image)
    return 0.5 * (_agree(logits, true) + _agree(logits.T, true.T))


def _twins(clip: Clip, image: Tensor, batch: Batch) -> Tensor:
    """Each picture's likeness to those of the same content, among all but nearly the same."""
    same, near = (m.to(image.device) for m in batch.same())
    logits = clip.log_image_scale.exp().clamp_max(50) * image @ image.T
    return _agree(logits.masked_fill(near, -1e4), same.float())


def losses(clip: Clip, batches: Batches, details: Details, rng: random.Random) -> dict[str, Tensor]:
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
        fit.smooth.load_state_dict(clip.state_dict())
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
    """Train on the folders of pictures, and of garments alone; both may still be growing.

    Of several processes each draws its share of a batch.
    """
    data = load_pictures(pictures)
    clip_fit(folder, [r["caption"] for r in data.records[:5000]])
    load_details(folder, data)
    in_processes(_work, world, folder, pictures, garments, seconds)
