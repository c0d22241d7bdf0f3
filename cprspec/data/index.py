"""Which videos a data set has: names, classes, sources and splits. A video's id is its position in the index."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from cprspec.errors import CprspecError, Place, Problem

SPLITS = ("train", "test")
"""The splits that a data set may have."""

Ints = NDArray[np.int64]


@frozen
class Video:
    """One video file: `name` is its path below the root, `label` a class number or None, `size` in bytes."""

    path: Path
    name: str
    label: int | None
    source: int
    split: str
    size: int


@frozen
class Entry:
    """A video as a data set describes it, before classes and sources are numbered."""

    name: str
    label: str | None
    source: str
    split: str


@frozen
class Index:
    """Every video of a data set, by name; classes and sources by number."""

    classes: tuple[str, ...]
    sources: tuple[str, ...]
    videos: tuple[Video, ...]

    def ids(self, split: str) -> Ints:
        """The ids of the videos in `split`, ascending."""
        return np.array([i for i, video in enumerate(self.videos) if video.split == split], np.int64)

    @cached_property
    def labels(self) -> Ints:
        """The class of each video `[V]`, -1 where it has none."""
        return np.array([-1 if v.label is None else v.label for v in self.videos], np.int64)

    @cached_property
    def source_ids(self) -> Ints:
        """The source of each video `[V]`."""
        return np.array([v.source for v in self.videos], np.int64)

    @property
    def labelled(self) -> bool:
        """Whether every video has a class."""
        return bool(self.videos) and all(v.label is not None for v in self.videos)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have videos."""
        return tuple(split for split in SPLITS if len(self.ids(split)))

    def without(self, names: Container[str]) -> Index:
        """The other videos; those that stay keep their class and source, and get new ids."""
        kept = tuple(v for v in self.videos if v.name not in names)
        return self if len(kept) == len(self.videos) else Index(self.classes, self.sources, kept)

    def digest(self) -> str:
        """The identity of the data: sha256 over every video's name, size, class, source and split, not over the root."""
        hasher = hashlib.sha256()
        for video in self.videos:
            label = "" if video.label is None else self.classes[video.label]
            facts = (video.name, str(video.size), label, self.sources[video.source], video.split)
            hasher.update("\0".join(facts).encode("utf-8", "surrogateescape") + b"\n")
        return hasher.hexdigest()


def make_index(root: Path, entries: Sequence[Entry], sizes: Mapping[str, int] | None = None) -> Index:
    """Number classes and sources in alphabetical order and look up the files' sizes, where `sizes` does not tell them."""
    classes = sorted({e.label for e in entries if e.label is not None})
    sources = sorted({e.source for e in entries})
    class_number = {name: i for i, name in enumerate(classes)}
    source_number = {name: i for i, name in enumerate(sources)}
    videos = [
        Video(
            path=root / e.name,
            name=e.name,
            label=None if e.label is None else class_number[e.label],
            source=source_number[e.source],
            split=e.split,
            size=_size(root / e.name) if sizes is None else sizes[e.name],
        )
        for e in sorted(entries, key=lambda e: e.name)
    ]
    return Index(tuple(classes), tuple(sources), tuple(videos))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise CprspecError(Problem(f"cannot be read ({error.strerror})", Place(str(path)))) from error
