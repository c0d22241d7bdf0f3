"""What the mining pane shows of a mining table: rows of classes, the funnel, examples. Pure functions of JSON.

A table may be from a newer version or damaged: what is not of the expected form counts as unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from attrs import frozen

from cprspec.runs.records import as_number, as_text, as_whole

Table = Mapping[str, Any]
Unit = Literal["source", "video"]


@frozen(kw_only=True)
class ClassRow:
    """One class in one epoch. `before` and `other`: its CMR in the epoch before, and in another run. None: not known."""

    name: str
    cmr: float | None
    random: float | None
    precision: float | None
    covered: int | None
    of: int | None
    before: float | None = None
    other: float | None = None

    @property
    def change(self) -> float | None:
        """Since the epoch before."""
        return None if self.cmr is None or self.before is None else self.cmr - self.before

    @property
    def difference(self) -> float | None:
        """To the other run."""
        return None if self.cmr is None or self.other is None else self.cmr - self.other

    @property
    def perfect(self) -> bool:
        """Whether everything of the class was found."""
        return self.cmr is not None and self.cmr >= 1.0


def class_rows(table: Table, before: Table | None, other: Table | None, unit: Unit) -> list[ClassRow]:
    """The classes of `table` by name."""
    earlier, elsewhere = _cmrs(before, unit), _cmrs(other, unit)
    rows = []
    for name, row in _classes(table):
        rows.append(
            ClassRow(
                name=name,
                cmr=as_number(row.get(f"cmr_{unit}")),
                random=as_number(row.get(f"random_{unit}")),
                precision=as_number(row.get("precision")),
                covered=as_whole(row.get(f"covered_{unit}s")),
                of=as_whole(row.get(f"{unit}s")),
                before=earlier.get(name),
                other=elsewhere.get(name),
            )
        )
    return rows


def _classes(table: Table | None) -> Iterator[tuple[str, Table]]:
    found = table.get("classes") if table else None
    for row in found if isinstance(found, list) else ():
        if isinstance(row, Mapping) and isinstance(row.get("name"), str):
            yield row["name"], row


def _cmrs(table: Table | None, unit: Unit) -> dict[str, float]:
    return {name: cmr for name, row in _classes(table) if (cmr := as_number(row.get(f"cmr_{unit}"))) is not None}


@frozen(kw_only=True)
class Stage:
    """The funnel after one stage; stage 0 is the whole eligible bank. Counts are over all queries of the epoch."""

    stage: int
    survivors: int | None
    precision: float | None
    recall: float | None


def funnel(table: Table) -> list[Stage]:
    """The stages in order."""
    found = table.get("funnel")
    rows = [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []
    return [
        Stage(
            stage=as_whole(row.get("stage")) or 0,
            survivors=as_whole(row.get("survivors")),
            precision=as_number(row.get("precision")),
            recall=as_number(row.get("recall")),
        )
        for row in rows
    ]


@frozen(kw_only=True)
class Pick:
    """A clip that was mined. `stages`: its rank among the survivors of each stage, None where it was not among them."""

    name: str
    label: str | None
    right: bool | None
    rank: int | None
    stages: tuple[int | None, ...] = ()
    strip: str | None = None


@frozen(kw_only=True)
class Example:
    """A query and what was mined for it; `strip`: the file of its frames."""

    name: str
    label: str | None
    picks: tuple[Pick, ...]
    strip: str | None = None


def examples(table: Table, label: str | None = None) -> list[Example]:
    """The examples of one class, or all."""
    found = table.get("examples")
    rows = [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []
    return [_example(row) for row in rows if label is None or as_text(row.get("label")) == label]


def _example(row: Table) -> Example:
    mined = row.get("mined")
    picks = [_pick(item) for item in mined if isinstance(item, Mapping)] if isinstance(mined, list) else []
    return Example(
        name=_name(row), label=as_text(row.get("label")), picks=tuple(picks), strip=as_text(row.get("strip"))
    )


def _pick(item: Table) -> Pick:
    stages = item.get("stages")
    right = item.get("right")
    return Pick(
        name=_name(item),
        label=as_text(item.get("label")),
        right=right if isinstance(right, bool) else None,
        rank=as_whole(item.get("rank")),
        stages=tuple(as_whole(rank) for rank in stages) if isinstance(stages, list) else (),
        strip=as_text(item.get("strip")),
    )


def _name(row: Table) -> str:
    return as_text(row.get("name")) or f"video {as_text(row.get('video')) or '?'}"


def epoch_line(table: Table, unit: Unit) -> str:
    """The figures of the epoch: precision, CMR beside a random miner's, how many classes are complete."""
    cmr = table.get("cmr")
    figures = cmr.get(unit) if isinstance(cmr, Mapping) else None
    parts = [f"{as_whole(table.get('picks')) or 0} picks"]
    if (precision := as_number(table.get("precision"))) is not None:
        parts.append(f"{100 * precision:.1f} % right")
    if isinstance(figures, Mapping):
        median, random = as_number(figures.get("median")), as_number(figures.get("median_random"))
        if median is not None:
            beside = f" (random {100 * random:.1f})" if random is not None else ""
            parts.append(f"median CMR {100 * median:.1f}{beside}")
        perfect, of = as_whole(figures.get("perfect")), as_whole(figures.get("defined"))
        if perfect is not None and of is not None:
            parts.append(f"{perfect} of {of} classes complete")
    if (note := as_text(table.get("note"))) is not None:
        parts.append(note)
    return ", ".join(parts)


def sort_rows(rows: Sequence[ClassRow], by: str, backwards: bool) -> list[ClassRow]:
    """By `name`, or by a figure, the lowest first; what is not known comes last. `backwards` turns the known round."""
    if by == "name":
        return sorted(rows, key=lambda row: row.name, reverse=backwards)
    known = [row for row in rows if getattr(row, by) is not None]
    unknown = [row for row in rows if getattr(row, by) is None]
    return sorted(known, key=lambda row: (getattr(row, by), row.name), reverse=backwards) + unknown
