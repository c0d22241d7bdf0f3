"""What `check` says about one experiment file: a line for a reader, or a record for JSON. No rich, which costs time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cprspec.errors import Problem, clean
from cprspec.spec.schema import Resolved


def check_record(
    spec: Path, resolved: Resolved | None, problems: Iterable[Problem], data: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What `check --json` says about one file."""
    found = list(problems)
    return {
        "file": str(spec),
        "ok": not any(not p.warning for p in found),
        "name": resolved.name if resolved else None,
        "phases": [p.name for p in resolved.phases] if resolved else [],
        "missing_roots": missing_roots(resolved) if resolved else [],
        "data": list(data),
        "problems": [problem_record(p) for p in found],
    }


def problem_record(problem: Problem) -> dict[str, Any]:
    """A problem as JSON."""
    place = problem.place
    return {
        "file": place.file if place else None,
        "line": place.line if place else None,
        "column": place.column if place else None,
        "message": problem.message,
        "hint": problem.hint,
        "warning": problem.warning,
    }


def missing_roots(resolved: Resolved) -> list[str]:
    """Data sets whose videos nobody said where to find."""
    return [n for n, d in resolved.datasets.items() if resolved.roots.get(n) is None and not d.embedded]


def check_line(spec: Path, resolved: Resolved | None, data: Sequence[Mapping[str, Any]]) -> str:
    """The line that `check` prints about a file that is right."""
    if resolved is None:
        return clean(f"{spec}: a parent for other files, not checked by itself")
    phases = ", ".join(p.name for p in resolved.phases)
    text = f"{spec}: ok, {len(resolved.phases)} phases ({phases})"
    missing = missing_roots(resolved)
    if missing:
        text += "; to run it, say " + " ".join(f"--root {name}=DIR" for name in missing)
    for facts in data:
        text += f"\n  {facts['name']}: {facts['train_videos']} videos to train on from {facts['train_sources']} sources"
        text += f", {facts['test_videos']} to test on, {facts['classes']} classes"
    return "\n".join(clean(line) for line in text.split("\n"))
