"""Grids of miners: every combination in order, and what is wrong with others said at once."""

from __future__ import annotations

import pytest

from cprspec.errors import CprspecError
from cprspec.spec.grid import parse_grid, read_plan
from cprspec.spec.registry import builtin_registry

SPEC = """
format = 1
name = "small"
[dataset.motion]
use = "motion"
[view.flow]
use = "flow"
[miner]
use = "cpr"
stages = 3
[phase.rgb]
views = ["rgb"]
epochs = 1
[phase.flow]
views = ["flow"]
epochs = 1
[phase.cycle]
views = ["rgb"]
start_from = "rgb"
mine_with = "flow"
epochs = 2
"""


@pytest.fixture(scope="module")
def registry():
    return builtin_registry()


@pytest.fixture
def plan(tmp_path, registry):
    (tmp_path / "x.toml").write_text(SPEC)

    def read(*grid, phase=None):
        return read_plan(tmp_path / "x.toml", registry, phase, grid)

    return read


def test_without_a_grid_there_is_the_runs_own_miner(plan):
    found = plan()
    assert found.phase == "cycle"
    (choice,) = found.choices
    assert (choice.miner, choice.card) == (found.own.miner, "cpr")
    assert (choice.miner.stages, choice.miner.topk) == (3, 5)


def test_the_last_option_changes_fastest(plan):
    found = plan("miner.stages=[1, 7]", "miner.topk=[5,1]", "miner.ratio=0.7")
    values = [(c.miner.stages, c.miner.topk, c.miner.ratio) for c in found.choices]
    assert values == [(1, 5, 0.7), (1, 1, 0.7), (7, 5, 0.7), (7, 1, 0.7)]
    assert dict(found.choices[0].options) == {"stages": 1, "topk": 5, "ratio": 0.7}
    assert (found.own.miner.stages, found.own.miner.ratio) == (3, 0.5)


def test_another_card_drops_the_runs_options(plan):
    found = plan('miner.use=["coclr", "cpr", "oracle", "siblings"]')
    assert [c.card for c in found.choices] == ["coclr", "cpr", "oracle", "siblings"]
    assert [getattr(c.miner, "stages", None) for c in found.choices] == [1, 3, None, 7]
    assert plan("miner.use=coclr").choices[0].miner.stages == 1


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ("miner.stagse=[1]", r"--grid: unknown option 'stagse' for miner 'cpr'; did you mean 'stages'\?"),
        ("miner.stages=[0]", "--grid: option 'stages' of miner 'cpr' must be at least 1, found 0"),
        ("miner.stages=['x']", "must be a whole number, found 'x'"),
        ("miner.ratio=[.3,.5]", "--grid: 'miner.ratio' is not a TOML array"),
        ("miner.topk=[]", "'miner.topk' has no values"),
        ("miner.use=['cppr']", "no miner is called 'cppr'; did you mean 'cpr'"),
        ("framework.momentum=[0.9]", "'framework.momentum' cannot vary: encoders are fixed"),
        ("stages=[1]", "'stages' cannot vary"),
        ("miner=3", "'miner' cannot vary"),
        ("miner.stages", "is not KEY=VALUE"),
        ("miner.\x1b[31mx=[1]", r"is not a TOML key"),
    ],
)
def test_what_is_no_grid_says_so(plan, grid, words):
    with pytest.raises(CprspecError, match=words):
        plan(grid)


def test_all_that_is_wrong_is_said_at_once(plan):
    with pytest.raises(CprspecError) as caught:
        plan("miner.stages=[0,-1]", "miner.topk=[-2]")
    assert len(caught.value.problems) == 3


def test_a_key_given_twice_and_a_grid_without_end_are_refused(plan):
    with pytest.raises(CprspecError, match="is there twice"):
        plan("miner.stages=[1]", "miner.stages=[2]")
    with pytest.raises(CprspecError, match="a grid of 40000 settings"):
        plan(f"miner.stages={list(range(1, 201))}", f"miner.topk={list(range(200))}")


def test_phases_that_do_not_mine_are_refused(plan):
    with pytest.raises(CprspecError, match="phase 'rgb' mines nothing"):
        plan(phase="rgb")
    with pytest.raises(CprspecError, match=r"no phase 'cycel'; did you mean 'cycle'\?"):
        plan(phase="cycel")


def test_a_grid_keeps_tables_of_one_value():
    assert parse_grid(["miner.topk=[{ 0 = 1, 40 = 3 }, 5]"]) == {"topk": [{"0": 1, "40": 3}, 5]}
