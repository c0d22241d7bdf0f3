"""In which keys of their resolved experiments two groups differ."""

from __future__ import annotations

import json

from cprspec.runs.compare import compare
from cprspec.runs.differences import difference_rows
from cprspec.runs.groups import group_by_seed
from cprspec.runs.layout import RunDir
from cprspec.runs.summary import summarise

MINER = '[miner]\nuse = "cpr"\nstages = 7\n'


def rows_of(*runs):
    return [
        (r.other, r.key, r.mine, r.theirs) for r in difference_rows(group_by_seed([summarise(run) for run in runs]))
    ]


def test_the_keys_that_differ_and_their_values_on_both_sides(make_run):
    a = make_run("a", lr=0.1, extra=MINER)
    b = make_run("b", lr=0.2, extra=MINER.replace("cpr", "coclr").replace("7", "1"))
    assert rows_of(a, b) == [
        ("B", "miner.use", "cpr", "coclr"),
        ("B", "miner.stages", 7, 1),
        ("B", "phase.cycle.lr", 0.1, 0.2),
    ]


def test_what_only_one_has_is_one_difference(make_run):
    a, b = make_run("a", extra=MINER), make_run("b")
    assert rows_of(a, b) == [("B", "miner", {"use": "cpr", "stages": 7}, None)]
    assert rows_of(b, a) == [("B", "miner", None, {"use": "cpr", "stages": 7})]


def test_seeds_names_machines_and_published_numbers_are_no_difference(make_run):
    assert rows_of(make_run("a", 0), make_run("b", 1, where="elsewhere")) == []
    assert rows_of(make_run("a", 0)) == []


def test_an_experiment_that_cannot_be_read_is_said_so(make_run, tmp_path):
    a, b = make_run("a"), RunDir.create(tmp_path / "runs", "b")
    ((other, key, _, theirs),) = rows_of(a, b)
    assert (other, key, theirs) == ("B", "resolved.toml", None)


def test_json_names_values_by_letter(make_run):
    a, b = summarise(make_run("a", lr=1)), summarise(make_run("b", lr=2))
    data = json.loads(json.dumps(compare([a, b]).to_json(), allow_nan=False))
    assert data["differences"] == [{"group": "A", "other": "B", "key": "phase.cycle.lr", "A": 1, "B": 2}]
