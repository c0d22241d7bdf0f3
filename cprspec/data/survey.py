"""What a data set is and what is there of it: `About` says what it expects, `Survey` counts what a folder holds.

Made by the readers of data sets, printed by `cprspec data describe`. No video is opened.
"""

from __future__ import annotations

from attrs import frozen

from cprspec.errors import Problem


@frozen(kw_only=True)
class About:
    """A data set for a reader: `layout` pairs each path below the root with what it is; `origin` is where people get it.

    Data of one's own have no origin and no licence that anybody here knows: both are empty.
    """

    title: str
    layout: tuple[tuple[str, str], ...]
    origin: str = ""
    licence: str = ""
    notes: tuple[str, ...] = ()


@frozen(kw_only=True)
class Count:
    """One part (train or test) of one official split: videos and sources as published, listed by the lists, and there.

    `split` is None where a data set has no numbered splits, `expected` and `expected_sources` where nothing is published.
    """

    split: int | None
    part: str
    expected: int | None
    listed: int
    found: int
    sources: int
    expected_sources: int | None = None


@frozen(kw_only=True)
class Survey:
    """What a folder holds of a data set: counts, and everything missing, misplaced or unexpected."""

    counts: tuple[Count, ...]
    problems: tuple[Problem, ...]
