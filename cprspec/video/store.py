"""Where clips are read from: a store that was prepared, a source file, or the cache of decoded frames and flow.

The cache holds whole videos, computed once, as memory-mapped bytes in the user's cache folder. A file is known by its content,
so moving or copying a collection costs a hash and no decoding. What was used least recently goes when the cache is full; on
Linux a reader keeps what it has mapped. Writers make a file under another name and rename it, so several processes may fill
one cache. Everything in it can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cprspec.components.views import Flow
from cprspec.data.stores import StoreFolder, is_store, open_store
from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean
from cprspec.spec.kinds import View
from cprspec.video import limits
from cprspec.video.decode import read_frames
from cprspec.video.flow import compute_flow, quantise
from cprspec.video.framing import index_frames
from cprspec.video.opening import BadVideo
from cprspec.video.packets import FrameIndex
from cprspec.video.reading import (
    NO_FLOW,
    ComputedFlow,
    Frames,
    Pictures,
    StoredFlow,
    StoredPictures,
    stored_flow,
    stored_pictures,
)
from cprspec.video.spread import Died, spread

Bytes = NDArray[np.uint8]

VERSION = 2
"""Raised when the same key would mean other bytes."""

OPEN_MAPS = 4096
"""Memory maps that one process keeps open; opening one costs more than cutting a clip from it."""

DEFAULT_GIB = 20.0
"""Size of the store where nobody says another."""

ABANDONED_S = 3600.0
"""Age after which a half-written file is taken to be left by a process that died."""


def cache_folder() -> Path:
    """The user's cache folder of cprspec: $CPRSPEC_CACHE, or the system's."""
    if own := os.environ.get("CPRSPEC_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "cprspec"


def store_gib() -> float:
    """How large the store may grow, GiB: $CPRSPEC_CACHE_GIB, or DEFAULT_GIB. CprspecError if that is no size."""
    text = os.environ.get("CPRSPEC_CACHE_GIB")
    if text is None:
        return DEFAULT_GIB
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not 0 < size < float("inf"):
        hint = "give a number of GiB, such as 1000"
        raise CprspecError(Problem(f"CPRSPEC_CACHE_GIB '{clean(text, MAX_ECHO)}' is not a size", hint=hint))
    return size


class Store:
    """Frames `[N,H,W,3]` and flow `[N-1,H,W,2]` of videos, uint8, by path. May be sent to other processes.

    A path in a store that was prepared is read from that store. `cache` says what is kept decoded: "auto" source files, and
    not what a store has; "decoded" everything; "none" nothing, and every clip is decoded from its file. `max_gib` (default:
    `store_gib()`) bounds the cache on disk, give or take what is written between two looks.
    """

    def __init__(self, folder: Path | None = None, max_gib: float | None = None, cache: str = "auto") -> None:
        self._folder = folder or cache_folder() / "store"
        self._max_bytes = int((store_gib() if max_gib is None else max_gib) * 2**30)
        self._cache = cache
        self._unseen_bytes = 0
        self._maps: OrderedDict[Path, Bytes] = OrderedDict()
        self._indices: OrderedDict[Path, FrameIndex] = OrderedDict()
        self._prepared: dict[Path, StoreFolder | None] = {}
        self._digests: dict[str, str] = {}

    def __getstate__(self) -> dict[str, object]:
        # What is open is opened anew; digests are worth sending.
        return self.__dict__ | {"_maps": OrderedDict(), "_indices": OrderedDict(), "_prepared": {}}

    def read(self, path: Path, view: View, short_side: int) -> Frames:
        """What `view` is made from: pictures, or flow."""
        if isinstance(view, Flow):
            return self.flow(path, short_side, view.method, view.bound)
        return self.pictures(path, short_side)

    def pictures(self, path: Path, short_side: int) -> Frames:
        """Every frame `[N,H,W,3]` at this size. Raises `BadVideo`, or CprspecError if a store has another size."""
        if (stored := self._stored(path)) is not None:
            found = stored_pictures(*stored, short_side)
            return self._decoded(path, f"rgb-{short_side}", found) if self._cache == "decoded" else found
        if self._cache == "none":
            return Pictures(path, self.frame_index(path), short_side)
        return self._map(self._file(path, f"rgb-{short_side}"), lambda: read_frames(path, short_side))

    def flow(self, path: Path, short_side: int, method: str, bound: float) -> Frames:
        """Quantised flow `[N-1,H,W,2]` between the frames at this size. Raises as `pictures`, also for flow a store lacks."""
        if (stored := self._stored(path)) is not None:
            found = stored_flow(*stored, short_side, method, bound)
            return self._decoded(path, f"{method}-{bound:g}-{short_side}", found) if self._cache == "decoded" else found
        pictures = self.pictures(path, short_side)
        if len(pictures) < 2:
            raise BadVideo(path, NO_FLOW)
        if isinstance(pictures, Pictures):
            return ComputedFlow(pictures, method, bound)

        def compute() -> Bytes:
            try:
                return quantise(compute_flow(np.asarray(pictures), method), bound)
            except cv2.error as error:
                _, height, width, _ = pictures.shape
                raise BadVideo(path, f"no flow of pictures {width} x {height} ({error.err})") from error

        return self._map(self._file(path, f"{method}-{bound:g}-{short_side}"), compute)

    def frame_index(self, path: Path) -> FrameIndex:
        """Where the frames of a source file are; made once, by decoding it, and kept in the cache. Raises `BadVideo`."""
        file = self._file(path, "frames").with_suffix(".json")
        if file in self._indices:
            self._indices.move_to_end(file)
            return self._indices[file]
        try:
            index = FrameIndex.from_json(json.loads(file.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, IndexError):  # not there, or damaged
            index = index_frames(path)
            _write(file, lambda working: working.write_text(json.dumps(index.to_json()), "ascii"))
        self._indices[file] = index
        if len(self._indices) > OPEN_MAPS:
            self._indices.popitem(last=False)
        return index

    def _stored(self, path: Path) -> tuple[StoreFolder, str] | None:
        """The store that has the video at `path`, and its name there; None for a source file."""
        folder = path.parent
        if folder not in self._prepared:
            root = next((above for above in folder.absolute().parents if is_store(above)), None)
            known = next((s for s in self._prepared.values() if s is not None and s.root == root), None)
            self._prepared[folder] = known or (open_store(root) if root is not None else None)
        store = self._prepared[folder]
        name = None if store is None else store.by_path.get(path.absolute())
        return None if store is None or name is None else (store, name)

    def _decoded(self, path: Path, kind: str, found: StoredPictures | StoredFlow) -> Bytes:
        """What a store has, from the cache."""
        return self._map(self._file(path, f"stored-{kind}"), lambda: found[np.arange(len(found), dtype=np.int64)])

    def fill(
        self,
        paths: Sequence[Path],
        views: Iterable[View],
        short_side: int,
        workers: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Have everything that `views` read of `paths`, with `workers` processes. Raises one error with every bad video.

        `progress` hears how many of the missing videos are done, and how many there are.
        """
        wanted = tuple(views)
        missing = [p for p in dict.fromkeys(paths) if not all(self.holds(p, v, short_side) for v in wanted)]
        if not missing:
            return
        bad: dict[Path, Sequence[Problem]] = {}
        empty = Store(self._folder, self._max_bytes / 2**30, self._cache)  # its digests would be sent with every job
        jobs = [(empty, path, wanted, short_side) for path in missing]
        for done, (job, outcome) in enumerate(spread(_prepare, jobs, workers, begin=_start_worker), start=1):
            bad[job[1]] = _of_death(job[1], outcome) if isinstance(outcome, Died) else outcome
            if progress:
                progress(done, len(missing))
        problems = [problem for path in missing for problem in bad[path]]
        if problems:
            raise CprspecError(list(dict.fromkeys(problems)), exit_code=1)
        self._make_room()

    def holds(self, path: Path, view: View, short_side: int) -> bool:
        """Whether what `view` reads of a video is there already."""
        kind = f"{view.method}-{view.bound:g}-{short_side}" if isinstance(view, Flow) else f"rgb-{short_side}"
        try:
            if self._stored(path) is not None:
                return self._cache != "decoded" or self._file(path, f"stored-{kind}").exists()
            if self._cache == "none":
                return self._file(path, "frames").with_suffix(".json").exists()
            return self._file(path, kind).exists()
        except BadVideo:
            return False  # the worker that looks at it will say why

    def _file(self, path: Path, kind: str) -> Path:
        digest = self._digest(path)
        return self._folder / f"v{VERSION}" / digest[:2] / f"{digest}-{kind}.npy"

    def _digest(self, path: Path) -> str:
        """The file's sha256; remembered by path, size and time of change, here and on disk, so that it is read once."""
        try:
            facts = path.stat()
            key = f"{path.absolute()}\0{facts.st_size}\0{facts.st_mtime_ns}"
            if key not in self._digests:
                self._digests[key] = self._remembered(path, key)
        except OSError as error:
            raise BadVideo(path, f"{error.strerror} ({type(error).__name__})") from error
        return self._digests[key]

    def _remembered(self, path: Path, key: str) -> str:
        name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        note = self._folder / "digests" / name[:2] / name
        if note.is_file() and len(known := note.read_text("ascii", "replace")) == 64 and known.isalnum():
            return known
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        _write(note, lambda working: working.write_text(digest, "ascii"))
        return digest

    def _map(self, file: Path, compute: Callable[[], Bytes]) -> Bytes:
        if file in self._maps:
            self._maps.move_to_end(file)
            return self._maps[file]
        found = _open_map(file)
        if found is None:
            content = compute()
            _write(file, lambda working: _save(working, content))
            self._unseen_bytes += content.nbytes
            if self._unseen_bytes > self._max_bytes // 20:
                self._make_room()
            found = _open_map(file)
            found = content if found is None else found  # another process made room by removing it
        self._maps[file] = found
        if len(self._maps) > OPEN_MAPS:
            self._maps.popitem(last=False)
        return found

    def _make_room(self) -> None:
        """Remove what was used least recently until the store is within its bound, and what dead writers left."""
        self._unseen_bytes = 0
        for left in self._folder.glob("*/*/.*.tmp"):
            if (facts := _stat(left)) and time.time() - facts.st_mtime > ABANDONED_S:
                left.unlink(missing_ok=True)
        files = [(facts, file) for file in self._folder.glob("v*/*/[!.]*.npy") if (facts := _stat(file))]
        excess = sum(facts.st_size for facts, _ in files) - self._max_bytes
        for facts, file in sorted(files, key=lambda pair: pair[0].st_mtime_ns):
            if excess <= 0:
                return
            file.unlink(missing_ok=True)
            excess -= facts.st_size


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except FileNotFoundError:  # another process made room too
        return None


