"""Kinetics-style CSV lists: `label`, `youtube_id`, `time_start`, `time_end`, and a file for each clip somewhere below.

A clip is called ID_SSSSSS_EEEEEE (start and end in seconds, six digits), or just ID; where it lies does not matter, since
copies are laid out by class, by split, or flat. Videos vanish from YouTube, so nobody has all of them: a share of the
listed ones may be missing. A video's source is its YouTube id (Kay et al., arXiv:1705.06950).
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from attrs import frozen

from cprspec.data.files import video_files
from cprspec.data.index import Entry, Index, make_index
from cprspec.data.official import COUNTED, shortened
from cprspec.data.survey import About, Count, Survey
from cprspec.data.tables import Row, read_table
from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean

ABOUT = About(
    title="clips of about ten seconds from YouTube, one action each (400, 600 or 700 actions)",
    layout=(
        ("annotations/train.csv", "label,youtube_id,time_start,time_end,...; option `train` names another file"),
        ("annotations/val.csv", "the same for the test split; option `test` names another file"),
        (
            "**/ID_SSSSSS_EEEEEE.mp4",
            "the clips, in any folders below DIR: id, start and end in seconds; or just ID.mp4",
        ),
    ),
    origin="lists: Google DeepMind, page 'Kinetics'; clips: the CVD Foundation, page 'kinetics-dataset', which keeps a copy",
    licence="lists: Creative Commons Attribution 4.0; the clips belong to those who put them on YouTube",
    notes=("clips vanish from YouTube: option `max_missing` says what share of the listed ones need not be there",),
)

_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
_HINT = f"the first line names the columns: {', '.join(_COLUMNS)}; others are not read"
_SECONDS = re.compile(r"(\d{1,6})(?:\.0*)?")


@frozen
class _Clip:
    """A line of a list: the names its file may have, best first."""

    stems: tuple[str, ...]
    label: str | None
    source: str
    place: Place


@frozen
class _Part:
    """One list: its clips, those that are there as entries, those that are not, and wrong lines."""

    listed: int
    entries: tuple[Entry, ...]
    missing: tuple[_Clip, ...]
    problems: tuple[Problem, ...]


def read_kinetics(root: Path, train: str, test: str, max_missing: float) -> Index:
    """The clips of the lists `train` and `test` that are below `root`. CprspecError with every wrong line.

    Clips that are not there are left out, as long as they are at most the share `max_missing` of a list.
    """
    parts = _read(root, train, test)
    problems = [p for part in parts.values() for p in part.problems]
    for part in parts.values():
        if len(part.missing) > max_missing * part.listed:
            problems += _too_many(part, max_missing)
    if problems:
        raise CprspecError(shortened(problems, COUNTED))
    return make_index(root, [entry for part in parts.values() for entry in part.entries])


def survey_kinetics(root: Path, train: str, test: str) -> Survey:
    """What is there of both lists. Missing clips are warnings, since some are missing everywhere."""
    parts = _read(root, train, test)
    counts = tuple(
        Count(
            split=None,
            part=name,
            expected=None,
            listed=part.listed,
            found=len(part.entries),
            sources=len({e.source for e in part.entries}),
        )
        for name, part in parts.items()
    )
    problems = [p for part in parts.values() for p in part.problems]
    problems += [_missing(clip, warning=True) for part in parts.values() for clip in part.missing]
    return Survey(counts=counts, problems=shortened(problems))


def _read(root: Path, train: str, test: str) -> dict[str, _Part]:
    files: dict[str, list[str]] = defaultdict(list)
    for name in video_files(root):
        files[name.rpartition("/")[2].rpartition(".")[0]].append(name)
    seen: dict[tuple[str, ...], Place] = {}
    lists = {"train": train, "test": test}
    return {split: _part(root / file, split, files, seen) for split, file in lists.items() if file}


def _part(path: Path, split: str, files: dict[str, list[str]], seen: dict[tuple[str, ...], Place]) -> _Part:
    """One list laid beside the files; `seen` remembers the clips of all lists."""
    try:
        rows = read_table(path, _COLUMNS[1:], "list", _HINT)
    except CprspecError as error:
        return _Part(0, (), (), error.problems)
    entries: list[Entry] = []
    missing: list[_Clip] = []
    problems: list[Problem] = []
    for line, row in rows:
        clip = _clip(row, Place(str(path), line))
        if isinstance(clip, Problem):
            problems.append(clip)
            continue
        if (first := seen.setdefault(clip.stems, clip.place)) is not clip.place:
            message = f"clip '{clean(clip.stems[0], MAX_ECHO)}' stands here a second time"
            problems.append(Problem(message, clip.place, f"first at {first}"))
            continue
        found = next((files[stem] for stem in clip.stems if stem in files), [])
        if not found:
            missing.append(clip)
        elif len(found) > 1:
            places = " and ".join(f"'{clean(name, MAX_ECHO)}'" for name in found[:2])
            problems.append(
                Problem(f"clip '{clip.stems[0]}' lies in several places", clip.place, f"keep one of {places}")
            )
        else:
            entries.append(Entry(found[0], clip.label, clip.source, split))
    return _Part(len(rows), tuple(entries), tuple(missing), tuple(problems))


def _clip(row: Row, place: Place) -> _Clip | Problem:
    """The clip of one record, or what is wrong with it."""
    if None in row:
        return Problem("more values than the header has columns", place)
    name = row["youtube_id"] or ""
    if not name or "/" in name:
        return Problem(f"youtube_id '{clean(name, MAX_ECHO)}' cannot be part of a file's name", place)
    times = []
    for column in ("time_start", "time_end"):
        written = (row[column] or "").strip()
        matched = _SECONDS.fullmatch(written)
        if matched is None:
            return Problem(f"{column} must be whole seconds, found '{clean(written, MAX_ECHO)}'", place)
        times.append(int(matched[1]))
    return _Clip((f"{name}_{times[0]:06d}_{times[1]:06d}", name), row.get("label") or None, name, place)


def _missing(clip: _Clip, *, warning: bool) -> Problem:
    return Problem(f"no clip '{clean(clip.stems[0], MAX_ECHO)}'", clip.place, warning=warning)


def _too_many(part: _Part, allowed: float) -> list[Problem]:
    share = len(part.missing) / part.listed
    message = (
        f"{len(part.missing)} of {part.listed} listed clips are not there, {share:.1%}; {allowed:.1%} may be missing"
    )
    hint = "add them, or raise max_missing"
    return [
        Problem(message, Place(part.missing[0].place.file), hint),
        *(_missing(c, warning=False) for c in part.missing),
    ]
