"""A sweep for real: runs in turn that share phases, one of which fails, the comparison at the end, and going on with one."""

from __future__ import annotations

import json

import pytest
import tomli
from small_run import SPEC, events, mining, same, weights

SWEEP = """
[[sweep.cases]]
name = "one"
miner.topk = 1
[[sweep.cases]]
name = "broken"
phase.cycle.optimizer = { lr = 1e30 }
[[sweep.cases]]
name = "two"
miner.topk = 2
"""


def test_a_sweep_goes_on_after_a_failure_shares_phases_and_compares(cprspec, tmp_path):
    (tmp_path / "sweep.toml").write_text(SPEC + SWEEP)
    done = cprspec("run", "sweep.toml", "--runs", "runs", check=False)
    assert done.returncode == 1
    assert "run 2 of 3: small-broken, seed 3" in done.stderr
    assert "1 of 3 runs failed: small-broken, seed 3" in done.stderr
    assert "small-one" in done.stdout and "small-two" in done.stdout and "small-broken" not in done.stdout
    runs = {path.parent.name: path for path in tmp_path.glob("runs/*/*")}
    assert set(runs) == {"small-one", "small-broken", "small-two"}
    reused = {e["phase"] for e in events(runs["small-two"], "phase-started") if e["reused_from"]}
    assert reused == {"rgb", "flow"}
    for name, topk in (("small-one", 1), ("small-two", 2)):
        run = runs[name]
        resolved = tomli.loads((run / "resolved.toml").read_text())
        assert ("sweep" in resolved, resolved["name"], resolved["miner"]["topk"]) == (False, name, topk)
        table = mining(run, "cycle", 1)
        assert table["picks"] == topk * table["queries"]


@pytest.mark.slow
def test_one_run_of_a_sweep_goes_on_from_its_own_directory(cprspec, tmp_path):
    (tmp_path / "sweep.toml").write_text(SPEC + SWEEP)
    cprspec("run", "sweep.toml", "--runs", "runs", "--set", 'sweep.only=["one", "two"]')
    (run,) = tmp_path.glob("runs/small-two/*")
    # as if it had been stopped before its last phase was finished
    before = weights(run, "cycle")
    (run / "phases" / "cycle" / "phase.json").unlink()
    (run / "evaluations" / "nn.json").unlink()
    cprspec("run", run)
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    assert (run / "evaluations" / "nn.json").is_file()
    assert same(weights(run, "cycle"), before)
    assert mining(run, "cycle", 1)["picks"] == 2 * mining(run, "cycle", 1)["queries"]
    assert len(list(tmp_path.glob("runs/*/*"))) == 2


@pytest.mark.slow
def test_seeds_are_compared_as_one_experiment(cprspec, tmp_path):
    (tmp_path / "seeds.toml").write_text(SPEC[: SPEC.index("[phase.flow]")] + SPEC[SPEC.index("[evaluate.nn]") :])
    done = cprspec("run", "seeds.toml", "--runs", "runs", "--set", "sweep.seed=[1, 2]")
    assert sorted(p.parent.name for p in tmp_path.glob("runs/*/*")) == ["small", "small"]
    found = json.loads(cprspec("compare", *tmp_path.glob("runs/*/*"), "--json").stdout)
    (group,) = found["groups"]
    assert sorted(group["seeds"]) == [1, 2]
    assert "1, 2" in done.stdout
