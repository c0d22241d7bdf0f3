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


def test_other_forms_metrics_and_thresholds(make_run, cprspec):
    make_run("cpr", recall=0.5)
    make_run("coclr", lr=0.2, recall=0.4)
    _, table, _ = cprspec("compare", "cpr", "coclr", "--csv", "--metric", "R@1")
    assert {line.split(",")[3] for line in table.splitlines()} == {"metric", "R@1"}
    code, text, said = cprspec("compare", "cpr", "coclr", "--markdown", "--fail-under", "R@1=0.4")
    assert (code, said) == (0, "")
    assert text.startswith("**Runs**\n\n|  | experiment |")
    code, text, said = cprspec("compare", "cpr", "coclr", "--fail-under", "R@1=0.45", "--fail-under", "cycle:mAP=0.2")
    assert code == 1
    assert said == "B (coclr): R@1 of cycle (toy, test, retrieval-default, video) is 0.4, under 0.45\n"
    assert "R@1" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metric", "r1"], "no run has a metric 'r1'; did you mean 'R@1'?\n"),
        (["--fail-under", "recall=0.5"], "no run has a metric 'recall'"),
        (["--fail-under", "cycel:R@1=0.5"], "no run has 'R@1' of an encoder 'cycel'; did you mean 'cycle'?\n"),
        (["--fail-under", "R@1=50"], "--fail-under 'R@1=50': this metric lies between 0 and 1; for 50 % write 0.5\n"),
        (["--csv", "--json"], "--json, --csv and --markdown are forms of one comparison; choose one of them\n"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(make_run, cprspec, arguments, message):
    make_run("cpr")
    code, text, said = cprspec("compare", "cpr", *arguments)
    assert (code, text) == (2, "")
    assert said.startswith(message)
    assert said.count("\n") == 1
