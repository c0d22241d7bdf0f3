"""Items and their order: functions of (seed, epoch, video) for any number of workers and ranks."""

import cv2
import numpy as np
import pytest
import torch
from attrs import evolve
from small_videos import make_video

from cprspec.components.augments import CoCLR, Crop
from cprspec.components.views import Flow, FlowComponent, Residual, Rgb
from cprspec.data.folder import read_folder
from cprspec.errors import CprspecError
from cprspec.spec.schema import Clip, Launch
from cprspec.video.augment import MIRRORED
from cprspec.video.clips import PhaseOrder, TestClips, TrainClips
from cprspec.video.crops import CROPS
from cprspec.video.store import Store
from cprspec.video.supply import Supply
from cprspec.video.tray import Tray

VIEWS = {"rgb": Rgb(), "flow": Flow(bound=8.0), "residual": Residual()}
CLIP = Clip(frames=8, size=32)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    for i in range(6):
        make_video(root / "videos" / f"c{i % 2}" / f"{i}.mp4", 14 + i)
    index = read_folder(root / "videos", None, None, 0.0)
    store = Store(root / "store")
    store.fill([v.path for v in index.videos], VIEWS.values(), CLIP.stored_side, 1)
    return index, store


def train_clips(world, seed=0, views=VIEWS, **options):
    index, store = world
    return TrainClips(index, index.ids("train"), views, CLIP, CoCLR(**options), store, seed)


def item(clips, key):
    """One item as tensors."""
    tray = Tray()
    clips.read(key, tray)
    return {"video": torch.tensor(tray.video)} | {name: torch.from_numpy(room) for name, room in tray.own.items()}


def order(**changes):
    facts = {
        "n": 23,
        "batch_size": 8,
        "accumulate": 1,
        "rank": 0,
        "world_size": 1,
        "seed": 3,
        "first_epoch": 0,
        "first_step": 0,
        "epochs": 2,
    }
    return PhaseOrder(**(facts | changes))


def test_an_item_has_two_clips_of_each_view(world):
    found = item(train_clips(world), (0, 2))
    assert int(found["video"]) == 2
    for name in VIEWS:
        assert found[name].shape == (2, 8, 32, 32, 3) and found[name].dtype == torch.uint8
    assert torch.equal(found["rgb"], found["residual"])  # pictures; differences are made on the device


def test_an_item_depends_on_seed_epoch_and_video(world):
    clips = train_clips(world)
    first = item(clips, (0, 1))
    item(clips, (3, 4))
    assert all(torch.equal(item(clips, (0, 1))[k], first[k]) for k in first)
    for other in (item(clips, (1, 1)), item(clips, (0, 2)), item(train_clips(world, seed=1), (0, 1))):
        assert not torch.equal(other["rgb"], first["rgb"])


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(world, workers):
    phase = order(n=6, batch_size=2)
    plain = list(Supply(train_clips(world), phase, Launch(workers=0)))
    with Supply(train_clips(world), phase, Launch(workers=workers)) as supply:
        with_workers = [{name: tensor.clone() for name, tensor in batch.items()} for batch in supply]
    assert len(plain) == len(with_workers) == 6
    for a, b in zip(plain, with_workers, strict=True):
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_all_views_of_a_clip_are_cut_alike(tmp_path):
    """Flow of this content is uniform, so its pictures are compared through another copy of the rgb view."""
    make_video(tmp_path / "videos" / "x.mp4", 30)
    index = read_folder(tmp_path / "videos", None, None, 0.0)
    views = {"one": Rgb(), "flow": Flow(), "two": Rgb()}
    clips = TrainClips(index, index.ids("train"), views, CLIP, CoCLR(), Store(tmp_path / "store"), 0)
    found = item(clips, (0, 0))
    assert torch.equal(found["one"], found["two"])


