"""The tray on which one item is put together: rooms for its clips, what reading and augmenting cost, what could not be read."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

_ALIGNED = 64


@frozen
class Unread:
    """A video that could not be read, by id, and why."""

    video: int
    why: str


@define
class Spent:
    """What a number of items cost their workers, in seconds added up; clips `replaced`, and the `unread` videos."""

    decode_s: float = 0.0
    augment_s: float = 0.0
    replaced: int = 0
    unread: list[Unread] = field(factory=list)

    def add(self, other: Spent) -> None:
        """Add what others cost."""
        self.decode_s += other.decode_s
        self.augment_s += other.augment_s
        self.replaced += other.replaced
        self.unread += other.unread


class Clips(Protocol):
    """Something that has items of clips by key, each a function of its key alone."""

    def read(self, key: Any, tray: Tray) -> None:
        """Put the item of `key` on `tray`. Raises what reading videos raises."""

    def item_bytes(self) -> int:
        """What an item takes; a larger one is passed on in a slower way."""


class Tray:
    """Item number `row` of `rows` equal ones that share a block of memory; without a block its rooms are its own.

    `reading` is told each file before it is opened. `rooms` are the names and shapes asked for, in order, and `own` the
    arrays that did not fit into the block.
    """

    def __init__(
        self,
        block: Bytes | None = None,
        row: int = 0,
        rows: int = 1,
        reading: Callable[[Path], None] | None = None,
    ) -> None:
        self.video = -1
        self.spent = Spent()
        self.rooms: list[tuple[str, tuple[int, ...]]] = []
        self.own: dict[str, Bytes] = {}
        self._block, self._row, self._rows, self._reading = block, row, rows, reading
        self._next = 0

    def room(self, name: str, shape: tuple[int, ...]) -> Bytes:
        """An array of `shape` for clips of this name, to be filled."""
        self.rooms.append((name, shape))
        size = math.prod(shape)
        start, self._next = self._next, after(self._next, self._rows * size)
        if self._block is None or start + self._rows * size > len(self._block):
            return self.own.setdefault(name, np.empty(shape, np.uint8))
        start += self._row * size
        return self._block[start : start + size].reshape(shape)

    def reading(self, path: Path) -> None:
        """The item now needs `path`."""
        if self._reading is not None:
            self._reading(path)

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """What happens inside is reading."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.spent.decode_s += time.perf_counter() - began

    @contextmanager
    def augmenting(self) -> Iterator[None]:
        """What happens inside is augmentation."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.spent.augment_s += time.perf_counter() - began


def after(start: int, size: int) -> int:
    """Where the next array of a block begins."""
    return -(-(start + size) // _ALIGNED) * _ALIGNED


def rooms_of(block: Bytes, rooms: list[tuple[str, tuple[int, ...]]], rows: int) -> dict[str, Bytes]:
    """The arrays `[rows, *shape]` of a block that trays of these rooms have filled."""
    found: dict[str, Bytes] = {}
    start = 0
    for name, shape in rooms:
        size = rows * math.prod(shape)
        if start + size <= len(block):
            found[name] = block[start : start + size].reshape(rows, *shape)
        start = after(start, size)
    return found
