"""How evaluations call encoders: one name for each network on each view, and what joins them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from cprspec.spec.encoders import default_encoders, encoder_names, phase_and_view, phases_of, singles_of

VIEWS = {"rgb": ("rgb",), "flow": ("flow",), "iic": ("rgb", "residual")}


def experiment(views):
    """What is asked of a resolved experiment: its phases in order."""
    phases = tuple(SimpleNamespace(name=name, views=some) for name, some in views.items())
    return SimpleNamespace(phases=phases, phase=lambda name: next(p for p in phases if p.name == name))


@pytest.mark.parametrize(
    ("name", "singles"),
    [
        ("rgb", ["rgb"]),
        ("rgb/rgb", ["rgb"]),
        ("iic", ["iic/rgb", "iic/residual"]),
        ("iic/residual", ["iic/residual"]),
        ("rgb+flow", ["rgb", "flow"]),
        ("flow/flow+iic", ["flow", "iic/rgb", "iic/residual"]),
        ("random", ["random/rgb", "random/flow", "random/residual"]),
        ("random/residual", ["random/residual"]),
    ],
)
def test_singles(name, singles):
    assert list(singles_of(name, VIEWS)) == singles


def test_a_single_is_a_phase_and_a_view():
    resolved = experiment({"iic": ("rgb", "residual"), "rgb": ("rgb",)})
    found = {s: phase_and_view(s, resolved) for s in ("rgb", "iic/residual", "random/rgb", "random/residual")}
    assert {s: (phase.name, view) for s, (phase, view) in found.items()} == {
        "rgb": ("rgb", "rgb"),
        "iic/residual": ("iic", "residual"),
        "random/rgb": ("iic", "rgb"),  # the first phase of the view
        "random/residual": ("iic", "residual"),
    }
    assert phases_of("iic/residual+rgb") == {"iic", "rgb"}


def test_names_to_choose_from():
    assert encoder_names(VIEWS) == ("rgb", "flow", "iic", "iic/rgb", "iic/residual", "random")


def test_what_is_evaluated_where_nobody_says():
    one_view = {"rgb": ("rgb",), "flow": ("flow",), "cycle": ("rgb",)}
    assert default_encoders(experiment(one_view)) == (
        "random/rgb", "random/flow", "rgb", "flow", "cycle", "random/rgb+random/flow", "rgb+flow", "cycle+flow",
    )  # fmt: skip
    assert default_encoders(experiment({"iic": ("rgb", "residual")})) == (
        "random/rgb", "random/residual", "iic/rgb", "iic/residual", "iic", "random/rgb+random/residual",
    )  # fmt: skip
    assert default_encoders(experiment({"rgb": ("rgb",)})) == ("random/rgb", "rgb")
