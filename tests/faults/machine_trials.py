"""One trial of each fault of the machine under a run: no memory (P11), no shared memory (P9), a clock that is set (P15).

A trial takes a lab and a seed, and fails by assertion. Where a row has a time limit, it gives the seconds that it is about.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from process_trials import TWO, _moment, _runs
from victims import (
    EVERY_STEP,
    Lab,
    assert_same,
    only_run,
    rank_pids,
    steps,
    survivors,
    wait_for_steps,
)

from cprspec.training import checkpoint

CGROUPS = Path("/sys/fs/cgroup/memory")
"""Where version 1 of the kernel's control groups limits memory."""

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


def out_of_memory(lab: Lab, seed: int) -> None:
    """P11: memory runs out in a rank: said with what to lower, checkpoints whole, and it goes on bit for bit.

    By a limit on what the process may map, of one and of two ranks; or by a control group, whose rank the kernel kills.
    """
    rng = random.Random(seed)
    options = TWO if seed % 3 else ()
    reference, runs, rank = lab.reference(*options), _runs(lab, "P11", seed), rng.randrange(2) if seed % 3 else 0
    if seed % 3 == 2 and os.access(CGROUPS, os.W_OK):
        said, ended = f"rank {rank} was killed by SIGKILL (out of memory?)", _in_a_control_group(lab, runs, rank)
    else:
        said = "out of memory" + (f" on rank {rank}" if seed % 3 else "")
        fault = f"{rank}:{_moment(rng, ('step', 'wait')).format('full-memory')}"
        ended = lab.call("run", "small.toml", "--runs", runs, *options, *EVERY_STEP, fault=fault)
    run = only_run(runs)
    assert ended.code == 1, ended.talk
    for text in (said, "launch.checkpoint_activations=true", "batch_size", f"cprspec run {run}"):
        assert text in ended.last, (text, ended.talk)
    assert survivors(ended.pid) == []
    assert all(checkpoint.load(folder) for folder in run.glob("phases/*/checkpoints/step-*"))
    done = lab.call("run", run, *options)
    assert done.code == 0, done.talk
    assert_same(run, reference)


def _in_a_control_group(lab: Lab, runs: Path, rank: int):
    """A run of two ranks of which one has hardly more memory left than it uses, as the kernel sees it, and asks for it."""
    group = CGROUPS / f"cprspec-{os.getpid()}-{time.monotonic_ns()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(16 * 2**20))
        fault = f"{rank}:12:full-memory:step:cycle"
        victim = lab.start("run", "small.toml", "--runs", runs, *TWO, *EVERY_STEP, fault=fault)
        run = wait_for_steps(runs, 1, victim)
        (group / "cgroup.procs").write_text(str(rank_pids(run)[rank]))
        return victim.wait()
    finally:
        group.rmdir()


def full_shared_memory(lab: Lab, seed: int) -> float:
    """P9: /dev/shm has 20 MB, and two batches of clips do not fit: refused with its size and what to change. Seconds."""
    runs = _runs(lab, "P9", seed)
    large = ("--set", "batch_size=32", "--set", "framework.queue_size=32", "--set", "clip.size=96")
    large += ("--set", "clip.short_side=96", "--set", "dataset.motion.size=96", "--set", "launch.workers=1")
    words = [
        sys.executable,
        "-m",
        "cprspec",
        "run",
        "small.toml",
        "--runs",
        str(runs),
        *large,
        *(TWO if seed % 2 else ()),
    ]
    mounted = 'mount -t tmpfs -o size=20m tmpfs /dev/shm && exec "$@"'
    began = time.monotonic()
    code, talk, pid = _ended(_begun(lab, ["unshare", "-m", "sh", "-c", mounted, "sh", *map(str, words)]))
    took = time.monotonic() - began
    last = "\n".join(talk.rstrip().splitlines()[-3:])
    assert code == 1, talk
    for text in ("/dev/shm is full", "of its 20 MiB", "launch.workers=0", "batch_size"):
        assert text in last, (text, talk)
    assert survivors(pid) == []
    return took