def _open_map(file: Path) -> Bytes | None:
    """The stored array, marked as used now; None if it is not there or not whole."""
    try:
        found: Bytes = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return None
    try:
        os.utime(file)
    except OSError:
        return found  # a store that may only be read still serves
    return found


def _save(file: Path, content: Bytes) -> None:
    with file.open("wb") as stream:
        np.save(stream, content, allow_pickle=False)


def _write(file: Path, write: Callable[[Path], object]) -> None:
    """Make `file` under another name and rename it, so that it is never seen half written."""
    working = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write(working)
        working.replace(file)
    except OSError as error:
        with suppress(OSError):
            working.unlink(missing_ok=True)
        hint = "make room there, or choose another folder with $CPRSPEC_CACHE"
        problem = Problem(f"cannot write to the store ({error.strerror})", Place(str(file.parent)), hint)
        raise CprspecError(problem, exit_code=1) from error


def _prepare(job: tuple[Store, Path, tuple[View, ...], int]) -> list[Problem]:
    store, path, views, short_side = job
    try:
        for view in views:
            store.read(path, view, short_side)
    except CprspecError as error:
        return list(error.problems)
    return []


def _of_death(path: Path, died: Died) -> Sequence[Problem]:
    """What to say of the video that a process died of."""
    flaw = limits.flaw_of_death(died.exitcode)
    return BadVideo(path, flaw.reason, flaw.defect).problems


def _start_worker() -> None:
    cv2.setNumThreads(1)
    limits.limit_time()
