"""What a comparison of runs says, as plain data: rows for the screen and for JSON.

What a run does not have is None. Shares are between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from attrs import asdict, frozen

from cprspec.runs.paired import Interval, SignedRank

SCHEMA = 1


@frozen
class Figure:
    """A number over `n` seeds: mean, and standard deviation (of a sample) where there are at least two."""

    mean: float
    std: float | None
    n: int


@frozen(kw_only=True)
class Group:
    """Runs that differ only in seed; `letter` is how the tables call them."""

    letter: str
    experiment: str
    seeds: tuple[int | None, ...]
    states: tuple[str, ...]
    runs: tuple[str, ...]


@frozen(kw_only=True)
class MiningRow:
    """A phase's last mined epoch in one unit: `precision`, and CMR beside a random miner's; `classes` have a CMR."""

    group: str
    phase: str
    unit: str
    classes: int | None
    figures: dict[str, Figure | None]


@frozen(kw_only=True)
class ResultRow:
    """The metrics of one encoder on one data set by one protocol."""

    group: str
    encoder: str
    dataset: str
    split: str
    protocol: str
    n: int | None
    figures: dict[str, Figure | None]


@frozen(kw_only=True)
class LossRow:
    """The last epoch of one phase: loss, own-key accuracy, clips per second; epochs done by the least advanced run.

    `reused`: every run took the phase from another, where its epochs stand.
    """

    group: str
    phase: str
    epochs_done: int
    epochs: int
    reused: bool
    loss: Figure | None
    own_key_accuracy: Figure | None
    clips_per_s: Figure | None


@frozen(kw_only=True)
class ClassesRow:
    """Classes in which `group` has the higher, the same and the lower number than `other`; the ones that differ most.

    `metric`: `cmr` of a phase, `R@1` or `top1` of an encoder. `difference` and `test` are over classes, `group` minus `other`.
    """

    group: str
    other: str
    metric: str
    encoder: str
    unit: str
    dataset: str | None
    protocol: str | None
    won: int
    tied: int
    lost: int
    difference: Interval
    test: SignedRank
    differ_most: tuple[tuple[str, float, float], ...]


@frozen(kw_only=True)
class DifferenceRow:
    """A key of the resolved experiments, its value in `group` and in `other`; None: it is not there."""

    group: str
    other: str
    key: str
    mine: Any
    theirs: Any


@frozen(kw_only=True)
class PublishedRow:
    """A published number and what each group has for it: by which encoder, and how much."""

    metric: str
    value: float
    where: str
    found: dict[str, tuple[str, Figure] | None]


@frozen(kw_only=True)
class Comparison:
    """Everything that `cprspec compare` shows."""

    groups: tuple[Group, ...]
    differences: tuple[DifferenceRow, ...]
    mining: tuple[MiningRow, ...]
    results: tuple[ResultRow, ...]
    losses: tuple[LossRow, ...]
    classes: tuple[ClassesRow, ...]
    published: tuple[PublishedRow, ...]
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As one JSON object; see docs/run-directory.md."""
        data = asdict(self)
        for row, source in zip(data["classes"], self.classes, strict=True):
            row["differ_most"] = [
                {"class": name, source.group: mine, source.other: other} for name, mine, other in source.differ_most
            ]
        for row in data["differences"]:
            row |= {row["group"]: row.pop("mine"), row["other"]: row.pop("theirs")}
        for row in data["published"]:
            row["found"] = {
                letter: pair and {"encoder": pair[0], "figure": pair[1]} for letter, pair in row["found"].items()
            }
        return {"schema": SCHEMA, "kind": "comparison", **data}


def figure(values: Sequence[float]) -> Figure | None:
    """Mean and standard deviation of `values`; None of none."""
    if not values:
        return None
    return Figure(fmean(values), stdev(values) if len(values) > 1 else None, len(values))
