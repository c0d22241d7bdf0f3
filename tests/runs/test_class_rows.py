"""Classes against classes: CMR, R@1 and top-1 of each, over seeds and splits, and the test over them."""

from __future__ import annotations

import json
from statistics import fmean

import pytest

from cprspec.runs.class_rows import Of, class_means, class_rows
from cprspec.runs.files import atomic_write_json
from cprspec.runs.groups import group_by_seed
from cprspec.runs.paired import difference, median_interval, signed_rank
from cprspec.runs.summary import summarise


def write_per_class(run, use, per_class, records=(), name="nn"):
    """An evaluation that tells something of each class."""
    data = {"schema": 1, "kind": "evaluation", "name": name, "use": use, "records": list(records)}
    atomic_write_json(run.evaluation(name), {**data, "per_class": per_class})


def record(dataset, split, encoder="rgb", protocol="retrieval-default"):
    return {
        "metric": "R@1", "value": 0.5, "n": 9, "dataset": dataset, "split": split, "encoder": encoder,
        "protocol": protocol,
    }  # fmt: skip


def test_cmr_of_classes_is_a_mean_over_seeds(make_run):
    a = [summarise(make_run("a", seed, quality=0.8)) for seed in range(3)]
    b = [summarise(make_run("b", seed, lr=0.2, quality=0.3)) for seed in range(2)]
    rows = class_rows(group_by_seed([*a, *b]))
    row = next(r for r in rows if r.unit == "source")

    def mean(runs, name):
        return fmean(c["cmr_source"] for r in runs for c in r.phases[1].table["classes"] if c["name"] == name)

    expected = [difference(mean(a, name), mean(b, name)) for name in "abcd"]
    assert (row.metric, row.encoder, row.group, row.other) == ("cmr", "cycle", "A", "B")
    assert row.test == signed_rank(expected)
    assert row.difference == median_interval(expected)
    assert (row.won, row.tied, row.lost) == tuple(
        sum(sign(d) for d in expected) for sign in (lambda d: d > 0, lambda d: d == 0, lambda d: d < 0)
    )


def test_recall_of_classes_comes_from_retrieval_and_accuracy_from_recognition(make_run):
    run = make_run("a")
    write_per_class(run, "retrieval", {"toy": {"rgb": {"a": 0.5, "b": None, "c": 1}}}, [record("toy", "test")])
    write_per_class(run, "finetune", {"toy": {"rgb": {"a": 0.25}}}, [record("toy", "test", protocol="ft")], "ft")
    found = class_means([summarise(run)])
    recall = Of(metric="R@1", encoder="rgb", unit="video", dataset="toy", protocol="retrieval-default")
    assert found[recall] == {"a": 0.5, "c": 1.0}
    assert found[Of(metric="top1", encoder="rgb", unit="video", dataset="toy", protocol="ft")] == {"a": 0.25}


def test_numbered_splits_are_one_data_set_and_averaged_within_a_run(make_run):
    per_class = {"ucf": {"rgb": {"a": 0.2}}, "ucf-2": {"rgb": {"a": 0.4}}, "hmdb": {"rgb": {"a": 0.9}}}
    records = [record("ucf", "1"), record("ucf", "2"), record("hmdb", "test")]
    run = make_run("a")
    write_per_class(run, "retrieval", per_class, records)
    found = class_means([summarise(run)])
    of = {of.dataset: classes for of, classes in found.items() if of.metric == "R@1"}
    assert of == {"ucf": {"a": pytest.approx(0.3)}, "hmdb": {"a": 0.9}}


def test_where_records_and_classes_do_not_agree_data_sets_keep_their_names(make_run):
    run = make_run("a")
    write_per_class(run, "retrieval", {"x": {"rgb": {"a": 1.0}}, "y": {"rgb": {"a": 0.0}}}, [record("z", "test")])
    found = class_means([summarise(run)])
    assert {of.dataset for of in found if of.metric == "R@1"} == {"x", "y"}


@pytest.mark.parametrize("junk", [3, [], {"toy": 3}, {"toy": {"rgb": [1]}}, {"toy": {"rgb": {"a": "x", "b": [1]}}}])
def test_damage_is_no_class(make_run, junk):
    run = make_run("a")
    write_per_class(run, "retrieval", junk)
    assert not [of for of in class_means([summarise(run)]) if of.metric == "R@1"]


def test_a_table_with_damaged_rows_gives_the_others(make_run):
    run = make_run("a", quality=0.9)
    table = json.loads(run.mining_table("cycle", 1).read_text())
    table["classes"][0]["name"] = 5
    table["classes"][1]["cmr_source"] = "high"
    table["classes"][2] = None
    atomic_write_json(run.mining_table("cycle", 1), table)
    found = class_means([summarise(run)])
    assert set(found[Of(metric="cmr", encoder="cycle", unit="source")]) == {"d"}
