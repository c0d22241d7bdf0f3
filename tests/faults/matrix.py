"""Runs trials of faults, adds their outcomes to docs/faults.json, and writes docs/faults.md from it.

    python tests/faults/matrix.py                    every row once more, at its full count
    python tests/faults/matrix.py P2=10 C1=200 V1    some rows, so many trials each
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
import machine_trials
import process_trials
import reader_trials
from attrs import frozen
from held import HELD, check
from page import page
from victims import Lab

DOCS = Path(__file__).parent.parent.parent / "docs"
TOTALS, PAGE = DOCS / "faults.json", DOCS / "faults.md"


@frozen
class Row:
    """A kind of fault: what it is, how many trials one whole run makes, and the trial.

    A trial gives the seconds that a promise is about, if there is one: `limit` says in words what it may be.
    """

    what: str
    count: int
    trial: Callable[[Lab, int], float | None]
    limit: str = ""


P, F, M, R = process_trials, file_trials, machine_trials, reader_trials
ROWS = {
    "P1": Row("one of two ranks is killed at a random step: named, goes on bit for bit", 50, P.kill_rank, "15, to the end"),
    "P1-restart": Row("the same with `--restarts 1`: ends bit for bit as if nothing had happened", 5, P.restart),
    "P2": Row("the run is killed at a random place or moment: goes on bit for bit", 50, P.kill_alone),
    "P2-save": Row("killed in the middle of writing a checkpoint", 10, P.kill_in_save),
    "P3": Row("only the launcher is killed: no rank or data worker survives it", 10, P.kill_launcher, "5"),
    "P4": Row("SIGTERM, SIGINT or SIGUSR1 to one process: saved, goes on bit for bit", 10, P.stop_alone, "5 and a step"),
    "P4-ranks": Row("the same to launcher, rank, or all processes of two ranks", 10, P.stop_ranks, "5 and a step"),
    "P5": Row("a second SIGINT: ends at once, checkpoints whole", 10, P.stop_twice, "2"),
    "P6": Row("SIGTERM while saving, reading or starting", 30, P.stop_at_a_place),
    "P6-error": Row("writing a checkpoint fails in an unexpected way: the run ends, goes on bit for bit", 10, P.writer_breaks),
    "P7": Row("a rank is stopped or hangs: named with its step", 9, P.hang, "5 beyond the limit"),
    "P8": Row("a data worker is killed, breaks, hangs: named, goes on bit for bit", 9, P.data_worker, "5; beyond the limit"),
    "P9-run": Row("/dev/shm has 20 MB, two batches do not fit: its size and what to change", 3, M.full_shared_memory, "30"),
    "P10": Row("the port is taken: named with its owner", 3, P.port_in_use),
    "P10-two": Row("two runs of two ranks at once", 10, P.two_at_once),
    "P11": Row("no more memory (RLIMIT_AS, control group): named, goes on bit for bit", 10, M.out_of_memory),
    "P12": Row("other ranks (2 to 1, 1 to 2, 2 to 4): refused, allowed by name, same videos", 6, P.other_world_size),
    "P13": Row("other threads: a warning, and ten steps within 1e-5", 6, P.other_threads),
    "P14": Row("a loss or an update that is not finite: not in the weights or not saved, clips named", 10, P.not_finite),
    "P15": Row("the clock is set an hour on or back in a run: the same bits, no time below zero", 4, M.clock_set),
    "log": Row("the writer of a log is killed three times, the line torn further", 500, F.torn_log),
    "D1": Row("the disk is full in a log line or a checkpoint (a limit on file sizes)", 10, F.full_disk),
    "D4": Row("the run directory is removed or moved", 10, F.deleted_run),
    "D5": Row("two writers begin within 50 ms", 100, F.race_for_a_run),
    "D6": Row("the lock's owner was killed, or names a stranger", 50, F.stale_lock),
    "D7": Row("three monitors on a live run: none writes or locks in it (strace)", 3, R.monitors_on_a_live_run),
    "D8": Row("the writer is killed within a line while a monitor reads", 500, R.killed_while_watched),
    "C1": Row("a damaged file of a checkpoint: noticed, named, the earlier one found", 1200, F.damaged_checkpoint),
    "C1-run": Row("a run whose newest checkpoint is damaged: refused, `--fallback` ends bit for bit", 5, F.fallback),
    "C2": Row("38 hostile safetensors files, to start from and in a checkpoint", 1, F.hostile_weights),
    "C3": Row("pickles under seven names and in each file of a checkpoint", 6, F.pickle_under_any_name),
    "C4": Row("weights of another network", 50, F.wrong_weights),
    "C5": Row("files cut and overwritten after loading", 20, F.changed_after_loading),
}  # fmt: skip


def try_row(name: str, count: int, totals: dict[str, dict[str, object]]) -> None:
    """Make `count` trials of a row and add them up."""
    row = ROWS[name]
    total = totals.setdefault(name, {"trials": 0, "failed": 0, "failures": []})
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(os.environ.get("CPRSPEC_CACHE", folder)) / "cache"
        lab = Lab(Path(folder) / "lab", cache).prepare()
        for seed in range(total["trials"], total["trials"] + count):
            try:
                took = row.trial(lab, seed)
                if took is not None:
                    total["longest_s"] = round(max(took, total.get("longest_s", 0.0)), 2)
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
    ordered = {name: totals[name] for name in (*ROWS, *HELD) if name in totals}
    TOTALS.write_text(json.dumps({"schema": 1, "kind": "faults", "machine": machine, "rows": ordered}, indent=1) + "\n")
    PAGE.write_text(page(ROWS, HELD, totals, machine))


def main(arguments: list[str]) -> int:
    """Run what is asked for; how many trials failed."""
    totals = read_totals()
    before = sum(total["failed"] for total in totals.values())
    wanted = [] if arguments == ["--write"] else arguments or [*ROWS, *HELD]
    for argument in wanted:
        name, _, count = argument.partition("=")
        if name in HELD:
            totals[name] = check(HELD[name])
            save(totals)
            continue
        try_row(name, int(count) if count else ROWS[name].count, totals)
    save(totals)
    return sum(total["failed"] for total in totals.values()) - before


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
