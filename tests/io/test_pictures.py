"""Every usual kind of picture opens as RGB; every unusable file is named in one line."""

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageOps

from pops.errors import InputError, OutputError
from pops.io.pictures import open_picture, save_picture

RED = (200, 30, 40)


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_picture(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.jpeg", "a.webp", "a.bmp", "a.gif", "a.tiff"])
def test_a_usual_file_opens_as_rgb_in_its_own_colour(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (16, 12), RED).save(tmp_path / name)
    picture = open_picture(tmp_path / name)
    assert (picture.mode, picture.size) == ("RGB", (16, 12))
    assert np.abs(np.subtract(picture.getpixel((8, 6)), RED)).max() <= 4


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (2, 1), (*RED, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    image.save(tmp_path / "a.png")
    picture = open_picture(tmp_path / "a.png")
    assert picture.getpixel((0, 0)) == RED
    assert picture.getpixel((1, 0)) == (255, 255, 255)


def test_half_transparent_grey_is_laid_on_white(tmp_path: Path) -> None:
    Image.new("LA", (1, 1), (0, 128)).save(tmp_path / "a.png")
    assert open_picture(tmp_path / "a.png").getpixel((0, 0)) == (127, 127, 127)


def test_a_transparent_palette_colour_is_laid_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, 0, 0, 0])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=1)
    picture = open_picture(tmp_path / "a.png")
    assert [picture.getpixel((x, 0)) for x in (0, 1)] == [RED, (255, 255, 255)]


def test_greyscale_keeps_its_grey(tmp_path: Path) -> None:
    Image.new("L", (1, 1), 90).save(tmp_path / "a.png")
    assert open_picture(tmp_path / "a.png").getpixel((0, 0)) == (90, 90, 90)


def test_black_and_white_opens(tmp_path: Path) -> None:
    Image.new("1", (1, 1), 1).save(tmp_path / "a.png")
    assert open_picture(tmp_path / "a.png").getpixel((0, 0)) == (255, 255, 255)


def test_cmyk_opens_in_its_colour(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    red, green, blue = open_picture(tmp_path / "a.jpg").getpixel((4, 4))
    assert red > 240 and green < 15 and blue < 15


@pytest.mark.parametrize("value, expected", [(0, 0), (128 * 257, 128), (65535, 255)])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, value: int, expected: int) -> None:
    values = np.full((2, 2), value, np.uint16)
    for name in ("a.png", "a.tiff"):
        Image.fromarray(values).save(tmp_path / name)
        assert open_picture(tmp_path / name).getpixel((0, 0)) == (expected,) * 3


def test_sixteen_bits_of_a_dark_picture_stay_dark(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), 257, np.uint16)).save(tmp_path / "a.png")
    assert open_picture(tmp_path / "a.png").getpixel((0, 0)) == (1, 1, 1)


def test_floating_grey_between_0_and_1_is_scaled(tmp_path: Path) -> None:
    values = np.array([[0.0, 0.5, 1.0]], np.float32)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    picture = open_picture(tmp_path / "a.tiff")
    assert [picture.getpixel((x, 0))[0] for x in range(3)] == [0, 128, 255]


