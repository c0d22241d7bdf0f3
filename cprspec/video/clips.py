"""Training and test clips as bytes, and the order in which training reads them.

Every clip is a function of (seed, epoch, video), whatever the number of workers or ranks, so a resumed run sees what an
uninterrupted one would have seen. Clips stay uint8 until they are on the device.
Legend: T frames, W windows, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from cprspec.components.augments import CoCLR, Crop
from cprspec.data.index import Index
from cprspec.errors import CprspecError, Place, Problem
from cprspec.spec.kinds import Augment, View
from cprspec.spec.schema import Clip
from cprspec.video import augment as augmentation
from cprspec.video import crops
from cprspec.video.opening import BadVideo
from cprspec.video.reading import Frames
from cprspec.video.sampling import generator, spaced_windows, test_windows, train_indices
from cprspec.video.store import Store
from cprspec.video.tray import Tray, Unread

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

ORDER, SAMPLE, GALLERY, SUBSTITUTE = 1, 2, 3, 4
"""Streams of random numbers."""

PAGE = 4096
"""Bytes that a memory map reads at once, at least."""

CENTRE = 224 / 240
"""Side of the centre crop as a share of the short side (PROTOCOL 2.2: 224 of 240)."""

IIC_CENTRE = 112 / 128
"""The same in IIC's test (PROTOCOL 2.3)."""

SUBSTITUTES = 20
"""Videos that are tried in the place of one that cannot be read."""

IIC_CLIPS = 10
"""Test clips of a video in IIC's test (PROTOCOL 1.3)."""


@frozen
class Reader:
    """Cuts clips of one data set out of the store, in every view asked for, at the same frames."""

    index: Index
    views: Mapping[str, View]
    short_side: int
    store: Store

    def path(self, video: int) -> Path:
        """The file of a video."""
        return self.index.videos[video].path

    def stored(self, video: int) -> dict[str, Frames]:
        """What is stored of a video for each view: pictures `[N,H,W,3]` or flow `[N-1,H,W,2]`."""
        path = self.path(video)
        return {name: self.store.read(path, view, self.short_side) for name, view in self.views.items()}

    def cut(self, stored: Frames, picks: Sequence[Ints]) -> list[Bytes]:
        """The frames of each clip, pictures `[T,H,W,3]` or flow `[T,H,W,2]`; no copy where they follow each other.

        What is not in memory is decoded once for all clips.
        """
        if not isinstance(stored, np.ndarray):
            needed = np.unique(np.concatenate(picks))
            stored, picks = stored[needed], [np.searchsorted(needed, frames) for frames in picks]
        clips = []
        for frames in picks:
            if (np.diff(frames) != 1).any():
                clips.append(stored[frames])
                continue
            clip = stored[frames[0] : frames[-1] + 1]
            # Touched, so that what the disk takes counts as reading, not as augmentation.
            clip.reshape(-1)[::PAGE].max()
            clips.append(clip)
        return clips


