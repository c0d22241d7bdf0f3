"""Fixtures of this folder: small run directories, and figures as SVG."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from sample_runs import write_run

pytest.importorskip("matplotlib")


@pytest.fixture
def make_run(tmp_path):
    """A function that writes a run below `tmp_path / "runs"` and gives its RunDir; see `sample_runs.write_run`."""
    return lambda *args, **kwargs: write_run(tmp_path / "runs", *args, **kwargs)


@pytest.fixture
def svg_texts():
    """A function that gives every text of a figure's SVG, which must be well-formed."""

    def texts(figure):
        from cprspec.runs.figures.style import to_bytes

        data, _ = to_bytes(figure, "svg")
        return ["".join(e.itertext()) for e in ElementTree.fromstring(data).iter() if e.tag.endswith("}text")]

    return texts
