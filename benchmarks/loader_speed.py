"""How much of what two cores can decode and augment comes out of the whole supply of two data workers.

    PYTHONPATH=. python benchmarks/loader_speed.py [ROUNDS]

Alone: two plain processes, one thread each, read clips from the cache and augment them into memory of their own, nothing else.
Supply: the same clips through two data workers, shared memory and batches of 16, which are asked for and dropped. Generated
videos, 144 x 192; clips of 32 frames, 128 pixels, two of a video, augmentation `coclr`. Rounds are interleaved; clips a second
of wall time with both cores busy, so the machine must be free. A round takes as many items in both ways.
"""

from __future__ import annotations

import statistics
import sys
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from cprspec.components.augments import CoCLR
from cprspec.components.views import Rgb
from cprspec.data.index import Index, Video
from cprspec.spec.schema import Clip, Launch
from cprspec.video.clips import TrainClips
from cprspec.video.store import Store
from cprspec.video.supply import Supply
from cprspec.video.tray import Tray

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "video"))
from small_videos import make_video

VIDEOS, FRAMES, BATCH, BATCHES, WORKERS = 16, 80, 16, 12, 2
CLIP = Clip(frames=32, size=128, short_side=144)


def make_clips(folder: Path) -> TrainClips:
    """The clips of generated videos, which are in the cache."""
    paths = [make_video(folder / f"{i}.mp4", FRAMES + i, width=192, height=144) for i in range(VIDEOS)]
    store = Store(folder / "cache")
    store.fill(paths, [Rgb()], CLIP.stored_side, WORKERS)
    videos = tuple(Video(p, p.name, None, i, "train", p.stat().st_size) for i, p in enumerate(paths))
    index = Index(classes=(), sources=tuple(p.name for p in paths), videos=videos)
    return TrainClips(index, np.arange(VIDEOS), {"rgb": Rgb()}, CLIP, CoCLR(), store, seed=0)


def keys() -> list[list[tuple[int, int]]]:
    """The items of a round: every video as often as any other."""
    numbers = range(BATCH * BATCHES)
    items = [(number // VIDEOS, number % VIDEOS) for number in numbers]
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]


def read_alone(clips: TrainClips, pipe: Connection) -> None:
    """Decode and augment the items that are asked for, each into the same memory; an empty list ends it."""
    cv2.setNumThreads(1)
    block = np.empty(clips.item_bytes() + 4096, np.uint8)
    while items := pipe.recv():
        for key in items:
            clips.read(key, Tray(block))
        pipe.send(None)


class Alone:
    """Two processes that wait for items."""

    def __init__(self, clips: TrainClips) -> None:
        context = get_context("forkserver")
        self._pipes, self._processes = [], []
        for _ in range(WORKERS):
            ours, theirs = context.Pipe()
            process = context.Process(target=read_alone, args=(clips, theirs), daemon=True)
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)

    def round(self) -> float:
        """Seconds for all items, shared out evenly."""
        items = [key for batch in keys() for key in batch]
        began = time.perf_counter()
        for number, pipe in enumerate(self._pipes):
            pipe.send(items[number::WORKERS])
        for pipe in self._pipes:
            pipe.recv()
        return time.perf_counter() - began

    def close(self) -> None:
        """End them."""
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.send([])
            process.join()


def supply_round(clips: TrainClips) -> float:
    """Seconds for all items through the supply. What was made ahead when the clock starts is made up for at the end: it stops
    before as many batches, which by then are made or being made.
    """
    ahead = 6
    warm = [[(0, number) for number in range(BATCH)]] * ahead
    with Supply(clips, [*warm, *keys(), *warm], Launch(workers=WORKERS)) as batches:
        for _ in warm:
            next(batches)
        began = time.perf_counter()
        for _ in range(BATCHES):
            next(batches)
        return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if sys.argv[1:] else 7
    with TemporaryDirectory() as folder:
        clips = make_clips(Path(folder))
        alone = Alone(clips)
        found: tuple[list[float], list[float]] = ([], [])
        for number in range(rounds + 1):
            seconds = alone.round(), supply_round(clips)
            for times, one in zip(found, seconds, strict=True):
                times.extend([one] if number else [])
        alone.close()
    made = BATCH * BATCHES * 2
    shares = [a / b for a, b in zip(*found, strict=True)]
    for name, times in zip(("decode and augment alone", "whole supply"), found, strict=True):
        print(f"{name:26} {made / statistics.median(times):7.0f} clips a second, {WORKERS} cores")
    print(
        f"share: {statistics.median(shares):.0%} (lowest {min(shares):.0%}, highest {max(shares):.0%}, {rounds} rounds)"
    )


if __name__ == "__main__":
    main()
