"""IIC from the command line: a run with mining, what it leaves, and that an interruption and ranks change nothing."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
import torch
from small_run import SPEC, events, losses, mining, same, state, the_run, weights

from cprspec.errors import CprspecError
from cprspec.runs.layout import RunDir
from cprspec.spec.registry import builtin_registry
from cprspec.weights.embed import load_encoder
from cprspec.weights.export import export_run

HEAD, TAIL = SPEC[: SPEC.index("[framework]")], SPEC[SPEC.index("[launch]") :]
IIC = (
    HEAD
    + """
[view.rgb]
normalise = "none"

[view.u]
use = "u"
bound = 4.0
normalise = "none"

[framework]
use = "iic"
negatives = 16
bn_groups = 2

[augment]
use = "crop"

[optimizer]
use = "sgd"

[phase.iic]
views = ["rgb", "u"]
epochs = 2
accumulate = 2
miner = { use = "cpr", stages = 3, topk = 2 }

[phase.more]
views = ["rgb", "u"]
epochs = 1
start_from = "iic"
framework = { intra_negative = "shuffle", loss = "constant_z" }

"""
    + TAIL
)


@pytest.fixture(scope="module")
def reference(cprspec_session, tmp_path_factory):
    """An uninterrupted run in one process."""
    folder = tmp_path_factory.mktemp("iic")
    (folder / "iic.toml").write_text(IIC)
    cprspec_session("run", "iic.toml", "--runs", "runs", folder=folder)
    return the_run(folder / "runs")


def test_mining_begins_with_the_second_epoch_in_both_directions(reference):
    first, last = mining(reference, "iic", 0), mining(reference, "iic", 1)
    assert (first["queries"], last["queries"]) == (0, 64)
    rgb, u = last["directions"]
    assert (rgb["view"], rgb["mined_with"], u["view"], u["mined_with"]) == ("rgb", "u", "u", "rgb")
    assert rgb["picks"] == u["picks"] == 128
    assert 128 <= last["picks"] <= 256
    assert last["precision"] == pytest.approx(last["true_positives"] / last["picks"])
    assert [stage["survivors"] for stage in rgb["funnel"]][-1] == 128
    assert not (reference / "phases" / "more" / "mining").exists()


def test_the_encoder_has_no_head_and_the_banks_are_not_its_weights(reference):
    assert all(name.startswith("0.") for name in weights(reference, "iic"))
    kept = state(reference, "iic")
    assert kept["model.first_VD"].shape == (64, kept["model.intra_VD"].shape[1])
    assert kept["model.updated_V"].all()
    assert state(reference, "more")["model.log_z_2"].isfinite().all()
    assert not any(name.startswith("model.encoder.") for name in kept)


def test_no_step_only_warms_up_and_every_loss_is_a_number(reference):
    assert not any(e["warm_up"] for e in events(reference, "step"))
    assert len(losses(reference)) == 3 * 8


def test_killed_and_resumed_equals_uninterrupted(reference, cprspec, tmp_path):
    (tmp_path / "iic.toml").write_text(IIC)
    process = cprspec("run", "iic.toml", "--runs", "runs", "--set", "launch.checkpoint_minutes=0.00001", wait=False)
    runs = tmp_path / "runs"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        logged = [e for log in runs.glob("*/*/events.jsonl") for e in log.read_text().splitlines() if '"step"' in e]
        if len(logged) >= 12:
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    run = the_run(runs)
    assert not (run / "phases" / "iic" / "phase.json").exists(), "it was killed too late to test anything"
    cprspec("run", run)
    assert losses(run) == losses(reference)
    for phase in ("iic", "more"):
        assert same(weights(run, phase), weights(reference, phase))
        assert same(state(run, phase), state(reference, phase))
    assert mining(run, "iic", 1) == mining(reference, "iic", 1)


def test_an_export_is_fed_as_the_phase_was_in_the_view_that_was_asked_for(reference, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("CPRSPEC_CACHE", str(cache))
    registry = builtin_registry()
    for view in ("rgb", "u"):
        table = export_run(RunDir(reference), "iic", tmp_path / view, registry, view).table
        assert table["normalisation"] == {"scale": 255.0, "mean": [0.0] * 3, "std": [1.0] * 3}
        assert table["head"] == {"embedding": 0}
    assert table["view"]["axis"] == "x"
    loaded = load_encoder(tmp_path / "u", "cpu")
    assert same(dict(loaded.network.state_dict()), weights(reference, "iic"))
    video = next(cache.glob("motion/*/test/*/*.mp4"))
    assert loaded.embed(video).features_VF.shape == (1, loaded.network.feature_size)
    with pytest.raises(CprspecError, match="has no view 'flow'"):
        export_run(RunDir(reference), "iic", tmp_path / "x", registry, "flow")


@pytest.mark.slow
def test_two_ranks_with_one_group_equal_one_rank_with_two(reference, cprspec, tmp_path):
    (tmp_path / "iic.toml").write_text(IIC)
    cprspec("run", "iic.toml", "--runs", "runs", "--nproc", 2)
    run = the_run(tmp_path / "runs")
    ours, theirs = losses(run), losses(reference)
    assert ours.keys() == theirs.keys()
    for step, loss in theirs.items():
        assert ours[step] == pytest.approx(loss, rel=5e-3), step
    assert json.loads((run / "environment.json").read_text())
    banks, expected = state(run, "iic"), state(reference, "iic")
    assert torch.equal(banks["model.updated_V"], expected["model.updated_V"])
    torch.testing.assert_close(banks["model.first_VD"], expected["model.first_VD"], atol=5e-3, rtol=0)
