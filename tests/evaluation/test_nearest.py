"""The retrieval evaluator over made features: protocols, and the gallery of another data set, against their definitions."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from zlib import crc32

import pytest
import torch

from cprspec.components.datasets import UCF101, Manifest
from cprspec.components.evaluators import Retrieval
from cprspec.data.index import Entry, make_index
from cprspec.evaluation import nearest
from cprspec.learning.ranks import Ranks
from cprspec.spec.kinds import PRECISIONS

VIEWS = {"iic": ("rgb", "residual"), "flow": ("flow",)}


def index(tmp_path, classes, train, test):
    """Videos of `classes` in turn; the last of each split has no label."""
    entries = []
    for split, count in (("train", train), ("test", test)):
        for i in range(count):
            name = f"{split}{i}.mp4"
            (tmp_path / name).write_bytes(b"x")
            label = None if i == count - 1 else classes[i % len(classes)]
            entries.append(Entry(name, label, name, split))
    return make_index(tmp_path, entries)


def feature(index, dataset, single, split):
    """The feature of every video of a split under an encoder, drawn by their names."""
    seed = crc32(f"{dataset} {single} {split}".encode())
    size = 5 + len(single) % 3
    return torch.randn(len(index.ids(split)), size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Two data sets that share some classes, and a split of the first; `asked` tells which features were made."""
    indices = {
        "ucf": index(tmp_path, ("Basketball", "Biking", "GolfSwing"), 20, 11),
        "ucf-2": index(tmp_path, ("Basketball", "Biking", "GolfSwing"), 14, 8),
        "hmdb": index(tmp_path, ("Biking", "dribble", "eat", "golf"), 9, 14),
    }
    asked = []

    def features_of(singles, trained, dataset, split, *, protocol, precision, kept):
        asked.append((dataset, split, protocol))
        assert precision in PRECISIONS
        own = indices[dataset]
        return torch.from_numpy(own.ids(split)), {single: feature(own, dataset, single, split) for single in singles}

    monkeypatch.setattr(nearest, "features_of", features_of)
    phases = tuple(SimpleNamespace(name=name, views=views) for name, views in VIEWS.items())
    datasets = {"ucf": UCF101(), "ucf-2": UCF101(split=2, root="elsewhere"), "hmdb": Manifest()}
    resolved = SimpleNamespace(phases=phases, seed=7, train_on="ucf", datasets=datasets)
    ranks = Ranks(device=torch.device("cpu"))
    trained = SimpleNamespace(resolved=resolved, indices=indices, ranks=ranks, report=lambda event: None)
    return SimpleNamespace(trained=trained, indices=indices, asked=asked)


def retrieve(world, **options):
    return nearest.retrieve(Retrieval(k=(1, 3), **options), world.trained, Path("unused"))


def value(facts, metric, encoder, **others):
    (found,) = [
        r for r in facts["records"]
        if (r["metric"], r["encoder"]) == (metric, encoder) and others.items() <= r.items()
    ]  # fmt: skip
    return found["value"]


def slow_recall(world, protocol, parts, queries, gallery, same, k):
    """Share of labelled queries with a video of their class among the k nearest, and their number; one by one."""
    own, theirs = world.indices[queries], world.indices[gallery]
    asked = [feature(own, queries, part, "test") for part in parts]
    known = [feature(theirs, gallery, part, "train") for part in parts]
    if protocol == "iic":
        pairs = [(torch.cat(asked, 1), torch.cat(known, 1))]
    else:
        pairs = [(a - a.mean(0), b - b.mean(0)) for a, b in zip(asked, known, strict=True)]
    class_of = [own.videos[v].label for v in own.ids("test")]
    questions = {q: same(own.classes[c]) for q, c in enumerate(class_of) if c is not None and same(own.classes[c])}
    allowed = {same(name) for name in own.classes}
    class_of = [theirs.videos[v].label for v in theirs.ids("train")]
    answers = {g: theirs.classes[c] for g, c in enumerate(class_of) if c is not None and theirs.classes[c] in allowed}
    hits = 0
    for q, name in questions.items():
        score = {g: sum(float(a[q] @ b[g] / a[q].norm() / b[g].norm()) for a, b in pairs) for g in answers}
        hits += name in [answers[g] for g in sorted(score, key=score.get, reverse=True)[:k]]
    return hits / len(questions), len(questions)


