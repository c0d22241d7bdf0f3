"""Figures by name, thresholds, and CSV."""

from __future__ import annotations

import csv
import io

import pytest
from test_class_rows import record, write_per_class

from cprspec.errors import CprspecError
from cprspec.runs.compare import compare
from cprspec.runs.compare_csv import COLUMNS, as_cell, write_csv
from cprspec.runs.files import atomic_write_json
from cprspec.runs.metrics import Threshold, every_figure, known_metrics, only
from cprspec.runs.summary import summarise


@pytest.fixture
def two(make_run):
    """Three seeds of one experiment and one of another."""
    runs = [make_run("cpr", seed, quality=0.8, recall=0.5 + seed / 10) for seed in range(3)]
    return compare([summarise(run) for run in [*runs, make_run("coclr", lr=0.2, quality=0.3, recall=0.45)]])


def test_every_figure_has_a_name_and_stands_once(two):
    assert known_metrics(two) == [
        "precision", "median_cmr", "median_cmr_random", "mean_cmr", "mean_cmr_random", "perfect_classes",
        "R@1", "R@5", "R@10", "R@20", "R@50", "mAP", "loss", "own_key_accuracy", "clips_per_s", "cmr",
    ]  # fmt: skip
    found = list(every_figure(two))
    places = [(f.group, f.metric, f.encoder, f.unit, f.dataset, f.split, f.protocol) for f in found]
    assert len(places) == len(set(places))
    (mean,) = [f for f in found if (f.group, f.metric, f.encoder) == ("A", "R@1", "cycle")]
    assert (mean.figure.mean, mean.figure.n, mean.n) == (pytest.approx(0.6), 3, 40)


def test_one_metric_alone(two):
    found = only(two, ["R@1"])
    assert not found.mining
    assert not found.losses
    assert {metric for row in found.results for metric in row.figures} == {"R@1"}
    assert [row.metric for row in found.published] == ["R@1"]
    assert only(two, ["median_cmr"]).classes == two.classes
    assert {metric for row in only(two, ["median_cmr"]).mining for metric in row.figures} == {"median_cmr"}
    losses = only(two, ["loss"]).losses
    assert losses[0].loss == two.losses[0].loss
    assert losses[0].clips_per_s is None


@pytest.mark.parametrize(
    ("text", "encoder", "metric", "value"),
    [("R@1=0.5", None, "R@1", 0.5), ("random/rgb:R@1=0", "random/rgb", "R@1", 0.0), ("loss=12", None, "loss", 12.0)],
)
def test_thresholds_are_read(text, encoder, metric, value):
    assert Threshold.read(text) == Threshold(text, metric, value, encoder)


@pytest.mark.parametrize(
    "text", ["", "R@1", "R@1=", "=0.5", "R@1=x", "R@1=nan", "R@1=inf", "R@1=40", "R@1=-0.1", "a=b=1"]
)
def test_what_is_no_threshold(text):
    with pytest.raises(CprspecError) as error:
        Threshold.read(text)
    assert "--fail-under" in str(error.value)


def test_the_mean_over_seeds_of_the_last_phase_that_has_the_metric_counts(two):
    assert Threshold.read("R@1=0.45").missed(two) == []
    (line,) = Threshold.read("R@1=0.55").missed(two)
    assert line == "B (coclr): R@1 of cycle (toy, test, retrieval-default, video) is 0.45, under 0.55"
    (first, _) = Threshold.read("R@1=0.61").missed(two)
    assert first.startswith("A (cpr): R@1 of cycle ")
    assert "is 0.6, the mean of 3 seeds, under 0.61" in first
    assert len(Threshold.read("random/rgb:R@1=0.5").missed(two)) == 1
    (line, *_) = Threshold.read("median_cmr=1").missed(two)
    assert line.startswith("B (coclr): median_cmr of cycle (train, mining, source) is ")


def test_views_of_a_phase_stand_in_the_place_of_the_phase(make_run):
    run = make_run("iic")
    records = [
        {**record("d", "test", encoder=encoder), "value": value}
        for encoder, value in (("random/rgb", 0.9), ("cycle/rgb", 0.2), ("rgb+cycle", 0.9))
    ]
    atomic_write_json(run.evaluation("nn"), {"schema": 1, "kind": "evaluation", "records": records})
    (line,) = Threshold.read("R@1=0.5").missed(compare([summarise(run)]))
    assert "cycle/rgb" in line
    assert compare([summarise(run)]).published[0].found["A"][0] == "cycle"


def test_a_group_without_the_figure_falls_short(make_run):
    runs = [summarise(make_run("some")), summarise(make_run("none", lr=0.2, mined=False))]
    (line,) = Threshold.read("cycle:median_cmr=0").missed(compare(runs))
    assert line == "B (none) has no median_cmr of cycle, and 0 was asked for"


def read_csv(comparison):
    stream = io.StringIO()
    write_csv(comparison, stream)
    return list(csv.DictReader(io.StringIO(stream.getvalue())))


def test_csv_has_every_figure_and_how_classes_stand(two):
    rows = read_csv(two)
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == sum(found.figure is not None for found in every_figure(two))
    (mean,) = [r for r in rows if (r["group"], r["metric"], r["encoder"]) == ("A", "R@1", "cycle")]
    assert (float(mean["mean"]), mean["runs"], mean["seeds"]) == (pytest.approx(0.6), "3", "0 1 2")
    (cmr,) = [r for r in rows if (r["group"], r["metric"], r["unit"]) == ("B", "mean_cmr", "source")]
    row = two.classes[0]
    assert (cmr["against"], cmr["won"], cmr["lost"]) == ("A", str(row.lost), str(row.won))
    assert float(cmr["median_difference"]) == -row.difference.median
    assert float(cmr["low"]) == -row.difference.high
    assert float(cmr["p"]) == row.test.p


def test_classes_of_an_evaluation_stand_in_the_row_of_their_metric(make_run):
    runs = []
    for name, lr, value in (("a", 0.1, 1.0), ("b", 0.2, 0.5)):
        run = make_run(name, lr=lr)
        write_per_class(run, "retrieval", {"toy": {"rgb": dict.fromkeys("abcdef", value)}}, [record("toy", "test")])
        runs.append(summarise(run))
    (row,) = [r for r in read_csv(compare(runs)) if (r["group"], r["metric"]) == ("B", "R@1")]
    assert (row["lost"], float(row["median_difference"]), float(row["p"])) == ("6", -0.5, 2 / 2**6)


def test_no_cell_is_a_formula_or_a_second_line():
    assert [as_cell(text) for text in ("=1+1", "-x", "@a", "+1", "a\nb", None, "rgb")] == [
        "'=1+1", "'-x", "'@a", "'+1", "a\\nb", "", "rgb",
    ]  # fmt: skip
