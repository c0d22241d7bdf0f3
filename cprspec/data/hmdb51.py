"""HMDB51 in its official form: folders of avi, and for each class and split a list that marks its videos 0, 1 or 2.

Mark 1 is training, 2 is test, 0 takes no part in that split. Names hold odd characters (# [ ] ( ) ; & !), so a line is
cut at its last space. A video's source is its class and its title, the part of the name before the tags (visible body,
camera motion, people, direction, quality): the films it was cut from (Kuehne et al., ICCV 2011).
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
    title="6,766 videos of 51 actions from films and the web",
    layout=(
        ("hmdb51_org/CLASS/*.avi", "the videos; the class folders may also lie directly under DIR"),
        ("testTrainMulti_7030_splits/CLASS_test_split1.txt", "and 2, 3: NAME.avi MARK, mark 1 train, 2 test, 0 unused"),
    ),
    origin="Serre Lab, Brown University: page 'HMDB: a large human motion database', the archive HMDB51 (an archive for "
    "each class inside) and the three splits",
    licence="Creative Commons Attribution 4.0, as the page says; the clips are cut from films and videos of others",
    notes=(
        "each split has 3570 videos to train on and 1530 to test on, 70 and 30 of each class; the rest is marked 0",
        "names hold characters such as # [ ] ( ) ; & !; tools that rename such files must be told not to",
        "videos of the same title and class count as one source",
    ),
)

EXPECTED = {(split, part): (n, None) for split in (1, 2, 3) for part, n in (("train", 3570), ("test", 1530))}
"""Videos of each official split."""

_MARKS = {"0": None, "1": "train", "2": "test"}
_TAGS = re.compile(r"_[fhlu]_(?:cm|nm)_np\d+_(?:ba|fr|le|ri)_(?:bad|goo|med)_\d+\.avi$")


def read_hmdb51(root: Path, split: int) -> Index:
    """The videos of official split `split` (1 to 3) under `root`. CprspecError with all that is wrong or missing."""
    return read_official(_lists(root, split), _files(root), root)


def survey_hmdb51(root: Path) -> Survey:
    """What is there of all three splits. CprspecError where `root` cannot be listed."""
    return survey_official({split: _lists(root, split) for split in (1, 2, 3)}, _files(root), root, EXPECTED)


def _files(root: Path) -> Files:
    return Files.below(first_folder(root, ("hmdb51_org", "HMDB51", "hmdb51")))


def _lists(root: Path, split: int) -> Lists:
    """The lists of one split, as far as they can be read."""
    ending = f"_test_split{split}.txt"
    places = ("testTrainMulti_7030_splits", "test_train_splits/testTrainMulti_7030_splits")
    folder = folder_holding(root, places, f"*{ending}")
    paths = sorted(folder.glob(f"*{ending}"))
    if not paths:
        hint = "`cprspec data describe hmdb51` says what is expected, and where people get it"
        return Lists((), (Problem(f"no lists CLASS{ending} here", Place(str(folder)), hint),))
    found: list[Listed | Problem] = []
    for path in paths:
        try:
            found += _videos(path, path.name.removesuffix(ending))
        except CprspecError as error:
            found += error.problems
    return merge(found)


def _videos(path: Path, label: str) -> Iterator[Listed | Problem]:
    for line, text in read_lines(path):
        place = Place(str(path), line)
        name, _, mark = text.rpartition(" ")
        name = name.rstrip()
        if mark not in _MARKS or not name.lower().endswith(".avi") or "/" in name:
            yield Problem(f"expected NAME.avi and a mark 0, 1 or 2, found '{clean(text, MAX_ECHO)}'", place)
            continue
        yield Listed(f"{label}/{name}", label, f"{label}/{_TAGS.sub('', name)}", _MARKS[mark], place)
