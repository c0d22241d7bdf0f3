"""Augmentation: colours as PIL does them, shares as the protocol has them, and flow that survives a mirror."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from cprspec.components.augments import CoCLR, Downstream
from cprspec.video import augment
from cprspec.video.augment import MIRRORED, Drawn, apply, draw
from cprspec.video.sampling import generator

WHOLE = (0, 0, 48, 64)
ENHANCERS = {"brightness": ImageEnhance.Brightness, "contrast": ImageEnhance.Contrast, "saturation": ImageEnhance.Color}


def pictures(frames=3, height=48, width=64):
    coarse = np.random.default_rng(0).integers(0, 256, (frames, 6, 8, 3)).astype(np.uint8)
    return np.stack([np.asarray(Image.fromarray(f).resize((width, height), Image.Resampling.BICUBIC)) for f in coarse])


def square(frames=3):
    return pictures(frames, 48, 48)


@pytest.mark.parametrize("name", list(ENHANCERS))
@pytest.mark.parametrize("factor", [0.6, 0.9, 1.0, 1.4])
def test_colours_are_those_of_pil(name, factor):
    clip = square()
    ours = apply(clip, Drawn((0, 0, 48, 48), False, ((name, factor),)), 48)
    pil = np.stack([np.asarray(ENHANCERS[name](Image.fromarray(f)).enhance(factor)) for f in clip])
    assert np.abs(ours.astype(int) - pil).max() <= 2


@pytest.mark.parametrize("turn", [-0.1, 0.04, 0.1])
def test_hue_turns_as_in_pil(turn):
    clip = square()
    ours = apply(clip, Drawn((0, 0, 48, 48), False, (("hue", turn),)), 48)
    hsv = np.stack([np.array(Image.fromarray(f).convert("HSV")) for f in clip])
    hsv[..., 0] = (hsv[..., 0].astype(int) + round(turn * 255)) % 256
    pil = np.stack([np.asarray(Image.fromarray(f, "HSV").convert("RGB")) for f in hsv])
    difference = np.abs(ours.astype(int) - pil)
    assert difference.mean() < 1.5 and np.percentile(difference, 99) <= 6
    assert np.abs(ours.astype(int) - clip).mean() > 3


def test_blur_is_close_to_pil():
    clip = square()
    ours = apply(clip, Drawn((0, 0, 48, 48), False, sigma=1.5), 48)
    pil = np.stack([np.asarray(Image.fromarray(f).filter(ImageFilter.GaussianBlur(1.5))) for f in clip])
    assert np.abs(ours[:, 6:-6, 6:-6].astype(int) - pil[:, 6:-6, 6:-6]).mean() < 1.5


@pytest.mark.parametrize(("box", "size"), [(WHOLE, 32), ((4, 10, 40, 36), 32), ((10, 20, 20, 24), 32)])
def test_crop_and_resize_are_close_to_pil(box, size):
    clip, (top, left, height, width) = pictures(), box
    ours = apply(clip, Drawn(box, False), size)
    cuts = [Image.fromarray(f[top : top + height, left : left + width]) for f in clip]
    pil = np.stack([np.asarray(c.resize((size, size), Image.Resampling.BICUBIC)) for c in cuts])
    assert ours.shape == (3, size, size, 3)
    assert np.abs(ours.astype(int) - pil).mean() < 3


def test_gray_copies_the_drawn_channel_of_each_frame():
    clip = square()
    ours = apply(clip, Drawn((0, 0, 48, 48), False, gray=(2, 0, 1)), 48)
    for t, channel in enumerate((2, 0, 1)):
        np.testing.assert_array_equal(ours[t], np.repeat(clip[t, :, :, channel : channel + 1], 3, axis=-1))


def test_aware_mirroring_negates_x_and_keeps_standing_still():
    flow = np.full((2, 32, 32, 3), 128, np.uint8)
    flow[:, :, :10, 1], flow[:, :, :10, 2] = 180, 200
    how = Drawn((0, 0, 32, 32), True, (("brightness", 1.4),), gray=(0, 1))
    aware = apply(flow, how, 32, is_flow=True, flow_aware=True)
    assert (aware[:, :, :22] == 128).all()
    assert (aware[:, :, 22:] == (128, 180, 55)).all()  # y as it was, x negated, colours left alone
    plain = apply(flow, Drawn((0, 0, 32, 32), True), 32, is_flow=True, flow_aware=False)
    np.testing.assert_array_equal(plain, flow[:, :, ::-1])


def test_negated_levels_are_exact_but_for_standing_still():
    pixels = np.arange(256) - 127.5
    exact = -pixels[np.arange(256) != 128]
    np.testing.assert_array_equal(MIRRORED[np.arange(256) != 128] - 127.5, exact)
    assert MIRRORED[128] == 128


def test_published_flow_gets_the_colours():
    flow = np.full((1, 32, 32, 3), 100, np.uint8)
    how = Drawn((0, 0, 32, 32), False, (("brightness", 1.4),))
    assert (apply(flow, how, 32, is_flow=True, flow_aware=False) == 140).all()


def test_the_clip_in_the_store_is_not_changed():
    clip = square()
    before = clip.copy()
    clip.setflags(write=False)
    apply(clip, Drawn((0, 0, 48, 48), True, (("hue", 0.1), ("contrast", 1.2)), (0, 1, 2), 1.0), 48)
    np.testing.assert_array_equal(clip, before)


def test_shares_of_a_strong_clip_are_the_protocols():
    options, rng, n = CoCLR(), generator(5), 4000
    drawn = [draw(options, rng, 8, 128, 170, strong=True) for _ in range(n)]
    for share, expected in (
        (sum(d.flip for d in drawn), 0.5),
        (sum(bool(d.colours) for d in drawn), 0.8),
        (sum(bool(d.gray) for d in drawn), 0.2),
        (sum(d.sigma > 0 for d in drawn), 0.5),
    ):
        assert abs(share / n - expected) < 0.035
    sigmas = [d.sigma for d in drawn if d.sigma]
    assert 0.1 <= min(sigmas) < 0.15 and 1.95 < max(sigmas) <= 2.0
    factors = {name: [f for d in drawn for n_, f in d.colours if n_ == name] for name in augment.COLOURS}
    assert 0.6 <= min(factors["contrast"]) < 0.62 and 1.38 < max(factors["contrast"]) <= 1.4
    assert -0.1 <= min(factors["hue"]) < -0.095 and 0.095 < max(factors["hue"]) <= 0.1
    assert len({tuple(name for name, _ in d.colours) for d in drawn}) == 1 + 24  # none, and every order
    assert {len(set(d.gray)) for d in drawn if d.gray} >= {2, 3}  # a channel for each frame


def test_a_weak_clip_is_only_cropped_and_mirrored():
    drawn = [draw(CoCLR(), generator(i), 8, 128, 170, strong=False) for i in range(200)]
    assert all(not d.colours and not d.gray and not d.sigma for d in drawn)


def test_boxes_lie_in_the_frame_or_are_the_whole_frame():
    boxes = [draw(CoCLR(), generator(i), 8, 120, 160, strong=False).box for i in range(3000)]
    for top, left, height, width in boxes:
        assert 0 <= top <= 120 - height and 0 <= left <= 160 - width
        if (height, width) != (120, 160):
            assert 0.19 < height * width / (120 * 160) <= 1.0 and 0.73 < width / height < 1.37
    whole = sum((h, w) == (120, 160) for _, _, h, w in boxes) / len(boxes)
    assert 0.1 < whole < 0.5  # what does not fit is not drawn again


def test_no_flip_where_classes_mirror_each_other():
    assert not any(draw(CoCLR(flip=0.0), generator(i), 8, 64, 64, strong=True).flip for i in range(200))


def test_a_box_that_does_not_fit_is_drawn_again_for_recognition_and_taken_whole_in_pre_training():
    boxes = {
        kind: [draw(kind(min_area=0.9, flip=0.0), generator(0, i), 4, 40, 200, False).box for i in range(300)]
        for kind in (CoCLR, Downstream)
    }
    assert all(box == (0, 0, 40, 200) for box in boxes[CoCLR])  # so wide that no box of 3/4 to 4/3 fits
    assert all(box == (0, 80, 40, 40) for box in boxes[Downstream])
    wide = [draw(Downstream(min_area=0.5), generator(1, i), 4, 48, 70, False).box for i in range(300)]
    assert (0, 0, 48, 70) not in wide
    assert all(h <= 48 and w <= 70 and h * w / (48 * 70) >= 0.49 for _, _, h, w in wide if (h, w) != (48, 48))


def test_recognition_jitters_colours_in_three_clips_of_ten_and_nothing_else():
    drawn = [draw(Downstream(), generator(2, i), 4, 48, 64, bool(i % 2)) for i in range(100)]
    assert all(bool(d.colours) == bool(i % 2) for i, d in enumerate(drawn))
    assert not any(d.gray or d.sigma for d in drawn)
    assert Downstream().strong == 0.3
