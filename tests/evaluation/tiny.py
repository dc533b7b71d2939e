"""Tiny random models of the real classes that measure pictures, in the layout of the hub."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import (
    BertConfig,
    BertModel,
    BitImageProcessorPil,
    Blip2Config,
    Blip2ForConditionalGeneration,
    BlipImageProcessorPil,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    Dinov2Config,
    Dinov2Model,
)

from benchmarks.models import tiny_datagen

SIDE = 32
SHAPE = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
SEEN = {**SHAPE, "image_size": SIDE, "patch_size": 8}


def make_all(root: Path, tokenizer: Path) -> dict[str, Path]:
    """Folders by stage: clip, features, caption, sentence, detect and depth."""
    torch.manual_seed(5)
    words = CLIPTokenizer.from_pretrained(tokenizer)
    _clip(root / "clip", words)
    _features(root / "features")
    _caption(root / "caption", words)
    _sentence(root / "sentence")
    tiny_datagen._owlv2(root / "detect", words)
    tiny_datagen._depth_anything(root / "depth", words)
    stages = ("clip", "features", "caption", "sentence", "detect", "depth")
    return {stage: root / stage for stage in stages}


def _square(kind: type, folder: Path) -> None:
    kind(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)


def _clip(folder: Path, words: CLIPTokenizer) -> None:
    text = {**SHAPE, "vocab_size": 76, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    wide = {"projection_dim": 16}
    config = CLIPConfig(text_config={**text, **wide}, vision_config={**SEEN, **wide}, **wide)
    CLIPModel(config).save_pretrained(folder)
    words.save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    ).save_pretrained(folder)


def _features(folder: Path) -> None:
    Dinov2Model(Dinov2Config(**SEEN)).save_pretrained(folder)
    BitImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    ).save_pretrained(folder)


def _caption(folder: Path, words: CLIPTokenizer) -> None:
    config = Blip2Config(
        vision_config=SEEN,
        qformer_config={**SHAPE, "encoder_hidden_size": 16, "vocab_size": 76},
        text_config={
            "model_type": "opt",
            "vocab_size": 80,
            "hidden_size": 16,
            "ffn_dim": 16,
            "word_embed_proj_dim": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 1,
        },
        num_query_tokens=4,
        image_token_index=79,
    )
    Blip2ForConditionalGeneration(config).save_pretrained(folder)
    words.save_pretrained(folder)
    _square(BlipImageProcessorPil, folder)


def _sentence(folder: Path) -> None:
    BertModel(BertConfig(**SHAPE, vocab_size=40)).save_pretrained(folder)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "photo", "of", *letters[1:]]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
