"""Strips: which videos are drawn first, from what is stored, within bounds."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from small_run import mining

from cprspec.components.views import Flow, Rgb
from cprspec.errors import CprspecError
from cprspec.spec.schema import Clip
from cprspec.training import strips
from cprspec.training.mining_table import Example, MinedVideo, MiningTable
from cprspec.training.reuse import Finished, copy_phase
from cprspec.training.strips import Strips, drawn


def table(*examples):
    """A table of (label, query, mined videos ...)."""
    shown = tuple(
        Example(
            video=query, name="", label=label,
            mined=tuple(MinedVideo(rank=r, video=v, name="", label=None, right=None) for r, v in enumerate(mined)),
        )
        for label, query, *mined in examples
    )  # fmt: skip
    none = dict.fromkeys(("true_positives", "precision", "cmr_source", "cmr_video"))
    return MiningTable(
        phase="p", dataset="d", epoch=0, queries=0, picks=0, funnel=(), classes=(), examples=shown, **none
    )


class StillStore:
    """A store that has every picture but some."""

    def __init__(self, missing=(), broken=()):
        self.missing, self.broken, self.reads = set(missing), set(broken), 0

    def holds(self, path, view, side):
        return path not in self.missing

    def read(self, path, view, side):
        self.reads += 1
        if path in self.broken:
            raise CprspecError("gone")
        return np.random.default_rng(path).integers(0, 256, (12, 32, 48, 3), np.uint8)


def job(folder, store, wanted=2):
    said = []
    return SimpleNamespace(
        folder=folder, store=store, views={"rgb": Rgb(), "flow": Flow()}, mining_view="flow", report=said.append,
        said=said, launch=SimpleNamespace(strips=wanted),
        index=SimpleNamespace(videos=[SimpleNamespace(path=i) for i in range(99)]),
        phase=SimpleNamespace(name="p", views=("rgb",), clip=Clip(frames=8, size=32, short_side=32)),
    )  # fmt: skip


TABLE = table(("a", 1, 5, 6, 7, 8, 9, 10), ("a", 2, 5), ("a", 3, 4), ("b", 11, 12))


def test_every_class_is_drawn_before_any_is_drawn_twice():
    assert list(drawn(TABLE, 2)) == [1, 5, 6, 7, 8, 9, 11, 12, 2, 5]
    assert list(drawn(TABLE, 0)) == []
    assert len(set(drawn(table(*((None, i, i + 50) for i in range(32))), 2))) == 32


def test_strips_are_made_once_from_what_is_stored(tmp_path):
    store = StillStore(missing={5})
    made = Strips(job(tmp_path, store))
    names = made.draw(TABLE)
    assert names == {v: f"{v:06d}.jpg" for v in (1, 6, 7, 8, 9, 11, 12, 2)}
    assert {p.name for p in (tmp_path / "mining" / "strips").iterdir()} == set(names.values())
    assert store.reads == 8
    assert made.draw(TABLE) == names
    assert store.reads == 8
    picture = cv2.imread(str(tmp_path / "mining" / "strips" / "000001.jpg"))
    assert picture.shape == (64, 4 * 96, 3)
    data = TABLE.to_json(names)["examples"][0]
    assert (data["strip"], "strip" in data["mined"][0], data["mined"][1]["strip"]) == (
        "000001.jpg",
        False,
        "000006.jpg",
    )


def test_the_folder_is_bounded_and_what_was_named_longest_ago_goes_first(tmp_path, monkeypatch):
    made = Strips(job(tmp_path, StillStore()))
    made.draw(table(("a", 1)))
    folder = tmp_path / "mining" / "strips"
    size = (folder / "000001.jpg").stat().st_size
    monkeypatch.setattr(strips, "FOLDER_BYTES", int(4.5 * size))
    for age, video in enumerate((2, 3, 4)):
        made.draw(table(("a", video)))
        os.utime(folder / f"{video:06d}.jpg", ns=(age, age))
    made.draw(table(("a", 2), ("b", 50)))
    assert {int(p.stem) for p in folder.iterdir()} == {1, 2, 50, 4} or {int(p.stem) for p in folder.iterdir()} == {
        1,
        2,
        50,
    }
    assert len(made.draw(table(*((str(i), i) for i in range(30, 60))))) <= 6


def test_a_strip_that_cannot_be_made_costs_a_warning_and_nothing_else(tmp_path):
    asked = job(tmp_path, StillStore(broken={6}))
    made = Strips(asked)
    assert set(made.draw(TABLE)) == {1, 5}
    assert made.draw(TABLE) == {}
    (warning,) = asked.said
    assert "writes no strips from here on: gone" in warning.message
    assert Strips(job(tmp_path / "none", StillStore(), wanted=0)).draw(TABLE) == {}
    assert not (tmp_path / "none").exists()


def test_a_run_has_the_strips_that_its_tables_name(reference):
    table = mining(reference, "cycle", 1)
    named = {shown.get("strip") for e in table["examples"] for shown in (e, *e["mined"])} - {None}
    assert named
    assert named <= {p.name for p in (reference / "phases" / "cycle" / "mining" / "strips").iterdir()}
    assert all(len(m["stages"]) == 3 and m["stages"][-1] == m["rank"] for e in table["examples"] for m in e["mined"])


@pytest.mark.parametrize("wanted", [True, False])
def test_a_reused_phase_brings_its_strips_only_where_strips_are_wanted(reference, tmp_path, wanted):
    facts = json.loads((reference / "phases" / "cycle" / "phase.json").read_text())
    copy_phase(Finished(reference / "phases" / "cycle", facts), tmp_path / "cycle", "cycle", strips=wanted)
    assert (tmp_path / "cycle" / "mining" / "epoch-0001.json").exists()
    assert bool(list(tmp_path.rglob("*.jpg"))) == wanted
