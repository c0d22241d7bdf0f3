"""What `check` says about one experiment file: a line for a reader, or a record for JSON. No rich, which costs time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cprspec.errors import Problem, clean
from cprspec.spec.plan import fingerprints
from cprspec.spec.schema import Resolved


def check_record(
    spec: Path, runs: Sequence[Resolved], problems: Iterable[Problem], data: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What `check --json` says about one file; `runs` are those of its sweep, one without, none if it is wrong."""
    found = list(problems)
    return {
        "file": str(spec),
        "ok": not any(not p.warning for p in found),
        "name": runs[0].name if runs else None,
        "phases": [p.name for p in runs[0].phases] if runs else [],
        "missing_roots": missing_roots(runs),
        "runs": [{"name": run.name, "seed": run.seed} for run in runs],
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


def missing_roots(runs: Sequence[Resolved]) -> list[str]:
    """Data sets whose videos nobody said where to find."""
    missing = (n for run in runs for n, d in run.datasets.items() if run.roots.get(n) is None and not d.embedded)
    return list(dict.fromkeys(missing))


def check_line(spec: Path, runs: Sequence[Resolved], data: Sequence[Mapping[str, Any]]) -> str:
    """The lines that `check` prints about a file that is right, or about a parent, which has no `runs`."""
    if not runs:
        return clean(f"{spec}: a parent for other files, not checked by itself")
    phases = ", ".join(dict.fromkeys(p.name for run in runs for p in run.phases))
    count = len(runs[0].phases)
    text = f"{spec}: ok, {count} phase{'' if count == 1 else 's'} ({phases})"
    if len(runs) > 1:
        text = f"{spec}: ok, a sweep of {sweep_line(runs)} ({phases})"
    missing = missing_roots(runs)
    if missing:
        text += "; to run it, say " + " ".join(f"--root {name}=DIR" for name in missing)
    for facts in data:
        text += f"\n  {facts['name']}: {facts['train_videos']} videos to train on from {facts['train_sources']} sources"
        text += f", {facts['test_videos']} to test on, {facts['classes']} classes"
    if len(runs) > 1:
        text += "".join(f"\n  {name}" for name in run_names(runs))
    return "\n".join(clean(line) for line in text.split("\n"))


def sweep_line(runs: Sequence[Resolved]) -> str:
    """How many runs a sweep has, and how many of their phases differ: the others are trained once and reused."""
    differ = len({fingerprint for run in runs for fingerprint in _fingerprints(run).values()})
    return f"{len(runs)} runs with {sum(len(run.phases) for run in runs)} phases, of which {differ} differ"


def run_names(runs: Iterable[Resolved]) -> list[str]:
    """A line for each name: `x-stages-3 (seeds 0, 1, 2)`; without the seeds where there is one for all."""
    seeds: dict[str, list[int]] = {}
    for run in runs:
        seeds.setdefault(run.name, []).append(run.seed)
    alike = len({tuple(found) for found in seeds.values()}) == 1 and len(next(iter(seeds.values()))) == 1
    return [name if alike else f"{name} (seeds {', '.join(map(str, found))})" for name, found in seeds.items()]


def new_phases(runs: Sequence[Resolved]) -> list[list[str]]:
    """The phases of each run that none before it has."""
    seen: set[str] = set()
    result = []
    for run in runs:
        prints = _fingerprints(run)
        result.append([name for name, fingerprint in prints.items() if fingerprint not in seen])
        seen |= set(prints.values())
    return result


def _fingerprints(run: Resolved) -> dict[str, str]:
    """Fingerprints by which phases can be told apart without their data: no video and no weights file is opened."""
    return fingerprints(run, repr((run.datasets[run.train_on], run.roots.get(run.train_on))), str)