def test_flow_is_still_y_x_and_aware_mirroring_turns_x(world):
    aware = train_clips(world, views={"flow": VIEWS["flow"]}, flow_aware=True, flip=1.0, strong=0.0, one_clip=0.0)
    plain = train_clips(world, views={"flow": VIEWS["flow"]}, flow_aware=True, flip=0.0, strong=0.0, one_clip=0.0)
    mirrored, straight = (item(clips, (0, 5))["flow"].float() for clips in (aware, plain))
    assert (mirrored[..., 0] == 128).all() and (straight[..., 0] == 128).all()
    x, y = straight[..., 2].median() - 127.5, straight[..., 1].median() - 127.5
    assert x < -4 and y < 0  # the window moves right and down, so what it shows moves left and up
    assert abs(mirrored[..., 2].median() - 127.5 + x) <= 1.5 and abs(mirrored[..., 1].median() - 127.5 - y) <= 1.5


def test_one_clip_uses_the_same_frames_for_both_sides(tmp_path):
    make_video(tmp_path / "videos" / "x.mp4", 40)
    index = read_folder(tmp_path / "videos", None, None, 0.0)
    options = {"min_area": 1.0, "flip": 0.0, "jitter": 0.0, "gray": 0.0, "blur": 0.0}
    store = Store(tmp_path / "store")

    def same(one_clip):
        clips = TrainClips(
            index, index.ids("train"), {"rgb": Rgb()}, CLIP, CoCLR(one_clip=one_clip, **options), store, 0
        )
        items = [item(clips, (epoch, 0))["rgb"] for epoch in range(12)]
        return sum(torch.equal(sides[0], sides[1]) for sides in items)

    assert same(1.0) >= 10  # a box of the whole area fits in hardly any other shape, so the crop is the frame
    assert same(0.0) < 4


def test_each_epoch_takes_every_video_at_most_once_and_drops_the_rest():
    steps = list(order())
    assert [len(s) for s in steps] == [8, 8, 8, 8]
    for epoch in (0, 1):
        positions = [p for step in steps for e, p in step if e == epoch]
        assert len(positions) == len(set(positions)) == 16 and set(positions) <= set(range(23))
    assert steps[0] != [(0, p) for _, p in steps[2]]


@pytest.mark.parametrize(("accumulate", "world_size"), [(1, 2), (2, 1), (2, 2), (4, 2)])
def test_ranks_and_micro_batches_share_the_same_steps(accumulate, world_size):
    whole = list(order())
    ranks = [list(order(accumulate=accumulate, world_size=world_size, rank=r)) for r in range(world_size)]
    for step, expected in enumerate(whole):
        micros = [ranks[r][step * accumulate + m] for m in range(accumulate) for r in range(world_size)]
        assert [key for micro in micros for key in micro] == expected


def test_a_resumed_order_is_the_rest_of_the_whole():
    whole = list(order(epochs=3))
    assert list(order(epochs=3, first_epoch=1, first_step=1)) == whole[3:]
    assert list(order(epochs=3, first_epoch=1, first_step=2)) == whole[4:]


def test_a_batch_that_does_not_divide_is_an_error():
    with pytest.raises(CprspecError, match="does not divide"):
        order(world_size=3)


def test_test_items_are_every_window_of_the_centre(world):
    index, store = world
    clips = TestClips(index, index.ids("train"), VIEWS, CLIP, store)
    found = item(clips, 5)
    assert int(found["video"]) == 5 and found["rgb"].shape == (4, 8, 32, 32, 3)  # 18 flow frames: starts 0 3 6 9
    assert all(torch.equal(item(clips, 5)[name], found[name]) for name in VIEWS)
    stored = store.pictures(index.videos[5].path, CLIP.stored_side)
    height, width = stored.shape[1:3]
    side = round(min(height, width) * 224 / 240)
    top, left = (height - side) // 2, (width - side) // 2
    centre = stored[3:11, top : top + side, left : left + side].mean((1, 2))
    np.testing.assert_allclose(found["rgb"][1].float().mean((1, 2)), centre, atol=1.5)


