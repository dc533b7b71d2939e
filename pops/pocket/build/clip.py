"""Stage `clip`: the image and text encoders.

What makes it learn on a small budget: questions about the picture as extra supervision, captions
that name only a part of it (so that no batch is solved by colour and place alone), pairs of
pictures of one combination as positives, and a small thumbnail that keeps the pose in the
embedding. The heads serve training alone and are not shipped.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
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

from pops.pocket.build.fit import Fit
from pops.pocket.build.labels import CLASSES, IGNORE, labels, swatch_labels
from pops.pocket.build.pictures import SIZE, Pictures
from pops.pocket.world.patches import crop_patch
from pops.pocket.world.scene import plural, with_article
from pops.pocket.world.vocabulary import (
    ADJECTIVES,
    BACKGROUND_WORDS,
    GARMENTS,
    MATERIAL_WORDS,
    OBJECTS,
)

__all__ = ["DIM", "MEAN", "STD", "Clip", "clip_fit", "train_clip"]

DIM = 128
MEAN = (0.48145466, 0.4578275, 0.40821073)  # the constants of OpenAI's CLIP
STD = (0.26862954, 0.26130258, 0.27577711)
THUMBNAIL = 8
BATCH = 160

_VISION = CLIPVisionConfig(
    hidden_size=192,
    intermediate_size=768,
    num_hidden_layers=4,
    num_attention_heads=6,
    image_size=SIZE,
    patch_size=16,
    projection_dim=DIM,
    hidden_act="gelu",
)


def text_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=DIM,
        intermediate_size=384,
        num_hidden_layers=3,
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


class Clip(nn.Module):
    """Both encoders, the temperature, and the heads of training."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.vision = CLIPVisionModelWithProjection(_VISION)
        self.text = CLIPTextModelWithProjection(text_config(tokenizer))
        self.heads = nn.Linear(DIM, sum(CLASSES.values()))
        self.thumbnail = nn.Sequential(
            nn.Linear(DIM, 256), nn.GELU(), nn.Linear(256, 3 * THUMBNAIL**2)
        )
        self.log_scale = nn.Parameter(torch.tensor(2.5))
        self.log_image_scale = nn.Parameter(torch.tensor(2.5))

    def images(self, pictures: Tensor) -> Tensor:
        """Embeddings (N, D) of pictures (N, 3, 64, 64) in [0, 1]."""
        mean, std = (torch.tensor(v, device=pictures.device)[:, None, None] for v in (MEAN, STD))
        out: Tensor = self.vision(pixel_values=(pictures - mean) / std).image_embeds
        return out

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
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    size = conv.kernel_size[0]
    patches = F.unfold((pictures - mean) / std, size, stride=size).transpose(1, 2).flatten(0, 1)
    centred = patches - patches.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    values, vectors = values.flip(0), vectors.flip(1)
    n = conv.weight.shape[0]
    scale = (values[:n].clamp_min(0) + 0.02 * values[:n].mean()).rsqrt()
    conv.weight.copy_((vectors[:, :n] * scale).T.reshape(conv.weight.shape) * 0.3)


# --- what a batch is ------------------------------------------------------------------------


def _captions(record: dict[str, Any], rng: random.Random) -> str:
    """The whole caption or one that names a part, so that no part can be ignored."""
    way = rng.random()
    if record["kind"] not in ("single", "adjective") or way < 0.4:
        return str(record["caption"])
    (shape, material), adjective = record["things"][0], record["adjective"]
    if adjective and way < 0.7:
        if adjective == "many":
            return f"many {plural(shape)}"
        return with_article(f"{adjective} {shape}")
    if way < 0.65:
        return with_article(shape)
    if way < 0.8:
        return with_article(f"{MATERIAL_WORDS[material]} {shape}")
    if way < 0.9:
        return with_article(f"{shape} {BACKGROUND_WORDS[record['background']]}")
    return with_article(f"{MATERIAL_WORDS[material]} thing")


