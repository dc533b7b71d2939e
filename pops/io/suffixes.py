"""The endings of the files that can be inputs; costs nothing to import."""

from pathlib import Path

__all__ = [
    "EMBEDDING_SUFFIXES",
    "PICTURE_SUFFIXES",
    "input_suffixes",
    "is_embedding_file",
]

EMBEDDING_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ipadpt", ".npy", ".npz")
# Those that Pillow has for the kinds of picture that `open_picture` reads; a test compares them.
PICTURE_SUFFIXES = (
    ".apng",
    ".avif",
    ".avifs",
    ".bmp",
    ".gif",
    ".j2c",
    ".j2k",
    ".jfif",
    ".jp2",
    ".jpc",
    ".jpe",
    ".jpeg",
    ".jpf",
    ".jpg",
    ".jpx",
    ".pbm",
    ".pfm",
    ".pgm",
    ".png",
    ".pnm",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)


def input_suffixes() -> tuple[str, ...]:
    """List the endings, with their dot and in small letters, of all files that can be inputs.

    Returns:
        The endings of pictures, and then those of embedding files.
    """
    return (*PICTURE_SUFFIXES, *EMBEDDING_SUFFIXES)


def is_embedding_file(path: str | Path) -> bool:
    """Tell whether a file holds embeddings by its name, in large or small letters.

    Args:
        path: A path, whether there is a file or not.

    Returns:
        True where the name ends as an embedding file does.
    """
    return Path(path).suffix.lower() in EMBEDDING_SUFFIXES
