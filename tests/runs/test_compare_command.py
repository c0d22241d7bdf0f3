"""`cprspec compare` as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

START = "import sys; from cprspec.cli import main; sys.argv = ['cprspec', *sys.argv[1:]]; main()"


def compare(*arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-c", START, "compare", *arguments],
        cwd=cwd,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p) + os.pathsep + str(Path.cwd()),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_names_prefixes_and_paths(make_run, tmp_path):
    run = make_run("cpr")
    make_run("coclr", lr=0.2)
    by_name = compare("cpr", "coclr", cwd=tmp_path)
    assert by_name.returncode == 0, by_name.stderr
    assert "R@1" in by_name.stdout
    assert by_name.stderr == ""
    assert "\x1b" not in by_name.stdout
    by_path = compare(str(run.path), "coc", "--runs", "runs", "--json", cwd=tmp_path)
    data = json.loads(by_path.stdout)
    assert [group["experiment"] for group in data["groups"]] == ["cpr", "coclr"]
    wide = compare("cpr", "coclr", cwd=tmp_path, COLUMNS="200")
    assert "random mean" in wide.stdout


def test_an_unknown_run_is_one_line_and_exit_code_2(make_run, tmp_path):
    make_run("cpr")
    found = compare("cprr", cwd=tmp_path)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr == "no run 'cprr' in runs; did you mean 'cpr'?\n"


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_a_damaged_run_is_compared_all_the_same_and_said_so(make_run, tmp_path, option):
    run = make_run("cpr")
    run.evaluation("nn").write_bytes(b"\xff")
    run.events.write_bytes(b"\x1b[2J\n" + run.events.read_bytes())
    found = compare("cpr", *option, cwd=tmp_path)
    assert found.returncode == 0
    said = found.stdout if option else found.stderr
    assert "nn.json" in said
    assert "1 damaged lines" in said
    assert "\x1b" not in found.stdout + found.stderr
