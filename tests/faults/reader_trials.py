"""One trial of what readers go through while a run is written: rows D7 and D8. Seeded; failing is an assertion."""

from __future__ import annotations

import asyncio
import os
import pty
import random
import re
import select
import shutil
import signal
import sys
import time
from multiprocessing import get_context
from pathlib import Path

from file_trials import scratch, step_event
from victims import Lab, wait_for_steps

from cprspec.runs.events import EventLog, PhaseStarted, Resumed, Step
from cprspec.runs.files import atomic_write_json
from cprspec.runs.history import History
from cprspec.runs.layout import RunDir
from cprspec.runs.summary import STALE_S, read_status
from cprspec.runs.tail import read_events

_FORK = get_context("fork")
_WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND")
APP_EVERY = 20
"""The monitor itself looks on in each trial of so many; in the others, what it reads with."""


def _write(run: RunDir, seed: int, first: int, attempt: int) -> None:
    """Write steps for ever, every one in pieces with a pause between them: a kill leaves half a line."""
    rng = random.Random(seed)
    with EventLog(run.events) as log:
        if attempt:
            log.write(Resumed(attempt=attempt, phase="rgb", from_step=first))
        else:
            started = {"position": 0, "of": 1, "views": ("rgb",), "miner": None, "epochs": 1, "steps_per_epoch": 9}
            log.write(PhaseStarted(phase="rgb", **started, reused_from=None))
        log._file = _InPieces(log._file, rng)
        for step in range(first, 1_000_000):
            log.write(step_event(step, loss=1.0 + step))


class _InPieces:
    """A file that takes a part of what it is given at a time, as a disk that is nearly full does."""

    def __init__(self, file: object, rng: random.Random) -> None:
        self._file, self._rng = file, rng

    def write(self, data: bytes) -> int:
        time.sleep(self._rng.random() * 0.002)
        return self._file.write(data[: self._rng.randrange(1, len(data) + 1)])

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


def killed_while_watched(lab: Lab, seed: int) -> None:
    """D8: the writer is killed within a line while a monitor reads; no wrong point, no alarm, `stale` after half a minute."""
    rng = random.Random(seed)
    run = RunDir(scratch(lab, "D8", seed) / "watched" / "20260101-000000-0000")
    run.path.mkdir(parents=True)
    history = History(run)
    first = 0
    for attempt in range(2):
        writer = _FORK.Process(target=_write, args=(run, seed, first, attempt))
        writer.start()
        beat = {"schema": 1, "kind": "status", "state": "running", "pid": writer.pid, "phase": "rgb"}
        atomic_write_json(run.status, {**beat, "heartbeat": time.time()}, durable=False)
        until = time.monotonic() + 0.05 + rng.random() * 0.1
        try:
            while time.monotonic() < until:
                history.read()
                _points_are_true(history)
        finally:
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
        while history.read():
            pass
        _points_are_true(history)
        steps = [e for e in read_events(run.events)[0] if isinstance(e, Step)]
        assert history.problem is None, history.problem
        if "rgb" in history.phases:
            assert list(history.phases["rgb"].steps["step"]) == [e.step for e in steps] == list(range(len(steps)))
        first = max(0, len(steps) - rng.randrange(1, 9))
    atomic_write_json(run.status, {**beat, "heartbeat": time.time() - STALE_S - 1}, durable=False)
    assert read_status(run, []).state == "stale"
    if seed % APP_EVERY == 0:
        assert "stale" in asyncio.run(_on_screen(run.path.parent.parent))
    shutil.rmtree(run.path.parent.parent)


def _points_are_true(history: History) -> None:
    for phase in history.phases.values():
        assert list(phase.steps["loss"]) == [1.0 + step for step in phase.steps["step"]]


async def _on_screen(runs: Path) -> str:
    """What the monitor shows of `runs`."""
    from cprspec.tui.app import MonitorApp

    app = MonitorApp(runs)
    async with app.run_test(size=(120, 40)) as pilot:
        for _ in range(200):
            await pilot.pause(0.02)
            if app.has_news and not app.news.more:
                break
        await pilot.pause(0.1)
        strips = app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip) for strip in strips)


def monitors_on_a_live_run(lab: Lab, seed: int) -> None:
    """D7: three monitors on terminals of their own read a run that trains, for ten seconds; none writes or locks within it."""
    if shutil.which("strace") is None:
        raise RuntimeError("needs strace")
    runs = scratch(lab, "D7", seed)
    victim = lab.start("run", "small.toml", "--runs", runs, "--set", "phase.cycle.epochs=4000")
    try:
        run = wait_for_steps(runs, 5, victim)
        traces = [lab.folder / f"trace-{seed}-{number}" for number in range(3)]
        seen = _watch_on_terminals(runs, traces, 10)
        assert victim.process.is_alive(), victim.talk.read_text()
    finally:
        os.killpg(victim.process.pid, signal.SIGKILL)
        victim.process.join()
    for trace, screen in zip(traces, seen, strict=True):
        calls = [line for line in trace.read_text(errors="replace").splitlines() if str(run) in line]
        assert any("events.jsonl" in call for call in calls), "it did not look"
        assert any("openat" in call for call in calls)
        assert not [c for c in calls if "openat" not in c or _WRITES.search(c)], "it wrote within the run directory"
        assert "flock(" not in trace.read_text(errors="replace")
        assert b"small" in screen
        assert b"Traceback" not in screen


def _watch_on_terminals(runs: Path, traces: list[Path], seconds: float) -> list[bytes]:
    """What monitors on `runs` sent to their terminals; strace notes what each asked of the file system in `traces`."""
    asked = (
        "trace=openat,creat,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,truncate,ftruncate,utimensat,flock"
    )
    children: dict[int, int] = {}
    for trace in traces:
        child, terminal = pty.fork()
        if child == 0:
            os.environ |= {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
            command = ["strace", "-f", "-o", str(trace), "-e", asked, sys.executable, "-m", "cprspec", "tui", str(runs)]
            os.execvp("strace", command)
        children[child] = terminal
    seen = dict.fromkeys(children.values(), b"")
    until = time.monotonic() + seconds
    keys = iter([b"m", b"2", b"3", b"4", b"1"] * 100)
    pressed = time.monotonic() + seconds / 2
    while (left := until - time.monotonic()) > 0:
        for terminal in select.select([*seen], [], [], min(left, 0.2))[0]:
            seen[terminal] += os.read(terminal, 65536)
        if time.monotonic() > pressed:
            pressed, key = time.monotonic() + 0.5, next(keys)
            for terminal in seen:
                os.write(terminal, key)
    for child in children:
        os.killpg(child, signal.SIGKILL)  # strace and what it looks at
        os.waitpid(child, 0)
    for terminal in seen:
        os.close(terminal)
    return [*seen.values()]