PARTS = {"iic": ["iic/rgb", "iic/residual"], "iic/rgb+flow": ["iic/rgb", "flow"], "flow": ["flow"]}


@pytest.mark.parametrize("protocol", ["default", "coclr", "iic"])
def test_protocols_join_as_defined(world, protocol):
    facts = retrieve(world, protocol=protocol, encoders=tuple(PARTS))
    assert set(world.asked) == {("ucf", "train", protocol), ("ucf", "test", protocol)}
    for encoder, parts in PARTS.items():
        for k in (1, 3):
            expected, n = slow_recall(world, protocol, parts, "ucf", "ucf", lambda name: name, k)
            assert value(facts, f"R@{k}", encoder) == pytest.approx(expected)
        assert {(r["n"], r["dataset"], r["split"]) for r in facts["records"]} == {(n, "ucf", "1")}
    assert {r["protocol"] for r in facts["records"]} == {f"retrieval-{protocol}"}
    assert "left_out" not in facts


def test_queries_of_one_data_set_in_the_gallery_of_another(world):
    options = {"datasets": ("hmdb", "ucf"), "gallery": "ucf", "encoders": ("flow",)}
    renamed = {"dribble": "Basketball", "golf": "GolfSwing"}
    facts = retrieve(world, **options, classes=renamed)
    same = {**renamed, "Biking": "Biking"}.get
    expected, n = slow_recall(world, "default", ["flow"], "hmdb", "ucf", same, 1)
    assert value(facts, "R@1", "flow", gallery="ucf", protocol="retrieval-default-in-ucf") == pytest.approx(expected)
    assert {r["n"] for r in facts["records"] if r["dataset"] == "hmdb"} == {n}
    assert {(r["split"], r.get("gallery")) for r in facts["records"]} == {("test", "ucf"), ("1", None)}
    assert facts["left_out"] == {
        "hmdb": {"queries": 14 - n, "gallery": 1, "classes_asked": ["Biking", "dribble", "golf"]}
    }
    of_class = facts["per_class"]["hmdb"]["flow"]
    tests = [v for v in world.indices["hmdb"].videos if v.split == "test" and v.label is not None]
    counts = [sum(world.indices["hmdb"].classes[v.label] == name for v in tests) for name in same.__self__]
    total = sum(of_class[name] * count for name, count in zip(same.__self__, counts, strict=True))
    assert total / sum(counts) == pytest.approx(expected)
    assert math.isnan(of_class["eat"])  # never asked
    assert world.asked.count(("ucf", "train", "default")) == 1  # for both data sets


def test_only_equal_names_where_none_are_said(world):
    facts = retrieve(world, datasets=("hmdb",), gallery="ucf", encoders=("flow",))
    assert facts["left_out"]["hmdb"]["classes_asked"] == ["Biking"]
    assert facts["left_out"]["hmdb"]["gallery"] == 20 - 6


def test_splits_of_one_data_set(world):
    facts = retrieve(world, datasets=("ucf", "ucf-2"), encoders=("flow",))
    places = {(r["dataset"], r["split"]) for r in facts["records"]}
    assert places == {("ucf", "1"), ("ucf", "2")}
    assert set(facts["per_class"]) == {"ucf", "ucf-2"}


def test_records_name_another_precision(world):
    for precision, protocol in (("float32", "retrieval-default"), ("bf16", "retrieval-default-bf16")):
        facts = retrieve(world, encoders=("flow",), precision=precision)
        assert {r["protocol"] for r in facts["records"]} == {protocol}
