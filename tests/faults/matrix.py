"""Runs trials of faults, adds their outcomes to docs/faults.json, and writes docs/faults.md from it.

    python tests/faults/matrix.py                    every row once more, at its full count
    python tests/faults/matrix.py P2=10 C1=200       some rows, so many trials each
    python tests/faults/matrix.py --write            docs/faults.md only

Seeds go on where the last run ended, so totals are of different trials.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import file_trials
import process_trials
from attrs import frozen
from victims import Lab

DOCS = Path(__file__).parent.parent.parent / "docs"
TOTALS, PAGE = DOCS / "faults.json", DOCS / "faults.md"


@frozen
class Row:
    """A kind of fault: what it is, how many trials one whole run makes, and the trial."""

    what: str
    count: int
    trial: Callable[[Lab, int], None]


ROWS = {
    "P1": Row("one of two ranks is killed at a random step: named, goes on bit for bit", 50, process_trials.kill_rank),
    "P1-restart": Row("the same with `--restarts 1`: ends bit for bit as if nothing had happened", 5, process_trials.restart),
    "P2": Row("the run is killed at a random place or moment: goes on bit for bit", 50, process_trials.kill_alone),
    "P2-save": Row("killed in the middle of writing a checkpoint", 10, process_trials.kill_in_save),
    "P3": Row("only the launcher is killed: no rank or data worker survives it by 5 s", 10, process_trials.kill_launcher),
    "P4": Row("SIGTERM, SIGINT or SIGUSR1 to one process: saved, goes on bit for bit", 10, process_trials.stop_alone),
    "P4-ranks": Row("the same to the launcher, a rank, or all processes of two ranks", 10, process_trials.stop_ranks),
    "P5": Row("a second SIGINT: ends at once, checkpoints whole", 10, process_trials.stop_twice),
    "P6": Row("SIGTERM while saving, reading or starting", 30, process_trials.stop_at_a_place),
    "P7": Row("a rank is stopped or hangs: named with its step", 9, process_trials.hang),
    "P10": Row("the port is taken: named with its owner", 3, process_trials.port_in_use),
    "P10-two": Row("two runs of two ranks at once", 10, process_trials.two_at_once),
    "P12": Row("another number of ranks: refused, allowed by name, same videos", 4, process_trials.other_world_size),
    "P13": Row("other threads: a warning, within 1e-5", 2, process_trials.other_threads),
    "P14": Row("a loss that is not finite: no update, clips named", 10, process_trials.not_finite),
    "log": Row("the writer of a log is killed three times, the line torn further", 500, file_trials.torn_log),
    "D1": Row("the disk is full in a log line or a checkpoint (a limit on file sizes)", 10, file_trials.full_disk),
    "D4": Row("the run directory is removed or moved", 10, file_trials.deleted_run),
    "D5": Row("two writers begin within 50 ms", 100, file_trials.race_for_a_run),
    "D6": Row("the lock's owner was killed, or names a stranger", 50, file_trials.stale_lock),
    "C1": Row("a damaged file of a checkpoint: noticed, named, the earlier one found", 1200, file_trials.damaged_checkpoint),
    "C1-run": Row("a run whose newest checkpoint is damaged: refused, `--fallback` ends bit for bit", 5, file_trials.fallback),
    "C2": Row("38 hostile safetensors files, to start from and in a checkpoint", 1, file_trials.hostile_weights),
    "C3": Row("pickles under seven names and in each file of a checkpoint", 6, file_trials.pickle_under_any_name),
    "C4": Row("weights of another network", 50, file_trials.wrong_weights),
    "C5": Row("files cut and overwritten after loading", 20, file_trials.changed_after_loading),
}  # fmt: skip

HEAD = """# Faults tried

What was done to runs on purpose, how often, and how often the outcome was not the promised one. One line for each kind of
fault; totals over all runs of `python tests/faults/matrix.py` (part of `make test-slow`), which writes this page from
faults.json. Each trial has another seed. "Bit for bit" is: the loss of every step, each step once and in order, every tensor
of every last checkpoint, the mining tables and the recording equal those of a run that nothing happened to. Processes are real
and are really killed; they are forked from one that has its libraries loaded, and train a very small experiment of three
phases (momentum encoder, queue, cascade mining) on the CPU.

| | what happens | trials | failed | wanted | last |
|---|---|---|---|---|---|
"""

TAIL = """
Machine: {machine}.

Not in this table: bad videos and data workers, and what screens make of a run that is written to, have tests of their own. Not
tried at all: a power cut (the order write, sync, rename, sync of the folder is what the code does, and no test cuts power),
memory that runs out (a killed rank stands for it), GPUs, several machines, a clock that is set while a run runs (durations are
monotonic, which tests/runs/test_events.py holds).
"""


def try_row(name: str, count: int, totals: dict[str, dict[str, object]]) -> None:
    """Make `count` trials of a row and add them up."""
    row = ROWS[name]
    total = totals.setdefault(name, {"trials": 0, "failed": 0, "failures": []})
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(os.environ.get("CPRSPEC_CACHE", folder)) / "cache"
        lab = Lab(Path(folder) / "lab", cache).prepare()
        for seed in range(total["trials"], total["trials"] + count):
            try:
                row.trial(lab, seed)
            except Exception as error:
                total["failed"] += 1
                reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
                total["failures"] = [*total["failures"][-9:], {"seed": seed, "why": reason[:200].replace(folder, "")}]
                print(traceback.format_exc(), file=sys.stderr)
            total["trials"] += 1
            total["last"] = f"{datetime.now(UTC):%Y-%m-%d}"
            save(totals)
    print(f"{name}: {total['trials']} trials, {total['failed']} failed", flush=True)


def read_totals() -> dict[str, dict[str, object]]:
    """What was tried so far."""
    return json.loads(TOTALS.read_text())["rows"] if TOTALS.exists() else {}


def save(totals: dict[str, dict[str, object]]) -> None:
    """Write the totals and the page."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, no GPU"
    ordered = {name: totals[name] for name in ROWS if name in totals}
    TOTALS.write_text(json.dumps({"schema": 1, "kind": "faults", "machine": machine, "rows": ordered}, indent=1) + "\n")
    lines = []
    for name, row in ROWS.items():
        total = totals.get(name, {"trials": 0, "failed": 0, "last": "never"})
        lines.append(
            f"| {name} | {row.what} | {total['trials']} | {total['failed']} | {row.count} | {total['last']} |\n"
        )
    PAGE.write_text(HEAD + "".join(lines) + TAIL.format(machine=machine))


def main(arguments: list[str]) -> int:
    """Run what is asked for; how many trials failed."""
    totals = read_totals()
    before = sum(total["failed"] for total in totals.values())
    wanted = [] if arguments == ["--write"] else arguments or list(ROWS)
    for argument in wanted:
        name, _, count = argument.partition("=")
        try_row(name, int(count) if count else ROWS[name].count, totals)
    save(totals)
    return sum(total["failed"] for total in totals.values()) - before


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
