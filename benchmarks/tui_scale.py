"""How the monitor scales: a thousand runs, fifty of them broken, and one run with a million steps (or --steps 10000000).

    python benchmarks/tui_scale.py [--runs 1000] [--steps 1000000]

Prints, in seconds: listing anew, listing again, the first screen and the whole reading of the monitor, and peak memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cprspec.runs.glance import Listing
from cprspec.runs.layout import RunDir
from cprspec.tui.app import MonitorApp

BREAKAGES = (
    lambda run: (run / "status.json").write_text("{"),
    lambda run: (run / "events.jsonl").write_bytes(bytes(4096)),
    lambda run: [file.unlink() for file in run.iterdir()],
)


def lines(steps: int):
    """A log of one phase with `steps` steps, an epoch event for every hundredth part of them."""
    yield {"schema": 1, "kind": "events", "time": 0.0, "t_s": 0.0}
    yield {"kind": "run-started", "time": 0.0, "t_s": 0.0, "name": "x", "seed": 0, "phases": ["rgb"], "world_size": 1,
           "version": "0"}  # fmt: skip
    per = max(1, steps // 100)
    yield {"kind": "phase-started", "time": 0.0, "t_s": 0.0, "phase": "rgb", "position": 0, "of": 1, "views": ["rgb"],
           "miner": None, "epochs": 100, "steps_per_epoch": per, "reused_from": None}  # fmt: skip
    for step in range(steps):
        yield {"kind": "step", "time": float(step), "t_s": step / 10, "phase": "rgb", "epoch": step // per, "step": step,
               "loss": 5.0 / (1 + step / steps) + step % 7 / 50, "lr": 0.001, "own_key_accuracy": 0.5, "spread": 0.9,
               "step_s": 0.1, "wait_s": 0.01, "clips_per_s": 160.0, "warm_up": False}  # fmt: skip


def make_run(folder: Path, number: int, steps: int) -> Path:
    run = folder / f"experiment-{number % 20}" / f"20260101-{number:06d}-{number % 65536:04x}"
    run.mkdir(parents=True)
    with (run / "events.jsonl").open("w") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines(steps))
    status = {"schema": 1, "kind": "status", "state": "finished", "phase": "rgb", "epoch": 99, "step": steps - 1,
              "heartbeat": time.time()}  # fmt: skip
    (run / "status.json").write_text(json.dumps(status))
    return run


async def screen(runs: Path, watched: RunDir | None) -> tuple[float, float]:
    """Seconds until the first screen with the list or the run on it, and until everything is read."""
    began = time.perf_counter()
    app = MonitorApp(runs, watched)
    async with app.run_test(size=(120, 40)) as pilot:
        while not app.has_news:
            await pilot.pause(0.005)
        await pilot.pause()
        first = time.perf_counter() - began
        while app.news.more or app._reading:
            await pilot.pause(0.02)
        return first, time.perf_counter() - began


def measured(runs: Path, watched: str | None) -> None:
    first, whole = asyncio.run(screen(runs, RunDir(Path(watched)) if watched else None))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"first screen {first:.2f} s, everything read {whole:.2f} s, peak {peak:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--screen", nargs="+", help=argparse.SUPPRESS)  # what a fresh process measures
    asked = parser.parse_args()
    if asked.screen:
        measured(Path(asked.screen[0]), (asked.screen[1:] or [None])[0])
        return
    again = [sys.executable, __file__, "--screen"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    with tempfile.TemporaryDirectory() as folder:
        many, one = Path(folder) / "many", Path(folder) / "one"
        for number in range(asked.runs):
            run = make_run(many, number, 200)
            if number % 20 == 0:
                BREAKAGES[number // 20 % len(BREAKAGES)](run)
        listing = Listing(many)
        for word in ("anew", "again"):
            began = time.perf_counter()
            found = listing.look()
            print(f"{len(found)} runs listed {word}: {time.perf_counter() - began:.2f} s")
        print(f"{sum(bool(run.why) for run in found)} of them say why they cannot be read")
        print(f"monitor on {len(found)} runs: ", end="", flush=True)
        subprocess.run([*again, str(many)], check=True, env=environment)
        run = make_run(one, 0, asked.steps)
        size = (run / "events.jsonl").stat().st_size / 2**20
        print(f"monitor on a run of {asked.steps} steps ({size:.0f} MiB): ", end="", flush=True)
        subprocess.run([*again, str(one), str(run)], check=True, env=environment)


if __name__ == "__main__":
    main()
