"""Change the bytes of a valid file into those of a damaged, a hostile or an unlucky one."""

from __future__ import annotations

import json
import os
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

__all__ = ["mutated"]

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
TEXTS = (b"-1", b"0", b"1e999", b"NaN", b"99999999999", b"-99999999999999999999", b"2.5", b"null")
VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2.5, 1e308, float("nan"), float("inf"), 10**9, 10**12, 10**40),
    *("", "x" * 5000, "../../secret.txt", "/etc/hostname", "a/b", "\0", "\ud800", "\u202e", "nul"),
    *([], {}, [[]], [None], {"": None}, list(range(2000))),
)
# Each list holds nine times the one before.
ALIASES = b"a: &a [x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (letter, letter, b",".join([b"*%c" % (letter - 1)] * 9))
    for letter in b"bcdefghij"
)
HOSTILE: tuple[tuple[str, Any], ...] = (
    ("auto_map", {"AutoModel": "evil.Model"}),
    ("_attn_implementation", "someone/kernels"),
    ("trust_remote_code", True),
    ("target_modules", "(a+)+$"),
    ("rank_pattern", {"(a+)+$": 3}),
    ("quantization_config", {"quant_method": "awq"}),
)


def mutated(content: bytes, suffix: str, rng: Random, canary: Path) -> bytes:
    """Make a mutated copy of a file.

    Args:
        content: The valid file.
        suffix: The ending of its name, which says what parts it may have.
        rng: Makes the choices.
        canary: A file that hostile inputs would make if code in them ran.

    Returns:
        The content of the mutated file.
    """
    ways: list[Callable[[], bytes]] = [lambda: _bytes(content, rng)] * 3
    ways += [lambda: _text(content, rng), lambda: _replaced(content, rng, canary)]
    if suffix in (".json", ".jsonl"):
        ways += [lambda: _json(content, rng)] * 8
    elif suffix == ".safetensors":
        ways += [lambda: _safetensors(content, rng)] * 5
    elif suffix in (".pth", ".pt", ".ipadpt", ".bin", ".npz"):
        ways += [lambda: _zip(content, rng, canary)] * 5
    elif suffix == ".png":
        ways += [lambda: _png(content, rng)] * 5
    elif suffix in (".yaml", ".txt"):
        ways += [lambda: _lines(content, rng)] * 5
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(ways)()
    return content


def _bytes(content: bytes, rng: Random) -> bytes:
    body = bytearray(content)
    way = rng.randrange(7)
    at = rng.randrange(len(body) + 1)
    if way == 0:
        return bytes(body[:at])
    if way == 1:
        body[at:at] = rng.randbytes(rng.choice((1, 4, 64)))
    elif way == 2:
        del body[at : at + rng.choice((1, 2, 4, 64, 1024))]
    elif way == 3:
        body[at:at] = body[at : at + rng.choice((4, 64, 1024))]
    elif way == 4:
        size, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
        value = rng.choice(NUMBERS) & (256**size - 1)
        body[at : at + size] = value.to_bytes(size, order)
    else:
        for _ in range(rng.choice((1, 2, 8, 64))):
            if body:
                body[rng.randrange(len(body))] = rng.randrange(256)
    return bytes(body)


def _text(content: bytes, rng: Random) -> bytes:
    """One number that is written in digits becomes another."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", content))
    if not found:
        return _bytes(content, rng)
    one = rng.choice(found)
    return content[: one.start()] + rng.choice(TEXTS) + content[one.end() :]


def _replaced(content: bytes, rng: Random, canary: Path) -> bytes:
    """Something else altogether under the same name."""
    other = (
        b"",
        b"\0" * 4096,
        rng.randbytes(2048),
        b"hello\n" * 100,
        "hello".encode("utf-16"),
        b"\xef\xbb\xbf" + content,
        zlib.compress(content),
        content * 3,
        b"[" * 100_000,
        b'{"a":' * 20_000,
        pickle.dumps(Touch(canary)),
        pickle.dumps(Vast(), 2),
        f"!!python/object/apply:os.system ['touch {canary}']\n".encode(),
        ALIASES,
    )
    return rng.choice(other)


class Touch:
    """Makes a file when it is unpickled by a reader that runs code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


class Vast:
    """Takes all memory when it is unpickled by a reader that calls what a file names."""

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        return bytearray, (2**40,)


