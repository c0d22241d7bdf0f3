"""The embedded data set: made once, the same for the same seed, and its programmes visible to flow."""

import numpy as np

from cprspec.components.datasets import Motion
from cprspec.video.decode import read_frames
from cprspec.video.flow import compute_flow
from cprspec.video.motion import FAMILIES, PROGRAMMES, make_motion

SMALL = {"train_sources": 2, "test_sources": 1, "clips": 1, "frames": 12, "size": 48}


def contents(index):
    return [v.path.read_bytes() for v in index.videos]


def test_it_is_made_once_and_the_same_for_the_same_seed(tmp_path):
    first = make_motion(Motion(**SMALL), tmp_path / "a")
    stamps = [v.path.stat().st_mtime_ns for v in first.videos]
    again = make_motion(Motion(**SMALL), tmp_path / "a")
    assert [v.path.stat().st_mtime_ns for v in again.videos] == stamps
    elsewhere = make_motion(Motion(**SMALL), tmp_path / "b")
    assert contents(elsewhere) == contents(first) and elsewhere.digest() == first.digest()
    assert make_motion(Motion(seed=1, **SMALL), tmp_path / "a").digest() != first.digest()
    assert len(first.videos) == 16 * 3 and len(first.classes) == 16
    assert len(first.ids("train")) == 32 and len(first.ids("test")) == 16
    train, test = (set(first.source_ids[first.ids(s)].tolist()) for s in ("train", "test"))
    assert len(train) == 32 and train.isdisjoint(test)  # a source belongs to one class and one split


def test_what_is_half_made_is_not_taken_for_whole(tmp_path):
    first = make_motion(Motion(**SMALL), tmp_path)
    (folder,) = [p for p in tmp_path.iterdir() if p.is_dir()]
    (folder / "complete.json").unlink()
    first.videos[0].path.unlink()
    before = {v.name: v.size for v in first.videos}
    assert {v.name: v.size for v in make_motion(Motion(**SMALL), tmp_path).videos} == before


def test_flow_tells_the_programme_and_the_background_tells_the_family(tmp_path):
    index = make_motion(Motion(**(SMALL | {"clips": 2, "frames": 24})), tmp_path)
    directions, hues = {p: [] for p in PROGRAMMES}, {f: [] for f in FAMILIES}
    for video in index.videos:
        family, programme = index.classes[video.label].split("+")
        frames = read_frames(video.path, 48)
        flow = compute_flow(frames, "dis")
        x, y = (np.abs(flow[..., i]).mean() for i in (0, 1))
        directions[programme].append(x / (x + y))
        hues[family].append(frames[:, :, :6].mean((0, 1, 2)))
    means = {p: float(np.mean(v)) for p, v in directions.items()}
    assert means["sway"] > 0.6 > 0.56 > means["orbit"] and means["bounce"] < 0.4 < 0.44 < means["pulse"]
    centres = np.array([np.mean(v, axis=0) for v in hues.values()])
    assert min(np.linalg.norm(a - b) for i, a in enumerate(centres) for b in centres[:i]) > 15
