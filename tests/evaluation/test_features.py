"""Features of whole videos against a loop by definition; a pass that is cut off goes on and ends with the same bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.distributed as dist
from gloo import on_ranks
from torch.nn.functional import max_pool3d, normalize
from torch.testing import assert_close

from cprspec.components.views import Residual, Rgb
from cprspec.errors import CprspecError
from cprspec.evaluation import features
from cprspec.evaluation.features import FrozenEncoder, Keeping, encode_videos
from cprspec.evaluation.kept import Kept
from cprspec.evaluation.rows import RowFiles
from cprspec.learning.ranks import Ranks
from cprspec.models.heads import Encoder
from cprspec.models.tiny import Tiny
from cprspec.spec.schema import Launch
from cprspec.video.normalise import Normalise
from cprspec.video.tray import Tray

VIDEOS = 13
PART = 4
HERE = Launch(workers=0)


class MadeClips:
    """Videos of one to three windows, every second with a larger number; it remembers which were read."""

    def __init__(self, videos=VIDEOS):
        self.videos, self.asked = videos, []

    def __len__(self):
        return self.videos

    def item_bytes(self):
        return 2 * 3 * 4 * 32 * 32 * 3

    def read(self, position, tray):
        self.asked.append(position)
        rng = np.random.default_rng(position)
        tray.video = 100 - 2 * position
        windows = rng.integers(0, 256, (1 + position % 3, 4, 32, 32, 3), dtype=np.uint8)
        for view in ("rgb", "residual"):
            tray.room(view, windows.shape)[:] = windows


class Ascending(MadeClips):
    """The same as data sets have them: ids ascend."""

    def read(self, position, tray):
        super().read(position, tray)
        tray.video = position


def encoders():
    """One network on two views, and IIC's features of it."""
    torch.manual_seed(0)
    network = Encoder(Tiny(0.25), 32, 8)
    of_view = {"rgb": Normalise(Rgb()), "residual": Normalise(Residual())}
    named = {f"net/{view}": FrozenEncoder(network, view, to_input) for view, to_input in of_view.items()}
    return named | {"flat": FrozenEncoder(network, "rgb", of_view["rgb"], conv5=True)}


def one_rank():
    return Ranks(device=torch.device("cpu"))


def nothing():
    pass


def keeping(folder, ranks, facts=None, pause=nothing):
    return Keeping(Kept(folder, ranks, lambda event: None), "pass", facts or {"data": "x"}, pause)


