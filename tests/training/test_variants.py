"""What an experiment may ask for besides the usual, each trained for real: views, precision, losses, miners, no labels."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file
from small_run import SPEC, events, losses, mined_again, mining, recorded, same, state, the_run, weights


def test_residual_view_bf16_accumulation_sgd_cosine_and_the_published_protocol(cprspec, tmp_path):
    path = tmp_path / "variant.toml"
    text = SPEC.replace('views = ["rgb"]', 'views = ["residual"]').replace('use = "clean"', 'use = "coclr"')
    text = text.replace("bn_groups = 2", 'bn_groups = 1\nsiblings = "ignore"\nloss = "mean_of_logs"')
    text = text.replace(
        'use = "retrieval"', 'use = "retrieval"\nprotocol = "coclr"\nencoders = ["cycle", "random", "rgb+flow"]'
    )
    top = 'format = 1\nprecision = "bf16"\naccumulate = 2\noptimizer = { use = "sgd" }\nschedule = { use = "cosine" }\n'
    path.write_text(text.replace("format = 1\n", top))
    cprspec("run", path, "--runs", "runs")
    run = the_run(tmp_path / "runs")
    assert len(losses(run)) == 8 + 8 + 16
    rates = [e["lr"] for e in events(run, "step") if e["phase"] == "cycle"]
    assert rates[-1] == pytest.approx(rates[0] / 2)  # half a cosine, in the second of two epochs
    records = json.loads((run / "evaluations" / "nn.json").read_text())["records"]
    assert {r["encoder"] for r in records} == {"cycle", "random", "rgb+flow"}
    assert {r["protocol"] for r in records} == {"retrieval-coclr"}


def test_oracle_is_always_right_and_siblings_mine_nothing(cprspec, spec, tmp_path):
    cprspec("run", spec, "--runs", "runs", "--set", "miner.use=oracle", "--set", "miner.topk=2", "--set", "name=oracle")
    cprspec("run", spec, "--runs", "runs", "--set", "miner.use=siblings", "--set", "name=siblings")
    (oracle,) = (tmp_path / "runs").glob("oracle/*")
    (siblings,) = (tmp_path / "runs").glob("siblings/*")
    assert mining(oracle, "cycle", 1)["precision"] == 1.0
    assert mining(siblings, "cycle", 1)["picks"] == 0
    reused = {e["phase"] for e in events(siblings, "phase-started") if e["reused_from"]}
    assert reused == {"rgb", "flow"}


TOPK_BY_EPOCH = ("--set", "phase.cycle.epochs=3", "--set", "miner.topk={ 0 = 1, 1 = 0, 2 = 3 }")


def test_topk_by_epoch_counts_from_the_start_of_each_epoch(cprspec, spec, tmp_path):
    cprspec("run", spec, "--runs", "runs", *TOPK_BY_EPOCH)
    tables = [mining(the_run(tmp_path / "runs"), "cycle", epoch) for epoch in range(3)]
    assert [table["picks"] for table in tables] == [
        table["queries"] * topk for table, topk in zip(tables, (1, 0, 3), strict=True)
    ]


@pytest.mark.slow
def test_topk_by_epoch_is_the_same_after_a_stop(cprspec, spec, tmp_path):
    cprspec("run", spec, "--runs", tmp_path / "whole", *TOPK_BY_EPOCH)
    whole = the_run(tmp_path / "whole")
    process = cprspec("run", spec, "--runs", "halves", *TOPK_BY_EPOCH, wait=False)
    done = 0
    while done < 10 and process.poll() is None:  # into epoch 1, which has steps 8 to 15
        time.sleep(0.02)
        logs = [log.read_text() for log in tmp_path.glob("halves/*/*/events.jsonl")]
        done = sum('"step"' in line and '"cycle"' in line for log in logs for line in log.splitlines())
    process.terminate()
    process.communicate(timeout=60)
    halves = the_run(tmp_path / "halves")
    assert not (halves / "phases" / "cycle" / "phase.json").exists(), "it was stopped too late to test anything"
    cprspec("run", halves)
    assert all(mining(halves, "cycle", epoch) == mining(whole, "cycle", epoch) for epoch in range(3))
    assert same(weights(halves, "cycle"), weights(whole, "cycle"))


def test_ubernce_mines_every_row_of_the_class_without_a_sampler(cprspec, tmp_path):
    path = tmp_path / "ubernce.toml"
    head, _, tail = SPEC.partition("[miner]")
    launch = tail[tail.index("[launch]") :]
    path.write_text(
        head
        + "[framework.x]\n".replace("[framework.x]\n", "")
        + '[phase.rgb]\nviews = ["rgb"]\nepochs = 1\nminer = { use = "ubernce" }\n'
        + 'framework = { loss = "mean_of_logs", drop_own_key = 0.0 }\n'
        + launch
    )
    cprspec("run", path, "--runs", "runs")
    run = the_run(tmp_path / "runs")
    assert not any(e["warm_up"] for e in events(run, "step"))
    assert mining(run, "rgb", 0)["precision"] == 1.0


def test_videos_without_labels_train_and_embed(cprspec, cache, tmp_path):
    cprspec("check", "small.toml", "--data")  # makes the generated videos
    flat = tmp_path / "flat"
    flat.mkdir()
    for i, video in enumerate(sorted(cache.glob("motion/*/train/*/*.mp4"))[:24]):
        shutil.copy(video, flat / f"{i:02d}.mp4")
    text = (
        SPEC[: SPEC.index("[dataset.motion]")]
        + '[dataset.clips]\nuse = "folder"\n\n'
        + SPEC[SPEC.index("[view.flow]") :]
    )
    path = tmp_path / "unlabelled.toml"
    path.write_text(text.replace('use = "retrieval"', 'use = "embeddings"'))
    cprspec("run", path, "--root", f"clips={flat}", "--runs", "runs")
    run = the_run(tmp_path / "runs")
    names = json.loads((run / "evaluations" / "nn.json").read_text())["videos"]["clips"]
    features = load_file(run / "evaluations" / "nn.safetensors")
    assert names == [f"{i:02d}.mp4" for i in range(24)]
    assert features["clips/cycle"].shape[0] == 24
    table = mining(run, "cycle", 1)
    assert table["precision"] is None
    assert "labels" in table["note"]
    path.write_text(text)
    done = cprspec("run", path, "--root", f"clips={flat}", "--runs", "again", check=False)
    assert done.returncode == 2
    assert "needs labels" in done.stderr
    assert not (tmp_path / "again").exists()


@pytest.mark.slow
def test_torchrun_and_two_launchers_are_two_ranks(cprspec, cprspec_session, tmp_path, spec):
    cprspec("run", spec, "--runs", "elastic", "--nproc", 2)
    other = tmp_path / "other"
    other.mkdir()
    at = ("--nnodes", 2, "--rdzv-endpoint", "127.0.0.1:29617", "--runs", tmp_path / "nodes")
    second = cprspec_session("run", "small.toml", *at, "--node-rank", 1, folder=other, wait=False)
    cprspec("run", spec, *at, "--node-rank", 0)
    assert second.wait(60) == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "cprspec"]
    subprocess.run(
        [*command, "run", str(spec), "--runs", str(tmp_path / "torchrun")],
        check=True, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    elastic, nodes = the_run(tmp_path / "elastic"), the_run(tmp_path / "nodes")
    assert losses(elastic) == losses(nodes) == losses(the_run(tmp_path / "torchrun"))
    assert weights(elastic, "cycle").keys() == weights(nodes, "cycle").keys()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++")
def test_compiled_backbones_learn_nearly_the_same_and_go_on(cprspec, spec, tmp_path):
    cprspec("run", spec, "--runs", tmp_path / "plain")
    stopped = cprspec(
        "run", spec, "--runs", tmp_path / "compiled", "--fresh", "--set", "launch.compile=true", check=False,
        CPRSPEC_FAULT="0:3:term:step:cycle",
    )  # fmt: skip
    assert stopped.returncode == 143, stopped.stderr
    plain, compiled = the_run(tmp_path / "plain"), the_run(tmp_path / "compiled")
    cprspec("run", compiled)
    assert losses(compiled).keys() == losses(plain).keys()
    assert [losses(compiled)["rgb", n] for n in range(8)] == pytest.approx(
        [losses(plain)["rgb", n] for n in range(8)], rel=1e-3
    )
    assert weights(compiled, "cycle").keys() == weights(plain, "cycle").keys()


@pytest.mark.slow
def test_banks_in_bf16_go_on_bit_for_bit_and_are_mined_again(cprspec, spec, tmp_path):
    options = ("--set", "framework.bank_precision=bf16")
    cprspec("run", spec, "--runs", tmp_path / "whole", *options)
    whole = the_run(tmp_path / "whole")
    cprspec("run", spec, "--runs", "halves", *options, check=False, CPRSPEC_FAULT="0:11:term:step:cycle")
    halves = the_run(tmp_path / "halves")
    cprspec("run", halves)
    assert losses(halves) == losses(whole)
    bank = state(halves, "cycle")
    assert same(bank, state(whole, "cycle"))
    assert bank["model.bank.key_KD"].dtype == bank["model.bank.mining_KD"].dtype == torch.bfloat16
    assert recorded(halves, "cycle") == recorded(whole, "cycle")
    assert mined_again(halves, "miner.topk=[2]").differences == ()