def test_a_picture_from_a_turned_camera_is_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (32, 16), "white")
    image.paste(RED, (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise: the left side becomes the top
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    picture = open_picture(tmp_path / "a.jpg")
    assert picture.size == (16, 32)
    assert picture.getpixel((8, 4))[1] < 80
    assert picture.getpixel((8, 28))[1] > 200


def noise(width: int = 8, height: int = 4) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)


def tags(*entries: tuple[int, int, int, bytes]) -> bytes:
    """A directory of tags: each its number, type, count and four bytes of value or offset."""
    rows = [
        struct.pack("<HHI4s", number, kind, count, value.ljust(4, b"\0")[:4])
        for number, kind, count, value in sorted(entries)
    ]
    return struct.pack("<H", len(rows)) + b"".join(rows) + b"\0" * 4


def exif_of(*entries: tuple[int, int, int, bytes]) -> bytes:
    return b"Exif\0\0II*\0\x08\0\0\0" + tags(*entries) + bytes(range(64))


TURNED = (0x0112, 3, 1, b"\x06\0")  # a quarter clockwise
# Tags of cameras and of what Pillow treats in ways of its own: directories, positions, thumbnails.
TAG = st.sampled_from([0x0100, 0x010F, 0x0132, 0x0201, 0x8298, 0x8769, 0x8825, 0x927C, 0xA005])
ENTRY = st.tuples(
    TAG | st.integers(0x0113, 0xFFFF), st.integers(0, 20), st.integers(0, 2**32 - 1), st.binary()
).filter(lambda entry: entry[0] != TURNED[0])


@settings(max_examples=150, deadline=None)
@given(ENTRY, st.sampled_from(["a.jpg", "a.png", "a.webp"]))
def test_any_tag_of_any_type_beside_the_orientation_leaves_the_picture_upright(
    tmp_path_factory: pytest.TempPathFactory, entry: tuple[int, int, int, bytes], name: str
) -> None:
    path = tmp_path_factory.mktemp("exif") / name
    body = exif_of(TURNED, entry)
    noise().save(path, exif=body if name != "a.png" else body[6:])
    assert open_picture(path).size == (4, 8)


def tiff_with(entry: tuple[int, int, int, bytes]) -> bytes:
    """A plain TIFF of `noise()` with a quarter turn and one more tag."""
    picture = noise().tobytes()
    number = struct.Struct("<I").pack
    whole = (0x0100, 3, 1, b"\x08"), (0x0101, 3, 1, b"\x04"), (0x0102, 3, 1, b"\x08")
    kinds = (0x0103, 3, 1, b"\x01"), (0x0106, 3, 1, b"\x02"), (0x0115, 3, 1, b"\x03")
    place = (0x0111, 4, 1, number(8)), (0x0117, 4, 1, number(len(picture)))
    own = {e[0]: e for e in (entry, *whole, *kinds, *place, TURNED)}  # the entry replaces none
    return b"II*\0" + number(8 + len(picture)) + picture + tags(*own.values())


@settings(max_examples=150, deadline=None)
@given(ENTRY.filter(lambda entry: entry[0] > 0x0153))
def test_any_tag_of_a_tiff_beside_those_of_its_pixels_leaves_it_upright(
    tmp_path_factory: pytest.TempPathFactory, entry: tuple[int, int, int, bytes]
) -> None:
    path = tmp_path_factory.mktemp("tiff") / "a.tiff"
    path.write_bytes(tiff_with(entry))
    turned = noise().transpose(Image.Transpose.ROTATE_270)
    assert np.array_equal(np.asarray(open_picture(path)), np.asarray(turned))


@pytest.mark.parametrize("value", [0, 1, 9, 255])
def test_an_orientation_that_is_none_leaves_the_picture_as_it_is(
    tmp_path: Path, value: int
) -> None:
    noise().save(tmp_path / "a.jpg", exif=exif_of((0x0112, 3, 1, bytes([value]))))
    assert open_picture(tmp_path / "a.jpg").size == (8, 4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(tmp_path: Path, orientation: int) -> None:
    noise().save(tmp_path / "a.png", exif=exif_of((0x0112, 3, 1, bytes([orientation])))[6:])
    expected = ImageOps.exif_transpose(Image.open(tmp_path / "a.png")).convert("RGB")
    assert np.array_equal(np.asarray(open_picture(tmp_path / "a.png")), np.asarray(expected))


def png_with(*extra: bytes) -> bytes:
    """A PNG of `noise()` with more chunks before its pixels."""
    content = BytesIO()
    noise().save(content, "PNG")
    whole = content.getvalue()
    return whole[:33] + b"".join(extra) + whole[33:]


LARGE = zlib.compress(b" " * 8_000_000)
BAD = b"\0\0\0\0"  # a checksum


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"iCCP", b"profile\0\0" + LARGE),
        chunk(b"iCCP", b"profile\0\0no profile"),
        chunk(b"zTXt", b"workflow\0\0" + LARGE),
        chunk(b"iTXt", b"prompt\0\1\0\0\0" + LARGE),
        chunk(b"tEXt", b"workflow\0" + b"x" * 70_000_000),
        chunk(b"gAMA", b"\0\1\2\3")[:-4] + BAD,
        chunk(b"tEXt", b"a\0b")[:-4] + BAD,
        chunk(b"tRNS", b"\0\0\0\0\0\0")[:-4] + BAD,
        chunk(b"pHYs", b"\0"),
        chunk(b"gAMA", b""),
        chunk(b"cHRM", b"\1"),
        chunk(b"tRNS", b""),
        chunk(b"tRNS", b"\0\1\0"),
        chunk(b"tRNS", b"\0" * 300),
        chunk(b"eXIf", exif_of(TURNED)[6:])[:-4] + BAD,
    ],
)
def test_what_stands_beside_the_pixels_of_a_png_may_be_large_or_damaged(
    tmp_path: Path, extra: bytes
) -> None:
    (tmp_path / "a.png").write_bytes(png_with(extra))
    assert np.array_equal(np.asarray(open_picture(tmp_path / "a.png")), np.asarray(noise()))


