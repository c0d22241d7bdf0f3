"""The video files that are there: found by listing folders once, looked up without regard to capitals.

Copies of the official data sets differ in capitals (UCF101's HandstandPushups), and tools rename files whose names
they find odd (HMDB51), so what is missing under its own name is looked for under similar ones.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from cprspec.data.names import SUFFIXES
from cprspec.errors import CprspecError, Place, Problem

DEPTH = 4
"""Folders below a root that are looked into: bounds the walk where links make a circle."""


@frozen
class Files:
    """Video files below `folder`: `names` are their paths as they are, `folded` finds them without regard to capitals."""

    folder: Path
    names: frozenset[str]
    folded: Mapping[str, str]

    @classmethod
    def below(cls, folder: Path) -> Files:
        """Those at most DEPTH folders below `folder`. CprspecError where a folder cannot be listed."""
        names = video_files(folder)
        return cls(folder, frozenset(names), {name.casefold(): name for name in reversed(names)})

    def find(self, name: str) -> str | None:
        """The path called `name`, or else the one that differs from it only in capitals."""
        return name if name in self.names else self.folded.get(name.casefold())


def video_files(folder: Path) -> list[str]:
    """Paths below `folder` of the video files at most DEPTH folders down, sorted; links are followed."""
    found: list[str] = []
    pending = [("", 0)]
    while pending:
        prefix, level = pending.pop()
        here = folder / prefix
        try:
            with os.scandir(here) as listing:
                entries = list(listing)
        except OSError as error:
            raise CprspecError(Problem(f"cannot be read ({error.strerror})", Place(str(here)))) from error
        for entry in entries:
            if _is(entry, os.DirEntry.is_dir):
                pending += [(f"{prefix}{entry.name}/", level + 1)] if level < DEPTH else []
            elif entry.name.lower().endswith(SUFFIXES) and _is(entry, os.DirEntry.is_file):
                found.append(prefix + entry.name)
    return sorted(found)


def similar_names(names: Iterable[str]) -> dict[str, list[str]]:
    """`names` by `squeezed`, to find a file that was moved or renamed."""
    result: dict[str, list[str]] = defaultdict(list)
    for name in names:
        result[squeezed(name)].append(name)
    return dict(result)


def squeezed(name: str) -> str:
    """The letters and digits of a path's last part, in one case: what moving and cautious renaming leave alone."""
    return "".join(c for c in name.rpartition("/")[2].casefold() if c.isalnum())


def first_folder(root: Path, names: Iterable[str]) -> Path:
    """The first of the folders `names` below `root` that is there; `root` itself if none is."""
    return next((root / name for name in names if (root / name).is_dir()), root)


def folder_holding(root: Path, names: Sequence[str], pattern: str) -> Path:
    """The first of `root`'s folders `names`, or `root` itself, that holds files like `pattern`; the first name if none does."""
    folders = [*(root / name for name in names), root]
    return next((folder for folder in folders if any(folder.glob(pattern))), folders[0])


def _is(entry: os.DirEntry[str], what: Callable[[os.DirEntry[str]], bool]) -> bool:
    try:
        return what(entry)
    except OSError:  # a link that leads to itself
        return False
