"""Figure 1: bars, their order, what is bold, the random miner, strips."""

from __future__ import annotations

import json
from statistics import fmean

import numpy as np
import pytest
from hostile import EVIL, EVIL_SHOWN
from PIL import Image

from cprspec.errors import CprspecError
from cprspec.runs.figures import cmr
from cprspec.runs.figures.strips import class_strips, read_strip
from cprspec.runs.files import atomic_write_json
from cprspec.runs.summary import summarise


def write_classes(run, cmr_source, random=0.25, strips=()):
    """The last table with these classes; `strips`: of which of them an example has a strip."""
    table = json.loads(run.mining_table("cycle", 1).read_text())
    table["classes"] = [
        {"name": name, "cmr_source": value, "cmr_video": None, "random_source": random, "random_video": None}
        for name, value in cmr_source.items()
    ]
    folder = run.mining("cycle") / "strips"
    folder.mkdir(exist_ok=True)
    table["examples"] = []
    for number, name in enumerate(strips):
        pixels = np.full((64, 256, 3), 10 * number, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
        table["examples"].append({"video": number, "name": name, "label": name, "mined": [], "strip": f"{number}.jpg"})
    atomic_write_json(run.mining_table("cycle", 1), table)
    return run


def bars(figure):
    """By group and class: the height of its bar, percent; over all rows."""
    found = {}
    for axes in figure.axes:
        names = [text.get_text() for text in axes.get_xticklabels()]
        for container in axes.containers:
            for name, bar in zip(names, container, strict=True):
                found.setdefault(container.get_label(), {})[name] = bar.get_height()
    return found


def rows(figure):
    return [[t.get_text() for t in axes.get_xticklabels()] for axes in figure.axes if axes.containers]


def test_bars_are_the_means_over_seeds(make_run):
    a = [summarise(make_run("cpr", seed, quality=0.8)) for seed in range(3)]
    b = [summarise(make_run("coclr", 0, lr=0.2, quality=0.3))]
    found = bars(cmr.draw([*a, *b]))

    def mean(runs, name):
        return 100 * fmean(c["cmr_source"] for r in runs for c in r.phases[1].table["classes"] if c["name"] == name)

    assert found == {
        "cpr (3 seeds)": {name: pytest.approx(mean(a, name)) for name in "abcd"},
        "coclr": {name: pytest.approx(mean(b, name)) for name in "abcd"},
    }


def test_two_rows_in_alphabetical_order_and_perfect_classes_in_bold(make_run):
    names = [f"Class{i:02}" for i in range(27)]
    values = {name: (i % 18) / 18 for i, name in enumerate(names)}
    a = write_classes(make_run("a"), {**dict(reversed(values.items())), "Class05": 1.0})
    b = write_classes(make_run("b", lr=0.2), {**values, "Class20": 1.0, "zebra": None, "apple": 0.5})
    figure = cmr.draw([summarise(a), summarise(b)])
    assert rows(figure) == [["apple", *names[:13]], names[13:]]
    bold = {t.get_text() for axes in figure.axes for t in axes.get_xticklabels() if t.get_fontweight() == "bold"}
    assert bold == {"Class05", "Class20"}
    assert figure.get_size_inches()[0] == 6.9
    assert cmr.draw([summarise(a)], columns=1).get_size_inches()[0] == 3.3


def test_a_hundred_classes_stand_in_two_rows_of_a_page_and_more_of_a_column(make_run):
    run = summarise(write_classes(make_run("a"), {f"c{i:03}": 0.5 for i in range(101)}))
    assert [len(row) for row in rows(cmr.draw([run]))] == [51, 50]
    assert len(rows(cmr.draw([run], columns=1))) == 5


def test_the_random_miner_is_a_line_over_each_bar(make_run):
    run = summarise(write_classes(make_run("a"), {"x": 0.5, "y": 1.0}, random=0.125))
    (axes,) = cmr.draw([run]).axes
    (lines,) = axes.collections
    assert {y for segment in lines.get_segments() for _, y in segment} == {12.5}
    assert lines.get_label() == "random miner"


def test_strips_of_the_highest_and_the_lowest_classes(make_run):
    values = {name: i / 10 for i, name in enumerate("abcdefgh")}
    run = summarise(write_classes(make_run("a"), values, strips="abcdefg"))
    titles = [axes.get_title() for axes in cmr.draw([run]).axes if axes.images]
    assert titles == [f"{name}\n{100 * values[name]:.1f} %" for name in "gfecba"]
    assert len([axes for axes in cmr.draw([run], columns=1).axes if axes.images]) == 2
    assert not [axes for axes in cmr.draw([run], strips=False).axes if axes.images]


def test_strips_that_are_not_there_are_left_out(make_run):
    run = write_classes(make_run("a"), {"a": 0.1, "b": 0.9}, strips="ab")
    folder = run.mining("cycle") / "strips"
    (folder / "0.jpg").write_bytes((folder / "0.jpg").read_bytes()[:200])
    assert set(class_strips([summarise(run)], "cycle")) == {"b"}
    assert not [axes for axes in cmr.draw([summarise(run)]).axes if axes.images]
    (folder / "1.jpg").unlink()
    assert class_strips([summarise(run)], "cycle") == {}


@pytest.mark.parametrize(
    "name", ["../1.jpg", "/etc/passwd", "a/b.jpg", "x.png", "", None, 3, "\x00.jpg", "x" * 999 + ".jpg"]
)
def test_a_strip_is_a_file_of_its_folder(tmp_path, name):
    Image.new("RGB", (8, 8)).save(tmp_path / "1.jpg")
    (tmp_path / "strips").mkdir()
    assert read_strip(tmp_path / "strips", name) is None
    assert read_strip(tmp_path, "1.jpg").shape == (8, 8, 3)


def test_hostile_class_names(make_run, svg_texts):
    texts = svg_texts(cmr.draw([summarise(write_classes(make_run("a"), dict.fromkeys(EVIL, 0.5)))]))
    assert set(EVIL_SHOWN) <= set(texts)


def test_what_is_missing_is_said(make_run):
    mined, none = summarise(make_run("a")), summarise(make_run("none", lr=0.2, mined=False))
    with pytest.raises(CprspecError, match="none of the runs has mined anything"):
        cmr.draw([none])
    with pytest.raises(CprspecError, match=r"B \(none\) has mined nothing in phase 'cycle'; leave it out"):
        cmr.draw([mined, none])
    with pytest.raises(CprspecError, match="no run has a phase 'cycel'; did you mean 'cycle'"):
        cmr.draw([mined], phase="cycel")
    with pytest.raises(CprspecError, match="has mined nothing in phase 'rgb'; it mined in cycle: say --phase"):
        cmr.draw([mined], phase="rgb")
    unlabelled = summarise(write_classes(make_run("u"), {"a": None}))
    with pytest.raises(CprspecError, match="no class has a CMR over sources in phase 'cycle'"):
        cmr.draw([unlabelled])
    with pytest.raises(CprspecError, match="at most 4"):
        cmr.draw([summarise(make_run("x", lr=i)) for i in range(5)])