def clock_set(lab: Lab, seed: int) -> None:
    """P15: the clock is set an hour on or back while a run runs and is watched: the same run, no time left below zero."""
    options = TWO if seed % 4 > 1 else ()
    reference, runs, hour = lab.reference(*options), _runs(lab, "P15", seed), 3600 if seed % 2 else -3600
    with _own_clock(lab, whole=not options) as (set_clock, variables):
        words = [
            "-m",
            "cprspec",
            "run",
            "small.toml",
            "--runs",
            str(runs),
            "--set",
            "launch.checkpoint_minutes=0.00001",
        ]
        process = _begun(lab, [sys.executable, *words, *map(str, options)], **variables)
        run = _wait_for_steps(runs, 1 + seed % 7, process)
        left = [_left_s(lab, run, variables)]
        set_clock(hour)
        while process.poll() is None:
            left.append(_left_s(lab, run, variables))
            time.sleep(0.3)
        code, talk, _ = _ended(process)
    assert code == 0, talk
    assert "-" not in "".join(line for line in talk.splitlines() if " left" in line).replace("--", ""), talk
    assert all(seconds is None or seconds >= 0 for seconds in left), left
    assert_same(run, reference)
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    since, at = ([event[name] for event in events] for name in ("t_s", "time"))
    assert since == sorted(since), "durations come from a clock that is not set"
    assert since[-1] < 600
    jumps = [b - a for a, b in pairwise(at)]
    assert abs(max(jumps, key=abs) - hour) < 600, "the clock was set"
    assert all(seconds >= 0 for event in events for name, seconds in event.items() if name.endswith("_s"))
    assert steps(run)


@contextmanager
def _own_clock(lab: Lab, *, whole: bool):
    """How to set the clock of processes, seconds against the real one, and the variables that they take it from.

    `whole`: by libfaketime where it is installed. Under it torch elastic cannot sleep: for several ranks it is Python's clock.
    """
    file = lab.folder / f"clock-{time.monotonic_ns()}"
    file.write_text("+0")

    def set_clock(seconds: int) -> None:
        replaced = file.with_suffix(".new")
        replaced.write_text(f"{seconds:+d}")
        replaced.rename(file)

    if whole and FAKETIME.exists():
        variables = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1"}
        variables |= {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1", "NO_FAKE_STAT": "1"}
    else:
        folder = lab.folder / "clock"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(_CUSTOMIZED)
        path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
        variables = {"PYTHONPATH": path, "CPRSPEC_TEST_CLOCK": str(file)}
    yield set_clock, variables


_CUSTOMIZED = """
import os, time
real = time.time
time.time = lambda: real() + float(open(os.environ["CPRSPEC_TEST_CLOCK"]).read())
"""


def _left_s(lab: Lab, run: Path, variables: dict[str, str]) -> float | None:
    """What `status` says is left, by the same clock."""
    code, talk, _ = _ended(_begun(lab, [sys.executable, "-m", "cprspec", "status", str(run), "--json"], **variables))
    assert code == 0, talk
    status = json.loads(talk)
    assert status["heartbeat_age_s"] is None or status["heartbeat_age_s"] >= 0
    return status["left_s"]


def _begun(lab: Lab, words: list[str], **variables: str) -> subprocess.Popen:
    """A command in a process of its own, not forked: it shall see a machine of its own."""
    environment = {
        **os.environ, "CPRSPEC_CACHE": str(lab.cache), "OMP_NUM_THREADS": "1", "NO_COLOR": "1",
        "PYTHONWARNINGS": "ignore", **variables,
    }  # fmt: skip
    return subprocess.Popen(
        words, cwd=lab.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip


def _ended(process: subprocess.Popen) -> tuple[int, str, int]:
    """Exit code, what was said, and the session."""
    try:
        talk, _ = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert "Traceback" not in talk, talk
    return process.returncode, talk, process.pid


def _wait_for_steps(runs: Path, count: int, process: subprocess.Popen) -> Path:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        logs = list(runs.glob("*/*/events.jsonl"))
        if logs and logs[0].read_text().count('"kind": "step"') >= count:
            return logs[0].parent
        time.sleep(0.02)
    raise AssertionError(f"no {count} steps: {_ended(process)}")
