"""Read any usual picture file as 8-bit RGB, and write pictures; name what cannot be used."""

import struct
import warnings
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from pops.errors import InputError, OutputError, nearest
from pops.io.files import atomic_path
from pops.io.formats.metadata import orientation_of, without_metadata
from pops.io.names import PICTURE_SUFFIXES

__all__ = ["MAX_PIXELS", "MAX_SIDE", "open_picture", "picture_suffixes", "save_picture"]

MAX_PIXELS = 100_000_000
"""Pictures of more pixels are refused from their header, before any pixel is decoded."""
MAX_SIDE = 65_535
"""So are pictures that are longer on one side: a thin one costs far more than its pixels."""

# Only kinds that Pillow decodes by itself: EPS, for one, would start another program.
_KINDS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
MOST_LOOKED_AT = 10_000  # files of a folder, for one whose name is near
_USE = "use a PNG, JPEG or WebP picture"
# How a stored picture is turned upright, by the value of its EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_picture(source: str | Path | Image.Image) -> Image.Image:
    """Open a picture as upright 8-bit RGB.

    Camera rotation is applied, transparency is laid on white, 16-bit and floating greyscale is
    scaled down, and an animation gives its first frame. Metadata beside the pixels, such as colour
    profiles and workflows, may be large or damaged.

    Args:
        source: A file, or a picture that is open already and is converted alike.

    Returns:
        The picture in mode RGB.

    Raises:
        InputError: The file is missing, empty, cut short, no picture, or over `MAX_PIXELS` or
            `MAX_SIDE`; or none of its pixels is a finite number.
    """
    if isinstance(source, Image.Image):
        return _to_rgb(source, "picture")
    path = Path(source)
    _check_file(path)
    try:
        with warnings.catch_warnings():
            # Pillow warns below our own limit, and about odd metadata that does not matter here.
            warnings.simplefilter("ignore")
            return _decode(path)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not a picture ({_look(path)}): {_USE}") from error
    except Image.DecompressionBombError as error:
        raise InputError(_too_large(path)) from error
    except Exception as error:  # Pillow's readers raise almost anything on a damaged file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is damaged or cut short ({reason}): {_USE}") from error


def _decode(path: Path) -> Image.Image:
    """Read the picture by Pillow or, failing that, without what stands beside its pixels."""
    try:
        return _decode_file(path, path)
    except (InputError, Image.DecompressionBombError):
        raise
    except Exception:
        plain = without_metadata(path)
        if plain is None:
            raise
    return _decode_file(BytesIO(plain), path)


def _decode_file(file: Path | BytesIO, path: Path) -> Image.Image:
    with Image.open(file, formats=_KINDS) as image:
        _check_size(path, *image.size)
        return _to_rgb(image, str(path))


def picture_suffixes() -> set[str]:
    """List the endings, with their dot and in small letters, of the pictures that are read.

    Returns:
        The endings.
    """
    return set(PICTURE_SUFFIXES)


def save_picture(image: Image.Image, path: str | Path, comment: str = "") -> None:
    """Write a picture in the format that the ending of its path names, whole or not at all.

    Args:
        image: The picture.
        path: The file to write.
        comment: A text that is kept in the file where the format is JPEG.

    Raises:
        OutputError: The ending names no format, the format cannot hold such a picture, or the
            place cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    kind = Image.registered_extensions().get(suffix)
    if kind not in Image.SAVE:
        raise OutputError(
            f"cannot write {path}: no picture format has the ending '{suffix}'; use .png"
        )
    lossy = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}}
    said = {"comment": comment.encode()} if comment and kind == "JPEG" else {}
    content = BytesIO()  # encoded first, so that the file appears in one go
    try:
        image.save(content, format=kind, **lossy.get(kind, {}), **said)
    except (OSError, ValueError, struct.error) as error:  # such as a side of over 65,535 in JPEG
        raise OutputError(f"cannot write {path}: {kind} cannot hold it ({error})") from error
    with atomic_path(path, suffix=".part") as part:
        part.write_bytes(content.getbuffer())


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size if path.is_file() else None
        if size:
            with path.open("rb"):
                return
    except OSError as error:
        raise InputError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    if size == 0:
        raise InputError(f"{path} is empty (0 bytes): {_USE}")
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a picture: name a file in it")
    if path.is_symlink() and not path.exists():
        raise InputError(f"{path} is a link to a file that is missing: {_USE}")
    if path.exists():
        raise InputError(f"{path} is not a regular file: {_USE}")
    raise InputError(f"no such file: {path}{_nearest(path)}")


def _nearest(path: Path) -> str:
    try:
        names = [entry.name for entry in islice(path.parent.iterdir(), MOST_LOOKED_AT)]
    except (OSError, ValueError):
        return f": there is no folder {path.parent} either"
    return nearest(path.name, names) or ": check the name"


def _look(path: Path) -> str:
    """Guess from its first bytes what a file that is not a picture is."""
    with path.open("rb") as file:
        head = file.read(1024).lstrip()
    if b"<svg" in head:
        return "it is an SVG drawing"
    if head.startswith(b"%PDF"):
        return "it is a PDF document"
    if head[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
        return "it is HEIC"
    try:
        head.decode()
    except UnicodeDecodeError:
        return "its format is unknown"
    return "it is text"


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise InputError(_too_large(path))
    if max(width, height) > MAX_SIDE:
        raise InputError(
            f"{path} is too large: {width} x {height} pixels, but a side may have {MAX_SIDE}"
        )


def _too_large(path: Path) -> str:
    return f"{path} is too large: more than {MAX_PIXELS // 10**6} megapixels; make it smaller first"


def _to_rgb(image: Image.Image, named: str) -> Image.Image:
    image = _upright(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _to_eight_bits(image, named)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    """Turn the picture as its EXIF orientation says, whatever its other tags hold.

    `ImageOps.exif_transpose` would write all tags anew, which fails for those of an odd type.
    """
    if image.format == "TIFF":  # `load` turns it in the same way, unless it has no tags
        turn = _turn(image)
        for tag in list(image.getexif()):
            del image.getexif()[tag]
        image.load()
    else:
        image.load()
        turn = _turn(image)
    return image if turn is None else image.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        found = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # the reader raises almost anything on damaged tags
        found = None
    if found is None:  # the reader leaves out what follows a damaged tag
        found = orientation_of(image.info.get("exif") or b"")
    return _TURNS.get(found) if isinstance(found, int) else None


def _to_eight_bits(image: Image.Image, named: str) -> Image.Image:
    """Scale greyscale of 16 or 32 bits by the least of the usual full scales that holds it.

    Pixels that are not finite do not count for the scale: an infinite one becomes white or
    black, and one that is not a number becomes black.
    """
    values = np.asarray(image, dtype=np.float32)
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise InputError(f"{named}: none of its pixels is a finite number; {_USE}")
    scales = (65535.0,) if image.mode.startswith("I;16") else (1.0, 255.0, 65535.0)
    top = float(finite.max())
    scale = next((scale for scale in scales if top <= scale), top)
    values = np.nan_to_num(values, nan=0.0, posinf=scale, neginf=0.0)
    return Image.fromarray((values / scale * 255.0).clip(0, 255).round().astype(np.uint8))