def segment(marker: int, body: bytes) -> bytes:
    """A segment of a JPEG file."""
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


@pytest.mark.parametrize(
    "extra",
    [
        segment(0xE2, b"ICC_PROFILE\0"),
        segment(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff"),
        segment(0xE0, b"JFIF\0"),
        segment(0xEE, b"Adobe"),
        segment(0xED, b"Photoshop 3.0\0008BIM\x03\xed\0\0\0\0\0\x02ab"),
        segment(0xE1, b"Exif\0\0"),
        segment(0xFE, b""),
        b"\xff\xff\xff",
    ],
)
def test_what_stands_beside_the_pixels_of_a_jpeg_may_be_damaged(
    tmp_path: Path, extra: bytes
) -> None:
    noise().save(tmp_path / "whole.jpg", quality=95, exif=exif_of(TURNED))
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[:2] + extra + whole[2:])
    found, wanted = (np.asarray(open_picture(tmp_path / f"{n}.jpg")) for n in ("a", "whole"))
    assert np.array_equal(found, wanted)


def phone_picture() -> tuple[bytes, int, int]:
    """A JPEG with a second picture in it, and where the tags about that one stand."""
    content = BytesIO()
    noise().save(content, "MPO", save_all=True, append_images=[noise()])
    body = content.getvalue()
    start = body.index(b"MPF\0") + 4
    return body, start, start + int.from_bytes(body[start - 6 : start - 4], "big") - 6


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_tag_about_other_pictures_of_a_jpeg_leaves_the_first_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("phone") / "a.jpg"
    whole, start, end = phone_picture()
    path.write_bytes(whole)
    wanted = np.asarray(open_picture(path))
    body = bytearray(whole)
    for at in data.draw(st.lists(st.integers(start, end - 1), min_size=1, max_size=6)):
        body[at] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(body))
    assert np.array_equal(np.asarray(open_picture(path)), wanted)


def test_transparency_and_orientation_stay_when_a_large_text_is_left_out(tmp_path: Path) -> None:
    clear = chunk(b"tRNS", b"".join(b"\0" + bytes([v]) for v in noise().getpixel((0, 0))))
    turn = chunk(b"eXIf", exif_of(TURNED)[6:])
    (tmp_path / "a.png").write_bytes(png_with(chunk(b"zTXt", b"w\0\0" + LARGE), clear, turn))
    picture = open_picture(tmp_path / "a.png")
    assert picture.size == (4, 8)
    assert picture.getpixel((3, 0)) == (255, 255, 255)  # was the first


def test_a_png_whose_pixels_are_damaged_is_still_refused(tmp_path: Path) -> None:
    whole = png_with(chunk(b"zTXt", b"w\0\0" + LARGE))
    at = whole.index(b"IDAT") + 10
    (tmp_path / "a.png").write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
    assert "damaged" in refusal(tmp_path / "a.png")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_not_finite_leaves_the_others_as_they_are(
    tmp_path: Path, value: float
) -> None:
    values = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    Image.fromarray(values).save(tmp_path / "whole.tiff")
    values[2, 1] = value
    Image.fromarray(values).save(tmp_path / "odd.tiff")
    whole, odd = (np.asarray(open_picture(tmp_path / f"{n}.tiff")) for n in ("whole", "odd"))
    others = np.ones((4, 4), bool)
    others[2, 1] = False
    assert np.array_equal(whole[others], odd[others])
    assert (odd[2, 1] == (255 if value == np.inf else 0)).all()


