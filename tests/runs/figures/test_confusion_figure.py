"""Confusion matrices: whose, of which seeds, and what stands in the cells."""

from __future__ import annotations

import pytest
from hostile import EVIL, EVIL_SHOWN

from cprspec.errors import CprspecError
from cprspec.runs.figures import confusion
from cprspec.runs.files import atomic_write_json
from cprspec.runs.summary import summarise


def write_confusion(run, counts, classes=("a", "b"), name="finetune", dataset="toy"):
    """An evaluation with these counts by encoder."""
    data = {"schema": 1, "kind": "evaluation", "name": name, "use": "finetune", "records": []}
    atomic_write_json(
        run.evaluation(name), {**data, "confusion": {dataset: {"classes": list(classes), "counts": counts}}}
    )
    return run


def test_rows_are_shares_and_seeds_are_summed(make_run):
    runs = [write_confusion(make_run("x", seed), {"cycle": [[3, 1 + seed], [0, 0]]}) for seed in range(2)]
    figure = confusion.draw([summarise(run) for run in runs])
    axes = figure.axes[0]
    assert axes.images[0].get_array().tolist() == [[pytest.approx(600 / 9), pytest.approx(300 / 9)], [0, 0]]
    assert {t.get_position(): t.get_text() for t in axes.texts} == {(0, 0): "6", (1, 0): "3"}
    assert axes.get_title() == "cycle, finetune on toy: 6 of 9 right"


def test_the_encoder_of_the_last_phase_unless_one_is_named(make_run):
    one, two = [[1, 0], [0, 1]], [[0, 2], [2, 0]]
    run = write_confusion(make_run("x"), {"random/rgb": two, "cycle": one, "rgb": two, "rgb+cycle": two})
    assert confusion.draw([summarise(run)]).axes[0].get_title().startswith("cycle, ")
    assert confusion.draw([summarise(run)], encoder="rgb+cycle").axes[0].get_title().endswith("0 of 4 right")
    write_confusion(run, {"rgb": two}, name="linear", dataset="other")
    assert (
        confusion.draw([summarise(run)], evaluation="linear").axes[0].get_title()
        == "rgb, linear on other: 0 of 4 right"
    )
    for options, message in (
        ({"evaluation": "liner"}, "no confusion matrix is of evaluation 'liner'; did you mean 'linear'"),
        ({"dataset": "tpy"}, "of data set 'tpy'; did you mean 'toy'"),
        ({"encoder": "cycel"}, "of encoder 'cycel'; did you mean 'cycle'"),
    ):
        with pytest.raises(CprspecError, match=message):
            confusion.draw([summarise(run)], **options)


def test_many_classes_take_the_page_and_lose_their_counts(make_run):
    classes = [f"class {i}" for i in range(101)]
    counts = [[int(i == j) for j in range(101)] for i in range(101)]
    run = summarise(write_confusion(make_run("x"), {"cycle": counts}, classes))
    figure = confusion.draw([run])
    assert figure.get_size_inches()[0] == 6.9
    assert not figure.axes[0].texts
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == classes
    small = confusion.draw([run], columns=1)
    assert not small.axes[0].get_yticklabels()


def test_hostile_class_names(make_run, svg_texts):
    counts = [[1] * len(EVIL)] * len(EVIL)
    texts = svg_texts(confusion.draw([summarise(write_confusion(make_run("x"), {EVIL[0]: counts}, EVIL))]))
    assert set(EVIL_SHOWN) <= set(texts)


@pytest.mark.parametrize(
    "counts", [None, 3, {"cycle": [[1]]}, {"cycle": [["x", 1], [1, 1]]}, {"cycle": [[-1, 0], [0, 1]]}]
)
def test_a_matrix_that_cannot_be_read_is_none(make_run, counts):
    with pytest.raises(CprspecError, match=r"x has no confusion matrix; linear, probe and finetune write one"):
        confusion.draw([summarise(write_confusion(make_run("x"), counts))])


def test_one_experiment_at_a_time(make_run):
    runs = [summarise(write_confusion(make_run("x", lr=i), {"cycle": [[1, 0], [0, 1]]})) for i in range(2)]
    with pytest.raises(CprspecError, match="of one experiment, and these are 2"):
        confusion.draw(runs)
