"""Maps of embeddings: the components, the classes, and files that hold none."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hostile import EVIL, EVIL_SHOWN
from safetensors.numpy import save_file

from cprspec.errors import CprspecError
from cprspec.runs.figures import embedding
from cprspec.runs.figures.embedding import MOST_CLASSES, principal_components
from cprspec.runs.summary import summarise


def write_embeddings(path, labels, features=None):
    """What `cprspec embed` writes: features, and the table of videos beside it."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(len(labels), 8)).astype(np.float32) if features is None else features
    save_file({"features": features}, path)
    rows = [f'{i},v{i}.mp4,"{label}"' for i, label in enumerate(labels)]
    path.with_suffix(".csv").write_bytes("\n".join(["row,path,label", *rows]).encode("utf-8", "surrogateescape"))
    return path


def points(figure):
    """Number of points by class."""
    return {str(c.get_label()): len(c.get_offsets()) for c in figure.axes[0].collections}


def test_components_are_those_of_the_singular_value_decomposition():
    features = np.random.default_rng(1).normal(size=(40, 6)).astype(np.float32) * [5, 1, 3, 1, 1, 1]
    place, share = principal_components(features.astype(np.float32))
    centred = features - features.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    assert np.abs(place) == pytest.approx(np.abs(u[:, :2] * s[:2]), abs=1e-4)
    assert share == pytest.approx((s**2 / (s**2).sum())[:2], rel=1e-5)
    for component in range(2):
        weights = np.linalg.lstsq(centred, place[:, component], rcond=None)[0]
        assert weights[np.abs(weights).argmax()] > 0


def test_equal_features_are_a_point_and_no_crash():
    place, share = principal_components(np.ones((5, 3), np.float32))
    assert np.abs(place).max() < 1e-6
    assert share.tolist() == [0, 0]


def test_a_file_that_embed_wrote(tmp_path):
    path = write_embeddings(tmp_path / "e.safetensors", ["run"] * 3 + ["walk"] * 2 + [""])
    assert points(embedding.draw_file(path)) == {"no class": 1, "run": 3, "walk": 2}
    path.with_suffix(".csv").unlink()
    figure = embedding.draw_file(path, columns=2)
    assert points(figure) == {"no class": 6}
    assert not figure.legends


def test_of_many_classes_the_most_frequent_are_told_apart(tmp_path):
    labels = [f"c{i:02}" for i in range(MOST_CLASSES + 3) for _ in range(1 + (i < MOST_CLASSES))]
    found = points(embedding.draw_file(write_embeddings(tmp_path / "e.safetensors", labels)))
    assert found == {"3 other classes": 3} | {f"c{i:02}": 2 for i in range(MOST_CLASSES)}


def test_the_recording_of_a_run(make_run):
    run = make_run("x")
    rng = np.random.default_rng(0)
    facts = json.dumps({"kind": "replay", "classes": ["a", "b"]})
    tensors = {
        "clips.query_MD": rng.normal(size=(4, 3)).astype(np.float32),
        "clips.video_M": np.array([0, 1, 2, 0]),
        "label_V": np.array([0, 1, -1]),
    }
    save_file(tensors, run.replay("cycle"), {"cprspec": facts})
    assert points(embedding.draw([summarise(run)])) == {"no class": 1, "a": 2, "b": 1}
    save_file({**tensors, "label_V": np.array([0, 7, -1])}, run.replay("cycle"), {"cprspec": facts})
    with pytest.raises(CprspecError, match="not a recording of mining: IndexError"):
        embedding.draw([summarise(run)])
    run.replay("cycle").unlink()
    with pytest.raises(CprspecError, match="phase 'cycle' has no recording of its mining"):
        embedding.draw([summarise(run)])
    with pytest.raises(CprspecError, match="a map is of one run, and these are 2"):
        embedding.draw([summarise(run)] * 2)


def test_hostile_labels(tmp_path, svg_texts):
    evil = [text for text in EVIL if "\x00" not in text and "\ud800" not in text]  # no such thing in a CSV file
    texts = svg_texts(embedding.draw_file(write_embeddings(tmp_path / "e.safetensors", evil)))
    assert {shown for text, shown in zip(EVIL, EVIL_SHOWN, strict=True) if text in evil} <= set(texts)


def test_files_that_hold_no_embeddings(tmp_path):
    path = tmp_path / "e.safetensors"
    with pytest.raises(CprspecError, match="cannot be read"):
        embedding.draw_file(path)
    for content in (b"", b"x" * 100, b"\xff" * 8):
        path.write_bytes(content)
        with pytest.raises(CprspecError, match="cannot be read"):
            embedding.draw_file(path)
    for features in (np.zeros((5, 2, 2), np.float32), np.zeros((5, 2), np.int64)):
        save_file({"features": features}, path)
        with pytest.raises(CprspecError, match="no features in it"):
            embedding.draw_file(path)
    for features in (np.zeros((2, 2), np.float32), np.full((5, 3), np.nan, np.float32)):
        save_file({"features": features}, path)
        with pytest.raises(CprspecError, match="features give no map"):
            embedding.draw_file(path)
    write_embeddings(path, ["a"] * 4)
    path.with_suffix(".csv").write_text("row,path,label\n0,x,y\n")
    with pytest.raises(CprspecError, match=r"names 1 videos, and e\.safetensors has 4"):
        embedding.draw_file(path)
