"""The figures of a comparison by name: which there are, those of one name alone, and whether they reach a threshold."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from attrs import evolve, frozen

from cprspec.errors import MAX_ECHO, CprspecError, Problem, clean
from cprspec.runs.class_rows import CMR
from cprspec.runs.comparison import Comparison, Figure, Group, LossRow
from cprspec.runs.groups import encoder_place
from cprspec.runs.records import is_share

LOSS_METRICS = ("loss", "own_key_accuracy", "clips_per_s")
_THRESHOLD = re.compile(r"(?:(?P<encoder>[^:=]+):)?(?P<metric>[^:=]+)=(?P<value>[^=]+)")
T = TypeVar("T")


@frozen
class Found:
    """One figure of one group and what it is a figure of."""

    group: str
    metric: str
    encoder: str
    figure: Figure | None
    unit: str | None = None
    dataset: str | None = None
    split: str | None = None
    protocol: str | None = None
    n: int | None = None


def every_figure(comparison: Comparison) -> Iterator[Found]:
    """All figures in the order of the tables; protocols `mining` and `training` are of a phase's last epoch."""
    units = dict.fromkeys(row.unit for row in comparison.mining)
    for row in comparison.mining:
        for metric, value in row.figures.items():
            if metric != "precision":
                yield Found(row.group, metric, row.phase, value, row.unit, None, "train", "mining", row.classes)
            elif row.unit == next(iter(units)):  # it is the same in every unit
                yield Found(row.group, metric, row.phase, value, None, None, "train", "mining")
    for result in comparison.results:
        place = ("video", result.dataset, result.split, result.protocol, result.n)
        for metric, value in result.figures.items():
            yield Found(result.group, metric, result.encoder, value, *place)
    for loss in comparison.losses:
        for metric in LOSS_METRICS:
            yield Found(loss.group, metric, loss.phase, getattr(loss, metric), None, None, "train", "training")


def known_metrics(comparison: Comparison) -> list[str]:
    """Names of all figures that any group has, in the order of the tables."""
    names = [found.metric for found in every_figure(comparison) if found.figure is not None]
    return list(dict.fromkeys([*names, *(row.metric for row in comparison.classes)]))


def only(comparison: Comparison, metrics: Iterable[str]) -> Comparison:
    """`comparison` with these metrics alone; rows without any of them are left out.

    Class comparisons stay with their own metric (`R@1`, `top1`), those of CMR with `cmr` and every figure of it.
    """
    wanted = set(metrics)
    of_classes = wanted | ({CMR} if any("cmr" in metric or metric == "perfect_classes" for metric in wanted) else set())
    return evolve(
        comparison,
        mining=tuple(
            evolve(row, figures=kept) for row in comparison.mining if (kept := _only_keys(row.figures, wanted))
        ),
        results=tuple(
            evolve(row, figures=kept) for row in comparison.results if (kept := _only_keys(row.figures, wanted))
        ),
        losses=tuple(_only_loss(row, wanted) for row in comparison.losses if wanted & set(LOSS_METRICS)),
        classes=tuple(row for row in comparison.classes if row.metric in of_classes),
        published=tuple(row for row in comparison.published if row.metric.lower() in {m.lower() for m in wanted}),
    )


def _only_keys(figures: Mapping[str, T], wanted: Iterable[str]) -> dict[str, T]:
    return {metric: value for metric, value in figures.items() if metric in set(wanted)}


def _only_loss(row: LossRow, wanted: set[str]) -> LossRow:
    kept = {metric: getattr(row, metric) if metric in wanted else None for metric in LOSS_METRICS}
    return evolve(row, loss=kept["loss"], own_key_accuracy=kept["own_key_accuracy"], clips_per_s=kept["clips_per_s"])


@frozen
class Threshold:
    """What a figure must reach: `METRIC=VALUE`, or `ENCODER:METRIC=VALUE`. `text` is how it was written."""

    text: str
    metric: str
    value: float
    encoder: str | None = None

    @staticmethod
    def read(text: str) -> Threshold:
        """The threshold in `text`. CprspecError if it is none."""
        shown = clean(text, MAX_ECHO)
        parts = _THRESHOLD.fullmatch(text)
        try:
            value = float(parts["value"]) if parts else math.nan
        except ValueError:
            value = math.nan
        if parts is None or not math.isfinite(value):
            message = f"--fail-under '{shown}' is no METRIC=VALUE"
            raise CprspecError(Problem(message, hint="write R@1=0.5, or of one encoder rgb:R@1=0.5"))
        if is_share(parts["metric"]) and not 0 <= value <= 1:
            hint = f"for {value:g} % write {value / 100:g}" if 1 < value <= 100 else None
            raise CprspecError(Problem(f"--fail-under '{shown}': this metric lies between 0 and 1", hint=hint))
        return Threshold(text, parts["metric"], value, parts["encoder"])

    def missed(self, comparison: Comparison) -> list[str]:
        """What each group has that does not reach it, in words. Of each group one figure counts: see `counted`."""
        return [line for group in comparison.groups if (line := self._missed_by(group, comparison))]

    def _missed_by(self, group: Group, comparison: Comparison) -> str | None:
        found = counted(comparison, group.letter, self.metric, self.encoder)
        who = f"{group.letter} ({group.experiment})"
        of = f" of {self.encoder}" if self.encoder else ""
        if found is None or found.figure is None:
            return f"{who} has no {self.metric}{of}, and {self.value:g} was asked for"
        if found.figure.mean >= self.value:
            return None
        seeds = f", the mean of {found.figure.n} seeds" if found.figure.n > 1 else ""
        place = ", ".join(filter(None, (found.dataset, found.split, found.protocol, found.unit)))
        return (
            f"{who}: {self.metric} of {found.encoder} ({place}) is {found.figure.mean:.4g}{seeds}, under {self.value:g}"
        )


def counted(
    comparison: Comparison, group: str, metric: str, encoder: str | None = None, unit: str | None = None
) -> Found | None:
    """The figure of `metric` that speaks for a group: of `encoder`, by default of the last phase that has the metric.

    Of CMR units, sources come first, as published; of several data sets and protocols the first in the tables.
    """
    phases = list(dict.fromkeys(row.phase for row in comparison.losses))
    fitting = [
        found
        for found in every_figure(comparison)
        if (found.group, found.metric) == (group, metric)
        and encoder in {None, found.encoder}
        and (unit is None or found.unit in {None, unit})
        and found.figure is not None
    ]
    return max(fitting, key=lambda found: encoder_place(found.encoder, phases), default=None)
