"""What `cprspec data describe` says of a data set: as a record for JSON, and as lines for a reader.

Reads lists and folders, opens no video and downloads nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import asdict

from cprspec.data.collections import dataset_of_card
from cprspec.data.index import Index
from cprspec.data.stores import build_index, is_store
from cprspec.data.survey import About, Count, Survey
from cprspec.errors import CprspecError, Place, Problem, clean
from cprspec.spec.kinds import Dataset
from cprspec.spec.registry import Registry
from cprspec.spec.verdict import problem_record

Record = dict[str, Any]


def describe(registry: Registry, name: str, root: Path | None) -> tuple[Record, tuple[Problem, ...]]:
    """The data set `name`: what it expects, and what of it is under `root`, with everything missing or misplaced.

    Raises CprspecError if no data set has this name.
    """
    card, dataset = dataset_of_card(registry, name)
    about = dataset.about()
    if dataset.embedded:
        root = None  # it makes what it needs, and describing makes nothing
    survey = _survey(dataset, root) if root is not None else None
    problems = survey.problems if survey else ()
    record = {
        "name": name,
        "summary": card.summary,
        "paper": card.paper,
        "embedded": dataset.embedded,
        "about": _about_record(about) if isinstance(about, About) else None,
        "root": None if root is None else str(root),
        "counts": [asdict(count) for count in survey.counts] if survey else [],
        "problems": [problem_record(p) for p in problems],
    }
    return record, problems


def lines(record: Record) -> Iterator[str]:
    """The record for a reader, without its problems; safe for a terminal."""
    about = record["about"]
    yield clean(f"{record['name']}: {about['title'] if about else record['summary']}")
    if about:
        yield "expects under DIR"
        width = max(len(part["path"]) for part in about["layout"])
        for part in about["layout"]:
            yield clean(f"  {part['path']:<{width}}  {part['what']}")
        for word, key in (("from   ", "origin"), ("licence", "licence")):
            if about[key]:
                yield clean(f"{word}  {about[key]}")
    if record["paper"]:
        yield clean(f"paper    {record['paper']}")
    for note in about["notes"] if about else ():
        yield clean(f"note     {note}")
    if record["embedded"]:
        yield "makes its own videos on first use, and expects nothing"
        return
    if record["root"] is None:
        yield f"what is there: cprspec data describe {clean(record['name'])} --root DIR"
        return
    yield clean(f"under {record['root']}")
    yield from _table(record["counts"])


def _survey(dataset: Dataset, root: Path) -> Survey:
    """What is there, as the data set itself says, or else as its index does."""
    if not root.is_dir():
        return Survey(counts=(), problems=(Problem("not a folder", Place(str(root))),))
    try:
        own = None if is_store(root) else dataset.survey(root)
        if isinstance(own, Survey):
            return own
        index = build_index(dataset, root)
    except CprspecError as error:
        return Survey(counts=(), problems=error.problems)
    return Survey(counts=tuple(_count(index, part) for part in index.splits), problems=())


def _count(index: Index, part: str) -> Count:
    ids = index.ids(part)
    sources = len({index.videos[i].source for i in ids})
    return Count(split=None, part=part, expected=None, listed=len(ids), found=len(ids), sources=sources)


def _about_record(about: About) -> Record:
    return {**asdict(about), "layout": [{"path": path, "what": what} for path, what in about.layout]}


def _table(counts: list[Record]) -> Iterator[str]:
    """One row for each part of each split; columns of which nothing is known are left out."""
    columns = {
        "split": "split", "part": "part", "expected": "published", "listed": "listed", "found": "found",
        "expected_sources": "published sources", "sources": "sources",
    }  # fmt: skip
    shown = [key for key in columns if any(count[key] is not None for count in counts)]
    rows = [[columns[key] for key in shown], *([_cell(count[key]) for key in shown] for count in counts)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(shown))]
    for row in rows if counts else ():
        yield "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))


def _cell(value: object) -> str:
    return "-" if value is None else str(value)
