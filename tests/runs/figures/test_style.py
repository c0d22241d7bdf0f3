"""Files, fonts and text of figures, whatever they show."""

from __future__ import annotations

import subprocess
import sys
import warnings

import matplotlib
import pytest
from hostile import EVIL, EVIL_SHOWN

from cprspec.errors import CprspecError
from cprspec.runs.figures import KINDS, module_of
from cprspec.runs.figures.style import (
    COLOURS,
    DASHES,
    MARKERS,
    WIDTHS,
    form_of,
    group_labels,
    label,
    legend_above,
    new_figure,
    save,
    styled,
    to_bytes,
)
from cprspec.runs.groups import group_by_seed
from cprspec.runs.summary import summarise


def small_figure(texts=("a", "b")):
    with styled():
        figure = new_figure(1, 1.5)
        axes = figure.subplots()
        lines = [axes.plot([0, 1], [number, 1], label=text)[0] for number, text in enumerate(texts)]
        legend_above(figure, lines, 1)
        axes.set_xticks(range(len(texts)), texts)
    return figure


@pytest.mark.parametrize("form", ["pdf", "svg", "png"])
def test_the_same_figure_is_the_same_file(form, monkeypatch):
    first, _ = to_bytes(small_figure(), form)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    assert to_bytes(small_figure(), form)[0] == first


def test_pdf_embeds_true_type_and_has_no_date():
    data, _ = to_bytes(small_figure(), "pdf")
    assert b"/CIDFontType2" in data
    assert b"/FontFile2" in data
    assert b"/Type3" not in data
    assert b"/CreationDate" not in data
    assert b"/MediaBox [ 0 0 237.6 108 ]" in data  # 3.3 x 1.5 inches of 72 points


def test_hostile_text_is_text(svg_texts):
    shown = [label(text) for text in EVIL]
    assert tuple(shown) == EVIL_SHOWN
    texts = svg_texts(small_figure(shown))
    assert {text: texts.count(text) for text in EVIL_SHOWN} == dict.fromkeys(EVIL_SHOWN, 2)  # tick and legend
    for form in ("pdf", "png"):
        to_bytes(small_figure(shown), form)


def test_settings_of_the_user_neither_matter_nor_change():
    before = dict(matplotlib.rcParams.items())
    with warnings.catch_warnings(), matplotlib.rc_context():
        warnings.simplefilter("error")
        plain, _ = to_bytes(small_figure(), "svg")
        matplotlib.rcParams.update({"font.size": 30, "axes.facecolor": "red", "text.parse_math": True})
        assert to_bytes(small_figure(), "svg")[0] == plain
    assert dict(matplotlib.rcParams.items()) == before


def test_signs_that_the_font_does_not_have_are_named():
    _, (problem,) = to_bytes(small_figure(("行走", "b")), "png")
    assert problem.warning
    assert "行 走" in str(problem)


@pytest.mark.parametrize("name", ["x.jpg", "x", "x.pdf.gz", ".svg"])
def test_endings_that_are_no_figure(tmp_path, name):
    with pytest.raises(CprspecError, match=r"end the name with \.pdf, \.svg, \.png"):
        form_of(tmp_path / name)


def test_save_writes_what_the_ending_says(tmp_path):
    for name, start in (("a.PDF", b"%PDF"), ("a.svg", b"<?xml"), ("deep/a.png", b"\x89PNG")):
        assert save(small_figure(), tmp_path / name) == []
        assert (tmp_path / name).read_bytes().startswith(start)


def test_neighbouring_series_differ_in_grey_and_in_sign():
    def luminance(colour):
        return sum(w * int(colour[i : i + 2], 16) for w, i in ((0.2126, 1), (0.7152, 3), (0.0722, 5)))

    steps = [abs(luminance(COLOURS[i]) - luminance(COLOURS[i + 1])) for i in range(len(COLOURS) - 1)]
    assert min(steps) > 25
    assert abs(luminance(COLOURS[0]) - luminance(COLOURS[1])) > 60
    assert len(set(MARKERS)) == len(MARKERS) == len(set(COLOURS)) == len(COLOURS)
    assert len(set(DASHES)) == 4
    assert WIDTHS == {1: 3.3, 2: 6.9}


def test_groups_are_called_by_experiment_and_seeds(make_run):
    runs = [make_run("a", 0), make_run("a", 1), make_run("a", 0), make_run("b", lr=9)]
    assert group_labels(group_by_seed([summarise(r) for r in runs])) == ["a A (2 seeds)", "a B", "b"]


def test_every_kind_has_a_module_and_options():
    for kind in KINDS:
        module = module_of(kind)
        assert callable(module.draw)
        assert set(module.OPTIONS) <= set(module.draw.__kwdefaults__)


def test_without_matplotlib_the_extra_is_named():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from cprspec.errors import CprspecError\nfrom cprspec.runs.figures import module_of\n"
        "try:\n    module_of('cmr')\nexcept CprspecError as error:\n    print(error, error.exit_code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "figures need matplotlib; install it with pip install 'cprspec[figures]' 1\n"
