"""Training and test clips as bytes, and the order in which training reads them.

Every clip is a function of (seed, epoch, video), whatever the number of workers or ranks, so a resumed run sees what an
uninterrupted one would have seen. Clips stay uint8 until they are on the device.
Legend: T frames, W windows, H height, W width.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
import torch
from attrs import evolve, frozen
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from cprspec.components.augments import CoCLR, Crop
from cprspec.data.index import Index
from cprspec.errors import CprspecError, Problem
from cprspec.processes import die_with_parent
from cprspec.spec.kinds import Augment, View
from cprspec.spec.schema import Clip
from cprspec.video import augment as augmentation
from cprspec.video import crops
from cprspec.video.reading import Frames
from cprspec.video.sampling import generator, spaced_windows, test_windows, train_indices
from cprspec.video.store import Store

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Item = dict[str, torch.Tensor]

ORDER, SAMPLE, GALLERY = 1, 2, 3
"""Streams of random numbers."""

CENTRE = 224 / 240
"""Side of the centre crop as a share of the short side (PROTOCOL 2.2: 224 of 240)."""

IIC_CENTRE = 112 / 128
"""The same in IIC's test (PROTOCOL 2.3)."""

IIC_CLIPS = 10
"""Test clips of a video in IIC's test (PROTOCOL 1.3)."""


@frozen
class Reader:
    """Cuts clips of one data set out of the store, in every view asked for, at the same frames."""

    index: Index
    views: Mapping[str, View]
    short_side: int
    store: Store

    def stored(self, video: int) -> dict[str, Frames]:
        """What is stored of a video for each view: pictures `[N,H,W,3]` or flow `[N-1,H,W,2]`."""
        path = self.index.videos[video].path
        return {name: self.store.read(path, view, self.short_side) for name, view in self.views.items()}

    def cut(self, stored: Frames, picks: Sequence[Ints] | Ints) -> list[Bytes]:
        """The frames of each clip, pictures `[T,H,W,3]` or flow `[T,H,W,2]`; no copy where they follow each other.

        What is not in memory is decoded once for all clips.
        """
        if not isinstance(stored, np.ndarray):
            needed = np.unique(np.concatenate(picks))
            stored, picks = stored[needed], [np.searchsorted(needed, frames) for frames in picks]
        clips = []
        for frames in picks:
            following = (np.diff(frames) == 1).all()
            clips.append(stored[frames[0] : frames[-1] + 1] if following else stored[frames])
        return clips


class TrainClips(Dataset[Item]):
    """Some clips of each training video. An item is asked for as (epoch, position in `ids`).

    It holds `video` (its id) and for each view uint8 `[clips,T,size,size,3]`: of two, clip 1 is the query's and clip 2 the
    key's.
    """

    def __init__(
        self,
        index: Index,
        ids: Ints,
        views: Mapping[str, View],
        clip: Clip,
        augment: Augment,
        store: Store,
        seed: int,
        clips: int = 2,
    ) -> None:
        assert isinstance(augment, CoCLR | Crop)
        self._reader = Reader(index, dict(views), clip.stored_side, store)
        self._ids, self._clip, self._augment, self._seed, self._clips = ids, clip, augment, seed, clips

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        epoch, position = key
        video = int(self._ids[position])
        rng = generator(self._seed, SAMPLE, epoch, video)
        stored = self._reader.stored(video)
        length = min(len(s) for s in stored.values())
        height, width = next(iter(stored.values())).shape[1:3]
        picks = [train_indices(length, self._clip.frames, self._clip.stride, rng) for _ in range(self._clips)]
        picks, drawn = augmentation.draw_clips(self._augment, rng, picks, self._clip, height, width)
        item = {"video": torch.tensor(video)}
        for name, whole in stored.items():
            clips = [
                augmentation.apply(
                    cut,
                    how,
                    self._clip.size,
                    is_flow=whole.shape[-1] == 2,
                    flow_aware=self._augment.flow_aware,
                )
                for cut, how in zip(self._reader.cut(whole, picks), drawn, strict=True)
            ]
            item[name] = torch.from_numpy(np.stack(clips))
        return item


