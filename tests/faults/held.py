"""Rows of faults that tests elsewhere hold, each with the tests that do: they are run, and their cases counted."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

from attrs import frozen

_PROJECT = Path(__file__).parent.parent.parent


@frozen
class Held:
    """What is done to what, and the tests that do it: files or single tests below tests/."""

    what: str
    tests: tuple[str, ...]


HELD = {
    "P9": Held(
        "shared memory is full: said with its size and the setting", (
            "training/test_bad_clips_run.py::test_full_shared_memory_ends_a_run_with_its_size_and_the_setting",
            "video/test_supply.py::test_full_shared_memory_says_how_large_it_is_and_what_to_change",
        ),
    ),
    "hosts": Held(
        "two machines (network name spaces): one is killed, its cable pulled, a rank dies, one is asked to stop; bit for bit",
        ("faults/test_hosts.py",),
    ),
    "slurm": Held(
        "jobs of a real Slurm: told to stop, out of time, pre-empted, put back, nodes lost, refused; each goes on bit for bit",
        ("faults/test_slurm.py",),
    ),
    "D1-mount": Held(
        "a disk of its own fills while a run writes; it goes on elsewhere bit for bit",
        ("faults/test_disks.py::test_a_disk_that_fills_up_harms_nothing_that_was_there",),
    ),
    "D2": Held("too little room is foreseen: refused with both numbers", ("training/test_space.py",)),
    "D3": Held(
        "a read-only run directory: refused at once, and still compared",
        ("faults/test_disks.py::test_a_read_only_run_is_refused_at_once_and_still_read",),
    ),
    "D9": Held(
        "logs that are damaged, cut, rotated, replaced or any bytes: read as far as they go, damage counted",
        ("runs/test_events.py", "runs/test_logs.py", "runs/test_history.py"),
    ),
    "D11": Held("broken runs in a list: each with its reason", ("runs/test_glance.py", "runs/test_summary.py")),
    "D12": Held(
        "what a checkpoint asks of the disk, in order: write, sync, rename, sync of the folder (strace)",
        ("faults/test_disks.py::test_a_checkpoint_is_on_disk_before_it_has_its_name",),
    ),
    "C-fuzz": Held("checkpoints of any bytes", ("training/test_checkpoint_fuzz.py",)),
    "V1": Held(
        "hostile videos: rejected with class and file, or read with the right frames",
        ("video/test_opening.py", "video/test_inspect.py", "video/test_indexing.py"),
    ),
    "V2": Held(
        "mutated videos, 40 and 2,000 to the index, 44 each to `data prepare` and training: no crash, no hang",
        ("video/test_mutations.py::test_no_mutation_kills_hangs_or_escapes", "video/test_mutated_use.py"),
    ),
    "V3": Held(
        "silent damage is found; a thousand sound files raise no alarm",
        ("video/test_checking.py", "video/test_mutations.py::test_sound_files_raise_no_alarm"),
    ),
    "V4": Held("videos that vanish from a store: replaced by rule, within a budget", ("training/test_bad_clips_run.py",)),
    "V5": Held("variable rate, rotation, one frame, odd sizes", ("video/test_sampling.py", "video/test_decode.py")),
    "V6": Held("a true size of 8192 x 8192", ("video/test_opening.py",)),
    "V7": Held("no usable video", ("video/test_usable.py", "video/test_cli_data.py")),
    "S1": Held(
        "over 100 hostile experiments: file, line, hint; nothing is made", ("spec/test_hostile_experiments.py",)
    ),
    "S2": Held("experiments of any bytes and size", ("spec/test_loader_fuzz.py", "spec/test_toml_out.py")),
    "S3": Held(
        "wrong types, unknown keys and components: all at once, nearest name",
        ("spec/test_wrong_experiments.py", "spec/test_registry.py"),
    ),
    "S4": Held(
        "names that are paths", ("spec/test_hostile_experiments.py::test_no_override_makes_a_name_a_path",)
    ),
    "S5": Held("code named by an experiment", ("spec/test_hostile_experiments.py::test_each_is_refused_and_does_nothing",)),
    "T1": Held(
        "hostile text on the screens, in pages, in tables",
        ("tui/test_hostile.py", "runs/test_report.py", "runs/test_telling.py"),
    ),
    "A1": Held(
        "no part of the program can unpack an archive", 
        ("test_architecture.py::test_no_archive_is_unpacked_no_address_opened_and_no_code_read",),
    ),
}  # fmt: skip


def check(held: Held) -> dict[str, object]:
    """Run the tests of a row: how many cases there were, and how many failed or were skipped."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        tests = [f"tests/{test}" for test in held.tests]
        command = [sys.executable, "-m", "pytest", "-q", "-m", "slow or not slow", f"--junitxml={report}", *tests]
        done = subprocess.run(command, cwd=_PROJECT, check=False, capture_output=True, text=True)
        if not report.exists():
            raise RuntimeError(done.stdout + done.stderr)
        (suite,) = ET.parse(report).getroot()
    count = {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    if failed:
        print(done.stdout, file=sys.stderr)
    return {
        "trials": count["tests"] - count["skipped"], "failed": failed, "skipped": count["skipped"],
        "last": f"{datetime.now(UTC):%Y-%m-%d}",
    }  # fmt: skip
