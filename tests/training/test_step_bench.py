"""Where a step's time goes: all of it is accounted for, and the step is left as it was."""

import json

import attrs
import pytest
import torch
from small_run import SPEC
from typer.testing import CliRunner

from cprspec.cli import app
from cprspec.components.frameworks import IIC
from cprspec.errors import CprspecError
from cprspec.evaluation import search_bench
from cprspec.spec.registry import builtin_registry
from cprspec.spec.resolve import resolve_all
from cprspec.training import mine_bench, step_bench
from cprspec.training.laps import PARTS, Laps
from cprspec.training.trial import trial


@pytest.fixture
def resolved(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SPEC)
    (found,) = resolve_all(path, builtin_registry())
    return found


def test_every_moment_counts_once():
    ticks = iter(range(100))
    laps = Laps(torch.device("cpu"), lambda: float(next(ticks)))
    laps.enter("key")  # 1 of the rest
    laps.enter("loss")  # 1 of the key
    laps.leave()
    laps.leave()  # another of the key
    laps.go_on("backward")
    assert laps.taken() == {"rest": 2.0, "key": 2.0, "loss": 1.0, "backward": 1.0}
    assert laps.taken() == {"backward": 1.0}


def test_a_timed_step_is_the_same_step(resolved):
    phase = resolved.phase("cycle")
    with (
        trial(resolved, phase, torch.device("cpu"), 40) as plain,
        trial(resolved, phase, torch.device("cpu"), 40) as own,
    ):
        laps = Laps(torch.device("cpu"))
        timed, stepper = step_bench.with_laps(own, laps)
        plain.step()
        timed.step()
        assert set(laps.taken()) == set(PARTS)
        for a, b in zip(plain.stepper.module.parameters(), own.stepper.module.parameters(), strict=True):
            assert torch.equal(a, b)
        stepper.removed()
        own.step()
        assert set(laps.taken()) == {"checks and log"}  # where the timed step ended


def test_operations_are_those_of_the_networks(resolved):
    phase = resolved.phase("cycle")
    with trial(resolved, phase, torch.device("cpu"), 40) as steps:
        operations = step_bench.counted_operations(steps)
    forward = operations["query forward"]
    assert forward > 0
    assert operations["key"] == operations["sampler"] == forward
    assert forward < operations["backward"] <= 2 * forward
    assert (
        operations["mining"] == 2 * 2 * phase.batch_size * phase.framework.queue_size * 16
    )  # both views, 16 dimensions


FOUND = {
    "step_s": 1.0, "parts_s": {"query forward": 0.3, "backward": 0.6, "mining": 0.1}, "share_of_products": 0.7,
    "precision": "float32", "device": "cpu", "threads": 1, "cores": 1, "products_gflop_per_s": {"float32": 100, "bf16": 210},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ["networks take 90% of the step, at 70%", "2.1 times as fast here in bf16: precision = 'bf16'"]),
        ({"products_gflop_per_s": {"float32": 100, "bf16": 50}, "cores": 4}, ["1 of 4 cores compute: raise launch.threads"]),
        ({"parts_s": {"backward": 0.3, "mining": 0.4, "momentum": 0.1, "optimizer": 0.1}}, ["mining takes 40%", "batch_size"]),
    ],
)  # fmt: skip
def test_the_verdict_names_the_setting(change, words):
    said = step_bench.verdict({**FOUND, **change})
    assert all(word in said for word in words), said


def test_a_phase_that_mines_nothing_is_not_benched_for_mining(resolved):
    with pytest.raises(CprspecError, match="phase 'rgb' mines nothing"):
        mine_bench.measure(resolved, resolved.phase("rgb"), 40, 0.1, model=False)


@pytest.mark.parametrize(
    ("command", "options", "facts"),
    [
        ("step", ["--videos", "40"], {"kind": "step-bench", "phase": "cycle", "batch_size": 8, "miner": "cascade"}),
        ("mine", ["--no-model"], {"kind": "mine-bench", "queries": 8, "embedding": 16, "step_s": None}),
        (
            "search",
            ["--videos", "60", "--queries", "5"],
            {"kind": "search-bench", "top": 50, "videos": 60, "queries": 5},
        ),
    ],
)
def test_commands(tmp_path, command, options, facts):
    path = tmp_path / "small.toml"
    path.write_text(SPEC)
    told = CliRunner().invoke(app, ["bench", command, str(path), "--seconds", "0.1", *options, "--json"])
    assert told.exit_code == 0
    found = json.loads(told.stdout)
    assert facts.items() <= found.items()
    lines = {"step": step_bench, "mine": mine_bench, "search": search_bench}[command].lines(found)
    assert lines[-1] == found["verdict"]
    assert {"step": "whole step", "mine": "the phase's own", "search": "50 of 60"}[command] in "\n".join(lines)


def test_mining_for_both_views_counts_twice(resolved, monkeypatch):
    monkeypatch.setattr(mine_bench, "_seconds", lambda *_: 0.25)
    phase = resolved.phase("cycle")
    one = mine_bench.measure(resolved, phase, 40, 0.1, model=False)
    both = mine_bench.measure(
        resolved, attrs.evolve(phase, framework=IIC(negatives=16, bn_groups=2)), 40, 0.1, model=False
    )
    assert {row["mining_s"] for row in one["banks"]} == {0.25}
    assert {row["mining_s"] for row in both["banks"]} == {0.5}