class TestClips(Dataset[Item]):
    """Every test window of a video, cropped: `video` and for each view uint8 `[W,T,size,size,3]`.

    `one_window` takes one at random and `jitter` varies its colours at random (CoCLR's published protocol), both by `seed`.
    `iic` takes IIC's evenly spaced clips, and its centre crop or the centre of the random crop that phases train with;
    otherwise the crop lies at `place`. `flow_aware` as in training.
    """

    __test__ = False  # not a test, whatever its name says to pytest

    def __init__(
        self,
        index: Index,
        ids: Ints,
        views: Mapping[str, View],
        clip: Clip,
        store: Store,
        *,
        seed: int = 0,
        jitter: bool = False,
        one_window: bool = False,
        iic: bool = False,
        crop: Crop | None = None,
        place: crops.TestCrop = crops.CENTRE,
        flow_aware: bool = False,
    ) -> None:
        self._reader = Reader(index, dict(views), clip.stored_side, store)
        self._ids, self._clip = ids, clip
        self._seed, self._jitter, self._one_window, self._iic = seed, jitter, one_window, iic
        self._crop = crop if iic else None
        self._place, self._flow_aware = place, flow_aware

    def __len__(self) -> int:
        return len(self._ids)

    def videos_in(self, size: int) -> int:
        """How many videos of about eight windows and two views fit into `size` bytes: at least one, at most 32."""
        return max(1, min(32, size // (16 * 3 * self._clip.frames * self._clip.size**2)))

    def __getitem__(self, position: int) -> Item:
        video = int(self._ids[position])
        rng = generator(self._seed, GALLERY, video)
        stored = self._reader.stored(video)
        # Flow's length for every view, so that a figure does not depend on which views are evaluated together.
        length = max(1, min(len(s) - (s.shape[-1] == 3) for s in stored.values()))
        windows = self._windows(length)
        if self._one_window:
            windows = windows[int(rng.integers(len(windows)))][None]
        height, width = next(iter(stored.values())).shape[1:3]
        if self._crop is not None:
            base = augmentation.centre_crop(self._crop, self._clip.size, height, width)
        else:
            box = self._place.box(IIC_CENTRE if self._iic else CENTRE, height, width)
            base = augmentation.Drawn(box, flip=self._place.mirrored)
        drawn = [evolve(base, colours=self._colours(rng)) for _ in windows]
        item = {"video": torch.tensor(video)}
        for name, whole in stored.items():
            clips = [
                augmentation.apply(
                    cut,
                    how,
                    self._clip.size,
                    is_flow=whole.shape[-1] == 2,
                    flow_aware=self._flow_aware,
                )
                for cut, how in zip(self._reader.cut(whole, windows), drawn, strict=True)
            ]
            item[name] = torch.from_numpy(np.stack(clips))
        return item

    def _windows(self, length: int) -> Ints:
        frames, stride = self._clip.frames, self._clip.stride
        return spaced_windows(length, frames, stride, IIC_CLIPS) if self._iic else test_windows(length, frames, stride)

    def _colours(self, rng: np.random.Generator) -> tuple[tuple[str, float], ...]:
        """PROTOCOL 2.2: with p .3 brightness, contrast, saturation .2 and hue .1."""
        if not self._jitter or rng.random() >= 0.3:
            return ()
        reach = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1}
        names = rng.permutation(augmentation.COLOURS).tolist()
        return tuple((n, float(rng.uniform(-reach[n], reach[n])) + (n != "hue")) for n in names)


@frozen
class PhaseOrder(Sampler[list[tuple[int, int]]]):
    """The micro-batches of one rank over the rest of a phase, as lists of (epoch, position).

    An epoch is a permutation that depends on (seed, epoch). Each optimiser step takes the next `batch_size` positions
    (the last partial batch is dropped), in `accumulate` micro-batches, each cut into equal parts for the ranks in order.
    """

    n: int
    batch_size: int
    accumulate: int
    rank: int
    world_size: int
    seed: int
    first_epoch: int
    first_step: int
    epochs: int

    def __attrs_post_init__(self) -> None:
        if self.batch_size % (self.accumulate * self.world_size):
            message = (
                f"a batch of {self.batch_size} clips does not divide into {self.accumulate} x {self.world_size} parts"
            )
            hint = "batch_size must be a multiple of accumulate times the number of processes"
            raise CprspecError(Problem(message, hint=hint))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        part = self.batch_size // (self.accumulate * self.world_size)
        for epoch in range(self.first_epoch, self.epochs):
            order = generator(self.seed, ORDER, epoch).permutation(self.n).tolist()
            first = self.first_step if epoch == self.first_epoch else 0
            for step in range(first, self.n // self.batch_size):
                for micro in range(self.accumulate):
                    start = step * self.batch_size + (micro * self.world_size + self.rank) * part
                    yield [(epoch, position) for position in order[start : start + part]]


def train_loader(
    *,
    index: Index,
    views: Mapping[str, View],
    clip: Clip,
    augment: Augment,
    store: Store,
    order: PhaseOrder,
    workers: int,
    pin_memory: bool,
    clips: int = 2,
    ids: Ints | None = None,
) -> DataLoader[Item]:
    """One loader for all the rest of a phase, so that its workers start once; `clips` of each video.

    `ids` are the videos, all of the training split unless given.
    """
    dataset = TrainClips(
        index, index.ids("train") if ids is None else ids, views, clip, augment, store, order.seed, clips
    )
    return DataLoader(
        dataset,
        batch_sampler=order,
        num_workers=workers,
        pin_memory=pin_memory,
        multiprocessing_context="forkserver" if workers else None,
        worker_init_fn=one_thread if workers else None,
        prefetch_factor=4 if workers else None,
    )


def one_thread(_worker: int) -> None:
    """A data worker uses one core, leaves stop signals to its rank, which still wants the step's batches, and dies with it."""
    die_with_parent()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):  # a terminal sends them to the whole process group
        signal.signal(number, signal.SIG_IGN)
