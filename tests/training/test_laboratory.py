"""The laboratory on runs made as a user would: its own setting is the ledger, whatever made the run."""

from __future__ import annotations

import csv
import io
import json
import shutil

import numpy as np
import pytest
from small_run import IIC, mining, the_run

from cprspec.errors import CprspecError
from cprspec.mining.recording import read_recording
from cprspec.runs.layout import RunDir
from cprspec.spec.grid import read_plan
from cprspec.spec.registry import builtin_registry
from cprspec.training.laboratory import experiment


def laboratory(path, *grid, phase=None):
    run = RunDir(path)
    return experiment(run, read_plan(run.resolved, builtin_registry(), phase, grid))


def test_the_runs_own_setting_equals_its_ledger(reference):
    found = laboratory(reference, "miner.stages=[1,3]", "miner.topk=[1,2]")
    assert found.differences == ()
    assert [(row.choice.options["stages"], row.choice.options["topk"], row.own) for row in found.rows] == [
        (1, 1, False), (1, 2, False), (3, 1, False), (3, 2, True),
    ]  # fmt: skip
    own = json.loads(json.dumps(found.rows[3].table.to_json()))
    assert own == mining(reference, "cycle", 1)
    picks = {row.choice.options["topk"]: row.table.picks for row in found.rows}
    assert picks[2] == 2 * picks[1] > 0


def test_a_grid_without_the_runs_own_setting_checks_it_all_the_same(reference):
    found = laboratory(reference, 'miner.use=["coclr","oracle"]')
    assert [row.own for row in found.rows] == [True, False, False]
    assert found.differences == ()
    assert found.rows[2].table.precision == 1.0


def test_what_differs_from_the_ledger_is_said(reference, tmp_path, cprspec):
    copy = shutil.copytree(reference, tmp_path / "runs" / "small" / reference.name)
    path = RunDir(copy).mining_table("cycle", 1)
    written = json.loads(path.read_text())
    path.write_text(json.dumps({**written, "picks": written["picks"] - 1}))
    done = cprspec("mine", "small", check=False)
    assert done.returncode == 1
    assert f"picks is {written['picks']} here and {written['picks'] - 1} in the ledger" in done.stderr


@pytest.fixture(scope="module")
def mined(cprspec_session, tmp_path_factory):
    """Runs of the small experiment by two processes, by labels, and of IIC in micro-batches of two processes."""
    folder = tmp_path_factory.mktemp("mined")
    (folder / "iic.toml").write_text(IIC)
    two = ("--nproc", 2)
    asked = {
        "two": ("small.toml", *two),
        "labels": ("small.toml", "--set", 'miner.use="oracle"', "--set", "miner.topk=2"),
        "by-epoch": ("small.toml", "--set", "miner.topk={ 0 = 3, 1 = 1 }"),
        "iic": ("iic.toml",),
        "iic-two": ("iic.toml", *two),
    }
    for runs, (spec, *options) in asked.items():
        cprspec_session("run", spec, "--runs", runs, "--set", "evaluate={}", *options, folder=folder)
    return {runs: the_run(folder / runs) for runs in asked}


@pytest.mark.parametrize("made", ["two", "labels", "by-epoch", "iic", "iic-two"])
def test_every_kind_of_run_equals_its_ledger(mined, made):
    found = laboratory(mined[made], "miner.topk=[1,2]")
    assert found.differences == ()
    assert sum(row.own for row in found.rows) == 1


def test_ranks_are_recorded_in_the_global_order(mined, reference):
    two, one = (read_recording(RunDir(run).replay("cycle")) for run in (mined["two"], reference))
    assert two.epoch.world_size == 2
    assert two.video_M.tolist() == one.video_M.tolist()
    assert np.allclose(two.clips["mining_MD"], one.clips["mining_MD"], atol=2e-3)


def test_the_command_prints_a_table_json_and_csv(reference, cprspec):
    grid = ("--grid", "miner.stages=[1,3]", "--grid", "miner.topk=[2]")
    text = cprspec("mine", reference, *grid)
    assert "* is the run's own setting: equal to the run's ledger" in text.stderr
    assert "encoders held fixed" in text.stderr
    assert text.stdout.count("\n") >= 5
    data = json.loads(cprspec("mine", reference, *grid, "--json").stdout)
    assert (data["kind"], data["phase"], data["epoch"], data["encoders"], data["equals_ledger"]) == (
        "mine", "cycle", 1, "fixed", True,
    )  # fmt: skip
    own = data["settings"][1]
    assert own["own"]
    assert own["miner"] == {"use": "cpr", "stages": 3, "ratio": 0.5, "topk": 2}
    table = mining(reference, "cycle", 1)
    assert all(own[key] == table[key] for key in ("queries", "picks", "precision", "cmr", "funnel"))
    rows = list(csv.DictReader(io.StringIO(cprspec("mine", reference, *grid, "--csv").stdout)))
    assert [row["miner.stages"] for row in rows] == ["1", "3"]
    assert float(rows[1]["cmr.video.mean_random"]) == table["cmr"]["video"]["mean_random"]


def test_what_cannot_be_mined_again_says_why(reference, cprspec, tmp_path):
    done = cprspec("mine", reference, "--grid", "miner.stagse=[1]", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'stages'" in done.stderr
    copy = shutil.copytree(reference, tmp_path / "runs" / "small" / reference.name)
    RunDir(copy).replay("cycle").unlink()
    with pytest.raises(CprspecError, match=r"has no recording.*launch\.replay"):
        laboratory(copy)


def test_a_run_may_be_told_not_to_record(cprspec, spec, tmp_path):
    cprspec("run", spec, "--runs", "runs", "--set", "launch.replay=false", "--set", "evaluate={}")
    run = RunDir(the_run(tmp_path / "runs"))
    assert run.mining_table("cycle", 1).is_file()
    assert not run.replay("cycle").exists()
