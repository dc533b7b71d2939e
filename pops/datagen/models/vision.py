"""Stages that look at pictures: open-vocabulary detection and foreground masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pops.datagen.stages import Box, Detect, Detection, Segment
from pops.datagen.words import with_article
from pops.errors import UsageError, WeightsError, install_hint
from pops.io.formats.schema import read_json
from pops.io.loading import load_model, load_part, quietly, reading
from pops.io.machine.placement import Placement

__all__ = ["Foreground", "OnnxForeground", "Owl", "RemoteForeground", "to_detection"]

Colour = Sequence[float]  # a number for each of red, green and blue
TOKENS = 16  # tokens of a text of OWLv2
FOREGROUND = 0.5  # least value of a pixel that counts as foreground


# --- detection ------------------------------------------------------------------------------


class Owl:
    """OWLv2, one label for each picture."""

    def __init__(self, model: Any, tokenizer: Any, config: dict[str, Any]) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.side = int(config["size"]["height"])
        self.mean, self.std = config["image_mean"], config["image_std"]

    @classmethod
    def load(cls, folder: Path, placement: Placement) -> Owl:
        """Load the model in float32, since boxes are small numbers.

        Args:
            folder: Its folder, in the layout of the hub.
            placement: The device.

        Returns:
            The stage.

        Raises:
            WeightsError: A part is missing or damaged.
        """
        from transformers import CLIPTokenizer, Owlv2ForObjectDetection

        model = load_model(Owlv2ForObjectDetection, folder, placement.device, torch.float32)
        tokenizer = load_part(CLIPTokenizer, folder)
        config = read_json(folder / "preprocessor_config.json", dict[str, Any], WeightsError)
        return cls(model, tokenizer, config)

    @torch.inference_mode()
    def __call__(self, asked: Sequence[Detect]) -> list[Detection | None]:
        texts = [f"a photo of {with_article(request.label)}" for request in asked]
        words = self.tokenizer(
            texts, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
        )
        pixels = np.stack([self._pixels(request.picture.image) for request in asked])
        out = self.model(
            input_ids=words["input_ids"].to(self.model.device),
            attention_mask=words["attention_mask"].to(self.model.device),
            pixel_values=torch.from_numpy(pixels).to(self.model.device),
        )
        scores = out.logits.sigmoid().amax(-1).cpu()  # (N, places)
        best = scores.argmax(1)
        boxes = out.pred_boxes.cpu()[torch.arange(len(asked)), best]  # (N, 4): middle, size
        return [
            to_detection(request, float(scores[i, best[i]]), boxes[i].tolist())
            for i, request in enumerate(asked)
        ]

    def _pixels(self, image: Image.Image) -> np.ndarray:
        """Prepare a picture (3, side, side): padded with black below and right to a square."""
        square = Image.new("RGB", (max(image.size),) * 2)
        square.paste(image)
        return _scaled(square, self.side, self.mean, self.std)


def _scaled(image: Image.Image, side: int, mean: Colour, std: Colour) -> np.ndarray:
    """Resize a picture to a square (3, side, side), and scale its values as a model wants them."""
    resized = image.resize((side, side), Image.Resampling.BILINEAR)
    pixels = (np.asarray(resized) / 255.0 - np.array(mean)) / np.array(std)
    return pixels.transpose(2, 0, 1).astype(np.float32)


def to_detection(request: Detect, score: float, box: Sequence[float]) -> Detection | None:
    """Turn a box of the model into one in pixels.

    Args:
        request: The request.
        score: How surely the label is seen, from 0 to 1.
        box: (x, y, width, height) of its middle and size, as shares of the picture's longer side.

    Returns:
        The detection; None where the score is below the threshold, or nothing of the box is in the
        picture.
    """
    if score < request.threshold:
        return None
    wide, high = request.picture.image.size
    x, y, w, h = (value * max(wide, high) for value in box)
    x1, y1 = max(0, round(x - w / 2)), max(0, round(y - h / 2))
    x2, y2 = min(wide, round(x + w / 2)), min(high, round(y + h / 2))
    return Detection((x1, y1, x2, y2), score) if x1 < x2 and y1 < y2 else None


# --- foreground masks -----------------------------------------------------------------------


@dataclass(frozen=True)
class Foreground:
    """The preparation of pictures for a foreground model, and the reading of its output."""

    side: int = 1024
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    logits: bool = False  # whether the output is logits; otherwise it is stretched to [0, 1]

    def pixels(self, image: Image.Image) -> np.ndarray:
        """Prepare a picture.

        Args:
            image: The picture, RGB.

        Returns:
            (3, side, side) float32.
        """
        return _scaled(image, self.side, self.mean, self.std)

    def mask(self, said: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Turn the output of the model into a mask.

        Args:
            said: The output, (h, w).
            size: (width, height) of the picture.

        Returns:
            (height, width) of booleans.
        """
        if self.logits:
            share = 1.0 / (1.0 + np.exp(-np.clip(said, -30, 30)))
        else:
            share = (said - said.min()) / max(float(said.max() - said.min()), 1e-6)
        scaled = Image.fromarray(share.astype(np.float32))
        return np.asarray(scaled.resize(size, Image.Resampling.BILINEAR)) >= FOREGROUND


