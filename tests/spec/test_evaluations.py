"""Evaluations on official splits and in galleries of other data sets: what is said before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

from cprspec.components.datasets import HMDB51, UCF101, Folder, Manifest
from cprspec.data.index import Index, Video
from cprspec.errors import CprspecError
from cprspec.spec.classes import matched_classes
from cprspec.spec.presence import read_indices
from cprspec.spec.schema import Resolved
from cprspec.spec.splits import official_split, same_but_split

SPEC = """format = 1
train_on = "ucf101"
[dataset.ucf101]
use = "ucf101"
[dataset.ucf101-2]
use = "ucf101"
split = 2
[dataset.hmdb51]
use = "hmdb51"
[phase.rgb]
views = ["rgb"]
epochs = 300
[evaluate.nn]
use = "retrieval"
"""


def said(read: Callable[..., Resolved], *lines: str) -> list[str]:
    """What is said of the evaluation with these lines."""
    try:
        problems = read(SPEC + "\n".join(lines) + "\n").warnings
    except CprspecError as error:
        problems = error.problems
    return [str(problem) for problem in problems]


def test_splits_of_one_data_set() -> None:
    datasets = {
        "a": UCF101(), "b": UCF101(split=3, root="x"), "h": HMDB51(split=2), "f": Folder(), "g": Manifest(), "u": UCF101(),
    }  # fmt: skip
    assert {name: official_split(name, datasets) for name in datasets} == {
        "a": ("a", "1"), "b": ("a", "3"), "h": ("h", "2"), "f": ("f", "test"), "g": ("g", "test"), "u": ("a", "1"),
    }  # fmt: skip
    assert same_but_split("a", "b", datasets)
    assert not same_but_split("a", "u", datasets)
    assert not same_but_split("f", "g", datasets)
    assert not same_but_split("a", "h", datasets)


def test_a_split_that_was_trained_on(read: Callable[..., Resolved]) -> None:
    expected = (
        "x.toml:15:23: warning: phases train on 'ucf101', and 'ucf101-2' is another split of it; "
        "some of its test videos were trained on; published means over splits accept that"
    )
    assert said(read, 'datasets = ["ucf101", "ucf101-2", "hmdb51"]') == [expected]
    untrained = 'encoders = ["random", "random/rgb+random"]'
    assert said(read, 'datasets = ["ucf101", "ucf101-2"]', untrained) == []
    assert said(read) == []


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (['gallery = "ucf101"', 'datasets = ["hmdb51"]', 'classes = { golf = "GolfSwing" }'], []),
        (['gallery = "ucf10"'], ["x.toml:15:1: no data set is called 'ucf10'; did you mean 'ucf101'?"]),
        (
            ['classes = { golf = "GolfSwing" }'],
            ["x.toml:15:1: 'classes' without a gallery; it says what the gallery calls a class"],
        ),
        (
            ['gallery = "ucf101"', 'datasets = ["ucf101-2"]', 'encoders = ["random"]'],
            [
                "x.toml:15:1: 'ucf101' and 'ucf101-2' are splits of one data set; "
                "a query would find itself in the gallery"
            ],
        ),
        (
            ['gallery = "ucf101"', "classes = { golf = 3 }"],
            ["x.toml:16:13: option 'classes.golf' of evaluator 'retrieval' must be text, found 3 (whole number); "
             "text stands in quotes"],
        ),
    ],
)  # fmt: skip
def test_galleries(read: Callable[..., Resolved], lines: list[str], expected: list[str]) -> None:
    assert said(read, *lines) == expected


def test_classes_by_name() -> None:
    queries, gallery = ("Biking", "dribble", "eat", "golf"), ("Basketball", "Biking", "GolfSwing")
    assert matched_classes(queries, gallery, {}) == [1, -1, -1, -1]
    assert matched_classes(queries, gallery, {"dribble": "Basketball", "golf": "GolfSwing"}) == [1, 0, -1, 2]
    with pytest.raises(CprspecError) as caught:
        matched_classes(queries, gallery, {"glof": "GolfSwing", "golf": "Golf"})
    assert [str(problem) for problem in caught.value.problems] == [
        "'classes' names 'glof', which is no class of the queries; did you mean 'golf'?",
        "'classes' names 'Golf', which is no class of the gallery; did you mean 'GolfSwing'?",
    ]
    with pytest.raises(CprspecError, match="queries and gallery share no class"):
        matched_classes(("eat",), gallery, {})


def index(classes: tuple[str, ...], split: str, label: int | None = 0) -> Index:
    """A data set with one video."""
    return Index(classes, ("s",), (Video(Path("x.mp4"), "x.mp4", label, 0, split, 1),))


@pytest.mark.parametrize(
    ("gallery", "expected"),
    [
        (index(("golf",), "train"), []),
        (index(("Golf",), "train"), ["queries and gallery share no class"]),
        (index(("golf",), "test"), ["evaluation 'nn' searches data set 'ucf101', which has no training videos with labels"]),
        (
            index(("golf",), "train", None),
            ["evaluation 'nn' searches data set 'ucf101', which has no training videos with labels"],
        ),
    ],
)  # fmt: skip
def test_galleries_that_are_there(
    read: Callable[..., Resolved], tmp_path: Path, gallery: Index, expected: list[str]
) -> None:
    resolved = read(SPEC + 'gallery = "ucf101"\ndatasets = ["hmdb51"]\n')
    found = {"ucf101": gallery, "hmdb51": index(("golf",), "test")}

    def there(name: str) -> type:
        class There(type(resolved.datasets[name])):  # type: ignore[misc]
            """The data set with an index that needs no files."""

            def build(self, root: Path) -> Index:
                return found[name]

        return There()

    made = evolve(resolved, datasets={name: there(name) for name in found}, roots=dict.fromkeys(found, tmp_path))
    messages = [p.message for p in read_indices(made, tmp_path)[1]]
    assert [m for m in messages if "batch" not in m and "queue" not in m and "same source" not in m] == expected


def test_a_table_of_classes_is_written_out_again(read: Callable[..., Resolved]) -> None:
    from cprspec.spec.toml import to_toml

    resolved = read(SPEC + 'gallery = "ucf101"\ndatasets = ["hmdb51"]\nclasses = { golf = "GolfSwing" }\n')
    again = read(to_toml(resolved))
    assert again.evaluate == resolved.evaluate
    assert again.evaluate["nn"].classes == {"golf": "GolfSwing"}  # type: ignore[attr-defined]