def test_the_published_protocol_varies_by_seed_and_takes_one_window(world):
    index, store = world
    ids = index.ids("train")

    def items(seed):
        clips = TestClips(index, ids, {"rgb": Rgb()}, CLIP, store, seed=seed, jitter=True, one_window=True)
        return [item(clips, i)["rgb"] for i in range(len(ids))]

    first = items(0)
    assert all(clip.shape[0] == 1 for clip in first)
    assert all(torch.equal(a, b) for a, b in zip(first, items(0), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first, items(1), strict=True))


def test_one_clip_of_each_video_cropped_once_and_alike_in_every_view(world):
    index, store = world
    both = VIEWS | {"u": FlowComponent(axis="x", bound=8.0)}
    clips = TrainClips(index, index.ids("train"), both, CLIP, Crop(), store, 0, clips=1)
    found = item(clips, (0, 3))
    assert all(found[name].shape == (1, 8, 32, 32, 3) for name in both)
    assert torch.equal(found["flow"], found["u"])
    whole = store.read(index.videos[3].path, VIEWS["rgb"], CLIP.stored_side)
    height, width = whole.shape[1:3]
    places = [
        (start, top, left)
        for start in range(len(whole) - 8)
        for top in range(height - 31)
        for left in range(width - 31)
        if np.array_equal(whole[start : start + 8, top : top + 32, left : left + 32], found["rgb"][0].numpy())
    ]
    assert len(places) == 1, "the clip is one box of eight consecutive frames"
    assert not torch.equal(found["rgb"], item(clips, (1, 3))["rgb"])


def test_pictures_are_resized_before_the_crop(world):
    index, store = world
    clips = TrainClips(index, index.ids("train"), {"rgb": Rgb()}, CLIP, Crop(frame=(32, 32)), store, 0, clips=1)
    whole = store.read(index.videos[0].path, Rgb(), CLIP.stored_side)
    clip = item(clips, (0, 0))["rgb"][0].numpy()
    found = [
        np.array_equal(np.stack([cv2.resize(f, (32, 32)) for f in whole[s : s + 8]]), clip)
        for s in range(len(whole) - 8)
    ]
    assert any(found)


def test_coclr_augments_a_single_clip_too(world):
    index, store = world
    clips = TrainClips(index, index.ids("train"), {"rgb": Rgb()}, CLIP, CoCLR(), store, 0, clips=1)
    assert item(clips, (0, 0))["rgb"].shape == (1, 8, 32, 32, 3)


def test_the_clips_of_iic_are_ten_and_cropped_as_in_training(world):
    index, store = world
    ids = index.ids("train")
    for crop, frame, share in ((None, None, 7 / 8), (Crop(), None, 1), (Crop(frame=(40, 50)), (40, 50), 1)):
        found = item(TestClips(index, ids, VIEWS, CLIP, store, iic=True, crop=crop), 5)
        assert found["rgb"].shape == (10, 8, 32, 32, 3)  # 18 flow frames: starts 0 1 2 3 4 5 6 7 8 10
        pictures = store.pictures(index.videos[5].path, CLIP.stored_side)[10:18]
        if frame:
            pictures = np.stack([cv2.resize(p, frame[::-1], interpolation=cv2.INTER_LINEAR) for p in pictures])
        height, width = pictures.shape[1:3]
        side = 32 if crop else round(share * height)
        top, left = round((height - side) / 2), round((width - side) / 2)
        centre = pictures[:, top : top + side, left : left + side]
        if crop:
            assert np.array_equal(found["rgb"][-1].numpy(), centre)  # nothing is resized
        np.testing.assert_allclose(found["rgb"][-1].float().mean((1, 2)), centre.mean((1, 2)), atol=1.5)
    still = item(TestClips(index, ids, VIEWS, CLIP, store, crop=Crop()), 5)["rgb"]
    assert torch.equal(still, item(TestClips(index, ids, VIEWS, CLIP, store), 5)["rgb"])  # another protocol, as it was


