"""Asking a run to stop: the only thing that a reader ever writes into a run directory."""

from __future__ import annotations

from cprspec.errors import CprspecError, Problem, clean
from cprspec.runs.files import write_failed
from cprspec.runs.layout import RunDir
from cprspec.runs.summary import read_status


def request_stop(run: RunDir) -> None:
    """Have `run` stop after its step, as by Ctrl-C. CprspecError if it is not running."""
    check_stoppable(run)
    try:
        run.stop_requested.touch()
    except OSError as error:
        raise write_failed(run.stop_requested, error) from error


def check_stoppable(run: RunDir) -> None:
    """CprspecError if `run` does not hear a request: one that nobody hears would stop the next attempt."""
    status = read_status(run, [])
    if status.gone:
        message = f"nobody is writing run {run.label}: its process {status.pid} is dead"
        raise CprspecError(
            Problem(message, hint=f"there is nothing to stop; go on with: cprspec run {run.path}"), exit_code=1
        )
    where = f"pid {status.pid} on host {clean(status.host or 'unknown', 100)}"
    if status.state == "stale":
        age = f"{status.heartbeat_age_s:.0f} s" if status.heartbeat_age_s is not None else "an unknown time"
        hint = f"nothing of it listens any more; if a process is left it is {where}"
        raise CprspecError(Problem(f"run {run.label} has been silent for {age}", hint=hint), exit_code=1)
    if status.state == "starting":
        hint = "ask again when it runs" + (f", or end {where}" if status.pid else "")
        raise CprspecError(Problem(f"run {run.label} is starting and hears nothing yet", hint=hint), exit_code=1)
    if status.state != "running":
        what = clean(status.state, 40) if status.state != "unknown" else "not known to be running"
        raise CprspecError(Problem(f"run {run.label} is {what}", hint="there is nothing to stop"), exit_code=1)
