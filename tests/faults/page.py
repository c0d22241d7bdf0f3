"""The page docs/faults.md: promises, faults that were tried, and those that tests hold."""

from __future__ import annotations

from collections.abc import Mapping

PROMISES = {
    "Exact resume: killed at any step, it goes on bit for bit": (
        "P1",
        "P1-restart",
        "P2",
        "P2-save",
        "P6-error",
        "P8",
        "P11",
        "C1-run",
        "hosts",
        "slurm",
    ),
    "Lost work is at most one checkpoint interval; none with a signal": ("P1", "P2", "P4", "P4-ranks"),
    "A stop by signal saves, and ends within 5 s and a step": ("P4", "P4-ranks", "P5", "P6"),
    "A dead or hung rank is noticed and named; nothing is left behind": ("P1", "P3", "P7", "P8"),
    "The log has every step once, and at most its last line is torn": ("log", "P2", "P15", "D1", "D8"),
    "Checkpoints are atomic, synced and verified": (
        "C1",
        "C1-run",
        "C2",
        "C4",
        "C5",
        "C-fuzz",
        "D1",
        "D1-mount",
        "D12",
    ),
    "One writer for a run directory; readers write nothing": ("D3", "D5", "D6", "D7"),
    "A bad video ends or hangs nothing, and is named": ("V1", "V2", "V4", "V5", "V7", "P8"),
    "No silent damage": ("V3",),
    "Bounded resources": ("C2", "S2", "V6", "P9", "P9-run", "P11"),
    "No code from data": ("C3", "S5", "A1"),
    "Mistakes in experiments: all at once, with place and hint": ("S1", "S3", "S4"),
    "Nothing from a file reaches the terminal as an escape": ("T1",),
    "Long logs and many runs": ("D9", "D11"),
    "A loss that is not finite ends the run before the update; every checkpoint is finite": ("P14",),
}
"""What is promised, and the rows that would show it broken."""

HEAD = """# Faults tried

What was done to runs on purpose, how often, and how often the outcome was not the promised one. `python tests/faults/matrix.py`
(part of `make test-slow`) adds to faults.json and writes this page from it.

## What is promised

| | promise | shown by | trials and cases | failed |
|---|---|---|---|---|
"""

TRIED = """
How long logs and many runs take to show is measured by `benchmarks/tui_scale.py` (benchmarks/README.md).

## Tried

Each trial has another seed; totals are over all runs of the matrix. "Bit for bit" is: the loss of every step, each step once
and in order, every tensor of every last checkpoint, the mining tables and the recording equal those of a run that nothing
happened to. Processes are real and are really killed; they are forked from one that has its libraries loaded, and train a very
small experiment of three phases (momentum encoder, queue, cascade mining) on the CPU. Seconds are the longest
of all trials, on a machine that had other work, from the fault or from the last step before it; of what hangs, beyond the time
limit that was set.

| | what happens | trials | failed | wanted | limit, s | longest, s | last |
|---|---|---|---|---|---|---|---|
"""

HELD_HEAD = """
## Held by tests

The same tests as in `make test` and `make test-slow`: cases of the last time.

| | what happens | cases | failed | tests | last |
|---|---|---|---|---|---|
"""

TAIL = """
Machine: {machine}.

Not tried: a power cut (D12 holds the order of writing), GPUs, another version of torch (that it is named is held by tests).
"""


def page(rows: Mapping, held: Mapping, totals: Mapping[str, Mapping], machine: str) -> str:
    """The page, from what was tried."""
    none = {"trials": 0, "failed": 0, "last": "never"}
    lines = [HEAD]
    for number, (promise, shown_by) in enumerate(PROMISES.items(), 1):
        found = [totals.get(name, none) for name in shown_by]
        trials, failed = (sum(total[key] for total in found) for key in ("trials", "failed"))
        lines.append(f"| {number} | {promise} | {', '.join(shown_by)} | {trials} | {failed} |\n")
    lines.append(TRIED)
    for name, row in rows.items():
        total = none | totals.get(name, {})
        cells = (name, row.what, total["trials"], total["failed"], row.count, row.limit)
        lines.append(_row(*cells, total.get("longest_s", "") if row.limit else "", total["last"]))
    lines.append(HELD_HEAD)
    for name, row in held.items():
        total = none | totals.get(name, {})
        lines.append(_row(name, row.what, total["trials"], total["failed"], _files(row.tests), total["last"]))
    lines.append(_failures(totals))
    lines.append(TAIL.format(machine=machine))
    return "".join(lines)


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |\n"


def _files(tests: tuple[str, ...]) -> str:
    return ", ".join(dict.fromkeys(test.partition("::")[0] for test in tests))


def _failures(totals: Mapping[str, Mapping]) -> str:
    told = "".join(
        f"- {name}, seed {failure['seed']}: {failure['why'].replace('|', '/')} {failure.get('cause', '')}".rstrip()
        + "\n"
        for name, total in totals.items()
        for failure in total.get("failures", ())
    )
    return f"\n## What failed\n\n{told}" if told else ""
