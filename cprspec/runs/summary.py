"""One run in short, from its directory alone: what was asked, where it stands, what came out.

Every file may be missing, half there, damaged, or from a newer version: what cannot be read is named in `problems` and the
rest is used. Opens no video, takes no lock, writes nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from cprspec.errors import CprspecError
from cprspec.runs import events
from cprspec.runs.layout import RunDir
from cprspec.runs.owner import alive, read_owner
from cprspec.runs.reading import read_json, read_toml
from cprspec.runs.records import Record, as_number, as_text, as_whole, mining_records, read_record
from cprspec.runs.tables import last_table
from cprspec.runs.tail import read_events

STALE_S = 30.0
"""A run that has not touched its status for so many seconds is stale."""

_CLOCK_S = 0.1
"""The times of files may be so much behind the clock."""


@frozen(kw_only=True)
class Status:
    """`status.json`: state is `running`, `finished`, `stopped`, `failed`, or found out: `stale`, `starting`, `unknown`.

    `why` explains the end. `gone`: it says that it runs, and this host, on which it did, has no such process any more.
    """

    state: str = "unknown"
    why: str | None = None
    phase: str | None = None
    epoch: int | None = None
    step: int | None = None
    pid: int | None = None
    host: str | None = None
    heartbeat_age_s: float | None = None
    gone: bool = False
    preparing: tuple[int, int | None] | None = None
    """How many videos are prepared, of how many (None: not known yet), while that is what the run does."""


@frozen(kw_only=True)
class PhaseSummary:
    """One phase: what it was to do and what its last epoch said. None where it has not come to that."""

    name: str
    position: int = 0
    views: tuple[str, ...] = ()
    miner: str | None = None
    epochs: int = 0
    epochs_done: int = 0
    loss: float | None = None
    own_key_accuracy: float | None = None
    clips_per_s: float | None = None
    seconds_s: float | None = None
    reused_from: str | None = None
    finished: bool = False
    stated_gib: float | None = None
    peak_gib: float | None = None
    table: Mapping[str, Any] | None = None
    """The last mining table as JSON."""


@frozen(kw_only=True)
class Published:
    """A published number that the experiment names."""

    metric: str
    value: float
    where: str
    encoder: str | None = None
    dataset: str | None = None
    protocol: str | None = None


@frozen(kw_only=True)
class RunSummary:
    """A run in short. `recipe` is the resolved experiment without its seed: equal in runs that differ only in seed."""

    run: RunDir
    experiment: str
    seed: int | None
    status: Status
    phases: tuple[PhaseSummary, ...]
    records: tuple[Record, ...]
    published: tuple[Published, ...]
    recipe: str
    evaluations: Mapping[str, Mapping[str, Any]] = field(factory=dict)
    """Each finished evaluation's file as JSON, by its name."""
    evaluating: events.Evaluating | None = None
    """How far the evaluation is that trains a classifier now, or did when the run ended early."""
    problems: tuple[str, ...] = field(default=())


def summarise(run: RunDir) -> RunSummary:
    """Read the run in `run.path`."""
    problems: list[str] = []
    resolved = read_toml(run.resolved, problems)
    status = read_status(run, problems)
    happened = _events(run, problems)
    phases = _phases(run, resolved, happened, problems)
    seed = resolved.get("seed")
    seed = seed if isinstance(seed, int) and not isinstance(seed, bool) else None
    records = [record for phase in phases if phase.table for record in mining_records(phase.table, phase.name, seed)]
    evaluations = _evaluations(run, problems)
    return RunSummary(
        run=run,
        experiment=as_text(resolved.get("name")) or run.experiment_name,
        seed=seed,
        status=status,
        phases=phases,
        records=(*records, *_records(run, evaluations, problems)),
        published=_published(resolved),
        recipe=json.dumps(_recipe(resolved), sort_keys=True, default=str) if resolved else f"unknown {run.label}",
        evaluations=evaluations,
        evaluating=_evaluating(happened),
        problems=tuple(problems),
    )


def read_status(run: RunDir, problems: list[str]) -> Status:
    """The state of a run. One that says it is running and is silent is `stale`; one that has not said so yet is `starting`."""
    data = read_json(run.status, problems, "status") or {}
    place = {
        "phase": as_text(data.get("phase")), "epoch": as_whole(data.get("epoch")), "step": as_whole(data.get("step")),
    }  # fmt: skip
    owner = read_owner(run.writer)
    owned = owner is not None and owner.alive is True
    if _is_new(run) if owner is None else owned and _is_later(owner.since, run.status):
        who = {"pid": owner.pid, "host": owner.host} if owner else {}
        return Status(state="starting", **place, **who)  # type: ignore[arg-type]
    beat = as_number(data.get("heartbeat"))
    # A clock that was set back makes the age negative: the run is then as good as fresh.
    age = None if beat is None else max(0.0, time.time() - beat)
    state = as_text(data.get("state")) or "unknown"
    pid, host = as_whole(data.get("pid")), as_text(data.get("host"))
    gone = state == "running" and not owned and alive(pid, host) is False
    if state == "running" and (age is None or age > STALE_S):
        state = "stale"
    return Status(
        state=state, why=as_text(data.get("why")), pid=pid, host=host, heartbeat_age_s=age, gone=gone,
        preparing=_preparing(data) if state in {"running", "stale"} else None, **place,  # type: ignore[arg-type]
    )  # fmt: skip


