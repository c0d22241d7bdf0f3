"""Jobs of a real Slurm: told to stop, put back, pre-empted, of a node that is lost; they end as if nothing had been."""

from __future__ import annotations

import json
import os
import random
import re

import pytest
from slurm_cluster import Cluster, missing, wait_until
from victims import EVERY_STEP, assert_same, only_run, steps

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]
PATIENCE_S = 420
SEEDS = range(int(os.environ.get("CPRSPEC_FAULT_SEED", "0")), int(os.environ.get("CPRSPEC_FAULT_SEED", "0")) + 2)
TWO_NODES = ("--nodes", 2)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two nodes."""
    with Cluster(tmp_path_factory.mktemp("slurm")) as made:
        yield made


class Trial:
    """A job that trains the small experiment in two ranks, and its run."""

    def __init__(self, cluster, lab, folder, *options, epochs=12):
        self.cluster, self.lab = cluster, lab
        self.long = ("--set", f"phase.cycle.epochs={epochs}")  # not over before the controller answers
        own = {name: cluster.environment[name] for name in ("SLURM_CONF", "PATH")}
        ended = lab.call(
            "submit", "small.toml", "--gpus", 0, "--runs", folder / "runs", *EVERY_STEP, *self.long, *options, **own
        )  # fmt: skip
        assert ended.code == 0, ended.talk
        self.run = only_run(folder / "runs")
        self.job = re.search(r"^job (\d+) trains", ended.talk, re.MULTILINE)[1]

    def __call__(self, *command):
        done = self.cluster.call(*command)
        assert done.returncode == 0, done.stderr

    def said(self):
        """What the job wrote, and how it stands."""
        log = self.run / "logs" / f"slurm-{self.job}.log"
        return f"{log.read_text() if log.exists() else ''}\n{self.facts()}"

    def facts(self):
        return self.cluster.job(self.job)

    def logged(self):
        """How many steps the log has."""
        path = self.run / "events.jsonl"
        return path.read_text().count('"kind": "step"') if path.exists() else 0

    def wait_for_steps(self, count):
        wait_until(lambda: self.logged() >= count, PATIENCE_S, self.said)

    def wait_for(self, state):
        wait_until(lambda: self.facts().get("JobState") == state, PATIENCE_S, self.said)

    def restarts(self):
        """How often it was put back."""
        return int(self.facts().get("Restarts", "0"))

    def is_put_back(self):
        wait_until(lambda: self.restarts() == 1, PATIENCE_S, self.said)

    def starts_again(self):
        """It is put back, and begins once more."""
        self.is_put_back()
        self.cluster.hurry(self.job)

    def ends_as_if_nothing_had_happened(self, attempts):
        self.wait_for("COMPLETED")
        assert_same(self.run, self.lab.reference("--nproc", 2, *self.long))
        assert json.loads((self.run / "status.json").read_text())["attempt"] == attempts
        assert "Traceback" not in self.said()


@pytest.fixture
def trial(cluster, lab, tmp_path):
    """Submits the small experiment."""
    return lambda *options, **more: Trial(cluster, lab, tmp_path, *options, **more)


def anywhere(seed):
    """A number of steps to wait for, of 112."""
    return random.Random(seed).randrange(1, 60)


@pytest.mark.parametrize("seed", SEEDS)
def test_told_to_stop_before_its_time_is_over(trial, seed):
    job = trial(*TWO_NODES)
    job.wait_for_steps(anywhere(seed))
    job("scancel", "--signal=USR1", "--batch", job.job)
    job.starts_again()
    assert "back into the queue" in job.said()
    job.ends_as_if_nothing_had_happened(attempts=1)
    assert job.logged() == len(steps(job.run)), "what was done was saved, and not made again"


def test_out_of_time_as_often_as_it_takes(trial):
    """Nobody sends a signal but Slurm, up to a minute before the notice that was asked for."""
    job = trial(*TWO_NODES, "--time", 2, "--notice", 30, "--set", "launch.checkpoint_minutes=1", epochs=250)
    hurried = 0

    def over():
        nonlocal hurried
        if job.restarts() > hurried:
            hurried += 1
            job.cluster.hurry(job.job)
        return job.facts().get("JobState") == "COMPLETED"

    wait_until(over, 2 * PATIENCE_S, job.said)
    assert hurried and job.said().count("back into the queue") == hurried
    job.ends_as_if_nothing_had_happened(attempts=hurried)
    assert job.logged() == len(steps(job.run)), "what was done was saved, and not made again"


@pytest.mark.parametrize("seed", SEEDS)
def test_put_back_by_somebody(trial, seed):
    job = trial(*TWO_NODES, "--set", "launch.workers=1")
    job.wait_for_steps(anywhere(seed))
    job("scontrol", "requeue", job.job)
    job.starts_again()
    job.ends_as_if_nothing_had_happened(attempts=1)


@pytest.mark.parametrize("seed", SEEDS)
def test_pre_empted_with_a_grace_time(cluster, trial, seed):
    job = trial("--nproc", 2, "--sbatch=--exclusive")
    job.wait_for_steps(anywhere(seed))
    urgent = cluster.call(
        "sbatch",
        "--parsable",
        "--partition=high",
        "--nodes=2",
        "--exclusive",
        "--output=/dev/null",
        "--wrap",
        "sleep 1",
    ).stdout.strip()
    job.starts_again()
    assert "back into the queue" in job.said()
    wait_until(lambda: cluster.job(urgent).get("JobState") == "COMPLETED", PATIENCE_S)
    job.ends_as_if_nothing_had_happened(attempts=1)
    assert job.logged() == len(steps(job.run)), "what was done was saved, and not made again"


@pytest.mark.parametrize("node", ["one", "two"])
def test_slurm_notices_that_a_node_is_lost(cluster, trial, node):
    """On the first one the job's shell is lost, too."""
    job = trial(*TWO_NODES)
    job.wait_for_steps(5)
    cluster.kill_node(node)
    job.is_put_back()
    cluster.start_node(node)
    job.starts_again()
    job.ends_as_if_nothing_had_happened(attempts=1)