def test_test_crops_lie_in_the_centre_and_the_corners_and_are_mirrored(world):
    index, store = world
    ids = index.ids("train")
    pictures = store.pictures(index.videos[2].path, CLIP.stored_side)[:8]
    height, width = pictures.shape[1:3]
    side = round(224 / 240 * min(height, width))
    low, far = height - side, width - side
    places = [(low // 2, far // 2), (0, 0), (0, far), (low, 0), (low, far)]
    for number, place in enumerate(CROPS["ten"]):
        found = item(TestClips(index, ids, VIEWS, CLIP, store, place=place), 2)["rgb"][0].numpy()
        top, left = places[number % 5]
        cut = pictures[:, top : top + side, left : left + side]
        expected = np.stack([cv2.resize(picture, (32, 32), interpolation=cv2.INTER_CUBIC) for picture in cut])
        assert np.array_equal(found, expected[:, :, ::-1] if number >= 5 else expected)
    assert CROPS["five"] == CROPS["ten"][:5]
    assert CROPS["centre"] == CROPS["ten"][:1]


def test_a_mirrored_test_crop_negates_x_flow_where_training_does(world):
    index, store = world
    straight, mirrored = CROPS["ten"][0], CROPS["ten"][5]
    plain, as_published, clean = (
        item(TestClips(index, index.ids("train"), VIEWS, CLIP, store, place=place, flow_aware=aware), 1)["flow"].numpy()
        for place, aware in ((straight, False), (mirrored, False), (mirrored, True))
    )
    assert np.array_equal(as_published, plain[..., ::-1, :])
    assert np.array_equal(clean[..., 2], MIRRORED[plain[..., ::-1, 2]])
    assert np.array_equal(clean[..., :2], plain[..., ::-1, :2])


def test_another_video_takes_the_place_of_one_that_cannot_be_read(world, tmp_path):
    index, store = world
    gone = {1: "unlinked", 4: "a folder", 5: "cut short"}
    videos = list(index.videos)
    for video, how in gone.items():
        path = tmp_path / f"{video}.mp4"
        if how == "a folder":
            path.mkdir()
        elif how == "cut short":
            path.write_bytes(videos[video].path.read_bytes()[:500])
        videos[video] = evolve(videos[video], path=path)
    broken = evolve(index, videos=tuple(videos))
    clips = TrainClips(broken, index.ids("train"), VIEWS, CLIP, CoCLR(), store, 0)
    stand_ins = set()
    for epoch in range(4):
        for position in range(6):
            tray = Tray()
            clips.read((epoch, position), tray)
            assert tray.spent.replaced == (position in gone)
            assert {bad.video for bad in tray.spent.unread} <= set(gone)
            if position in gone:
                assert tray.spent.unread[0].video == position and tray.video not in gone
                stand_ins.add(tray.video)
                again = item(TrainClips(broken, index.ids("train"), VIEWS, CLIP, CoCLR(), store, 0), (epoch, position))
                assert all((again[name].numpy() == tray.own[name]).all() for name in VIEWS)
                own = item(clips, (epoch, tray.video))
                assert not torch.equal(own["rgb"], again["rgb"]), "another clip of it than its own"
            else:
                assert not tray.spent.unread and tray.video == position
    assert stand_ins == {0, 2, 3}


def test_where_nothing_can_be_read_training_ends(world, tmp_path):
    index, store = world
    lost = evolve(index, videos=tuple(evolve(v, path=tmp_path / v.name) for v in index.videos))
    clips = TrainClips(lost, index.ids("train"), VIEWS, CLIP, CoCLR(), store, 0)
    with pytest.raises(CprspecError, match="neither this video nor 20 others"):
        clips.read((0, 0), Tray())
