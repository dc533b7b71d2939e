"""The image encoder, the text encoder and its tokenizer, with the heads of their training."""

import json
from collections.abc import Sequence

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

from pops.pocket.build.data.labels import CLASSES, WHAT
from pops.pocket.build.models.components import principal_components
from pops.pocket.world.vocabulary import ADJECTIVES, GARMENTS, MATERIAL_WORDS, MATERIALS, OBJECTS

__all__ = [
    "DETAILS",
    "DIM",
    "MEAN",
    "SEEN_SIZE",
    "STD",
    "Clip",
    "make_tokenizer",
    "see",
    "start_from_patches",
]

DIM = 256
MEAN = (0.48145466, 0.4578275, 0.40821073)  # the constants of OpenAI's CLIP
STD = (0.26862954, 0.26130258, 0.27577711)
SEEN_SIZE = 96  # pixels along a side of a picture as the encoder takes it
DETAILS = 256  # principal components of a picture that an embedding is to tell

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
    """Describe the text encoder for a tokenizer."""
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
    """Train a byte-pair tokenizer in CLIP's format.

    Its base is all bytes, so that it takes any text, known or not.

    Args:
        captions: captions, from which its merges come, beside the words of the pocket world.

    Returns:
        The tokenizer.
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
    """Resize and normalise pictures (N, 3, H, W) in [0, 1] as an encoder takes them."""
    mean, std = (torch.tensor(v, device=pictures.device)[:, None, None] for v in (MEAN, STD))
    small = F.interpolate(pictures, (size, size), mode="bilinear", antialias=True)
    return (small - mean) / std


def see(encoder: CLIPVisionModelWithProjection, pictures: Tensor) -> CLIPVisionModelOutput:
    """Run an image encoder on pictures of any size.

    Args:
        encoder: the image encoder.
        pictures: (N, 3, H, W) in [0, 1].

    Returns:
        The output of the encoder.
    """
    pixels = _pixels(pictures, encoder.config.image_size)
    out: CLIPVisionModelOutput = encoder(pixel_values=pixels.to(encoder.dtype))
    return out


class Clip(nn.Module):
    """Both encoders, the temperatures, and the heads that serve training alone.

    Args:
        tokenizer: the tokenizer of the text encoder.
    """

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
        """The number of pieces along a side of a picture."""
        return int(_VISION.image_size // _VISION.patch_size)

    def see(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Encode pictures, whole and piece by piece.

        Args:
            pictures: (N, 3, H, W) in [0, 1].

        Returns:
            Embeddings (N, D), and the tokens of the pieces (N, grid * grid, hidden).
        """
        out = see(self.vision, pictures)
        return out.image_embeds, out.last_hidden_state[:, 1:]

    def images(self, pictures: Tensor) -> Tensor:
        """Encode pictures.

        Args:
            pictures: (N, 3, H, W) in [0, 1].

        Returns:
            Embeddings (N, D).
        """
        return self.see(pictures)[0]

    def texts(self, captions: Sequence[str]) -> Tensor:
        """Encode texts.

        Args:
            captions: N texts.

        Returns:
            Embeddings (N, D).
        """
        ids = self.tokenizer(list(captions), padding=True, return_tensors="pt").to(
            self.log_scale.device
        )
        out: Tensor = self.text(ids.input_ids, attention_mask=ids.attention_mask).text_embeds
        return out

    def answers(self, embeds: Tensor) -> dict[str, Tensor]:
        """Answer the questions about pictures from the directions of their embeddings.

        Args:
            embeds: (N, D).

        Returns:
            Question -> logits of its answers (N, answers).
        """
        logits = self.heads(F.normalize(embeds, dim=1) * DIM**0.5)
        return dict(zip(CLASSES, logits.split(list(CLASSES.values()), 1), strict=True))


@torch.no_grad()
def start_from_patches(vision: CLIPVisionModelWithProjection, pictures: Tensor) -> None:
    """Initialise the first layer with whitened principal components of patches.

    It then passes on fine detail as strongly as broad colour, which a layer that begins with noise
    learns slowly.

    Args:
        vision: the image encoder, which is changed.
        pictures: (N, 3, H, W) in [0, 1].
    """
    conv = vision.vision_model.embeddings.patch_embedding
    size = conv.kernel_size[0]
    patches = (
        F.unfold(_pixels(pictures, SEEN_SIZE), size, stride=size).transpose(1, 2).flatten(0, 1)
    )
    _, values, vectors = principal_components(patches)
    n = conv.weight.shape[0]
    scale = (values[:n].clamp_min(0) + 0.02 * values[:n].mean()).rsqrt()
    conv.weight.copy_((vectors[:, :n] * scale).T.reshape(conv.weight.shape) * 0.3)
