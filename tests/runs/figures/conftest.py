"""Fixtures of this folder: figures as SVG. Runs come from the folder above."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from cprspec.runs.figures.style import to_bytes


@pytest.fixture
def svg_texts():
    """A function that gives every text of a figure's SVG, which must be well-formed."""

    def texts(figure):
        data, _ = to_bytes(figure, "svg")
        return ["".join(e.itertext()) for e in ElementTree.fromstring(data).iter() if e.tag.endswith("}text")]

    return texts
