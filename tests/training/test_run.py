"""A whole run from the command line: what it writes, how it goes on, and that ranks and interruptions change nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time

import pytest
import torch
from small_run import events, losses, mined_again, mining, recorded, same, state, the_run, weights

PHASES = ("rgb", "flow", "cycle")


def test_a_run_leaves_what_readers_need(reference):
    for name in ("experiment.toml", "resolved.toml", "environment.json", "status.json", "events.jsonl"):
        assert (reference / name).is_file(), name
    assert json.loads((reference / "status.json").read_text())["state"] == "finished"
    assert [e["phase"] for e in events(reference, "phase-finished")] == list(PHASES)
    records = json.loads((reference / "evaluations" / "nn.json").read_text())["records"]
    encoders = {r["encoder"] for r in records if r["metric"] == "R@1"}
    assert {"rgb", "flow", "cycle", "random/rgb", "random/flow", "rgb+flow", "cycle+flow"} <= encoders
    assert all(0 <= r["value"] <= 1 for r in records)


def test_mining_is_recorded_from_the_full_bank_on(reference):
    warm = [e["warm_up"] for e in events(reference, "step") if e["phase"] == "cycle"]
    assert warm == [True] * 2 + [False] * (len(warm) - 2)  # a queue of 16 in batches of 8
    first, last = mining(reference, "cycle", 0), mining(reference, "cycle", 1)
    assert first["queries"] == last["queries"] - 16
    assert last["picks"] == 2 * last["queries"]
    assert last["precision"] == pytest.approx(last["true_positives"] / last["picks"])
    assert not (reference / "phases" / "rgb" / "mining").exists()


def test_no_pickle_is_written(reference):
    assert {p.suffix for p in reference.rglob("*") if p.is_file()} <= {
        ".toml",
        ".json",
        ".jsonl",
        ".safetensors",
        ".lock",
        ".log",
        ".jpg",
    }


def test_the_run_reads_the_same_elsewhere_and_a_second_one_reuses_what_is_the_same(reference, cprspec, spec):
    done = cprspec("run", spec, "--runs", reference.parent.parent)
    assert "trained already" in done.stderr
    again = max(reference.parent.iterdir(), key=lambda p: p.stat().st_mtime)
    assert again != reference
    assert all(e["reused_from"] for e in events(again, "phase-started"))
    assert all(same(weights(again, p), weights(reference, p)) for p in PHASES)
    assert mining(again, "cycle", 1) == mining(reference, "cycle", 1)
    (evaluated,) = events(again, "evaluated")
    assert evaluated["reused_from"] == f"small/{reference.name}" and "nn: taken from small/" in done.stderr
    was, now = (json.loads((run / "evaluations" / "nn.json").read_text()) for run in (reference, again))
    assert now == was | {"reused_from": f"small/{reference.name}"}
    more = ("--set", "evaluate.nn.k=[1]", "--set", 'evaluate.more={use="retrieval"}')
    cprspec("run", spec, "--runs", reference.parent.parent, *more)
    other = max(reference.parent.iterdir(), key=lambda p: p.stat().st_mtime)
    assert [(e["name"], e["reused_from"]) for e in events(other, "evaluated")] == [("nn", None), ("more", None)]


@pytest.mark.parametrize("stopped_by", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_interrupted_and_resumed_equals_uninterrupted(reference, cprspec, spec, tmp_path, stopped_by):
    process = cprspec("run", spec, "--runs", "runs", "--set", "launch.checkpoint_minutes=0.00001", wait=False)
    runs = tmp_path / "runs"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        logged = [e for log in runs.glob("*/*/events.jsonl") for e in log.read_text().splitlines() if '"cycle"' in e]
        if sum('"kind": "step"' in e for e in logged) >= 5:
            break
        time.sleep(0.02)
    os.kill(process.pid, stopped_by)
    _, talk = process.communicate(timeout=60)
    run = the_run(runs)
    if stopped_by == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 128 + stopped_by, talk
        assert f"cprspec run {run.relative_to(tmp_path)}" in talk
        assert json.loads((run / "status.json").read_text())["state"] == "stopped"
    assert not (run / "phases" / "cycle" / "phase.json").exists(), "it was stopped too late to test anything"
    cprspec("run", run)
    assert losses(run) == losses(reference)
    assert all(same(weights(run, p), weights(reference, p)) for p in PHASES)
    assert same(state(run, "cycle"), state(reference, "cycle"))
    assert mining(run, "cycle", 1) == mining(reference, "cycle", 1)
    assert recorded(run, "cycle") == recorded(reference, "cycle")


def test_two_ranks_with_one_group_equal_one_rank_with_two(reference, cprspec, spec, tmp_path):
    cprspec("run", spec, "--runs", "runs", "--nproc", 2)
    run = the_run(tmp_path / "runs")
    ours, theirs = losses(run), losses(reference)
    assert ours.keys() == theirs.keys()
    for step, loss in theirs.items():
        assert ours[step] == pytest.approx(loss, rel=2e-3), step
    bank, expected = state(run, "cycle"), state(reference, "cycle")
    assert torch.equal(bank["model.bank.video_K"], expected["model.bank.video_K"])
    assert torch.equal(bank["model.bank.pointer"], expected["model.bank.pointer"])
    torch.testing.assert_close(bank["model.bank.key_KD"], expected["model.bank.key_KD"], atol=2e-3, rtol=0)
    found = mined_again(run, "miner.topk=[1,2]")
    assert (found.differences, found.recording.epoch.world_size) == ((), 2)
    assert found.recording.video_M.tolist() == mined_again(reference).recording.video_M.tolist()


def test_workers_and_checkpointed_activations_change_nothing(reference, cprspec, spec, tmp_path):
    cprspec("run", spec, "--runs", "runs", "--set", "launch.workers=2", "--set", "launch.checkpoint_activations=true")
    run = the_run(tmp_path / "runs")
    assert losses(run) == losses(reference)
    for phase in ("rgb", "flow", "cycle"):
        assert same(weights(run, phase), weights(reference, phase))


def test_a_run_has_one_writer(reference, cprspec):
    from cprspec.runs.layout import RunDir

    with RunDir(reference).lock():
        done = cprspec("run", reference, check=False)
    assert done.returncode == 1
    assert "is being written by pid" in done.stderr


def test_loss_that_is_not_finite_stops_before_the_update(cprspec, spec, tmp_path):
    done = cprspec("run", spec, "--runs", "runs", "--set", "optimizer.lr=1e30", check=False)
    assert done.returncode == 1
    assert "not finite" in done.stderr
    assert "Traceback" not in done.stderr
    run = the_run(tmp_path / "runs")
    for folder in run.glob("phases/*/checkpoints/step-*"):
        from cprspec.training.checkpoint import load

        assert all(t.isfinite().all() for t in load(folder).weights.values() if t.is_floating_point())


def test_a_run_goes_on_only_as_it_began(reference, cprspec):
    done = cprspec("run", reference, "--set", "framework.temperature=0.5", check=False)
    assert done.returncode == 2
    assert "cannot change a run that has begun" in done.stderr
    assert cprspec("run", reference, "--set", "launch.workers=1").returncode == 0


def test_checkpoints_of_other_options_are_not_taken_for_these(reference, cprspec, tmp_path):
    copy = tmp_path / "runs" / "small" / reference.name
    shutil.copytree(reference, copy)
    text = (copy / "resolved.toml").read_text()
    (copy / "resolved.toml").write_text(text.replace("momentum = 0.9\n", "momentum = 0.8\n"))
    before = (copy / "phases" / "rgb" / "phase.json").read_bytes()
    done = cprspec("run", copy, check=False)
    assert done.returncode == 2
    assert "trained with other options" in done.stderr
    assert (copy / "phases" / "rgb" / "phase.json").read_bytes() == before


def test_ranks_with_data_workers_stop_and_go_on(reference, cprspec, spec, tmp_path):
    two = ("--nproc", 2, "--set", "launch.workers=1")
    process = cprspec("run", spec, "--runs", "runs", *two, wait=False)
    runs = tmp_path / "runs"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not any('"step"' in p.read_text() for p in runs.glob("*/*/events.jsonl")):
        time.sleep(0.02)
    run = the_run(runs)
    (run / "stop-requested").touch()
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 143, talk
    assert f"cprspec run {run.relative_to(tmp_path)} --nproc 2" in talk
    refused = cprspec("run", run, check=False)
    assert refused.returncode == 2
    assert "--nproc 2" in refused.stderr
    cprspec("run", run, *two)
    assert losses(run).keys() == losses(reference).keys()


def test_more_ranks_than_normalisation_groups_are_refused_before_anything_starts(cprspec, spec, tmp_path):
    done = cprspec("run", spec, "--runs", "runs", "--nproc", 4, check=False)
    assert done.returncode == 2
    assert "bn_groups 2 cannot be shared by 4 ranks" in done.stderr
    assert not (tmp_path / "runs").exists()
