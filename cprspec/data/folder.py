"""Data sets that are a folder: one sub-folder per class, or every video in one flat folder without labels."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cprspec.data.index import Entry, Index, make_index
from cprspec.data.names import SUFFIXES, matches, source_of
from cprspec.data.stores import check_finished
from cprspec.data.survey import About
from cprspec.errors import CprspecError, Place, Problem

ABOUT = About(
    title="videos in one folder per class, or all in one flat folder without labels",
    layout=(
        ("CLASS/**/*.mp4", f"a video of the class that its first folder names; also {', '.join(SUFFIXES[1:])}"),
        ("*.mp4", "with videos directly under DIR none has a class"),
    ),
    notes=(
        "all are for training; options `test_pattern` and `holdout` make some of them the test split",
        "each is a source of its own, unless option `source_pattern` reads the source from the path",
    ),
)


def read_folder(root: Path, source_pattern: str | None, test_pattern: str | None, holdout: float) -> Index:
    """Every video file below `root`; its first folder is its class. CprspecError where there is none."""
    return make_index(root, list_folder(root, source_pattern, test_pattern, holdout, files_only=True))


def list_folder(
    root: Path, source_pattern: str | None, test_pattern: str | None, holdout: float, *, files_only: bool
) -> list[Entry]:
    """The same as entries; without `files_only` also what is called like a video and is no file, such as a broken link."""
    if not root.is_dir():
        raise CprspecError(Problem("no such folder", Place(str(root))))
    check_finished(root)
    paths = [p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES]
    files = {p.relative_to(root).as_posix() for p in paths if _is_file(p)}
    names = files if files_only else files | {p.relative_to(root).as_posix() for p in paths if not any(p.glob("*"))}
    if not names:
        raise CprspecError(Problem(f"no video files ({' '.join(SUFFIXES)}) below this folder", Place(str(root))))
    flat = any("/" not in name for name in files or names)
    entries = []
    for name in sorted(names):
        source = source_of(name, source_pattern)
        test = matches(name, test_pattern) or _held_out(source, holdout)
        label = None if flat or "/" not in name else name.split("/", 1)[0]
        entries.append(Entry(name, label, source, "test" if test else "train"))
    return entries


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # links that lead in a circle
        return False


def _held_out(source: str, share: float) -> bool:
    """Whether a source belongs to the test split: by its name alone, so that adding videos moves no other."""
    number = int.from_bytes(hashlib.sha256(source.encode("utf-8", "surrogateescape")).digest()[:8], "big")
    return number < share * 2**64
