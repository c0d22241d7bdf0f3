"""Heat maps of sweeps and of settings mined again."""

from __future__ import annotations

import math

import pytest

from cprspec.errors import CprspecError
from cprspec.runs.figures import stages
from cprspec.runs.figures.stages import Setting, varied
from cprspec.runs.files import atomic_write_json
from cprspec.runs.summary import summarise


def sweep(make_run, values, extra="[miner]\nuse = 'cpr'\nstages = {}\ntopk = {}\n", seeds=(0,)):
    """A run for each (stages, topk) and its R@1, seed after seed 0.1 more."""
    return [
        summarise(make_run(f"s{i}", seed, recall=recall + seed / 10, extra=extra.format(*place)))
        for i, (place, recall) in enumerate(values.items())
        for seed in seeds
    ]


def cells(figure):
    """The heat map's numbers as rows, and the names of columns and rows."""
    axes = figure.axes[0]
    grid = axes.images[0].get_array().filled(math.nan).tolist()
    return grid, [[t.get_text() for t in labels] for labels in (axes.get_xticklabels(), axes.get_yticklabels())]


def mine_file(tmp_path, settings):
    """What `cprspec mine --json` prints, in short: stages, topk, own, precision, CMR by source and by video."""
    rows = [
        {
            "own": own, "miner": {"use": "cpr", "stages": s, "topk": t, "ratio": 0.5}, "picks": 9, "precision": p,
            "cmr": {"source": {"median": cs, "defined": 4}, "video": {"median": cv, "defined": 4}}, "funnel": [],
        }
        for s, t, own, p, cs, cv in settings
    ]  # fmt: skip
    path = tmp_path / "mine.json"
    atomic_write_json(path, {"schema": 1, "kind": "mine", "settings": rows})
    return path


def test_the_runs_of_a_sweep_over_two_options_and_seeds(make_run):
    runs = sweep(make_run, {(7, 10): 0.1, (1, 5): 0.2, (7, 5): 0.3}, seeds=(0, 1))
    figure = stages.draw(runs, metric=["R@1"])
    grid, (across, down) = cells(figure)
    assert (across, down) == (["1", "7"], ["5", "10"])
    assert grid[0] == pytest.approx([25.0, 35.0])
    assert grid[1] == pytest.approx([math.nan, 15.0], nan_ok=True)
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.texts] == ["25.0", "35.0", "-", "15.0"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("miner.stages", "miner.topk")
    grid, (across, _) = cells(stages.draw(runs, metric=["R@1"], x="miner.topk"))
    assert across == ["5", "10"]


def test_one_option_is_one_row(make_run):
    runs = sweep(make_run, {(3, 5): 0.1, (1, 5): 0.2})
    grid, (across, down) = cells(stages.draw(runs, metric=["R@1"]))
    assert (across, down) == (["1", "3"], [""])
    assert grid == [pytest.approx([20.0, 10.0])]


def test_settings_mined_again_by_source_and_by_video(tmp_path):
    path = mine_file(
        tmp_path, [(1, 1, False, 0.1, 0.2, 0.3), (3, 1, False, 0.2, 0.4, 0.5), (3, 5, True, 0.3, 0.6, 0.7)]
    )
    figure = stages.draw_file(path)
    assert cells(figure)[0] == [pytest.approx([20.0, 40.0]), pytest.approx([math.nan, 60.0], nan_ok=True)]
    assert figure.axes[1].get_ylabel() == "median_cmr, sources (%)"
    (frame,) = figure.axes[0].patches
    assert frame.get_xy() == (0.5, 0.5)
    assert cells(stages.draw_file(path, unit="video"))[0][0] == pytest.approx([30.0, 50.0])
    assert cells(stages.draw_file(path, metric=["precision"]))[0][0] == pytest.approx([10.0, 20.0])


def test_a_card_settles_its_options_and_keys_that_change_together_are_one():
    settings = [
        Setting(options={"miner.stages": s, "miner.ratio": r, "miner.use": use, "lr": lr}, value=0.0)
        for s, r, use, lr in ((7, 0.5, "cpr", 1), (1, 0.5, "coclr", 1), (1, None, "oracle", 1), (7, 0.5, "cpr", 2))
    ]
    assert varied(settings) == ["miner.use", "lr"]
    together = [Setting(options={"a": i, "b": -i, "c": 0}, value=0.0) for i in range(3)]
    assert varied(together) == ["a"]


def test_a_schedule_and_text_are_values(make_run):
    extra = "[miner]\nuse = 'cpr'\ntopk = {}\nnote = '{}'\n"
    runs = sweep(make_run, {("5", "$x$"): 0.1, ("{ 0 = 1, 20 = 5 }", "$x$"): 0.2}, extra)
    _, (across, _) = cells(stages.draw(runs, metric=["R@1"]))
    assert across == ["5", "0:1 20:5"]


def test_what_is_missing_is_said(make_run, tmp_path):
    three = sweep(make_run, {(1, 1): 0.1, (1, 5): 0.2, (3, 1): 0.3})
    lr = [summarise(make_run("z", lr=7, extra="[miner]\nuse = 'cpr'\nstages = 1\ntopk = 1\n"))]
    wrong = [
        ({"runs": three[:1]}, "nothing varies between these settings"),
        ({"runs": three, "metric": ["R@7"]}, "no run has a metric 'R@7'; did you mean 'R@"),
        ({"runs": three, "metric": ["R@1", "R@5"]}, "shows one metric"),
        ({"runs": three, "x": "miner.topkk"}, "no setting has a key 'miner.topkk'; did you mean 'miner.topk'"),
        ({"runs": three, "encoder": "flow"}, "none of the settings has median_cmr"),
        ({"runs": [*three, *lr]}, "3 keys vary: .*phase.cycle.lr.*; choose two with --x and --y"),
        (
            {"runs": [*three, *lr], "x": "miner.stages", "y": "miner.topk"},
            "two settings have miner.stages = 1 and miner.topk = 1; they differ in phase.cycle.lr",
        ),
    ]
    for arguments, message in wrong:
        with pytest.raises(CprspecError, match=message):
            stages.draw(arguments.pop("runs"), **arguments)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"kind": "comparison"}', '{"kind": "mine", "settings": 3}'])
def test_files_that_hold_no_settings(tmp_path, content):
    path = tmp_path / "mine.json"
    with pytest.raises(CprspecError, match="no settings"):
        stages.draw_file(path)
    path.write_text(content)
    with pytest.raises(CprspecError, match="give what cprspec mine --json printed"):
        stages.draw_file(path)
    path.write_text('{"kind": "mine", "settings": [3, {"picks": 5, "miner": 3}]}')
    with pytest.raises(CprspecError, match="has no metric 'median_cmr'"):
        stages.draw_file(path)
