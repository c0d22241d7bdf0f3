"""Official split lists laid beside the files that are there: what both UCF101 and HMDB51 need.

A list that cannot be read, a line that makes no sense and a video that is not there are all found in one pass, each with
the file and line of the list that names it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from cprspec.data.files import Files, similar_names, squeezed, video_files
from cprspec.data.index import SPLITS, Entry, Index, make_index
from cprspec.data.survey import Count, Survey
from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean

MAX_PROBLEMS = 100
"""Most problems of one data set that are listed one by one."""

COUNTED = "`cprspec data describe NAME --root DIR` counts them by split"
"""What to do about more problems than are listed."""

Expected = Mapping[tuple[int, str], tuple[int, int | None]]
"""Published number of videos, and of sources if known, of each (split, part)."""


@frozen
class Listed:
    """A video as a list names it: `name` is its path below the folder of the videos, `place` the line that says so.

    `part` is train, test, or None for a video that takes no part in this split.
    """

    name: str
    label: str
    source: str
    part: str | None
    place: Place


@frozen
class Lists:
    """The lists of one split: the videos they name, and what is wrong with lines or files."""

    listed: tuple[Listed, ...]
    problems: tuple[Problem, ...]


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Line numbers and lines of a list, without those that are blank. CprspecError if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise CprspecError(Problem(f"cannot read the list ({reason})", Place(str(path)))) from error
    lines = ((number, line.strip()) for number, line in enumerate(text.split("\n"), start=1))
    return [(number, line) for number, line in lines if line]


def merge(listed: Iterable[Listed | Problem]) -> Lists:
    """What was read line by line as one; a video that stands in the lists twice is a problem."""
    videos: dict[str, Listed] = {}
    problems: list[Problem] = []
    for one in listed:
        if isinstance(one, Problem):
            problems.append(one)
        elif (first := videos.setdefault(one.name.casefold(), one)) is not one:
            message = f"'{clean(one.name, MAX_ECHO)}' stands here a second time"
            problems.append(Problem(message, one.place, f"first at {first.place}"))
    return Lists(tuple(videos.values()), tuple(problems))


def read_official(lists: Lists, files: Files, root: Path) -> Index:
    """The index of the listed videos. CprspecError with every wrong line and every video that is not there."""
    needed = [v for v in lists.listed if v.part is not None]
    problems = [*lists.problems, *missing_problems(needed, files, root)]
    if not needed and not problems:
        problems.append(Problem("the lists name no videos", Place(str(root))))
    if problems:
        raise CprspecError(shortened(problems, COUNTED))
    entries = [Entry(files.find(v.name) or v.name, v.label, v.source, v.part or "") for v in needed]
    return make_index(files.folder, entries)


def survey_official(splits: Mapping[int, Lists], files: Files, root: Path, expected: Expected) -> Survey:
    """Counts of each official split, and everything that is wrong, each thing once."""
    counts: list[Count] = []
    problems: list[Problem] = []
    every: dict[str, Listed] = {}
    for split, lists in splits.items():
        problems += lists.problems
        for video in lists.listed:
            every.setdefault(video.name, video)
        counts += [_count(split, part, lists.listed, files, expected) for part in SPLITS]
    problems += missing_problems(every.values(), files, root)
    problems += _wrong_counts(counts, root)
    problems += _unlisted(every, files)
    return Survey(counts=tuple(counts), problems=shortened(dict.fromkeys(problems)))


def missing_problems(listed: Iterable[Listed], files: Files, root: Path) -> list[Problem]:
    """A problem for each listed video that is not where the list says; one for a class of which all are elsewhere or gone."""
    present = {name.rpartition("/")[0].casefold() for name in files.names}
    missing: dict[str, list[Listed]] = defaultdict(list)
    taken: set[str] = set()
    for video in listed:
        if found := files.find(video.name):
            taken.add(found)
        else:
            missing[video.name.rpartition("/")[0]].append(video)
    if not missing:
        return []
    prefix = files.folder.relative_to(root).as_posix()
    prefix = "" if prefix == "." else f"{prefix}/"
    similar = similar_names(set(video_files(root)) - {prefix + name for name in taken})
    problems: list[Problem] = []
    for folder, videos in sorted(missing.items()):
        found_at = {v.name: similar.get(squeezed(v.name), []) for v in videos}
        if folder.casefold() not in present and not any(found_at.values()):
            message = f"no videos in '{clean(prefix + folder, MAX_ECHO)}', and {len(videos)} are listed"
            problems.append(Problem(message, videos[0].place))
        elif (other := _other_folder(videos, found_at)) is not None:
            message = f"the {len(videos)} videos missing in '{clean(prefix + folder, MAX_ECHO)}' lie in another folder"
            problems.append(Problem(message, videos[0].place, f"in '{clean(other, MAX_ECHO)}'"))
        else:
            problems += [_missing(video, prefix, found_at[video.name]) for video in videos]
    return problems


def shortened(problems: Iterable[Problem], hint: str | None = None) -> tuple[Problem, ...]:
    """At most MAX_PROBLEMS of `problems`, and how many there are more, with what to do as `hint`."""
    every = list(problems)
    if len(every) <= MAX_PROBLEMS:
        return tuple(every)
    rest = every[MAX_PROBLEMS:]
    more = Problem(f"and {len(rest)} problems more", hint=hint, warning=all(p.warning for p in rest))
    return (*every[:MAX_PROBLEMS], more)


def _other_folder(videos: Sequence[Listed], found_at: Mapping[str, Sequence[str]]) -> str | None:
    """The folder in which all of several `videos` lie, each once and under its own name; None if there is none."""
    folders = {tuple(name.rpartition("/")[0] for name in found_at[v.name]) for v in videos}
    names = all(v.name.rpartition("/")[2] == n.rpartition("/")[2] for v in videos for n in found_at[v.name])
    only = folders.pop() if len(folders) == 1 else ()
    return (only[0] or ".") if len(videos) > 1 and len(only) == 1 and names else None


def _missing(video: Listed, prefix: str, found_at: Sequence[str]) -> Problem:
    hint = None
    if found_at:
        places = ", ".join(f"'{clean(name, MAX_ECHO)}'" for name in found_at[:3])
        hint = f"a file like it lies at {places}"
    return Problem(f"no file '{clean(prefix + video.name, MAX_ECHO)}'", video.place, hint)


def _count(split: int, part: str, listed: Sequence[Listed], files: Files, expected: Expected) -> Count:
    videos = [v for v in listed if v.part == part]
    found = [v for v in videos if files.find(v.name)]
    published, sources = expected.get((split, part), (None, None))
    return Count(
        split=split,
        part=part,
        expected=published,
        listed=len(videos),
        found=len(found),
        sources=len({v.source for v in found}),
        expected_sources=sources,
    )


def _wrong_counts(counts: Iterable[Count], root: Path) -> list[Problem]:
    return [
        Problem(
            f"the lists name {c.listed} {c.part} videos in split {c.split}, the official ones {c.expected}",
            Place(str(root)),
            warning=True,
        )
        for c in counts
        if c.listed and c.expected not in (None, c.listed)
    ]


def _unlisted(listed: Mapping[str, Listed], files: Files) -> list[Problem]:
    """Videos that no list of any split names, counted."""
    rest = sorted(files.names - {files.find(name) for name in listed})
    if not rest:
        return []
    shown = ", ".join(f"'{clean(name, MAX_ECHO)}'" for name in rest[:3])
    verb = "video that no list names" if len(rest) == 1 else "videos that no list names"
    return [Problem(f"{len(rest)} {verb}, as {shown}", Place(str(files.folder)), "not used", warning=True)]
