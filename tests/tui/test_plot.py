"""Axes of plots that hold little: one point, or values so alike that short ticks could not tell them apart."""

import numpy as np

from cprspec.tui.curves import METRICS
from cprspec.tui.widgets.plot import Curve, MetricPlot, _Formatter


def test_one_place_is_shown_with_room_around_it_and_several_as_they_lie():
    def curve(letter, *places):
        return Curve(letter=letter, x=np.array(places), y=np.arange(len(places)) / 2)

    plot = MetricPlot(METRICS[0])
    plot.curves = (curve("A", 26.0), curve("B", 26.0))
    assert plot._one_place() == (25.0, 27.0)
    plot.curves += (curve("C", 0.0, 26.0),)
    assert plot._one_place() == (None, None)


def test_ticks_of_small_numbers_differ():
    labels = _Formatter().get_labels_for_ticks([0.000190, 0.000195, 0.000200, 0.000205])
    assert len(set(labels)) == 4
    assert float(labels[2]) == 0.0002
