"""A store of pictures and embeddings: what people sent, and what was made of it.

Everything is in memory and bounded; what was not used for longest is forgotten first. Whoever knows
the id of an item can use it, and ids are never told to anybody else.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from io import BytesIO
from operator import attrgetter
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from cachetools import LRUCache
from PIL import Image

from pops.errors import InputError

if TYPE_CHECKING:
    from pops.engine import Source
    from pops.io.embeddings import Embeddings

__all__ = ["StoredItem", "Store", "embedding_size", "encode_picture", "is_plain", "plain_name"]

SHOWN_SIDE = 512  # pixels within which a picture is shown
SEEN_SIZE = (512, 512)  # what every picture is resized to before it is encoded
LONGEST_NAME = 60
OVERHEAD = 2048  # bytes of the objects that an item is made of, beside what they hold
Kind = Literal["example", "picture", "embedding", "result", "figure"]


@dataclass(frozen=True)
class StoredItem:
    """A picture, an embedding, or a result, which is both.

    Args:
        kind: Where it is from.
        name: The name that people see, and that expressions use.
        shown: The picture that the page shows, as PNG or JPEG; empty if there is none.
        seen: Of a picture that can be an input, the pixels that the encoder sees, as PNG.
        embedding: One embedding, if there is one.
        expression: How it was made.
        seed: The seed of the operator that made it.
        render_seed: The seed that it was rendered with.
        id: The name that only its owner is told.
    """

    kind: Kind
    name: str
    shown: bytes = b""
    seen: bytes = b""
    embedding: Embeddings | None = None
    expression: str = ""
    seed: int | None = None
    render_seed: int | None = None
    id: str = ""

    @classmethod
    def of_picture(cls, name: str, picture: Image.Image, kind: Kind = "picture") -> StoredItem:
        """Make an item of a picture that can be an input.

        Args:
            name: Its name.
            picture: An RGB picture of any size.
            kind: Where it is from.

        Returns:
            The item, which keeps only the pixels that are shown or matter to the encoder.
        """
        large = max(picture.size) > SHOWN_SIDE
        seen = picture.resize(SEEN_SIZE) if large else picture  # as the encoder resizes it
        shown = picture.copy()
        shown.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
        kinds = ("JPEG" if large else "PNG"), "PNG"
        return cls(
            kind,
            name,
            encode_picture(shown, kinds[0]),
            encode_picture(seen, kinds[1]),
            expression=repr(name),
        )

    @property
    def source(self) -> Source:
        """The source that the engine takes for this item: the embedding where there is one.

        Raises:
            InputError: The item is a figure, which cannot be an input.
        """
        if self.embedding is not None:
            return self.embedding
        if not self.seen:
            raise InputError(
                f"{self.name} has no picture and no embedding that an input could be: give another"
            )
        picture = Image.open(BytesIO(self.seen), formats=["PNG"])
        picture.load()
        picture.filename = self.name  # what expressions call it
        return picture

    @property
    def drawn(self) -> Image.Image:
        """The picture of this item, such as one to start from.

        Raises:
            InputError: It is an embedding that has not been drawn.
        """
        if not (self.seen or self.shown):
            raise InputError(f"{self.name} is an embedding that has not been drawn: give a picture")
        picture = Image.open(BytesIO(self.seen or self.shown), formats=["PNG", "JPEG"])
        return picture.convert("RGB")

    @cached_property
    def digest(self) -> bytes:
        """A digest that is equal for items that are the same to every operator."""
        if self.embedding is not None:
            return blake2b(self.embedding.image_embeds.numpy().tobytes(), digest_size=16).digest()
        return blake2b(self.seen, digest_size=16).digest()

    @property
    def size(self) -> int:
        """Bytes that the item takes in memory, its texts at their widest."""
        texts = 4 * (len(self.name) + len(self.expression))
        made = 0 if self.embedding is None else embedding_size(self.embedding)
        return len(self.shown) + len(self.seen) + texts + made + OVERHEAD

    @property
    def told(self) -> dict[str, Any]:
        """The item as the page and other clients are told of it."""
        return {
            "id": self.id,
            "kind": self.kind,
            "name": self.name,
            "picture": f"/pictures/{self.id}" if self.shown else None,
            "embedding": f"/embeddings/{self.id}" if self.embedding is not None else None,
            "expression": self.expression,
            "seed": self.seed,
            "render_seed": self.render_seed,
        }


class Store:
    """Items by their ids. Examples stay; the others are forgotten when there are too many.

    It can be used from several threads.

    Args:
        most_bytes: The bytes that all items together may take, examples not counted.
    """

    def __init__(self, most_bytes: int) -> None:
        self.examples: dict[str, StoredItem] = {}
        self._items: LRUCache[str, StoredItem] = LRUCache(most_bytes, attrgetter("size"))
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def bytes(self) -> int:
        """Bytes that the items take, examples not counted."""
        return int(self._items.currsize)

    def add(self, item: StoredItem) -> StoredItem:
        """Keep an item under an id that nobody can guess.

        Args:
            item: The item.

        Returns:
            The same item with its id.

        Raises:
            InputError: It is larger than the whole store.
        """
        named = replace(item, id=secrets.token_urlsafe(16))
        try:
            with self._lock:
                self._items[named.id] = named
        except ValueError as error:
            raise InputError(
                f"{item.name} is larger than all that the studio keeps: give a smaller picture"
            ) from error
        return named

    def add_example(self, name: str, item: StoredItem) -> None:
        """Keep an item for everybody.

        Args:
            name: Its id.
            item: The item.
        """
        self.examples[name] = replace(item, id=name)

    def get(self, name: str) -> StoredItem:
        """Find an item, which is then the last to be forgotten.

        Args:
            name: Its id.

        Returns:
            The item.

        Raises:
            InputError: There is no such item, or no longer.
        """
        with self._lock:
            item = self.examples.get(name) or self._items.get(name)
        if item is None:
            raise InputError("an input is no longer here: add it again")
        return item


def embedding_size(embedding: Embeddings) -> int:
    """Count the bytes that embeddings take in memory, with their expressions.

    Args:
        embedding: The embeddings.

    Returns:
        The bytes.
    """
    numbers = embedding.image_embeds.numel() * embedding.image_embeds.itemsize
    return numbers + 4 * sum(map(len, embedding.expressions)) + OVERHEAD


def encode_picture(picture: Image.Image, kind: str = "PNG") -> bytes:
    """Encode a picture as a file.

    Args:
        picture: The picture.
        kind: PNG or JPEG.

    Returns:
        The content of the file.
    """
    content = BytesIO()
    settings = {"quality": 90} if kind == "JPEG" else {"compress_level": 3}
    picture.save(content, format=kind, **settings)
    return content.getvalue()


def is_plain(name: str) -> bool:
    """Tell whether a text is a file's name as `plain_name` makes them.

    Args:
        name: The text.

    Returns:
        Whether nothing in it leads to another folder or would trip an expression.
    """
    return plain_name(name) == name


def plain_name(name: str) -> str:
    """Make a file's name one that can stand in an expression.

    Args:
        name: The name, perhaps with folders.

    Returns:
        The name without folders and without what an expression could trip over, of 1 to 60 letters.
    """
    plain = Path(name.replace("\\", "/")).name
    kept = "".join(letter for letter in plain if letter.isprintable() and letter not in "'\"`<>~")
    stem, dot, suffix = kept.strip(". ").rpartition(".")
    suffix = f"{dot}{suffix[:12]}" if stem else ""
    return (stem or kept.strip(". ") or "picture")[: LONGEST_NAME - len(suffix)].strip() + suffix
