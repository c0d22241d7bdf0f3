"""Data sets named in a CSV file with a header: `path`, and where present `label`, `source`, `split`.

Other columns are allowed and not read. Paths are relative to the root and stay below it.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from cprspec.data.index import SPLITS, Entry, Index, make_index
from cprspec.data.names import source_of
from cprspec.data.survey import About
from cprspec.data.tables import Row, read_table
from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean

ABOUT = About(
    title="videos named in a CSV file",
    layout=(
        (
            "manifest.csv",
            "columns path, and where known label, source, split (train or test); option `file` names another",
        ),
        ("PATH", "the videos, where column path says"),
    ),
    notes=(
        "without a split a video is for training, without a label it has no class",
        "without a source each is its own, unless option `source_pattern` reads it from the path",
    ),
)

_HINT = "the first line names the columns: path, and if you have them label, source, split"


def read_manifest(root: Path, file: str, source_pattern: str | None) -> Index:
    """The videos that the CSV file `file` under `root` names. CprspecError with every line that is wrong."""
    return make_index(root, list_manifest(root, file, source_pattern, files_only=True))


def list_manifest(root: Path, file: str, source_pattern: str | None, *, files_only: bool) -> list[Entry]:
    """The same as entries; without `files_only`, naming what is not there is not wrong."""
    path = root / file
    entries: dict[str, Entry] = {}
    problems: list[Problem] = []
    for line, row in read_table(path, ["path"], "manifest", _HINT):
        found = _entry(root, row, source_pattern, files_only)
        if isinstance(found, str):
            problems.append(Problem(found, Place(str(path), line)))
        elif found.name in entries:
            problems.append(Problem(f"'{found.name}' stands here a second time", Place(str(path), line)))
        else:
            entries[found.name] = found
    if problems:
        raise CprspecError(problems)
    return list(entries.values())


def _entry(root: Path, row: Row, source_pattern: str | None, files_only: bool) -> Entry | str:
    """The video of one record, or what is wrong with it."""
    if None in row:
        return "more values than the header has columns"
    written, split = row["path"] or "", row.get("split") or "train"
    shown = clean(written, MAX_ECHO)
    relative = PurePosixPath(written)
    if not written or relative.is_absolute() or ".." in relative.parts:
        return f"path '{shown}' does not lie below the manifest's folder"
    if split not in SPLITS:
        return f"split '{clean(split, MAX_ECHO)}' is not one of {', '.join(SPLITS)}"
    if files_only and not _is_file(root / relative):
        return f"no file '{shown}'"
    name = relative.as_posix()
    return Entry(name, row.get("label") or None, row.get("source") or source_of(name, source_pattern), split)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have: too long, or with a NUL
        return False
