"""The laboratory on runs made as a user would: its own setting is the ledger, whatever made the run."""

from __future__ import annotations

import csv
import io
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
import typer
from small_run import mined_again, mining

from cprspec.cli_mine import mine_app
from cprspec.errors import CprspecError
from cprspec.runs.layout import RunDir
from cprspec.spec.schema import Launch
from cprspec.training.recorder import Recorder


def command(capsys, run, *options):
    """Exit code, stdout and stderr of `cprspec mine`, in this process."""
    code = typer.main.get_command(mine_app)([str(run), *options], standalone_mode=False)
    return code, *capsys.readouterr()


def test_the_runs_own_setting_equals_its_ledger(reference):
    found = mined_again(reference, "miner.stages=[1,3]", "miner.topk=[1,2]")
    assert found.differences == ()
    assert [(row.choice.options["stages"], row.choice.options["topk"], row.own) for row in found.rows] == [
        (1, 1, False), (1, 2, False), (3, 1, False), (3, 2, True),
    ]  # fmt: skip
    own = json.loads(json.dumps(found.rows[3].table.to_json()))
    written = mining(reference, "cycle", 1)
    for shown in (video for example in written["examples"] for video in (example, *example["mined"])):
        shown.pop("strip", None)  # a picture, which is no part of mining
    assert own == written
    picks = {row.choice.options["topk"]: row.table.picks for row in found.rows}
    assert picks[2] == 2 * picks[1] > 0


def test_a_grid_without_the_runs_own_setting_checks_it_all_the_same(reference):
    found = mined_again(reference, 'miner.use=["coclr","oracle"]')
    assert [row.own for row in found.rows] == [True, False, False]
    assert found.differences == ()
    assert found.rows[2].table.precision == 1.0


def test_what_differs_from_the_ledger_is_said(reference, tmp_path, capsys):
    copy = shutil.copytree(reference, tmp_path / "runs" / "small" / reference.name)
    path = RunDir(copy).mining_table("cycle", 1)
    written = json.loads(path.read_text())
    path.write_text(json.dumps({**written, "picks": written["picks"] - 1}))
    code, _, talk = command(capsys, copy)
    assert code == 1
    assert f"picks is {written['picks']} here and {written['picks'] - 1} in the ledger" in talk


def test_examples_of_an_older_version_are_no_difference(reference, tmp_path):
    copy = shutil.copytree(reference, tmp_path / "runs" / "small" / reference.name)
    path = RunDir(copy).mining_table("cycle", 1)
    written = json.loads(path.read_text())
    for mined in (mined for example in written["examples"] for mined in example["mined"]):
        del mined["stages"]
    path.write_text(json.dumps({**written, "examples": written["examples"][:1]}))
    assert mined_again(copy).differences == ()
    for mined in (mined for example in written["examples"] for mined in example["mined"]):
        mined["stages"] = [0, 0, 0]
    path.write_text(json.dumps(written))
    assert "stages" in mined_again(copy).differences[0]


def test_a_miner_by_labels_with_a_schedule_equals_its_ledger(reference, cprspec, tmp_path):
    shutil.copytree(reference, tmp_path / "runs" / "small" / reference.name)
    changed = ("--set", 'miner.use="oracle"', "--set", "miner.topk={ 0 = 3, 1 = 1 }", "--set", "evaluate={}")
    cprspec("run", "small.toml", *changed)
    (run,) = (found for found in tmp_path.glob("runs/small/*") if found.name != reference.name)
    found = mined_again(run, "miner.topk=[1,2]", 'miner.use=["oracle","cpr"]')
    assert found.differences == ()
    assert [row.own for row in found.rows] == [True, False, False, False]
    own, _, more, _ = found.rows
    assert (own.table.precision, own.choice.miner.topk) == (1.0, 1)
    assert more.table.picks > own.table.picks > 0


def test_the_command_prints_a_table_json_and_csv(reference, capsys):
    grid = ("--grid", "miner.stages=[1,3]", "--grid", "miner.topk=[2]")
    _, out, talk = command(capsys, reference, *grid)
    assert "* is the run's own setting: equal to the run's ledger" in talk
    assert "encoders held fixed" in talk
    assert out.count("\n") >= 5
    data = json.loads(command(capsys, reference, *grid, "--json")[1])
    assert (data["kind"], data["phase"], data["epoch"], data["encoders"], data["equals_ledger"]) == (
        "mine", "cycle", 1, "fixed", True,
    )  # fmt: skip
    own = data["settings"][1]
    assert own["own"]
    assert own["miner"] == {"use": "cpr", "stages": 3, "ratio": 0.5, "topk": 2}
    table = mining(reference, "cycle", 1)
    assert all(own[key] == table[key] for key in ("queries", "picks", "precision", "cmr", "funnel"))
    rows = list(csv.DictReader(io.StringIO(command(capsys, reference, *grid, "--csv")[1])))
    assert [row["miner.stages"] for row in rows] == ["1", "3"]
    assert float(rows[1]["cmr.video.mean_random"]) == table["cmr"]["video"]["mean_random"]


def test_what_cannot_be_mined_again_says_why(reference, capsys, tmp_path):
    with pytest.raises(CprspecError, match="did you mean 'stages'"):
        command(capsys, reference, "--grid", "miner.stagse=[1]")
    with pytest.raises(CprspecError, match="two forms of one table"):
        command(capsys, reference, "--json", "--csv")
    with pytest.raises(CprspecError, match="one of cpu, cuda, auto"):
        command(capsys, reference, "--device", "tpu")
    copy = shutil.copytree(reference, tmp_path / "runs" / "small" / reference.name)
    RunDir(copy).replay("cycle").unlink()
    with pytest.raises(CprspecError, match=r"has no recording.*launch\.replay"):
        mined_again(copy)
    (copy / "phases" / "cycle" / "phase.json").unlink()
    with pytest.raises(CprspecError, match=r"phase cycle is not finished, and .* cprspec run .* goes on with it"):
        mined_again(copy)


@pytest.mark.parametrize("launch", [Launch(replay=False), Launch()])
def test_an_epoch_is_recorded_whole_or_not_at_all(launch, tmp_path):
    ranks = SimpleNamespace(first=True, world=1)
    job = SimpleNamespace(launch=launch, phase=SimpleNamespace(miner=object()), ranks=ranks, folder=tmp_path)
    stepper = SimpleNamespace(bank=lambda: {"key_KD": torch.zeros(2)}, embedded=lambda: [{"video_M": torch.arange(2)}])
    recorder = Recorder(job, stepper)
    recorder.add()
    recorder.add()
    state = recorder.state()
    assert (state != {}) == launch.replay
    other = Recorder(job, stepper)
    other.restore(state, step=2)
    assert other.state().keys() == state.keys()
    other.restore({}, step=2)  # by a version that recorded nothing, or told not to
    other.add()
    assert other.state() == {}
    other.finish(0)
    assert not list(tmp_path.iterdir())
    assert (launch.replay is False) or recorder.state()["clips.video_M"].tolist() == [0, 1, 0, 1]
