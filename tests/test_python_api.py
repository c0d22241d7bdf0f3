"""What `import cprspec` offers, and that it costs nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import cprspec
from cprspec.errors import CprspecError

PROJECT = Path(__file__).parent.parent


def test_three_names_and_no_torch():
    code = (
        "import sys, cprspec\n"
        "public = [n for n in vars(cprspec) if not n.startswith('_') and n != 'annotations']\n"
        "print(sorted(public), sorted(cprspec.__all__) == sorted(public))\n"
        "print(sorted(n for n in sys.modules if n.split('.')[0] in ('torch', 'numpy', 'attrs', 'typer', 'pathlib')))\n"
        "print(dir(cprspec))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)
    names, modules, listed = done.stdout.splitlines()
    assert names == "['load_encoder', 'load_experiment', 'open_run'] True"
    assert modules == "[]"
    assert listed == "['__version__', 'load_encoder', 'load_experiment', 'open_run']"


def test_load_experiment():
    resolved = cprspec.load_experiment(PROJECT / "experiments" / "quickstart.toml", overrides=["seed=7"])
    assert resolved.seed == 7
    assert [phase.name for phase in resolved.phases]
    with pytest.raises(CprspecError, match="cannot be read"):
        cprspec.load_experiment("missing.toml")


def test_load_experiment_takes_one_run_of_a_sweep():
    sweep = PROJECT / "experiments" / "ucf101_ablation_progressive.toml"
    with pytest.raises(CprspecError, match=r"a sweep of 2 runs, not one experiment.*sweep\.only="):
        cprspec.load_experiment(sweep)
    one = cprspec.load_experiment(sweep, overrides=['sweep.only=["progressive"]'])
    assert one.name == "ucf101-ablation-progressive"


def test_open_run(tmp_path):
    run = tmp_path / "runs" / "small" / "20260101-000000-abcd"
    run.mkdir(parents=True)
    (run / "resolved.toml").write_text('name = "small"\nseed = 4\n[phase.rgb]\nviews = ["rgb"]\n')
    (run / "status.json").write_text('{"schema": 1, "kind": "status", "state": "finished"}')
    for opened in (cprspec.open_run(run), cprspec.open_run("small", runs=tmp_path / "runs")):
        assert (opened.experiment, opened.seed, opened.status.state) == ("small", 4, "finished")
        assert [phase.name for phase in opened.phases] == ["rgb"]
    with pytest.raises(CprspecError, match="no run"):
        cprspec.open_run(tmp_path / "nothing")
