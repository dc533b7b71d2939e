"""A mapping that forgets what has not been used for longest, once it holds too many bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar

__all__ = ["Bounded"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Bounded(Generic[Key, Value]):
    """Safe to use from several threads."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self._held: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Key) -> Value | None:
        """What is held under `key`, which is then the last to be forgotten."""
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return self._held[key][0]

    def put(self, key: Key, value: Value, size: int) -> None:
        """Hold `value`, of so many bytes; the last one put in is held whatever its size."""
        with self._lock:
            _, before = self._held.pop(key, (None, 0))
            self._held[key] = value, size
            self.bytes += size - before
            while self.bytes > self.most_bytes and len(self._held) > 1:
                _, (_, dropped) = self._held.popitem(last=False)
                self.bytes -= dropped
