"""How many times as fast as the same steps in PIL the augmentation `coclr` is: 32 frames to 128 pixels, to bytes.

    python benchmarks/augment_speed.py [ROUNDS]

Both sides get the same frames (PIL its pictures ready made), the same memory for the result and the same parameters,
drawn as in training: every video gives two clips, each strong or weak. PIL's side is tests/video/pil_pipeline.py. One
thread. Rounds are interleaved; printed are medians, and the lowest and highest ratio of a pair.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from cprspec.components.augments import CoCLR
from cprspec.spec.schema import Clip
from cprspec.video.augment import Drawn, apply, draw_clips
from cprspec.video.sampling import generator

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "video"))
from pil_pipeline import pil_clip

CLIP = Clip()
HEIGHT, WIDTH = 144, 192
VIDEOS = 12
WHOLE = (0, 0, 128, 128)
STEPS = {
    "crop and resize": Drawn((20, 30, 100, 110), False),
    "shrink": Drawn((0, 0, 144, 192), False),
    "mirror": Drawn(WHOLE, True),
    "brightness": Drawn(WHOLE, False, (("brightness", 1.3),)),
    "contrast": Drawn(WHOLE, False, (("contrast", 1.3),)),
    "saturation": Drawn(WHOLE, False, (("saturation", 1.3),)),
    "hue": Drawn(WHOLE, False, (("hue", 0.07),)),
    "gray": Drawn(WHOLE, False, gray=tuple(i % 3 for i in range(CLIP.frames))),
    "blur": Drawn(WHOLE, False, sigma=1.2),
}


def drawn_in_training() -> list[Drawn]:
    """The parameters of the clips of `VIDEOS` videos."""
    found: list[Drawn] = []
    for video in range(VIDEOS):
        picks = [np.arange(CLIP.frames)] * 2
        found += draw_clips(CoCLR(), generator(0, video), picks, CLIP, HEIGHT, WIDTH)[1]
    return found


def pairs(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of each, interleaved."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for work, found in zip((ours, theirs), seconds, strict=True):
            began = time.perf_counter()
            work()
            found.append(time.perf_counter() - began)
    return seconds


def main() -> None:
    """Time the pairs and print the figures."""
    cv2.setNumThreads(1)
    rounds = int(sys.argv[1]) if sys.argv[1:] else 7
    coarse = np.random.default_rng(0).integers(0, 256, (CLIP.frames, 18, 24, 3)).astype(np.uint8)
    clip = np.stack([cv2.resize(f, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) for f in coarse])
    pictures = [Image.fromarray(frame) for frame in clip]
    out = np.empty((CLIP.frames, CLIP.size, CLIP.size, 3), np.uint8)
    for name, drawn in STEPS.items():
        ours, theirs = pairs(
            lambda d=drawn: apply(clip, d, CLIP.size, out=out),
            lambda d=drawn: pil_clip(pictures, d, CLIP.size, out),
            rounds,
        )
        a, b = statistics.median(ours), statistics.median(theirs)
        print(f"{name:16} {1e3 * a:6.2f} ms   PIL {1e3 * b:6.2f} ms   {b / a:5.1f}x")
    drawn = drawn_in_training()
    strong = [d for d in drawn if d.colours or d.gray or d.sigma]
    for name, some in (("strong clips", strong), ("as in training", drawn)):
        ours, theirs = pairs(
            lambda s=some: [apply(clip, d, CLIP.size, out=out) for d in s],
            lambda s=some: [pil_clip(pictures, d, CLIP.size, out) for d in s],
            rounds,
        )
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
        a, b = statistics.median(ours) / len(some), statistics.median(theirs) / len(some)
        print(
            f"{name:16} {1e3 * a:6.2f} ms   PIL {1e3 * b:6.2f} ms   {statistics.median(ratios):5.1f}x "
            f"(lowest {min(ratios):.1f}, highest {max(ratios):.1f}, {rounds} pairs)"
        )


if __name__ == "__main__":
    main()
