"""Pictures in and out: any usual file becomes 8-bit RGB; what cannot is named with its reason."""

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pops.errors import InputError, OutputError, nearest
from pops.io.files import atomic_path

__all__ = ["MAX_PIXELS", "open_picture", "picture_suffixes", "save_picture"]

MAX_PIXELS = 100_000_000
"""Larger pictures are refused from their header, before any pixel is decoded."""

# Only kinds that Pillow decodes by itself: EPS, for one, would start another program.
_KINDS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_USE = "use a PNG, JPEG or WebP picture"


def open_picture(source: str | Path | Image.Image) -> Image.Image:
    """A picture as upright 8-bit RGB.

    Camera rotation is applied, transparency is laid on white, 16-bit and floating greyscale
    is scaled down, an animation gives its first frame. A picture already open is converted alike.

    Raises:
        InputError: the file is missing, empty, cut short, no picture, or over `MAX_PIXELS`.
    """
    if isinstance(source, Image.Image):
        return _to_rgb(source)
    path = Path(source)
    _check_file(path)
    try:
        with warnings.catch_warnings():
            # Pillow warns below our own limit, and about odd metadata that does not matter here.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_KINDS) as image:
                _check_size(path, image.width * image.height)
                return _to_rgb(image)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not a picture ({_look(path)}): {_USE}") from error
    except Image.DecompressionBombError as error:
        raise InputError(_too_large(path)) from error
    except Exception as error:  # Pillow's readers raise almost anything on a damaged file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is damaged or cut short ({reason}): {_USE}") from error


def picture_suffixes() -> set[str]:
    """The endings, with their dot and in small letters, of the kinds of picture that are read."""
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in _KINDS}


def save_picture(image: Image.Image, path: str | Path, comment: str = "") -> None:
    """Write `image` in the format of the suffix of `path`, whole or not at all.

    `comment`: kept in the file where the format is JPEG.

    Raises:
        OutputError: the suffix names no format, or the place cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    kind = Image.registered_extensions().get(suffix)
    if kind not in Image.SAVE:
        raise OutputError(f"cannot write {path}: no picture format ends in '{suffix}'; use .png")
    lossy = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}}
    said = {"comment": comment.encode()} if comment and kind == "JPEG" else {}
    content = BytesIO()  # encoded first, so that the file appears in one go
    image.save(content, format=kind, **lossy.get(kind, {}), **said)
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
    if path.exists():
        raise InputError(f"{path} is not a regular file: {_USE}")
    raise InputError(f"no such file: {path}{_nearest(path)}")


def _nearest(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f": there is no folder {path.parent} either"
    return nearest(path.name, names) or ": check the name"


def _look(path: Path) -> str:
    """What a file that is no picture seems to be."""
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


def _check_size(path: Path, pixels: int) -> None:
    if pixels > MAX_PIXELS:
        raise InputError(_too_large(path))


def _too_large(path: Path) -> str:
    return f"{path} is too large: more than {MAX_PIXELS // 10**6} megapixels; make it smaller first"


def _to_rgb(image: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _to_eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Greyscale of 16 or 32 bits, scaled by the least of the usual full scales that holds it."""
    values = np.asarray(image, dtype=np.float32)
    scales = (65535.0,) if image.mode.startswith("I;16") else (1.0, 255.0, 65535.0)
    top = float(values.max())
    scale = next((scale for scale in scales if top <= scale), top)
    return Image.fromarray((values / scale * 255.0).clip(0, 255).round().astype(np.uint8))
