"""Every step of the augmentation against PIL over many drawn clips: means, variances and ranges."""

import colorsys

import cv2
import numpy as np
import pytest
from attrs import evolve
from PIL import Image
from pil_pipeline import pil_clip

from cprspec.components.augments import CoCLR
from cprspec.spec.schema import Clip
from cprspec.video.augment import Drawn, apply, draw_clips
from cprspec.video.sampling import generator

SIZE, HEIGHT, WIDTH, FRAMES, VIDEOS = 48, 54, 72, 2, 30
OFF = {"flip": 0.0, "jitter": 0.0, "gray": 0.0, "blur": 0.0, "strong": 1.0, "one_clip": 0.0}
FLAT = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
STEPS = {
    "crop and resize": OFF,
    "flip": OFF | {"flip": 0.5},
    "brightness": OFF | {"jitter": 1.0} | FLAT | {"brightness": 0.4},
    "contrast": OFF | {"jitter": 1.0} | FLAT | {"contrast": 0.4},
    "saturation": OFF | {"jitter": 1.0} | FLAT | {"saturation": 0.4},
    "hue": OFF | {"jitter": 1.0} | FLAT | {"hue": 0.1},
    "gray": OFF | {"gray": 0.5},
    "blur": OFF | {"blur": 1.0},
    "all": {"strong": 1.0},
    "as published": {},
}


def filmed(video: int) -> np.ndarray:
    """Frames with large and small structure, saturated and pale colours, black and white."""
    rng = generator(7, video)
    clip = rng.uniform(90, 160, 3) + np.zeros((FRAMES, HEIGHT, WIDTH, 3))
    for cells, height in ((3, 90), (9, 40), (27, 15)):
        coarse = rng.normal(0, height, (FRAMES, cells, cells, 3)).astype(np.float32)
        clip += np.stack([cv2.resize(f, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) for f in coarse])
    return clip.clip(0, 255).astype(np.uint8)


def both(options: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """The clips of all videos `[clips,T,size,size,3]`, by us and by PIL, from the same drawn parameters."""
    ours, theirs = [], []
    for video in range(VIDEOS):
        clip = filmed(video)
        picks = [np.arange(FRAMES)] * 2
        _, drawn = draw_clips(
            CoCLR(**options), generator(8, video), picks, Clip(frames=FRAMES, size=SIZE), HEIGHT, WIDTH
        )
        # A colour that keeps its factor is left out: PIL's way to HSV and back alone changes a picture.
        drawn = [evolve(d, colours=tuple(c for c in d.colours if c[1] != (c[0] != "hue"))) for d in drawn]
        ours += [apply(clip, how, SIZE) for how in drawn]
        theirs += [pil_clip([Image.fromarray(frame) for frame in clip], how, SIZE) for how in drawn]
    return np.stack(ours).astype(float), np.stack(theirs).astype(float)


@pytest.mark.parametrize("step", STEPS)
def test_means_variances_and_ranges_are_those_of_pil(step):
    ours, theirs = both(STEPS[step])
    over_clip = (1, 2, 3)
    # Every clip's own colours and contrast, not only those of all together: a step undone by another clip would not show.
    # PIL cuts hue off to 1/255 of the circle where we round: up to 2 % of a picture's saturation, in one channel.
    turned = 4.0 if step in ("hue", "all", "as published") else 1.0
    assert np.abs(ours.mean(over_clip) - theirs.mean(over_clip)).max() < turned, "mean of each channel of each clip"
    spread, expected = ours.std(over_clip), theirs.std(over_clip)
    assert np.abs(spread - expected).max() < 1.5, "standard deviation of each channel of each clip"
    assert np.abs(ours.mean((0, 1, 2, 3)) - theirs.mean((0, 1, 2, 3))).max() < 1.0
    assert np.abs(ours.var((0, 1, 2, 3)) / theirs.var((0, 1, 2, 3)) - 1).max() < 0.02
    for share in (0, 1, 25, 50, 75, 99, 100):
        ranges = np.percentile(ours, share, (1, 2, 3)), np.percentile(theirs, share, (1, 2, 3))
        assert np.abs(ranges[0] - ranges[1]).mean() < 1.5, f"percentile {share}"
    assert np.abs(ours - theirs).mean() < 1.5, "pixel by pixel"


def test_hue_is_turned_as_far_as_in_exact_hsv():
    rng = generator(9)
    frame = rng.integers(0, 256, (48, 48, 3)).astype(np.uint8)
    for turn in (-0.1, -0.03, 0.05, 0.1):
        exact = np.array([hsv_turned(pixel, round(turn * 255) / 256) for pixel in frame.reshape(-1, 3) / 255.0])
        ours = apply(frame[None], Drawn((0, 0, 48, 48), False, (("hue", turn),)), 48)[0].reshape(-1, 3)
        assert np.abs(ours.mean(0) - 255 * exact.mean(0)).max() < 0.7
        assert np.abs(ours - 255 * exact).mean() < 1.5


def hsv_turned(pixel: np.ndarray, turn: float) -> tuple[float, float, float]:
    hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
    return colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)


def test_the_comparison_sees_a_step_that_is_left_out():
    """What the bounds above are worth: without hue, saturation, blur or contrast they do not hold."""
    for step in ("hue", "saturation", "contrast", "brightness", "blur"):
        _, with_step = both(STEPS[step])
        without, _ = both(OFF)
        differ = np.abs(without.mean((1, 2, 3)) - with_step.mean((1, 2, 3))).max() >= 1.0
        spread = np.abs(without.std((1, 2, 3)) - with_step.std((1, 2, 3))).max() >= 1.5
        assert differ or spread, step
