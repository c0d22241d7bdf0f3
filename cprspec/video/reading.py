"""Pictures and flow of one video that are decoded when they are asked for: they look like arrays, and are not in memory.

Each has `shape` `[N,H,W,C]` and gives the frames `[T,H,W,C]` at positions `[T]`, in any order, repeats allowed, exactly as the
decoded cache of the same file has them. A clip costs what its own frames cost, and those from the key frame before it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from cprspec.data.stores import FLOW, RGB, StoreFolder
from cprspec.errors import CprspecError, Place, Problem
from cprspec.video.decode import Resize, read_clip, target_size
from cprspec.video.flow import FlowMethod, quantise, requantised, unstack
from cprspec.video.opening import BadVideo
from cprspec.video.packets import FrameIndex, read_packets

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]


NO_FLOW = "a single frame, which has no flow"


class Frames(Protocol):
    """What is cut into clips: a stored array, or one of the classes here."""

    @property
    def shape(self) -> tuple[int, ...]:
        """`[N,H,W,C]`: 3 channels of pictures, 2 of flow."""

    def __len__(self) -> int: ...

    def __getitem__(self, positions: Ints, /) -> Bytes: ...


@frozen(eq=False)
class Pictures:
    """The pictures of a file that has a frame index, their short side resized to `short_side` pixels."""

    path: Path
    index: FrameIndex
    short_side: int

    @property
    def shape(self) -> tuple[int, ...]:
        """`[N,H,W,3]`."""
        width, height = target_size(self.index.width, self.index.height, self.short_side)
        if self.index.quarters % 2:
            width, height = height, width
        return (self.index.frames, height, width, 3)

    def __len__(self) -> int:
        return self.index.frames

    def __getitem__(self, positions: Ints) -> Bytes:
        if not self.index.placed:
            return read_clip(self.path, positions, self.short_side)
        resize = Resize(self.path, self.short_side, quarters=self.index.quarters)
        return _collect(self.path, self.index, positions, resize)


@frozen(eq=False)
class ComputedFlow:
    """Flow between a file's pictures, computed whenever it is asked for."""

    pictures: Pictures
    method: str
    bound: float

    @property
    def shape(self) -> tuple[int, ...]:
        """`[N-1,H,W,2]`."""
        frames, height, width, _ = self.pictures.shape
        return (frames - 1, height, width, 2)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, positions: Ints) -> Bytes:
        needed = np.unique(np.concatenate([positions, positions + 1]))
        pictures = dict(zip(needed.tolist(), self.pictures[needed], strict=True))
        method = FlowMethod(self.method)
        flow = {p: quantise(method.between(pictures[p], pictures[p + 1]), self.bound) for p in set(positions.tolist())}
        return np.stack([flow[p] for p in positions.tolist()])


@frozen(eq=False)
class StoredPictures:
    """The pictures of a video in a store, as they are there."""

    store: StoreFolder
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """`[N,H,W,3]`."""
        facts = self.store.videos[self.name]
        return (facts["frames"], facts["height"], facts["width"], 3)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, positions: Ints) -> Bytes:
        file = self.store.file(self.name, RGB)
        index = stored_index(self.store, self.name, RGB)
        return _collect(file, index, positions, Resize(file, self.store.options.short_side, quarters=0))


@frozen(eq=False)
class StoredFlow:
    """The flow of a video in a store, with levels that mean what they mean within the bound that is asked for."""

    store: StoreFolder
    name: str
    bound: float

    @property
    def shape(self) -> tuple[int, ...]:
        """`[N-1,H,W,2]`."""
        facts = self.store.videos[self.name]
        return (facts["frames"] - 1, facts["height"], facts["width"], 2)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, positions: Ints) -> Bytes:
        file = self.store.file(self.name, FLOW)
        planes = _collect(file, stored_index(self.store, self.name, FLOW), positions, _grey)
        flow = np.stack([unstack(frame) for frame in planes])
        own = self.store.options.bound
        return flow if own is None or own == self.bound else requantised(own, self.bound)[flow]


def stored_pictures(store: StoreFolder, name: str, short_side: int) -> StoredPictures:
    """A video's pictures in a store. CprspecError if they have another size than the experiment's."""
    _check_side(store, short_side)
    return StoredPictures(store, name)


def stored_flow(store: StoreFolder, name: str, short_side: int, method: str, bound: float) -> StoredFlow:
    """A video's flow in a store. CprspecError if it has none of this size and method; `BadVideo` for a single frame."""
    _check_side(store, short_side)
    own = store.options.flow
    if own != method:
        message = f"this store has {f'flow by {own}' if own else 'no flow'}, and the experiment reads flow by {method}"
        hint = f"prepare it with --flow {method}" + (f', or set method = "{own}" in the view\'s table' if own else "")
        raise CprspecError(Problem(message, Place(str(store.root)), hint))
    if store.videos[name][FLOW] is None:
        raise BadVideo(store.file(name, RGB), NO_FLOW)
    return StoredFlow(store, name, bound)


def _check_side(store: StoreFolder, short_side: int) -> None:
    own = store.options.short_side
    if own != short_side:
        message = f"this store has pictures with a short side of {own} pixels, and the experiment reads {short_side}"
        hint = f"--set clip.short_side={own}, or prepare it with --short-side {short_side}"
        raise CprspecError(Problem(message, Place(str(store.root)), hint))


def stored_index(store: StoreFolder, name: str, kind: str) -> FrameIndex:
    """The frame index of a video's pictures or flow in a store. `BadVideo` if its file is not as long as it should be."""
    facts, file = store.videos[name][kind], store.file(name, kind)
    try:
        size = file.stat().st_size
    except OSError as error:
        raise BadVideo(file, f"{error.strerror} ({type(error).__name__})") from error
    if size != facts["bytes"]:
        raise BadVideo(file, f"{size} bytes instead of the {facts['bytes']} of its store's index; copy the store again")
    sizes = store.sizes(name, kind).astype(np.int64)
    frames = len(sizes)
    height = store.videos[name]["height"] * (2 if kind == FLOW else 1)
    offsets = facts["offset"] + np.cumsum(sizes) - sizes
    shown = np.arange(frames, dtype=np.int64)
    keys = shown % store.options.group == 0
    extradata = bytes.fromhex(facts["extradata"])
    return FrameIndex(
        "h264", "avc1", extradata, store.videos[name]["width"], height, 0, frames, offsets, sizes, keys, shown
    )


def _collect(path: Path, index: FrameIndex, positions: Ints, convert: Callable[[av.VideoFrame], Bytes]) -> Bytes:
    """The frames at `positions`, each decoded once and converted."""
    wanted = sorted(set(positions.tolist()))
    out: Bytes | None = None
    rows = {position: np.flatnonzero(positions == position) for position in wanted}
    for position, frame in read_packets(path, index, wanted):
        picture = convert(frame)
        if out is None:
            out = np.empty((len(positions), *picture.shape), np.uint8)
        out[rows[position]] = picture
    if out is None:
        raise ValueError("no frames are asked for")
    return out


def _grey(frame: av.VideoFrame) -> Bytes:
    """The luminance as it was encoded, without a change of range."""
    plane = frame.planes[0]
    rows: Bytes = np.frombuffer(memoryview(plane), np.uint8).reshape(frame.height, plane.line_size)
    return rows[:, : frame.width]