def _json(content: bytes, rng: Random) -> bytes:
    """One value of a JSON text, or of a line of JSON texts, becomes another."""
    lines = content.split(b"\n") if content.count(b"\n{") else [content]
    at = rng.randrange(len(lines))
    try:
        value = json.loads(lines[at])
    except (ValueError, RecursionError):
        return _bytes(content, rng)
    lines[at] = json.dumps(_changed(value, rng)).encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        lines.insert(at, lines[at])
    return b"\n".join(lines)


def _changed(value: Any, rng: Random) -> Any:
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return rng.choice(VALUES)
    if isinstance(value, list):
        at = rng.randrange(len(value))
        return [*value[:at], _changed(value[at], rng), *value[at + 1 :]]
    way, key = rng.random(), rng.choice(list(value))
    if way < 0.1:
        return {k: v for k, v in value.items() if k != key}
    if way < 0.2:
        return value | {rng.choice(("other", "", "a" * 300, "../x")): rng.choice(VALUES)}
    if way < 0.3:
        return value | dict([rng.choice(HOSTILE)])
    return value | {key: _changed(value[key], rng)}


def _safetensors(content: bytes, rng: Random) -> bytes:
    """The JSON header changes, and its length with it; or the numbers do."""
    size = int.from_bytes(content[:8], "little")
    header, numbers = content[8 : 8 + size], content[8 + size :]
    way = rng.random()
    if way < 0.3 and len(numbers) >= 4:
        bad = rng.choice((float("nan"), float("inf"), 1e38, -1e38))
        at = 4 * rng.randrange(len(numbers) // 4)
        return content[: 8 + size] + numbers[:at] + struct.pack("<f", bad) + numbers[at + 4 :]
    header = _text(header, rng) if way < 0.6 else _json(header, rng)
    return struct.pack("<Q", len(header)) + header + numbers


def _zip(content: bytes, rng: Random, canary: Path) -> bytes:
    """One member of a zip archive changes, and its checksum with it."""
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # it was mutated before, and is no archive any more
        return _bytes(content, rng)
    if not members:
        return _bytes(content, rng)
    name = rng.choice(list(members))
    way = rng.random()
    if name.endswith(".pkl") and way < 0.3:
        value = rng.choice((Touch(canary), Vast()))
        members[name] = pickle.dumps({"image_embeds": value}, rng.choice((2, 4)))
    elif way < 0.8:
        members[name] = _text(members[name], rng) if way < 0.5 else _bytes(members[name], rng)
    elif way < 0.9:
        del members[name]
    else:
        members[rng.choice((f"../{name}", "other", name + "/"))] = members.pop(name)
    kind = zipfile.ZIP_DEFLATED if rng.random() < 0.1 else zipfile.ZIP_STORED
    made = BytesIO()
    with zipfile.ZipFile(made, "w", kind) as archive:
        for each, body in members.items():
            archive.writestr(each, body)
    return made.getvalue()


def _png(content: bytes, rng: Random) -> bytes:
    """One chunk of a PNG changes, and its checksum with it."""
    chunks, at = [], 8
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return _bytes(content, rng)
    one = rng.randrange(len(chunks))
    kind, body = chunks[one]
    way = rng.random()
    if way < 0.5:
        chunks[one] = (kind, _bytes(body, rng))
    elif way < 0.7:
        kinds = (b"iCCP", b"zTXt", b"tRNS", b"eXIf", b"acTL", b"fcTL", b"PLTE", b"IDAT", b"gAMA")
        chunks.insert(one, (rng.choice(kinds), rng.randbytes(rng.choice((0, 4, 30)))))
    elif way < 0.8:
        del chunks[one]
    elif len(body) >= 13:
        width, height = (rng.choice((0, 1, 7, 65_535, 99_999_999, 2**31 - 1)) for _ in range(2))
        chunks[one] = (kind, struct.pack(">II", width, height) + body[8:])
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    ]
    return content[:8] + b"".join(parts)


def _lines(content: bytes, rng: Random) -> bytes:
    """One line of a text changes its value, is left out, or comes twice."""
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    way = rng.random()
    if way < 0.2:
        del lines[at]
    elif way < 0.3:
        lines.insert(at, lines[at])
    elif way < 0.4:
        lines.insert(at, b"unknown_key: 3")
    else:
        key, colon, _ = lines[at].partition(b":")
        value = rng.choice(VALUES)
        said = json.dumps(value) if rng.random() < 0.5 else str(value)
        lines[at] = key + colon + b" " + said.encode("utf-8", "surrogatepass")
    return b"\n".join(lines)