class TrainClips:
    """Some clips of each training video, as `Clips`. An item is asked for as (epoch, position in `ids`).

    It holds the video's id and for each view uint8 `[clips,T,size,size,3]`: of two, clip 1 is the query's and clip 2 the
    key's. Where the video cannot be read, another one takes its place, by (seed, epoch, video) alone; the tray says so.
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

    def item_bytes(self) -> int:
        """What an item takes."""
        return len(self._reader.views) * self._clips * clip_bytes(self._clip)

    def read(self, key: tuple[int, int], tray: Tray) -> None:
        """Put the item on `tray`. CprspecError when neither the video nor any of those that may stand for it can be read."""
        epoch, position = key
        asked = int(self._ids[position])
        for video, rng in self._candidates(epoch, asked):
            tray.reading(self._reader.path(video))
            try:
                with tray.decoding():
                    drawn, cut = self._cut(video, rng)
            except BadVideo as bad:
                tray.spent.unread.append(Unread(video, bad.reason))
                continue
            tray.video = video
            tray.spent.replaced += video != asked
            augment_all(tray, cut, drawn, self._clip, flow_aware=self._augment.flow_aware)
            return
        message = f"neither this video nor {SUBSTITUTES} others that might stand for it can be read"
        raise CprspecError(Problem(message, Place(str(self._reader.path(asked)))), exit_code=1)

    def _candidates(self, epoch: int, asked: int) -> Iterator[tuple[int, np.random.Generator]]:
        """The video itself, and then the others that stand for it where it cannot be read."""
        yield asked, generator(self._seed, SAMPLE, epoch, asked)
        rng = generator(self._seed, SUBSTITUTE, epoch, asked)
        for _ in range(SUBSTITUTES):
            yield int(self._ids[rng.integers(len(self._ids))]), rng

    def _cut(self, video: int, rng: np.random.Generator) -> tuple[list[augmentation.Drawn], dict[str, list[Bytes]]]:
        """What is done to each clip, and the clips of each view as they are stored."""
        stored = self._reader.stored(video)
        length = min(len(s) for s in stored.values())
        height, width = next(iter(stored.values())).shape[1:3]
        picks = [train_indices(length, self._clip.frames, self._clip.stride, rng) for _ in range(self._clips)]
        picks, drawn = augmentation.draw_clips(self._augment, rng, picks, self._clip, height, width)
        return drawn, {name: self._reader.cut(whole, picks) for name, whole in stored.items()}


class TestClips:
    """Every test window of a video, cropped, as `Clips`: its id and for each view uint8 `[W,T,size,size,3]`.

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

    def item_bytes(self) -> int:
        """What a video of eight windows takes, for each view; at most 64 MiB."""
        return min(64 * 2**20, len(self._reader.views) * 8 * clip_bytes(self._clip))

    def read(self, key: int, tray: Tray) -> None:
        """Put the video at position `key` on `tray`. Raises `BadVideo`."""
        tray.video = video = int(self._ids[key])
        rng = generator(self._seed, GALLERY, video)
        tray.reading(self._reader.path(video))
        with tray.decoding():
            stored = self._reader.stored(video)
            # Flow's length for every view, so that a figure does not depend on which views are evaluated together.
            length = max(1, min(len(s) - (s.shape[-1] == 3) for s in stored.values()))
            windows = self._windows(length)
            if self._one_window:
                windows = windows[int(rng.integers(len(windows)))][None]
            cut = {name: self._reader.cut(whole, [*windows]) for name, whole in stored.items()}
        height, width = next(iter(stored.values())).shape[1:3]
        if self._crop is not None:
            base = augmentation.centre_crop(self._crop, self._clip.size, height, width)
        else:
            box = self._place.box(IIC_CENTRE if self._iic else CENTRE, height, width)
            base = augmentation.Drawn(box, flip=self._place.mirrored)
        drawn = [evolve(base, colours=self._colours(rng)) for _ in windows]
        augment_all(tray, cut, drawn, self._clip, flow_aware=self._flow_aware)

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


def clip_shape(clip: Clip) -> tuple[int, int, int, int]:
    """The shape of a clip as bytes, `[T,size,size,3]`."""
    return clip.frames, clip.size, clip.size, 3


def clip_bytes(clip: Clip) -> int:
    """What a clip takes."""
    return 3 * clip.frames * clip.size**2


def augment_all(
    tray: Tray, cut: Mapping[str, list[Bytes]], drawn: list[augmentation.Drawn], clip: Clip, *, flow_aware: bool
) -> None:
    """Put the clips that were cut for each view on `tray`, with what was drawn for each done to it."""
    with tray.augmenting():
        for name, clips in cut.items():
            room = tray.room(name, (len(clips), *clip_shape(clip)))
            for frames, how, out in zip(clips, drawn, room, strict=True):
                is_flow = frames.shape[-1] == 2
                augmentation.apply(frames, how, clip.size, is_flow=is_flow, flow_aware=flow_aware, out=out)


@frozen
class PhaseOrder:
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
