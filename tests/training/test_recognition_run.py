"""Recognition in a whole run: what it writes, and that being stopped, killed or shared among ranks changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time

import pytest
import torch
from safetensors.torch import load_file
from small_run import SPEC, events, the_run

EVALUATIONS = """
[evaluate.linear]
use = "linear"
encoders = ["rgb+flow", "random/rgb"]
epochs = 4
milestones = [3]

[evaluate.tuned]
use = "finetune"
encoders = ["rgb"]
epochs = 3
milestones = [2]
batch_size = 8
dropout = 0.5
crops = "five"

[evaluate.probe]
use = "probe"
encoders = ["rgb"]
epochs = 1
milestones = []
batch_size = 8
l2 = false
batch_norm = false
crops = "centre"

[evaluate.iic]
use = "finetune-iic"
encoders = ["rgb"]
epochs = 1
patience = 0
validation = 8
batch_size = 8
"""
NAMES = ("linear", "tuned", "probe", "iic")


def small_spec():
    """The small experiment's two InfoNCE phases and every way of recognition."""
    head, _, _ = SPEC.partition("[phase.cycle]")
    return head + EVALUATIONS + SPEC[SPEC.index("[launch]") :]


@pytest.fixture
def recognition(tmp_path):
    file = tmp_path / "recognition.toml"
    file.write_text(small_spec())
    return file


@pytest.fixture(scope="module")
def reference(cprspec_session, tmp_path_factory):
    """An uninterrupted run in one process."""
    folder = tmp_path_factory.mktemp("recognition")
    (folder / "recognition.toml").write_text(small_spec())
    cprspec_session("run", "recognition.toml", "--runs", "runs", folder=folder)
    return the_run(folder / "runs")


@pytest.fixture
def phases_alone(reference, tmp_path):
    """A folder of runs with the reference's phases and none of its evaluations, which would be taken as well."""
    runs = tmp_path / "runs"
    there = runs / reference.parent.name / reference.name
    shutil.copytree(reference, there, ignore=shutil.ignore_patterns("evaluations"))
    return runs


def found(run, name):
    """The facts and the tensors of an evaluation."""
    path = run / "evaluations" / f"{name}.json"
    return json.loads(path.read_text()), load_file(path.with_suffix(".safetensors"))


def test_what_is_written(reference):
    for name in NAMES:
        facts, tensors = found(reference, name)
        assert facts["kind"] == "evaluation" and facts["name"] == name
        for record in facts["records"]:
            assert 0 <= record["value"] <= 1 and record["split"] == "test" and record["unit"] == "video"
            counts = torch.tensor(facts["confusion"]["motion"]["counts"][record["encoder"]])
            assert counts.sum() == record["n"] == len(facts["videos"]["motion"])
            if record["metric"] == "top1":
                assert counts.diag().sum() / counts.sum() == pytest.approx(record["value"])
            assert set(facts["per_class"]["motion"][record["encoder"]]) == set(facts["confusion"]["motion"]["classes"])
        for probability_VC in tensors.values():
            torch.testing.assert_close(probability_VC.sum(1), torch.ones(len(probability_VC)))
    assert {r["protocol"] for name in NAMES for r in found(reference, name)[0]["records"]} == {
        "linear-features", "finetune-five-crop", "probe-centre-crop", "finetune-ten-clip-centre-crop",
    }  # fmt: skip
    assert not list((reference / "evaluations").glob("*.work"))
    news = {(e["name"], e["encoder"], e["epoch"]) for e in events(reference, "evaluating")}
    assert {("linear", "flow", 3), ("linear", "rgb", 3), ("tuned", "rgb", 2), ("probe", "rgb", 0)} <= news


@pytest.mark.parametrize("stopped_by", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_while_fine_tuning_and_resumed_equals_uninterrupted(
    reference, phases_alone, cprspec, recognition, stopped_by
):
    # The phases are those of the reference, so what is left is the evaluations.
    runs = phases_alone
    before = {*runs.glob("*/*")}
    often = ("--set", "launch.checkpoint_minutes=0.00001")
    process = cprspec("run", recognition, "--runs", runs, *often, wait=False)
    deadline = time.monotonic() + 120
    run = None
    while time.monotonic() < deadline and process.poll() is None:
        run = next(iter({*runs.glob("*/*")} - before), None)
        if run is not None and list(run.glob("evaluations/tuned.work/*@training.kept")):
            break
        time.sleep(0.005)
    os.kill(process.pid, stopped_by)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == (-9 if stopped_by == signal.SIGKILL else 143), talk
    assert (run / "evaluations" / "tuned.work").is_dir(), "it was stopped too late to test anything"
    assert not (run / "evaluations" / "tuned.json").exists()
    cprspec("run", run, "--runs", runs)
    for name in NAMES:
        (facts, tensors), (expected, wanted) = found(run, name), found(reference, name)
        assert facts == expected
        assert tensors.keys() == wanted.keys()
        assert all(torch.equal(tensors[key], wanted[key]) for key in wanted)
    assert not list((run / "evaluations").glob("*.work"))


@pytest.mark.slow
def test_two_ranks_recognise_as_one_does(reference, phases_alone, cprspec, recognition):
    cprspec("run", recognition, "--runs", phases_alone, "--nproc", 2)
    run = max((phases_alone / reference.parent.name).iterdir(), key=lambda p: p.stat().st_mtime)
    assert run.name != reference.name
    for name in ("linear", "probe"):  # no batch norm in training: the same but for rounding
        (_, tensors), (_, wanted) = found(run, name), found(reference, name)
        for key, expected in wanted.items():
            torch.testing.assert_close(tensors[key], expected, atol=1e-3, rtol=0)
    for name in NAMES:
        assert found(run, name)[0]["videos"] == found(reference, name)[0]["videos"]


def test_a_batch_that_ranks_cannot_share_is_refused_before_anything_starts(cprspec, recognition, tmp_path):
    done = cprspec(
        "run", recognition, "--runs", "runs", "--nproc", 2, "--set", "evaluate.tuned.batch_size=9", check=False
    )
    assert done.returncode == 2
    assert "evaluation 'tuned': batch_size 9 does not divide over 2 ranks" in done.stderr
    assert not (tmp_path / "runs").exists()
