"""Asking a run to stop: the only thing that a reader ever writes into a run directory."""

from __future__ import annotations

from cprspec.errors import CprspecError, Problem, clean
from cprspec.runs.files import write_failed
from cprspec.runs.layout import RunDir
from cprspec.runs.summary import read_status


def request_stop(run: RunDir) -> None:
    """Have `run` stop after its step, as by Ctrl-C. CprspecError if it is not running.

    A request that nobody hears would stop the next attempt.
    """
    problems: list[str] = []
    status = read_status(run, problems)
    if status.state == "stale":
        age = f"{status.heartbeat_age_s:.0f} s" if status.heartbeat_age_s is not None else "an unknown time"
        where = f"pid {status.pid} on host {clean(status.host or 'unknown', 100)}"
        hint = f"nothing of it listens any more; if a process is left it is {where}"
        raise CprspecError(Problem(f"run {run.label} has been silent for {age}", hint=hint), exit_code=1)
    if status.state != "running":
        what = clean(status.state, 40) if status.state != "unknown" else "not known to be running"
        raise CprspecError(Problem(f"run {run.label} is {what}", hint="there is nothing to stop"), exit_code=1)
    try:
        run.stop_requested.touch()
    except OSError as error:
        raise write_failed(run.stop_requested, error) from error
