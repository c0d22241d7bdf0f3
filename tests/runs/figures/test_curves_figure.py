"""Curves by epoch, and the funnel."""

from __future__ import annotations

import json

import pytest
from sample_runs import epoch_event

from cprspec.errors import CprspecError
from cprspec.runs.events import EventLog
from cprspec.runs.figures import curves, funnel
from cprspec.runs.figures.phases import tables
from cprspec.runs.files import atomic_write_json
from cprspec.runs.summary import summarise


def lines(axes):
    """By label: x and y of each line."""
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()}


def log_loss(run, losses, phase="cycle"):
    """Epochs of `phase` again, with these losses: what an attempt that went back to its start leaves."""
    with EventLog(run.events) as log:
        for epoch, loss in enumerate(losses):
            log.write(epoch_event(phase, epoch, loss))


def test_loss_by_epoch_is_a_mean_over_seeds_within_their_range(make_run):
    a, b = make_run("a", 0), make_run("a", 1)
    log_loss(a, [1.0, 2.0])
    log_loss(b, [3.0, 2.0])
    (axes,) = curves.draw([summarise(a), summarise(b)], metric=["loss"]).axes
    first, second = [line for line in axes.get_lines() if len(line.get_xdata()) and line.get_marker() == "o"]
    assert (list(first.get_xdata()), list(first.get_ydata())) == ([1, 2], [1.5, 1.5])
    assert (list(second.get_xdata()), list(second.get_ydata())) == ([3, 4], [2.0, 2.0])
    bands = [c.get_paths()[0].vertices for c in axes.collections]
    assert (bands[1][:, 1].min(), bands[1][:, 1].max()) == (1.0, 3.0)
    assert [text.get_text() for text in axes.texts] == ["rgb", "cycle"]


def test_one_phase_alone_begins_at_its_first_epoch(make_run):
    (axes,) = curves.draw([summarise(make_run("a"))], metric=["own_key_accuracy"], phase="cycle").axes
    (line,) = [line for line in axes.get_lines() if len(line.get_xdata())]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 2], [50.0, 50.0])


def test_panels_are_of_what_the_runs_have(make_run):
    run = summarise(make_run("a"))  # its epochs say no precision
    assert [axes.get_ylabel() for axes in curves.draw([run]).axes] == ["loss"]
    with pytest.raises(CprspecError, match="none of the runs has 'precision' of an epoch"):
        curves.draw([run], metric=["precision"])
    with pytest.raises(CprspecError, match="no curve is called 'los'; did you mean 'loss'"):
        curves.draw([run], metric=["los"])
    with pytest.raises(CprspecError, match="none of the runs has ended an epoch of a phase 'x'"):
        curves.draw([run], phase="x")


def test_a_run_whose_log_is_gone_is_named_all_the_same(make_run):
    a, b = make_run("a"), make_run("b", lr=0.2)
    b.events.unlink()
    (axes,) = curves.draw([summarise(a), summarise(b)]).axes
    assert {"a", "b"} <= set(lines(axes))
    a.events.unlink()
    with pytest.raises(CprspecError, match="none of the runs has ended an epoch"):
        curves.draw([summarise(a)])


def test_the_funnel_shows_the_tables(make_run):
    runs = [summarise(make_run("a", seed, quality=0.6)) for seed in range(2)]
    precision, recall, survivors = funnel.draw(runs).axes
    found = [table["funnel"] for run in runs for table in tables([run], "cycle")]
    for axes, key in ((precision, "precision"), (recall, "recall")):
        x, y = lines(axes)["a (2 seeds)"]
        assert x == [0, 1]
        assert y == pytest.approx([50 * (found[0][s][key] + found[1][s][key]) for s in (0, 1)])
    assert lines(survivors)["a (2 seeds)"][1] == [36.0, 3.0]
    assert survivors.get_yscale() == "log"
    assert [t.get_text() for t in survivors.get_xticklabels()] == ["bank", "1"]


def test_log_ticks_are_plain_numbers(make_run, svg_texts):
    for columns in (1, 2):
        texts = svg_texts(funnel.draw([summarise(make_run("a"))], columns=columns))
        assert "10" in texts
        assert not [text for text in texts if "$" in text]


@pytest.mark.parametrize("rows", [None, [], 3, [{"survivors": "x"}], [None]])
def test_a_funnel_that_cannot_be_read_is_missing(make_run, rows):
    run = make_run("a")
    table = json.loads(run.mining_table("cycle", 1).read_text())
    atomic_write_json(run.mining_table("cycle", 1), {**table, "funnel": rows})
    with pytest.raises(CprspecError, match=r"A \(a\) has no funnel in phase 'cycle'; a funnel needs labels"):
        funnel.draw([summarise(run)])