def test_the_other_machine_notices_before_slurm(cluster, trial):
    cluster.notice_after(3600)
    try:
        job = trial(*TWO_NODES)
        job.wait_for_steps(12)
        cluster.kill_node("two")
        job.is_put_back()
        assert "machine 1 (" in job.said() and "was lost (rank 1 last seen in phase" in job.said()
        assert "back into the queue" in job.said()
        cluster.start_node("two")  # no hurry: the controller still has to tell it that the job is over
        job.ends_as_if_nothing_had_happened(attempts=1)
    finally:
        cluster.notice_after(10)


def test_cancelled_and_submitted_again(cluster, trial):
    job = trial("--nproc", 2)
    job.wait_for_steps(3)
    job("scancel", job.job)
    job.wait_for("CANCELLED")
    assert json.loads((job.run / "status.json").read_text())["state"] == "stopped"
    assert "back into the queue" not in job.said()
    again = cluster.call("sbatch", "--parsable", str(job.run / "job.sbatch"))
    job.job = again.stdout.strip()
    job.ends_as_if_nothing_had_happened(attempts=1)
    assert job.facts()["Restarts"] == "0"


def test_what_slurm_refuses_leaves_no_run(cluster, lab, tmp_path):
    own = {name: cluster.environment[name] for name in ("SLURM_CONF", "PATH")}
    ended = lab.call("submit", "small.toml", "--gpus", 0, "--partition", "none", "--runs", tmp_path / "runs", **own)
    assert ended.code == 1
    assert ended.talk.splitlines()[-1].startswith("sbatch: invalid partition specified")
    assert list((tmp_path / "runs").iterdir()) == []
