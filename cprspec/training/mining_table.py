"""What was mined in one epoch, as it is written to `phases/NAME/mining/epoch-NNNN.json`; see docs/run-directory.md."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from attrs import asdict, frozen

SCHEMA = 1

_OF_A_DIRECTION = ("queries", "picks", "true_positives", "precision", "cmr", "funnel")


@frozen(kw_only=True)
class RecallSummary:
    """CMR over classes in one unit (sources or videos), beside a random miner. None where no class has a CMR."""

    median: float | None
    mean: float | None
    median_random: float | None
    mean_random: float | None
    perfect: int
    defined: int
    undefined: int


@frozen(kw_only=True)
class FunnelStage:
    """Counts summed over an epoch; stage 0 is the whole eligible bank."""

    stage: int
    survivors: int
    true_positives: int
    in_bank: int

    @property
    def precision(self) -> float | None:
        """Share of the survivors that are right; at stage 0 the bank's base rate."""
        return self.true_positives / self.survivors if self.survivors else None

    @property
    def recall(self) -> float | None:
        """Share of the bank's true positives that are still there."""
        return self.true_positives / self.in_bank if self.in_bank else None


@frozen(kw_only=True)
class ClassRow:
    """One class: its usable training sources and videos, its queries' picks, and its CMR (None: too few sources)."""

    name: str
    sources: int
    videos: int
    queries: int
    picks: int
    precision: float | None
    covered_sources: int
    covered_videos: int
    cmr_source: float | None
    cmr_video: float | None
    random_source: float | None
    random_video: float | None


@frozen(kw_only=True)
class MinedVideo:
    """One pick of an example: rank from 0, video id and name, its class, and whether it is right (None: unknown).

    `stages`: its rank among the survivors of each stage (0: best, None: not among them); None where that is not known.
    """

    rank: int
    video: int
    name: str
    label: str | None
    right: bool | None
    stages: tuple[int | None, ...] | None = None


@frozen(kw_only=True)
class Example:
    """A query and what was mined for it, best first."""

    video: int
    name: str
    label: str | None
    mined: tuple[MinedVideo, ...]


@frozen(kw_only=True)
class MiningTable:
    """One epoch of mining in one phase. What needs labels is None or empty without them, and `note` says so.

    Where a framework mines in several directions, each is in `directions` by what is mined for, and the table itself is
    about their union: a video that two directions picked for a clip is one pick. The funnel adds their counts.
    """

    phase: str
    dataset: str
    epoch: int
    queries: int
    picks: int
    true_positives: int | None
    precision: float | None
    cmr_source: RecallSummary | None
    cmr_video: RecallSummary | None
    funnel: tuple[FunnelStage, ...]
    classes: tuple[ClassRow, ...]
    examples: tuple[Example, ...]
    note: str | None = None
    directions: tuple[Direction, ...] = ()

    @property
    def cmr_source_median(self) -> float | None:
        """Median CMR over sources, None without one and where nothing was picked."""
        return self.cmr_source.median if self.cmr_source and self.picks else None

    @property
    def cmr_video_median(self) -> float | None:
        """Median CMR over videos, None without one and where nothing was picked."""
        return self.cmr_video.median if self.cmr_video and self.picks else None

    def to_json(self, strips: Mapping[int, str] | None = None) -> dict[str, Any]:
        """Ready for `runs.layout.atomic_write_json`. `strips` are the files of pictures that there are, by video."""
        data = asdict(self, filter=lambda attribute, _: attribute.name != "directions")
        for shown in (video for example in data["examples"] for video in (example, *example["mined"])):
            if strips and (strip := strips.get(shown["video"])):
                shown["strip"] = strip
        data["cmr"] = {"source": data.pop("cmr_source"), "video": data.pop("cmr_video")}
        data["funnel"] = [{**asdict(s), "precision": s.precision, "recall": s.recall} for s in self.funnel]
        if self.directions:
            data["directions"] = [each.to_json() for each in self.directions]
        return {"schema": SCHEMA, "kind": "mining", **data}


@frozen
class Direction:
    """One direction of mining: what was mined for `view` by `mined_with`."""

    view: str
    mined_with: str
    table: MiningTable

    def to_json(self) -> dict[str, Any]:
        """The direction's figures; classes and examples are in the union's table."""
        figures = self.table.to_json()
        kept = {key: figures[key] for key in _OF_A_DIRECTION}
        return {"view": self.view, "mined_with": self.mined_with, **kept}


def or_none(value: float) -> float | None:
    """`value`, or None for nan, which JSON does not know."""
    return None if math.isnan(value) else float(value)
