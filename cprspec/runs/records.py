"""Results as flat records: one number each, with everything that says what it is a number of."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from attrs import frozen

_SHARE = re.compile(r"r@\d+|map|precision|(.*_)?accuracy|top-?\d+|.*cmr.*", re.IGNORECASE)


@frozen(kw_only=True)
class Record:
    """`value` of `metric` over `n` things, by `encoder` on `split` of `dataset`, measured by `protocol` in `unit`."""

    metric: str
    value: float | None
    n: int | None = None
    dataset: str | None = None
    split: str | None = None
    encoder: str | None = None
    protocol: str | None = None
    unit: str | None = None
    seed: int | None = None

    @property
    def sort(self) -> tuple[str | None, ...]:
        """What kind of number it is: the same in runs that differ only in seed, and over numbered splits (1, 2, 3)."""
        split = None if self.split is None or self.split.isdecimal() else self.split
        return (self.metric, self.dataset, split, self.encoder, self.protocol, self.unit)


def is_share(metric: str) -> bool:
    """Whether values of `metric` lie between 0 and 1 and are shown as percentages."""
    return _SHARE.fullmatch(metric) is not None


def read_record(data: object) -> Record | None:
    """A record from JSON, None if it is none. Fields of the wrong type count as unknown."""
    if not isinstance(data, Mapping) or not isinstance(data.get("metric"), str):
        return None
    return Record(
        metric=data["metric"],
        value=as_number(data.get("value")),
        n=as_whole(data.get("n")),
        seed=as_whole(data.get("seed")),
        **{key: as_text(data.get(key)) for key in ("dataset", "split", "encoder", "protocol", "unit")},
    )


def as_number(value: object) -> float | None:
    """A finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def as_text(value: object) -> str | None:
    """A text or a whole number as text, else None."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def as_whole(value: object) -> int | None:
    """A whole number, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def mining_records(table: Mapping[str, Any], phase: str, seed: int | None) -> list[Record]:
    """A mining table's figures as records: precision, and CMR in each unit beside a random miner's.

    None where nothing was picked: that is not a bad miner but no miner.
    """
    if not as_whole(table.get("picks")):
        return []
    base: dict[str, Any] = {
        "dataset": as_text(table.get("dataset")), "split": "train", "encoder": phase, "protocol": "mining", "seed": seed,
    }  # fmt: skip
    records = []
    if (precision := as_number(table.get("precision"))) is not None:
        records.append(Record(metric="precision", value=precision, n=as_whole(table.get("picks")), **base))
    cmr = table.get("cmr")
    for unit in ("source", "video"):
        figures = cmr.get(unit) if isinstance(cmr, Mapping) else None
        if not isinstance(figures, Mapping):
            continue
        names = {
            "median_cmr": "median", "mean_cmr": "mean", "median_cmr_random": "median_random",
            "mean_cmr_random": "mean_random", "perfect_classes": "perfect",
        }  # fmt: skip
        for metric, key in names.items():
            value, n = as_number(figures.get(key)), as_whole(figures.get("defined"))
            records.append(Record(metric=metric, value=value, n=n, unit=unit, **base))
    return records
