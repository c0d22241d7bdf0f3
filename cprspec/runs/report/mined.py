"""What was mined for whom, as the report shows it: from a phase's last mining table and the strips beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, frozen

from cprspec.runs.groups import Members
from cprspec.runs.layout import NAME, RunDir
from cprspec.runs.report.page import picture
from cprspec.runs.summary import PhaseSummary

PAGE_BYTES = 12 << 20
"""Strips on one page, bytes before base64; what does not fit is told."""

MAX_STRIP = 1 << 20
_JPEG = b"\xff\xd8\xff"


@frozen(kw_only=True)
class Clip:
    """A query or a pick: `picture` is an address within the page, `verdict` is right, wrong or unknown."""

    name: str
    label: str | None
    picture: str | None
    verdict: str = "unknown"
    ranks: str | None = None


@frozen
class Example:
    """A query and its picks, best first."""

    query: Clip
    picks: tuple[Clip, ...]


@frozen
class OfClass:
    """The examples of one class, and its figures in words."""

    name: str
    summary: str
    examples: tuple[Example, ...]


@frozen
class Mined:
    """One phase of one run."""

    title: str
    classes: tuple[OfClass, ...]


@define
class Pictures:
    """Strips as addresses within a page, as many as fit."""

    left: int = PAGE_BYTES
    left_out: int = 0

    def of(self, run: RunDir, phase: str, file: object) -> str | None:
        """The strip called `file` by a mining table; None where there is none that can be shown."""
        if not isinstance(file, str) or not NAME.fullmatch(file):
            return None
        content = _jpeg(run.strip(phase, file))
        if content is None:
            return None
        if len(content) > self.left:
            self.left_out += 1
            return None
        self.left -= len(content)
        return picture(content, "jpeg")


def mined(groups: Sequence[Members], pictures: Pictures) -> tuple[Mined, ...]:
    """Every phase that mined, of the first run of each group."""
    found = []
    for group in groups:
        run = group.runs[0]
        for phase in run.phases:
            if classes := tuple(_classes(run.run, phase, pictures)):
                seed = "" if run.seed is None or len(group.runs) < 2 else f", seed {run.seed}"
                found.append(Mined(f"{group.letter}: {group.experiment}{seed}, phase {phase.name}", classes))
    return tuple(found)


def _classes(run: RunDir, phase: PhaseSummary, pictures: Pictures) -> Iterator[OfClass]:
    """Classes by name, with the examples that have pictures; where no example has, with all of them."""
    table = phase.table or {}
    figures = {row.get("name"): row for row in _objects(table.get("classes"))}
    of_class: dict[str | None, list[Mapping[str, Any]]] = {}
    for example in _objects(table.get("examples")):
        of_class.setdefault(_text(example.get("label")), []).append(example)
    for label, examples in sorted(of_class.items(), key=lambda item: (item[0] is None, item[0] or "")):
        drawn = [example for example in examples if example.get("strip")] or examples
        shown = tuple(_example(run, phase.name, example, pictures) for example in drawn)
        yield OfClass(label or "class not known", _summary(figures.get(label), shown), shown)


def _example(run: RunDir, phase: str, data: Mapping[str, Any], pictures: Pictures) -> Example:
    picks = _objects(data.get("mined"))
    query = _clip(run, phase, data, pictures)
    return Example(query, tuple(_clip(run, phase, pick, pictures, of=len(picks)) for pick in picks))


def _clip(run: RunDir, phase: str, data: Mapping[str, Any], pictures: Pictures, of: int = 0) -> Clip:
    return Clip(
        name=_text(data.get("name")) or "a video without a name",
        label=_text(data.get("label")),
        picture=pictures.of(run, phase, data.get("strip")),
        verdict={True: "right", False: "wrong"}.get(data.get("right"), "unknown"),  # type: ignore[arg-type]
        ranks=ranks(data.get("stages"), of),
    )


def ranks(stages: object, of: int) -> str | None:
    """A pick's rank at each stage in words, from 1, and which stage let it in among the `of` best; None if not known."""
    if not isinstance(stages, list) or not stages or not all(r is None or _whole(r) for r in stages):
        return None
    if len(stages) == 1:
        return f"rank {stages[0] + 1}" if stages[0] is not None else None
    text = " → ".join("out" if rank is None else str(rank + 1) for rank in stages)
    let_in = len(stages)
    while let_in > 1 and stages[let_in - 2] is not None and stages[let_in - 2] < of:
        let_in -= 1
    return f"rank by stage {text}; let in by stage {let_in}, among the best {of} from there on"


def _summary(figures: Mapping[str, Any] | None, examples: Sequence[Example]) -> str:
    known = [pick.verdict for example in examples for pick in example.picks if pick.verdict != "unknown"]
    parts = [f"{known.count('right')} of {len(known)} picks shown are right"] if known else []
    for key, words in (("precision", "of all picks"), ("cmr_source", "of its sources found")):
        value = (figures or {}).get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
            parts.append(f"{100 * value:.1f} % {words}")
    return ", ".join(parts) or f"{len(examples)} queries"


def _jpeg(path: Path) -> bytes | None:
    """A small regular file that begins as a JPEG does."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_STRIP:
            return None
        content = path.read_bytes()
    except OSError:
        return None  # gone meanwhile: a picture less
    return content if content.startswith(_JPEG) else None


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53
