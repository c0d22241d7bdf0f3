"""UCF101 in its official form: folders of avi, and the split lists of the recognition task.

Known irregularities: videos called v_HandStandPushups_* lie in the class folder HandstandPushups; lists may end their
lines as Windows does; test lists carry no class number. A video's source is its class and its group gNN (Soomro et
al., arXiv:1212.0402: the clips of a group are cut from one video).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from cprspec.data.files import Files, first_folder, folder_holding
from cprspec.data.index import Index
from cprspec.data.official import Listed, Lists, merge, read_lines, read_official, survey_official
from cprspec.data.survey import About, Survey
from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean

ABOUT = About(
    title="13,320 videos of 101 actions, cut from 2,525 sources (25 groups in each class)",
    layout=(
        ("UCF-101/CLASS/v_CLASS_gNN_cNN.avi", "the videos; the class folders may also lie directly under DIR"),
        ("ucfTrainTestlist/classInd.txt", "the classes by number"),
        ("ucfTrainTestlist/trainlist01.txt", "and 02, 03: training videos of a split, each with its class number"),
        ("ucfTrainTestlist/testlist01.txt", "and 02, 03: test videos"),
    ),
    origin="Center for Research in Computer Vision, University of Central Florida: page 'UCF101 - Action Recognition Data "
    "Set', the archive of the videos and the train/test splits for action recognition",
    licence="none is stated with the data; made for research from videos that YouTube's users own",
    notes=(
        "split 1 has 9537 videos to train on, from 1818 sources (18 in each class), and 3783 to test on",
        "videos called v_HandStandPushups_* belong into the folder HandstandPushups; capitals do not matter here",
    ),
)

EXPECTED = {
    (1, "train"): (9537, 1818), (1, "test"): (3783, 707),
    (2, "train"): (9586, 1818), (2, "test"): (3734, 707),
    (3, "train"): (9624, 1818), (3, "test"): (3696, 707),
}  # fmt: skip
"""Videos and sources of each official split: seven groups of each class are tested on."""

_VIDEO = re.compile(r"(?P<folder>[^/]+)/v_(?P<name>[^/]+)_g(?P<group>\d\d)_c\d\d\.avi")
_LINE = re.compile(r"(?P<path>.+?\.avi)(?:\s+(?P<number>\d{1,6}))?")
_CLASS = re.compile(r"(?P<number>\d{1,6})\s+(?P<name>\S.*)")


def read_ucf101(root: Path, split: int) -> Index:
    """The videos of official split `split` (1 to 3) under `root`. CprspecError with all that is wrong or missing."""
    return read_official(_lists(root, split), _files(root), root)


def survey_ucf101(root: Path) -> Survey:
    """What is there of all three splits. CprspecError where `root` cannot be listed."""
    return survey_official({split: _lists(root, split) for split in (1, 2, 3)}, _files(root), root, EXPECTED)


def _files(root: Path) -> Files:
    return Files.below(first_folder(root, ("UCF-101", "UCF101")))


def _lists(root: Path, split: int) -> Lists:
    """The lists of one split, as far as they can be read."""
    places = ("ucfTrainTestlist", "UCF101TrainTestSplits-RecognitionTask/ucfTrainTestlist")
    folder = folder_holding(root, places, "classInd.txt")
    try:
        classes, problems = _classes(folder / "classInd.txt")
    except CprspecError as error:
        hint = "`cprspec data describe ucf101` says what is expected, and where people get it"
        return Lists((), tuple(Problem(p.message, p.place, hint) for p in error.problems))
    found: list[Listed | Problem] = [*problems]
    for part in ("train", "test"):
        path = folder / f"{part}list{split:02d}.txt"
        try:
            found += _videos(path, part, classes)
        except CprspecError as error:
            found += error.problems
    return merge(found)


def _classes(path: Path) -> tuple[dict[str, tuple[str, int]], list[Problem]]:
    """Name and number of each class, by its name in small letters, and the lines that make no sense."""
    classes: dict[str, tuple[str, int]] = {}
    problems: list[Problem] = []
    numbers: set[int] = set()
    for line, text in read_lines(path):
        place = Place(str(path), line)
        matched = _CLASS.fullmatch(text)
        if matched is None:
            problems.append(Problem(f"expected NUMBER CLASS, found '{clean(text, MAX_ECHO)}'", place))
            continue
        name, number = matched["name"], int(matched["number"])
        if name.casefold() in classes or number in numbers:
            problems.append(Problem(f"class '{clean(name, MAX_ECHO)}' or number {number} stands here again", place))
        classes.setdefault(name.casefold(), (name, number))
        numbers.add(number)
    return classes, problems


def _videos(path: Path, part: str, classes: dict[str, tuple[str, int]]) -> Iterator[Listed | Problem]:
    for line, text in read_lines(path):
        place = Place(str(path), line)
        found = _video(text, part, classes, place)
        yield Problem(found, place) if isinstance(found, str) else found


def _video(text: str, part: str, classes: dict[str, tuple[str, int]], place: Place) -> Listed | str:
    """The video of one line, or what is wrong with it."""
    line = _LINE.fullmatch(text)
    video = _VIDEO.fullmatch(line["path"]) if line else None
    if line is None or video is None:
        return f"expected CLASS/v_CLASS_gNN_cNN.avi [NUMBER], found '{clean(text, MAX_ECHO)}'"
    folder = video["folder"]
    if folder.casefold() not in classes:
        return f"class '{clean(folder, MAX_ECHO)}' does not stand in classInd.txt"
    label, number = classes[folder.casefold()]
    if video["name"].casefold() != folder.casefold():
        return f"'{clean(line['path'], MAX_ECHO)}' is a video of another class than its folder"
    if line["number"] is not None and int(line["number"]) != number:
        return f"class '{label}' has number {number} in classInd.txt, found {line['number']}"
    return Listed(line["path"], label, f"v_{label}_g{video['group']}", part, place)