def test_features_by_definition():
    clips, named = MadeClips(), encoders()
    video_V, found = encode_videos(named, clips, HERE, one_rank())
    assert video_V.tolist() == sorted(100 - 2 * p for p in range(VIDEOS))
    for row, video in enumerate(video_V.tolist()):
        tray = Tray()
        clips.read((100 - video) // 2, tray)
        for name, encoder in named.items():
            each = []
            for window in torch.from_numpy(tray.own[encoder.view]):
                with torch.no_grad():
                    map_ = encoder.network[0](encoder.to_input(window[None]))
                flat = name == "flat"
                each.append(
                    max_pool3d(map_, (1, 2, 2)).flatten() if flat else normalize(map_.mean((0, 2, 3, 4)), dim=0)
                )
            assert_close(found[name][row], torch.stack(each).mean(0), atol=1e-5, rtol=1e-5)


def test_features_that_are_not_finite_are_refused():
    named = encoders()
    with torch.no_grad():
        next(named["flat"].network.parameters()).fill_(torch.nan)
    with pytest.raises(
        CprspecError, match=f"encoder 'net/rgb' gives features that are not finite, for {VIDEOS} of {VIDEOS}"
    ):
        encode_videos(named, MadeClips(), HERE, one_rank())


@pytest.mark.parametrize("videos", [0, 3, 4, 9, 12])
def test_a_pass_that_is_cut_off_goes_on(tmp_path, monkeypatch, videos):
    monkeypatch.setattr(features, "VIDEOS_IN_PART", PART)
    left = iter(range(videos))

    def pause():
        if next(left, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_videos(encoders(), MadeClips(), HERE, one_rank(), pause, keeping(tmp_path, one_rank()))
    clips = MadeClips()
    video_V, found = encode_videos(encoders(), clips, HERE, one_rank(), None, keeping(tmp_path, one_rank()))
    finished = videos // PART * PART
    assert clips.asked == list(range(finished, VIDEOS))
    whole_V, expected = encode_videos(
        encoders(), MadeClips(), HERE, one_rank(), None, keeping(tmp_path / "2", one_rank())
    )
    assert torch.equal(video_V, whole_V)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_between_parts_it_may_stop(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "VIDEOS_IN_PART", PART)

    def stop():
        raise KeyboardInterrupt

    for done in (1, 2, 3, 4):
        with pytest.raises(KeyboardInterrupt):
            encode_videos(encoders(), MadeClips(), HERE, one_rank(), None, keeping(tmp_path, one_rank(), pause=stop))
        assert len(list(tmp_path.iterdir())) == done
    clips = MadeClips()
    encode_videos(encoders(), clips, HERE, one_rank(), None, keeping(tmp_path, one_rank(), pause=stop))
    assert clips.asked == []


def test_kept_features_lie_on_disk(tmp_path, monkeypatch):
    """A rank has one part of them in memory, whatever is left of an attempt that was killed."""
    monkeypatch.setattr(features, "VIDEOS_IN_PART", PART)
    most = 0
    append = RowFiles.append

    def counted(files, part):
        nonlocal most
        most = max(most, *(len(rows) for rows in part.values()))
        append(files, part)

    monkeypatch.setattr(RowFiles, "append", counted)
    (tmp_path / "pass@flat.rows.tmp").write_bytes(b"torn")
    (tmp_path / "pass@flat.rows").write_bytes(b"of an earlier attempt")
    _, found = encode_videos(encoders(), Ascending(), HERE, one_rank(), None, keeping(tmp_path, one_rank()))
    _, expected = encode_videos(encoders(), Ascending(), HERE, one_rank())
    assert most == PART
    assert not [*tmp_path.glob("*.tmp")]
    for name, rows in found.items():
        file = tmp_path / f"pass@{name.replace('/', '@')}.rows"
        assert file.read_bytes() == expected[name].numpy().tobytes()
        assert torch.equal(rows, expected[name])
        file.unlink()  # as the work folder is, once the result is on disk
        assert torch.equal(rows, expected[name])


def test_parts_of_something_else_are_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "VIDEOS_IN_PART", PART)
    encode_videos(encoders(), MadeClips(), HERE, one_rank(), None, keeping(tmp_path, one_rank(), {"data": "other"}))
    clips = MadeClips()
    encode_videos(encoders(), clips, HERE, one_rank(), None, keeping(tmp_path, one_rank()))
    assert clips.asked == list(range(VIDEOS))
    third = sorted(tmp_path.iterdir())[2]
    third.write_bytes(third.read_bytes()[:-1] + b"\0\0")
    clips = MadeClips()
    encode_videos(encoders(), clips, HERE, one_rank(), None, keeping(tmp_path, one_rank()))
    assert clips.asked == list(range(2 * PART, VIDEOS))


def on_two(rank, folder):
    """Features on each rank of few and of many videos, in one go and after a stop behind the first part."""
    features.VIDEOS_IN_PART = PART
    ranks = Ranks(rank=rank, world=2, local=rank, local_world=2, device=torch.device("cpu"))

    def stop():
        raise KeyboardInterrupt

    result = {}
    for videos in (1, VIDEOS):
        video_V, found = encode_videos(encoders(), MadeClips(videos), HERE, ranks)
        result[f"{videos} at once"] = {"ids": video_V, **found}
        work = folder / str(videos)
        with pytest.raises(KeyboardInterrupt):
            encode_videos(encoders(), MadeClips(videos), HERE, ranks, None, keeping(work, ranks, pause=stop))
        dist.barrier()  # as the end of a process would: rank 0 has written what it keeps
        clips = MadeClips(videos)
        video_V, found = encode_videos(encoders(), clips, HERE, ranks, None, keeping(work, ranks))
        result[f"{videos} in two goes"] = {"ids": video_V, **found}
        result[f"{videos} read again"] = {"read": torch.tensor(clips.asked)}
    return result


def test_two_ranks_find_what_one_finds(tmp_path):
    of_ranks = on_ranks(2, on_two, tmp_path)
    for videos in (1, VIDEOS):
        read = [position for found in of_ranks for position in found[f"{videos} read again"]["read"].tolist()]
        assert sorted(read) == list(range(PART, videos))  # what was kept is not read again
        video_V, expected = encode_videos(encoders(), MadeClips(videos), HERE, one_rank())
        for found in (found[f"{videos} {how}"] for found in of_ranks for how in ("at once", "in two goes")):
            assert torch.equal(found["ids"], video_V)
            for name, rows in expected.items():
                assert torch.equal(found[name], rows)
