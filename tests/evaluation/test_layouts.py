"""The models that measure pictures, by the configs that are published with them in `hub`.

Their weights are too large for a test: the configs say how pictures are prepared, and how large
what the models answer is.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    BitImageProcessorPil,
    Blip2ForConditionalGeneration,
    BlipImageProcessorPil,
    CLIPImageProcessorPil,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
    DepthAnythingForDepthEstimation,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    DPTImageProcessorPil,
    Owlv2ForObjectDetection,
)
from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil

from pops.datagen.models.vision import Owl, to_detection
from pops.datagen.stages import Detect, Picture
from pops.errors import UsageError
from pops.evaluation.models.rows import HUB
from pops.evaluation.models.vision import Captions, Features, Sentences
from pops.evaluation.stages import Describe, See, Understand
from pops.io.hub.repositories import REPOSITORIES
from pops.io.loading import check_config
from pops.io.machine.placement import Placement
from tests.evaluation import tiny

HUB_FILES = Path(__file__).parent / "hub"
HOST = Placement(torch.device("cpu"), torch.float32)
BYTES = {"features": 346e6, "depth": 99e6, "sentence": 91e6}  # where GB are too coarse


def picture(width: int = 320, height: int = 240) -> Image.Image:
    blobs = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(blobs).resize((width, height), Image.Resampling.BICUBIC)


def settings(stage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (HUB_FILES / stage / "preprocessor_config.json").read_text(encoding="utf-8")
    )
    return found


def prepared(kind: Any, stage: str, given: Image.Image) -> np.ndarray:
    processor = kind.from_pretrained(HUB_FILES / stage, local_files_only=True)
    pixels: np.ndarray = processor([given], return_tensors="np")["pixel_values"][0]
    return pixels


def normalised(stage: str, image: Image.Image) -> np.ndarray:
    told = settings(stage)
    scaled = (np.asarray(image) / 255 - told["image_mean"]) / told["image_std"]
    return np.asarray(scaled.transpose(2, 0, 1))


# --- pictures, as the models take them -------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "kind", "side"),
    [("clip", CLIPImageProcessorPil, 224), ("features", BitImageProcessorPil, 256)],
)
def test_the_shorter_side_is_resized_and_the_middle_is_taken(
    stage: str, kind: Any, side: int
) -> None:
    """CLIP's file is of an old form, whose sizes are plain numbers."""
    whole = picture().resize((side * 320 // 240, side), Image.Resampling.BICUBIC)
    left, top = (whole.width - 224) // 2, (whole.height - 224) // 2
    middle = whole.crop((left, top, left + 224, top + 224))
    found = prepared(kind, stage, picture())
    np.testing.assert_allclose(found, normalised(stage, middle), atol=1e-5)


def test_captions_are_made_of_the_whole_picture() -> None:
    whole = picture().resize((224, 224), Image.Resampling.BICUBIC)
    found = prepared(BlipImageProcessorPil, "caption", picture())
    np.testing.assert_allclose(found, normalised("caption", whole), atol=1e-5)


@pytest.mark.parametrize(("size", "shape"), [((640, 480), (518, 686)), ((512, 512), (518, 518))])
def test_depth_keeps_the_aspect_ratio_in_whole_patches(
    size: tuple[int, int], shape: tuple[int, int]
) -> None:
    found = prepared(DPTImageProcessorPil, "depth", picture(*size))
    assert found.shape == (3, *shape) and all(side % 14 == 0 for side in shape)
    whole = picture(*size).resize(shape[::-1], Image.Resampling.BICUBIC)
    np.testing.assert_allclose(found, normalised("depth", whole), atol=1e-5)


@pytest.mark.parametrize("size", [(320, 240), (200, 320), (256, 256)])
def test_pictures_for_owl_are_those_of_its_own_processor(size: tuple[int, int]) -> None:
    """It pads with black and blurs before it makes a picture smaller, in another way than ours."""
    ours = Owl(None, None, settings("detect"))._pixels(picture(*size))
    theirs = prepared(Owlv2ImageProcessorPil, "detect", picture(*size))
    edge = 960 * min(size) // max(size)  # where the padding begins, both mix it with the picture
    inside = np.ones((960, 960), bool)
    inside[edge - 4 : edge + 4] = inside[:, edge - 4 : edge + 4] = min(size) == max(size)
    assert np.abs(ours - theirs)[:, inside].max() < 0.1
    assert np.abs(ours - theirs).mean() < 0.01


@pytest.mark.parametrize("size", [(320, 240), (200, 320)])
def test_boxes_of_owl_are_those_of_its_own_processor(size: tuple[int, int]) -> None:
    box = torch.tensor([0.4, 0.35, 0.3, 0.2])  # middle and size
    processor = Owlv2ImageProcessorPil.from_pretrained(HUB_FILES / "detect", local_files_only=True)

    class Said:
        logits = torch.tensor([[[2.0], [-4.0]]])
        pred_boxes = torch.stack([box, box])[None]

    (theirs,) = processor.post_process_object_detection(Said, 0.1, [size[::-1]])
    ours = to_detection(Detect(Picture(picture(*size)), "mug", 0.1), 0.88, box.tolist())
    assert ours is not None and len(theirs["boxes"]) == 1
    assert theirs["scores"][0].item() == pytest.approx(0.8808, abs=1e-4)
    assert ours.box == pytest.approx(theirs["boxes"][0].tolist(), abs=0.51)


# --- models of the published sizes, without their weights -------------------------------------


@pytest.mark.parametrize("stage", [stage for stage in HUB if (HUB_FILES / stage).is_dir()])
def test_the_published_configs_pass_the_checks_of_configs(stage: str) -> None:
    known = REPOSITORIES[HUB[stage].place]
    check_config(HUB_FILES / stage / "config.json", round(BYTES.get(stage, known.bytes)))
    if stage != "sentence":
        check_config(HUB_FILES / stage / "preprocessor_config.json")


def empty(kind: Any, stage: str) -> Any:
    """The model of a config, whose weights are nowhere."""
    config = AutoConfig.from_pretrained(HUB_FILES / stage, local_files_only=True)
    if kind is CLIPVisionModelWithProjection:
        config = config.vision_config
    if kind is CLIPTextModelWithProjection:
        config = config.text_config
    with torch.device("meta"):
        return kind._from_config(config) if kind is not AutoModel else kind.from_config(config)


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, device="meta")


@torch.no_grad()
def test_the_models_answer_in_their_published_sizes() -> None:
    vision = empty(CLIPVisionModelWithProjection, "clip")
    assert vision(zeros(2, 3, 224, 224)).image_embeds.shape == (2, 768)
    seen = empty(AutoModel, "features")(zeros(2, 3, 224, 224))
    assert seen.pooler_output.shape == (2, 768)
    assert seen.last_hidden_state.shape == (2, 1 + 16 * 16, 768)
    depth = empty(DepthAnythingForDepthEstimation, "depth")(zeros(1, 3, 518, 686))
    assert depth.predicted_depth.shape == (1, 518, 686)
    owl = empty(Owlv2ForObjectDetection, "detect")
    assert owl.image_embedder(zeros(2, 3, 960, 960))[0].shape == (2, 60, 60, 768)
    sentences = empty(AutoModel, "sentence").config
    assert (sentences.hidden_size, sentences.max_position_embeddings) == (384, 512)


@pytest.mark.slow
def test_the_captioner_is_built_with_its_picture_tokens() -> None:
    model = empty(Blip2ForConditionalGeneration, "caption")
    assert model.config.num_query_tokens == 32 and model.config.image_token_id == 50265
    assert model.config.text_config.vocab_size > model.config.image_token_id
    generation = model.language_model.generation_config
    assert (generation.eos_token_id, generation.pad_token_id) == (50118, 1)


def test_the_text_encoder_of_clip_reads_up_to_the_end_of_the_text() -> None:
    """The published config names the wrong token as the last; the largest one is taken then."""
    model = empty(CLIPTextModelWithProjection, "clip")
    assert model.config.eos_token_id == 2 and model.config.vocab_size == 49408


# --- what is made of the answers --------------------------------------------------------------


def test_captions_hold_no_tokens_of_the_prompt(
    stack_parts: dict[str, Path], tmp_path: Path
) -> None:
    """The answer repeats the picture tokens and the beginning, and pads what is shorter."""
    folder = tmp_path / "caption"
    shutil.copytree(HUB_FILES / "caption", folder)
    letters = [*"abcdefghijklmnopqrstuvwxyz", "Ġ", "Ċ"]
    words = {token: at for at, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *letters])}
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)

    class Model:
        dtype, device = torch.float32, torch.device("cpu")

        def generate(self, **asked: Any) -> torch.Tensor:
            assert asked["do_sample"] is False
            said = [words[letter] for letter in "aĠmugĊ"]
            prompt = [tokenizer.convert_tokens_to_ids("<image>")] * 32 + [words["</s>"]]
            return torch.tensor([prompt + said + [words["<pad>"]] * 3])

    processor = BlipImageProcessorPil.from_pretrained(folder, local_files_only=True)
    assert Captions(Model(), processor, tokenizer)([Describe(picture())]) == ["a mug"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_captions_are_made_in_half_precision_too(
    dtype: torch.dtype, golden: Path, tmp_path: Path
) -> None:
    tiny.make_all(tmp_path, golden / "kandinsky-tiny-prior" / "tokenizer")
    captions = Captions.load(tmp_path / "caption", Placement(torch.device("cpu"), dtype))
    assert all(isinstance(one, str) for one in captions([Describe(picture()), Describe(picture())]))


@pytest.mark.parametrize(
    ("kind", "model", "patch"),
    [
        (Dinov2WithRegistersConfig, Dinov2WithRegistersModel, 14),
        (DINOv3ViTConfig, DINOv3ViTModel, 16),
    ],
)
def test_features_of_patches_are_of_patches_alone(
    kind: Any, model: Any, patch: int, tmp_path: Path
) -> None:
    """Registers stand between the class token and the patches."""
    torch.manual_seed(0)
    config = kind(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=2 * patch,
        patch_size=patch,
        num_register_tokens=4,
    )
    model(config).save_pretrained(tmp_path)
    shutil.copy(HUB_FILES / "features" / "preprocessor_config.json", tmp_path)
    (seen,) = Features.load(tmp_path, HOST)([See(picture())])
    assert seen.patches.shape == ((224 // patch) ** 2, 16) and seen.whole.shape == (16,)


def test_a_sentence_encoder_that_pools_otherwise_is_refused(golden: Path, tmp_path: Path) -> None:
    folder = tiny.make_all(tmp_path, golden / "kandinsky-tiny-prior" / "tokenizer")["sentence"]
    shutil.copytree(HUB_FILES / "sentence" / "1_Pooling", folder / "1_Pooling")
    encoder = Sentences.load(folder, HOST)
    alone, _ = (encoder([Understand(text)])[0] for text in ("a b", "a b c d e f"))
    batched = encoder([Understand("a b"), Understand("a b c d e f")])
    np.testing.assert_allclose(batched[0], alone, atol=1e-5)  # padding is not pooled
    told = folder / "1_Pooling" / "config.json"
    pooling = json.loads(told.read_text())
    told.write_text(json.dumps(pooling | {"pooling_mode_cls_token": True}))
    with pytest.raises(UsageError, match="does not take the mean of its words"):
        Sentences.load(folder, HOST)
    told.write_text(json.dumps({"pooling_mode": "cls"}))
    with pytest.raises(UsageError, match="does not take the mean of its words"):
        Sentences.load(folder, HOST)