def _preparing(status: Mapping[str, Any]) -> tuple[int, int | None] | None:
    found = status.get("preparing")
    return (as_whole(found.get("done")) or 0, as_whole(found.get("of"))) if isinstance(found, Mapping) else None


def _is_new(run: RunDir) -> bool:
    """Whether the run has just been made and says nothing yet: its process still loads what it needs."""
    try:
        fresh = time.time() - run.path.stat().st_mtime < STALE_S
        return fresh and not run.status.exists() and not run.events.exists()
    except OSError:
        return False


def _is_later(since: float, path: Path) -> bool:
    """Whether `path` was written before `since`, or is not there."""
    try:
        return since > path.stat().st_mtime + _CLOCK_S
    except OSError:
        return True


def _evaluating(happened: Sequence[events.Event]) -> events.Evaluating | None:
    """The last news of an evaluation, unless it has finished since."""
    for event in reversed(happened):
        if isinstance(event, events.Evaluated | events.RunFinished):
            return None
        if isinstance(event, events.Evaluating):
            return event
    return None


def _phases(
    run: RunDir, resolved: Mapping[str, Any], happened: Sequence[events.Event], problems: list[str]
) -> tuple[PhaseSummary, ...]:
    """Phases as the log tells them, then those that the experiment names and that have not begun."""
    phases: dict[str, PhaseSummary] = {}
    for event in happened:
        match event:
            case events.PhaseStarted():
                phases[event.phase] = evolve(
                    phases.get(event.phase, PhaseSummary(name=event.phase)), position=event.position, views=event.views,
                    miner=event.miner, epochs=event.epochs, reused_from=event.reused_from,
                    finished=event.reused_from is not None,
                )  # fmt: skip
            case events.Epoch():
                phases[event.phase] = evolve(
                    phases.get(event.phase, PhaseSummary(name=event.phase)), epochs_done=event.epoch + 1, loss=event.loss,
                    own_key_accuracy=event.own_key_accuracy, clips_per_s=event.clips_per_s,
                )  # fmt: skip
            case events.PhaseFinished():
                phases[event.phase] = evolve(
                    phases.get(event.phase, PhaseSummary(name=event.phase)), seconds_s=event.seconds_s, finished=True,
                    stated_gib=event.stated_gib, peak_gib=event.peak_gib,
                )  # fmt: skip
            case _:
                pass
    ordered = sorted(phases.values(), key=lambda phase: phase.position)
    named = resolved.get("phase")
    for name in named if isinstance(named, Mapping) else ():
        if name not in phases:
            ordered.append(PhaseSummary(name=name, position=len(ordered)))
    return tuple(evolve(phase, table=last_table(run, phase.name, problems)) for phase in ordered)


def _events(run: RunDir, problems: list[str]) -> list[events.Event]:
    if not run.events.exists():
        return []
    try:
        found, damage = read_events(run.events, without=[events.Step])
    except CprspecError as error:
        problems.append(str(error))
        return []
    if damage.count:
        some = ", ".join(f"line {line} ({reason})" for line, reason in damage.lines[:3])
        problems.append(f"{run.events}: {damage.count} damaged lines: {some}")
    return found


def _evaluations(run: RunDir, problems: list[str]) -> dict[str, Mapping[str, Any]]:
    try:
        paths = sorted(run.evaluations.glob("*.json"))
    except OSError:
        return {}
    read = {path.stem: read_json(path, problems, "evaluation") for path in paths}
    return {name: data for name, data in read.items() if data is not None}


def _records(run: RunDir, evaluations: Mapping[str, Mapping[str, Any]], problems: list[str]) -> list[Record]:
    records: list[Record] = []
    for name, data in evaluations.items():
        found = data.get("records")
        some = [read_record(item) for item in found] if isinstance(found, list) else []
        if None in some:
            problems.append(f"{run.evaluations / name}.json: {some.count(None)} records cannot be read")
        records += [record for record in some if record is not None]
    return records


def _published(resolved: Mapping[str, Any]) -> tuple[Published, ...]:
    found = resolved.get("published")
    rows = []
    for item in found if isinstance(found, list) else ():
        if not isinstance(item, Mapping):
            continue
        metric, value = as_text(item.get("metric")), as_number(item.get("value"))
        if metric and value is not None:
            given = {key: as_text(item.get(key)) for key in ("encoder", "dataset", "protocol")}
            rows.append(Published(metric=metric, value=value, where=as_text(item.get("where")) or "", **given))
    return tuple(rows)


def _recipe(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """What is learned, without the seed and without what never changes it: names of evaluations, the machine, roots."""
    kept = {key: value for key, value in resolved.items() if key not in {"seed", "launch", "published", "evaluate"}}
    for kind, dropped in (("phase", "seed"), ("dataset", "root")):
        tables = kept.get(kind)
        if isinstance(tables, Mapping):
            kept[kind] = {name: _without(table, dropped) for name, table in tables.items()}
    return kept


def _without(table: object, key: str) -> object:
    return {k: v for k, v in table.items() if k != key} if isinstance(table, Mapping) else table
