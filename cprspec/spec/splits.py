"""Official splits: data sets of an experiment that differ only in the number of their split are one data set.

Results on them say the data set's name and the number, so that their mean can be told apart from a mean over seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cprspec.spec.kinds import Dataset, fields_of


def official_split(name: str, datasets: Mapping[str, Dataset]) -> tuple[str, str]:
    """What results on data set `name` say: the first of its splits as the experiment calls it, and the split.

    The split is its number as text where the data set has several official ones, otherwise `test`.
    """
    own = datasets[name]
    number = getattr(own, "split", None)
    if not isinstance(number, int):
        return name, "test"
    return next(other for other in datasets if _apart_from_split(datasets[other]) == _apart_from_split(own)), str(
        number
    )


def same_but_split(name: str, other: str, datasets: Mapping[str, Dataset]) -> bool:
    """Whether the two are different official splits of one data set: test videos of one are training videos of the other."""
    family, split = official_split(name, datasets)
    other_family, other_split = official_split(other, datasets)
    return family == other_family and split != other_split


def _apart_from_split(dataset: Dataset) -> tuple[type[Dataset], dict[str, Any]]:
    """Which data set it is, whatever its split and its folder."""
    options = {
        a.name: getattr(dataset, a.name)
        for a in fields_of(type(dataset))
        if a.metadata.get("in_fingerprint", True) and a.name != "split"
    }
    return type(dataset), options
