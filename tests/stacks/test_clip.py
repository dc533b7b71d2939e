from pathlib import Path

import pytest
import torch
from PIL import Image

from pops.engine import Engine
from pops.errors import UsageError
from pops.io.pictures import open_picture
from pops.stacks.clip import ImageEncoder

Expected = dict[str, torch.Tensor]


def pictures(golden: Path) -> list[Image.Image]:
    return [open_picture(golden / f"inputs/input_{name}.png") for name in "abc"]


def counting(encoder: ImageEncoder) -> tuple[ImageEncoder, list[int]]:
    """A fresh encoder on the same model that notes how many pictures each model call gets."""
    fresh, calls = ImageEncoder(encoder.model, encoder.processor), []
    plain = fresh.encode_pixels

    def noted(pixels: torch.Tensor) -> torch.Tensor:
        calls.append(len(pixels))
        return plain(pixels)

    fresh.encode_pixels = noted  # type: ignore[method-assign]
    return fresh, calls


def test_pictures_encode_to_the_published_embeddings(
    engine: Engine, golden: Path, expected: Expected
):
    encoded = engine.stack.image_encoder.encode(pictures(golden))
    wanted = torch.cat([expected[f"image_embeds/{name}"] for name in "abc"])
    torch.testing.assert_close(encoded, wanted, rtol=0, atol=1e-5)


def test_the_negative_is_the_encoding_of_zero_pixels(engine: Engine, expected: Expected):
    zero = engine.stack.image_encoder.zero_embed()
    torch.testing.assert_close(zero, expected["zero_image_embeds"], rtol=0, atol=1e-5)


def test_each_distinct_picture_is_encoded_once(engine: Engine, golden: Path):
    encoder, calls = counting(engine.stack.image_encoder)
    a, b, c = pictures(golden)
    first = encoder.encode([a, b, a.copy()])
    again = encoder.encode([b, c])
    assert calls == [2, 1]
    torch.testing.assert_close(first[0], first[2], rtol=0, atol=0)
    torch.testing.assert_close(first[1], again[0], rtol=0, atol=0)


def test_a_batch_encodes_what_its_members_encode_alone(engine: Engine):
    generator = torch.Generator().manual_seed(0)
    many = [
        Image.fromarray(torch.randint(0, 256, (20, 30, 3), generator=generator).byte().numpy())
        for _ in range(35)  # more than one call's worth
    ]
    encoder, calls = counting(engine.stack.image_encoder)
    together = encoder.encode(many)
    assert calls == [32, 3]
    alone, _ = counting(engine.stack.image_encoder)
    for i in (0, 31, 34):
        torch.testing.assert_close(alone.encode([many[i]])[0], together[i], rtol=0, atol=1e-5)


def test_texts_are_unpadded_with_start_and_end_token(engine: Engine):
    shiny, mug = engine.stack.text_encoder.encode(["shiny", "enormous mug"])
    assert len(shiny.hidden_states) == 3
    assert len(mug.hidden_states) == 4


def test_a_text_in_a_batch_is_what_it_is_alone(engine: Engine):
    encoder = engine.stack.text_encoder
    together = encoder.encode(["shiny", "enormous mug"])
    for text, one in zip(["shiny", "enormous mug"], together, strict=True):
        (alone,) = encoder.encode([text])
        torch.testing.assert_close(one.hidden_states, alone.hidden_states, rtol=0, atol=1e-5)
        torch.testing.assert_close(one.text_embeds, alone.text_embeds, rtol=0, atol=1e-5)


def test_a_text_too_long_is_refused(engine: Engine):
    with pytest.raises(UsageError, match="the encoder takes 77"):
        engine.stack.text_encoder.encode(["shiny " * 90])


def test_a_text_of_broken_letters_is_refused(engine: Engine):
    with pytest.raises(UsageError, match="holds a broken character"):
        engine.stack.text_encoder.encode(["shiny", "a\udcff"])


def test_no_texts_are_no_work(engine: Engine):
    assert engine.stack.text_encoder.encode([]) == []