def test_a_picture_of_no_finite_pixel_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "a.tiff")
    assert "none of its pixels is a finite number" in refusal(tmp_path / "a.tiff")


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, (2, 3), elements=st.floats(width=32)))
def test_any_floating_picture_opens_or_is_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, values: np.ndarray
) -> None:
    path = tmp_path_factory.mktemp("floats") / "a.tiff"
    Image.fromarray(values).save(path)
    if np.isfinite(values).any():
        assert open_picture(path).size == (3, 2)
    else:
        refusal(path)


def test_an_open_picture_is_converted_like_a_file() -> None:
    assert open_picture(Image.new("RGBA", (1, 1), (0, 0, 0, 0))).getpixel((0, 0)) == (255,) * 3


def test_a_jpeg_named_png_opens(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), RED).save(tmp_path / "a.png", format="JPEG")
    assert open_picture(tmp_path / "a.png").size == (8, 8)


def test_a_missing_file_is_named_with_its_nearest_neighbour(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "mug.png")
    message = refusal(tmp_path / "mgu.png")
    assert message.startswith("no such file") and "did you mean" in message


def test_a_link_that_leads_nowhere_is_told_from_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "mug.png").symlink_to("gone.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    for name in ("mug.png", "loop.png"):
        assert f"{name} is a link to a file that is missing" in refusal(tmp_path / name)


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    assert "there is no folder" in refusal(tmp_path / "gone" / "mug.png")


def test_a_folder_is_not_a_picture(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_refused_without_waiting_on_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert "not a regular file" in refusal(tmp_path / "a.png")


@pytest.mark.parametrize(
    "body, reason",
    [
        (b"", "0 bytes"),
        (b"hello, this is text\n" * 20, "it is text"),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"%PDF-1.7 \xff\xfe", "PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0\xff", "HEIC"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "is not a picture"),
        (bytes(range(128, 256)) * 4, "unknown"),
    ],
)
def test_a_file_that_is_no_picture_says_what_it_is(
    tmp_path: Path, body: bytes, reason: str
) -> None:
    (tmp_path / "a.png").write_bytes(body)
    assert reason in refusal(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.tiff", "a.bmp"])
def test_a_truncated_picture_is_refused(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(
        tmp_path / "whole", format=Image.registered_extensions()["." + name[2:]]
    )
    body = (tmp_path / "whole").read_bytes()
    (tmp_path / name).write_bytes(body[: len(body) // 2])
    refusal(tmp_path / name)


@pytest.mark.parametrize("side", [10_001, 20_000])
def test_a_bomb_is_refused_from_its_header(tmp_path: Path, side: int) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(side, side))
    assert "100 megapixels" in refusal(tmp_path / "bomb.png")


@pytest.mark.parametrize("sides", [(1, 99_999_999), (99_999_999, 1), (65_536, 2)])
def test_a_thin_bomb_is_refused_from_its_header(tmp_path: Path, sides: tuple[int, int]) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(*sides))
    assert "a side may have 65535" in refusal(tmp_path / "bomb.png")


def test_a_picture_just_under_the_limit_is_not_called_too_large(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_header(10_000, 10_000))
    assert "damaged" in refusal(tmp_path / "a.png")


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    assert "permission" in refusal(tmp_path / "a.png")


def test_a_permission_error_is_an_input_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    monkeypatch.setattr(Path, "open", refuse)
    assert "permission denied" in refusal(tmp_path / "a.png")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_png_opens_or_is_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(noise).save(folder / "a.png")
    body = bytearray((folder / "a.png").read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=6)):
        body[at] = data.draw(st.integers(0, 255))
    (folder / "a.png").write_bytes(bytes(body))
    try:
        assert open_picture(folder / "a.png").mode == "RGB"
    except InputError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_a_saved_picture_opens_again_and_nothing_else_is_left(tmp_path: Path, name: str) -> None:
    save_picture(Image.new("RGB", (16, 12), RED), tmp_path / name)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert np.abs(np.subtract(open_picture(tmp_path / name).getpixel((8, 6)), RED)).max() <= 4


def test_a_picture_that_the_format_cannot_hold_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*a\.jpg: JPEG cannot hold it"):
        save_picture(Image.new("RGB", (70_000, 1)), tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.txt", "a", "a.pdq", "gone/a.png"])
def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError) as caught:
        save_picture(Image.new("RGB", (4, 4)), tmp_path / name)
    assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
