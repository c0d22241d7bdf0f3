"""Recorded run directories that are the same each time."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cprspec.runs import events
from cprspec.runs.files import atomic_write_json
from cprspec.runs.layout import RunDir

sys.path.insert(0, str(Path(__file__).parent.parent / "runs"))
from recorded_tables import table
from sample_runs import write_run


@pytest.fixture(autouse=True)
def _an_ordinary_terminal(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TEXTUAL_THEME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A function that writes a run whose name and times are always the same: `recorded("cpr", number=2, ...)`."""
    ticks = iter(range(10**9))
    clock = SimpleNamespace(time=lambda: 1_767_225_600.0 + next(ticks), monotonic=lambda: float(next(ticks)))

    def write(name, number=1, recalls=(1, 2, 3, 4), **options):
        with monkeypatch.context() as patched:
            patched.setattr(events, "time", clock)
            run = write_run(tmp_path / "runs", name, **options)
        home = run.path.with_name(f"20260101-00{number:04d}-{number:04x}")
        run.path.rename(home)
        for epoch, found in enumerate(((0, 2, 1, 5), recalls)):
            atomic_write_json(RunDir(home).mining_table("cycle", epoch), table(found, epoch))
        return RunDir(home)

    return write


@pytest.fixture
def three(recorded):
    """Three runs of the toy data: two that finished, a better one and a worse one, and one that failed."""
    runs = [
        recorded("toy-infonce", 1, recalls=(1, 2, 1, 0), recall=0.3),
        recorded("toy-cpr", 2, recalls=(4, 5, 1, 5), recall=0.6, lr=0.2),
        recorded("toy-coclr", 3, state="failed", why="the disk is full", recall=0.5, seed=1),
    ]
    return runs