class _Segmenter:
    """A foreground model. For a box, it is shown that part of the picture alone."""

    def __init__(self, foreground: Foreground) -> None:
        self.foreground = foreground

    def __call__(self, asked: Sequence[Segment]) -> list[np.ndarray]:
        parts = [_part(request) for request in asked]
        pixels = np.stack([self.foreground.pixels(part) for part in parts])
        masks = []
        for request, part, said in zip(asked, parts, self.said(pixels), strict=True):
            mask = self.foreground.mask(said, part.size)
            masks.append(mask if request.box is None else _whole(mask, request, request.box))
        return masks

    def said(self, pixels: np.ndarray) -> np.ndarray:
        """Run the model.

        Args:
            pixels: (N, 3, side, side).

        Returns:
            (N, h, w).
        """
        raise NotImplementedError


def _part(request: Segment) -> Image.Image:
    image = request.picture.image
    return image if request.box is None else image.crop(request.box)


def _whole(part: np.ndarray, request: Segment, box: Box) -> np.ndarray:
    wide, high = request.picture.image.size
    mask = np.zeros((high, wide), dtype=bool)
    x1, y1, x2, y2 = box
    mask[y1:y2, x1:x2] = part
    return mask


Provider = str | tuple[str, dict[str, int]]


def _providers(device: torch.device, here: Sequence[str]) -> list[Provider]:
    """Name what onnxruntime computes with: the device that was asked for, then the CPU."""
    wanted: list[Provider] = ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in here:
        wanted.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
    return wanted


class OnnxForeground(_Segmenter):
    """A foreground model as an ONNX graph: no code comes with it."""

    def __init__(self, session: Any, foreground: Foreground) -> None:
        super().__init__(foreground)
        self.session = session

    @classmethod
    def load(cls, file: Path, placement: Placement, foreground: Foreground) -> OnnxForeground:
        """Load the model.

        Args:
            file: The ONNX graph.
            placement: The device.
            foreground: How the model sees pictures.

        Returns:
            The stage.

        Raises:
            UsageError: onnxruntime is not installed.
            WeightsError: The file is damaged.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise UsageError(
                f"the foreground model needs onnxruntime: {install_hint('generate')}"
            ) from error
        providers = _providers(placement.device, onnxruntime.get_available_providers())
        try:
            session = onnxruntime.InferenceSession(str(file), providers=providers)
        except Exception as error:  # its errors have no common class
            reason = str(error).splitlines()[0][:200]
            raise WeightsError(f"{file} is damaged or cut short ({reason})") from error
        return cls(session, foreground)

    def said(self, pixels: np.ndarray) -> np.ndarray:
        """Run the model.

        Args:
            pixels: (N, 3, side, side).

        Returns:
            (N, h, w).
        """
        name = self.session.get_inputs()[0].name
        # One by one: the published graphs take one picture.
        said = [self.session.run(None, {name: one[None]})[0] for one in pixels]
        return np.concatenate(said).reshape(len(pixels), *said[0].shape[-2:])


class RemoteForeground(_Segmenter):
    """RMBG by the code of its own repository, which is run only where that was asked for."""

    def __init__(self, model: Any, foreground: Foreground, placement: Placement) -> None:
        super().__init__(foreground)
        self.model = model
        self.placement = placement

    @classmethod
    def load(cls, folder: Path, placement: Placement, foreground: Foreground) -> RemoteForeground:
        """Load the model.

        Args:
            folder: Its folder, with the code.
            placement: The device.
            foreground: How the model sees pictures.

        Returns:
            The stage.

        Raises:
            WeightsError: A part is missing or damaged.
        """
        from transformers import AutoModelForImageSegmentation

        with reading(folder, trusted=True), quietly():
            model = AutoModelForImageSegmentation.from_pretrained(folder, trust_remote_code=True)
        return cls(model.eval().to(placement.device), foreground, placement)

    @torch.inference_mode()
    def said(self, pixels: np.ndarray) -> np.ndarray:
        """Run the model.

        Args:
            pixels: (N, 3, side, side).

        Returns:
            (N, h, w).
        """
        out = self.model(torch.from_numpy(pixels).to(self.placement.device))
        while not isinstance(out, torch.Tensor):  # the finest map comes first
            out = out[0]
        said: np.ndarray = out[:, 0].float().cpu().numpy()
        return said
