"""What the system is asked for, and disks that are full or read-only. Needs strace, or root and name spaces; else skipped."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest
from file_trials import scratch
from victims import EVERY_STEP, assert_same, only_run

from cprspec.spec.registry import builtin_registry
from cprspec.spec.resolve import resolve
from cprspec.training import checkpoint
from cprspec.training.space import needed_bytes

SAVE = """
import sys
from pathlib import Path
import torch
from cprspec.spec.registry import builtin_registry
from cprspec.spec.resolve import resolve
from cprspec.training import checkpoint
from cprspec.training.space import needed_bytes
checkpoint.save(Path(sys.argv[1]), 7, {"a": torch.ones(3)}, {"b": torch.ones(3)}, {})
"""


def can_mount():
    """Whether this process may make a name space and mount in it."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0


mounting = pytest.mark.skipif(not can_mount(), reason="needs root and the right to mount")


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_a_checkpoint_is_on_disk_before_it_has_its_name(tmp_path):
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-y", "-o", str(trace), "-e", "trace=fsync,rename,renameat,renameat2"]
    done = subprocess.run(
        [*command, sys.executable, "-c", SAVE, str(tmp_path / "made")], check=False, capture_output=True
    )
    if b"not permitted" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    calls = [line.split(maxsplit=1)[1] for line in trace.read_text().splitlines() if str(tmp_path / "made") in line]
    names = [re.sub(r"\d+<.*/made", "<made", call).split(" = ")[0] for call in calls]
    kinds = [name.split("(")[0] for name in names]
    renamed = next(at for at, kind in enumerate(kinds) if kind.startswith("rename"))
    before = " ".join(names[:renamed])
    for name in ("weights.safetensors", "state.safetensors", "meta.json", "manifest.json"):
        assert f"/{name}>" in before, names
    assert before.index("manifest.json") > max(before.index(n) for n in ("weights.", "state.", "meta.")), "written last"
    assert names[renamed - 1].endswith(">)"), "the folder itself, before it is renamed"
    assert kinds[renamed + 1 :] == ["fsync"], "and the folder that has its name, afterwards"
    assert names[-1] == "fsync(<made>)"


def in_name_space(lab, setup, *arguments):
    """`cprspec ARGUMENTS` in a name space of its own, after the shell command `setup`; its exit code and talk."""
    words = " ".join(str(a) for a in arguments)
    environment = {
        **os.environ, "CPRSPEC_CACHE": str(lab.cache), "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    command = ["unshare", "-m", "sh", "-c", f"{setup} && exec {sys.executable} -m cprspec {words}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=lab.folder, env=environment)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


@mounting
def test_a_read_only_run_is_refused_at_once_and_still_read(lab):
    run = lab.reference()
    read_only = f"mount --bind {run} {run} && mount -o remount,ro,bind {run}"
    code, talk = in_name_space(lab, read_only, "run", run)
    assert code == 1, talk
    assert "Read-only file system" in talk
    assert "phase" not in talk, "before anything was begun"
    code, talk = in_name_space(lab, read_only, "compare", run, run)
    assert code == 0, talk


@mounting
def test_a_disk_that_fills_up_harms_nothing_that_was_there(lab):
    """Room for less than the run writes, but for more than it is sure to; then it goes on where there is room."""
    place, out = scratch(lab, "D1-mount", 0), scratch(lab, "D1-out", 0)
    resolved = resolve(lab.folder / "small.toml", builtin_registry())
    kib = needed_bytes(resolved, None) // 1024 + 60  # and the log
    setup = f"mount -t tmpfs -o size={kib}k none {place} && trap 'cp -a {place}/. {out}' EXIT"
    arguments = ("run", "small.toml", "--runs", place, *EVERY_STEP)
    words = " ".join(str(a) for a in arguments)
    environment = {**os.environ, "CPRSPEC_CACHE": str(lab.cache), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{setup}; {sys.executable} -m cprspec {words}"],
        check=False, capture_output=True, text=True, cwd=lab.folder, env=environment,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert str(place) in last, last
    assert re.search(r"cannot write \d+ bytes: No space left on device; \d+ bytes are free", last), last
    run = only_run(out)
    for folder in run.glob("phases/*/checkpoints/step-*"):
        checkpoint.load(folder)
    assert lab.call("run", run).code == 0
    assert_same(run, lab.reference())