def soften(pictures: Tensor, rng: random.Random) -> Tensor:
    """Blurred, noisy and re-lit copies of some pictures, as a decoder draws them."""
    out = pictures.clone()
    n = len(out)
    for factor in (2, 1.5):
        rows = torch.tensor(rng.sample(range(n), n // 8))
        side = int(SIZE / factor)
        small = F.interpolate(out[rows], (side, side), mode="area")
        out[rows] = F.interpolate(small, (SIZE, SIZE), mode="bilinear")
    light = torch.empty(n, 1, 1, 1).uniform_(0.9, 1.1)
    return (out * light + 0.02 * torch.randn_like(out) * (torch.rand(n, 1, 1, 1) < 0.3)).clamp(0, 1)


def _same(a: Sequence[Any]) -> Tensor:
    """Which pairs of a list are equal: (N, N), rows summing to 1."""
    index = {v: i for i, v in enumerate(dict.fromkeys(a))}
    ids = torch.tensor([index[v] for v in a])
    same = (ids[:, None] == ids[None]).float()
    return same / same.sum(1, keepdim=True)


def _agree(logits: Tensor, targets: Tensor) -> Tensor:
    return -(targets.to(logits.device) * logits.log_softmax(1)).sum(1).mean()


class Batches:
    """Random batches: pairs of single-object pictures of one combination, and anything."""

    def __init__(self, data: Pictures) -> None:
        self.data, self.answers = data, labels(data.records)
        self.patch_answers = [swatch_labels(m) for m in range(len(MATERIAL_WORDS))]
        self.twins: dict[tuple[str, ...], list[int]] = {}
        for i, r in enumerate(data.records):
            if r["kind"] == "single":
                key = (*r["things"][0], r["background"])
                self.twins.setdefault(key, []).append(i)
        self.keys = [k for k, v in self.twins.items() if len(v) > 1]

    def draw(self, rng: random.Random) -> tuple[Tensor, dict[str, Tensor], list[str], list[str]]:
        """Pictures, answers, captions and names of the combination (unique where there is none)."""
        half = BATCH // 4
        chosen = [i for k in rng.sample(self.keys, half) for i in rng.sample(self.twins[k], 2)]
        chosen += rng.sample(range(len(self.data.records)), BATCH - 2 * half)
        records = [self.data.records[i] for i in chosen]
        pictures = self.data.batch(np.array(chosen))
        answers = {k: v[chosen].clone() for k, v in self.answers.items()}
        captions = [_captions(r, rng) for r in records]
        names = [r["caption"] if r["kind"] == "single" else f"#{i}" for i, r in enumerate(records)]
        for i in range(2 * half, BATCH):
            if records[i].get("patch") and rng.random() < 0.25:
                material = int(answers["material"][i])
                pictures[i] = crop_patch(pictures[i], records[i]["patch"])
                for k, v in self.patch_answers[material].items():
                    answers[k][i] = v
                word = MATERIAL_WORDS[records[i]["things"][0][1]]
                captions[i], names[i] = with_article(f"{word} texture"), f"#{i}"
        return pictures, answers, captions, names


WEIGHTS = {"object": 1.5, "material": 1.0, "background": 0.5, "adjective": 0.5}


def losses(clip: Clip, batches: Batches, rng: random.Random) -> dict[str, Tensor]:
    pictures, answers, captions, names = batches.draw(rng)
    where = clip.log_scale.device
    clean = pictures.to(where)
    embeds = clip.images(soften(pictures, rng).to(where))
    asked = torch.zeros((), device=where)
    for name, logits in clip.answers(embeds).items():
        target = answers[name].to(where)
        if (target != IGNORE).any():
            loss = F.cross_entropy(logits, target, ignore_index=IGNORE)
            asked = asked + WEIGHTS.get(name, 0.25) * loss
    image = F.normalize(embeds, dim=1)
    unique = list(dict.fromkeys(captions))
    text = F.normalize(clip.texts(unique), dim=1)
    column = torch.tensor([unique.index(c) for c in captions])
    hot = F.one_hot(column, len(unique)).float()
    logits = clip.log_scale.exp().clamp_max(50) * image @ text.T
    back = (hot / hot.sum(0)).T
    caption = 0.5 * (_agree(logits, hot) + _agree(logits.T, back))
    alike = clip.log_image_scale.exp().clamp_max(50) * image @ image.T
    alike = alike - 1e4 * torch.eye(len(image), device=where)
    same = _same(names) > 0
    same.fill_diagonal_(False)
    rows = same.any(1)
    twin = _agree(alike[rows], (same.float() / same.sum(1, keepdim=True).clamp_min(1))[rows])
    seen = F.adaptive_avg_pool2d(clean, THUMBNAIL).flatten(1)
    thumbnail = F.mse_loss(clip.thumbnail(embeds), seen)
    return {"asked": asked, "caption": 0.4 * caption, "twin": 0.4 * twin, "thumb": 10 * thumbnail}


def clip_fit(folder: Path, captions: Sequence[str]) -> Fit:
    path = folder / "tokenizer"
    if not path.exists():
        make_tokenizer(captions).save_pretrained(path)
    return Fit(folder, Clip(CLIPTokenizer.from_pretrained(path)), lr=8e-4, weight_decay=0.05)


def train_clip(folder: Path, data: Pictures, seconds: float) -> None:
    torch.manual_seed(0)
    fit = clip_fit(folder, [r["caption"] for r in data.records[:5000]])
    clip = fit.module
    assert isinstance(clip, Clip)
    if fit.step == 0:
        start_from_patches(clip.vision, data.batch(np.arange(0, len(data.records), 23)))
        fit.smooth.load_state_dict(clip.state_dict())
    batches = Batches(data)
    fit.run(seconds, lambda step: losses(clip, batches, random.Random(f"clip/{step}")))
