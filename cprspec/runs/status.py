"""What `cprspec status` says: one row for each run, or everything about one, as JSON or for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import asdict
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cprspec.errors import clean
from cprspec.runs.glance import Glance
from cprspec.runs.rank_state import stage_words
from cprspec.runs.ranks import RankHealth
from cprspec.runs.summary import RunSummary
from cprspec.runs.telling import duration, number
from cprspec.runs.watch import preparing_words, status_line

_MAX_TEXT = 200
_KEPT = 3
"""Columns that stay: the run, its state and its phase."""


def status_record(glance: Glance) -> dict[str, Any]:
    """A run in the list, as JSON; see docs/run-directory.md."""
    status, phase, step = glance.status, glance.phase, glance.step
    return {
        "run": glance.run.label,
        "path": str(glance.run.path),
        "state": status.state,
        "why": glance.why,
        "heartbeat_age_s": status.heartbeat_age_s,
        "gone": status.gone,
        "pid": status.pid,
        "host": status.host,
        "phase": status.phase,
        "position": glance.place,
        "of": phase.of if phase else None,
        "epoch": status.epoch,
        "doing": glance.doing and glance.doing.words,
        "epochs": phase.epochs if phase else None,
        "step": status.step,
        "clips_per_s": step.clips_per_s if step else None,
        "left_s": glance.left_s,
        "preparing": None if (now := status.preparing) is None else {"done": now[0], "of": now[1]},
        "loss": step.loss if step else None,
        "precision": glance.precision,
        "median_cmr": glance.median_cmr,
        "recall_1": glance.recall_1,
        "problems": list(glance.problems),
    }


def detail_record(glance: Glance, summary: RunSummary, ranks: Sequence[RankHealth]) -> dict[str, Any]:
    """Everything about one run, as JSON: the row, its phases, the evaluation that trains now, and its ranks."""
    kept = (
        "name", "views", "miner", "epochs", "epochs_done", "loss", "own_key_accuracy", "clips_per_s", "seconds_s",
        "reused_from", "finished", "stated_gib", "peak_gib",
    )  # fmt: skip
    return {
        **status_record(glance),
        "experiment": summary.experiment,
        "seed": summary.seed,
        "phases": [{key: getattr(phase, key) for key in kept} for phase in summary.phases],
        "evaluating": glance.evaluating and asdict(glance.evaluating),
        "ranks": [asdict(rank) for rank in ranks],
        "problems": list(dict.fromkeys([*glance.problems, *summary.problems])),
    }


def print_statuses(glances: Sequence[Glance], console: Console) -> None:
    """A table of runs, newest first; columns that say nothing are left out, and where the terminal is narrow the last ones."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    columns = ["run", "state", "phase", "epoch", "left", "loss", "CMR", "R@1", "clips/s"]
    rows = [_row(glance) for glance in glances]
    said = [i for i, cells in enumerate(zip(*rows, strict=True)) if i < _KEPT or set(cells) != {"-"}]
    columns, rows = [columns[i] for i in said], [[row[i] for i in said] for row in rows]
    widths = [max(len(text) for text in cells) for cells in zip(columns, *rows, strict=True)]
    while sum(widths) + 2 * (len(widths) - 1) > console.width and len(widths) > _KEPT:
        widths.pop()
    for number_, name in enumerate(columns[: len(widths)]):
        table.add_column(name, no_wrap=True, overflow="ellipsis", justify="left" if number_ < _KEPT else "right")
    for row in rows:
        table.add_row(*(Text(text) for text in row[: len(widths)]))
    console.print(table)
    for glance in glances:
        if glance.why and glance.status.state not in {"running", "finished"}:
            console.print(Text(f"{glance.run.label}: {clean(glance.why, _MAX_TEXT)}"), soft_wrap=True)


def _row(glance: Glance) -> list[str]:
    status, phase, step = glance.status, glance.phase, glance.step
    live = status.state == "running"
    where = glance.evaluation.name if glance.evaluation else status.phase or ""
    epoch = f"{_or_dash(glance.epochs_done)}/{phase.epochs}" if phase else "-"
    if status.preparing is not None:
        where, epoch = "preparing", preparing_words(status.preparing)
    return [
        clean(glance.run.label, _MAX_TEXT),
        glance.doing.word if glance.doing else clean(status_line(status), 20),
        clean(where, 30),
        epoch,
        duration(glance.left_s) if live and glance.left_s is not None else "-",
        number(step.loss if step else None),
        number(glance.median_cmr, percent=True),
        number(glance.recall_1, percent=True),
        f"{step.clips_per_s:.0f}" if step and live else "-",
    ]


def detail_lines(record: dict[str, Any]) -> list[str]:
    """What `detail_record` holds, as lines for a person."""
    state = record["state"] + (f": {record['why']}" if record["why"] else "")
    state += f", its process {record['pid']} is dead" if record["gone"] else ""
    age = record["heartbeat_age_s"]
    heard = "" if age is None or record["state"] == "finished" else f", last heard of {duration(age)} ago"
    doing = f", {record['doing']}" if record["doing"] and record["preparing"] is None else ""
    lines = [f"{record['run']}: {state}{doing}{heard}"]
    lines.append(f"experiment {record['experiment']}, seed {_or_dash(record['seed'])}, in {record['path']}")
    for position, phase in enumerate(record["phases"]):
        lines.append(_phase_words(phase, position == record["position"] and record["state"] in {"running", "stale"}))
    if (now := record["preparing"]) is not None:
        lines.append(f"preparing videos: {preparing_words((now['done'], now['of']))}")
    figures = [
        f"{name} {number(record[key], percent=True)}"
        for name, key in (("precision", "precision"), ("median CMR", "median_cmr"), ("R@1", "recall_1"))
        if record[key] is not None
    ]
    lines += [", ".join(figures)] if figures else []
    last = "" if record["state"] == "running" else "last "
    for rank in record["ranks"]:
        lines.append(
            f"rank {rank['rank']}: {last}{stage_words(rank['stage'] or '-', peers=rank['peers'])}, "
            f"step {_or_dash(rank['step'])}, {number(rank['rss_gib'])} GiB, {number(rank['cpu_cores'])} cores"
            + (f", in: {rank['file']}" if rank["file"] else "")
        )
    return [clean(line, 1000) for line in [*lines, *(f"problem: {text}" for text in record["problems"])]]


def _phase_words(phase: dict[str, Any], now: bool) -> str:
    done = f"{phase['epochs_done']} of {phase['epochs']} epochs"
    if phase["reused_from"]:
        words = f"taken from {phase['reused_from']}"
    elif phase["finished"]:
        words = f"finished in {duration(phase['seconds_s'] or 0.0)}{_memory_words(phase)}"
    elif now:
        words = f"{done}, loss {number(phase['loss'])}"
    else:
        words = done if phase["epochs_done"] else "not begun"
    return f"  phase {phase['name']}: {words}"


def _memory_words(phase: dict[str, Any]) -> str:
    if phase["peak_gib"] is None:
        return ""
    stated = "" if phase["stated_gib"] is None else f" ({number(phase['stated_gib'])} stated)"
    return f", at most {number(phase['peak_gib'])} GiB{stated}"


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)
