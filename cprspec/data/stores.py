"""A store: a folder that `cprspec data prepare` made of a data set, with its labels, sources and splits; it stands alone.

    store.json        the manifest, written last: options, what data set, counts, digests of the two files that follow
    videos.jsonl      one line a video, by name: label, source, splits, size, where its packets are listed, digests
    packets.npy       sizes in bytes of all packets of all videos, uint32: with the lines above, the frame index
    rgb/NAME.mp4      the pictures of the video NAME
    flow/NAME.mp4     its flow, x above y as grey pictures; frame i is the motion from picture i to picture i + 1

Nothing in it names a place outside of it, so it may be moved, and read where nothing can be written. Files from others are
not trusted: names that lead out of the folder are refused, and a video that is not as long as its line says is not read.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from cprspec.data.index import SPLITS, Entry, Index, make_index
from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean
from cprspec.spec.kinds import Dataset, fields_of

SCHEMA = 1
"""Raised when a reader of today could not read what is written."""

MANIFEST, VIDEOS, PACKETS = "store.json", "videos.jsonl", "packets.npy"
RGB, FLOW = "rgb", "flow"
WORK, BEGUN = "work", "options.json"
"""While a store is made: the folder of what is done so far, and in it how it was begun."""

MAX_MANIFEST = 64 * 2**20
"""Bytes of a manifest; it lists the videos that were left out, one line each."""

Facts = dict[str, Any]


@frozen(kw_only=True)
class StoreOptions:
    """How a store is made. `short_side` and `group` (a key frame every so many) count pixels and frames.

    `crf`, `flow_crf`: x264's quality, smaller is better. `flow` is a method (components/views.py) or None; `bound` the
    largest motion kept, pixels per frame.
    """

    short_side: int
    crf: int
    group: int
    flow: str | None
    bound: float | None
    flow_crf: int


@frozen(eq=False)
class StoreFolder:
    """An opened store. `manifest` is what store.json holds, `videos` the lines by the videos' names."""

    root: Path
    options: StoreOptions
    manifest: Facts
    videos: dict[str, Facts]
    packets: NDArray[np.uint32]

    @property
    def variants(self) -> list[Facts]:
        """The options of the data set, in each form that the store knows the splits of."""
        found: list[Facts] = self.manifest["data"]["variants"]
        return found

    def file(self, name: str, kind: str) -> Path:
        """Where the pictures (RGB) or the flow (FLOW) of a video are."""
        return self.root / kind / f"{name}.mp4"

    def sizes(self, name: str, kind: str) -> NDArray[np.uint32]:
        """Bytes of each packet of a video's pictures or flow, in order; they follow one another in the file."""
        facts = self.videos[name]
        start, frames = int(facts["packets"]), int(facts["frames"])
        return self.packets[start : start + frames] if kind == RGB else self.packets[start + frames :][: frames - 1]

    @cached_property
    def by_path(self) -> dict[Path, str]:
        """The name of the video whose pictures are in a file."""
        return {self.file(name, RGB): name for name in self.videos}

    def index(self, variant: int) -> Index:
        """The videos with the splits of one variant; sizes are those of the store's own files, since they are what is read."""
        entries = [
            Entry(name, facts["label"], facts["source"], facts["splits"][variant])
            for name, facts in self.videos.items()
            if facts["splits"][variant] is not None
        ]
        sizes = {
            name: sum(facts[kind]["bytes"] for kind in (RGB, FLOW) if facts[kind])
            for name, facts in self.videos.items()
        }
        index = make_index(self.root / RGB, entries, sizes)
        videos = tuple(evolve(v, path=self.file(v.name, RGB)) for v in index.videos)
        return evolve(index, videos=videos)

    def index_of_split(self, split: int) -> Index:
        """The videos with the official split `split`; a data set without official splits has one. CprspecError without it."""
        numbers = [variant.get("split", 1) for variant in self.variants]
        if split not in numbers:
            message = f"this store has no split {split}, only {', '.join(map(str, numbers))}"
            raise CprspecError(Problem(message, Place(str(self.root / MANIFEST))))
        return self.index(numbers.index(split))


def is_store(folder: Path) -> bool:
    """Whether a finished store is there."""
    return (folder / MANIFEST).is_file()


def check_finished(folder: Path) -> None:
    """CprspecError for a store that is still being made: its pictures and flow are no collection of videos."""
    if (folder / WORK / BEGUN).is_file() and not is_store(folder):
        hint = "go on with the same `cprspec data prepare`, which makes what is missing"
        raise CprspecError(Problem("this store is not finished", Place(str(folder)), hint))


def open_store(root: Path) -> StoreFolder:
    """The store in the folder `root`. CprspecError where its files are not those that were prepared."""
    root = root.absolute()
    place = root / MANIFEST
    check_finished(root)
    if not is_store(root):
        message = f"not a store: it has no {MANIFEST}"
        raise CprspecError(Problem(message, Place(str(root)), "`cprspec data prepare` makes one, and writes that last"))
    try:
        if place.stat().st_size > MAX_MANIFEST:
            raise ValueError("too large")
        manifest = json.loads(place.read_bytes())
        if manifest["kind"] != "store" or manifest["schema"] != SCHEMA:
            message = f"not a store of the kind that this version reads (schema {clean(str(manifest['schema']), 20)})"
            raise CprspecError(Problem(message, Place(str(place))))
        options = StoreOptions(**manifest["options"])
        for name in (VIDEOS, PACKETS):
            _check(root / name, manifest["files"][name])
        lines = [json.loads(line) for line in (root / VIDEOS).read_bytes().splitlines()]
        packets = np.load(root / PACKETS, mmap_mode="r", allow_pickle=False)
        videos = {line["name"]: line for line in lines}
        _check_lines(videos, packets, len(manifest["data"]["variants"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _broken(place, f"cannot be read as a store ({type(error).__name__}: {clean(str(error), 80)})") from error
    return StoreFolder(root, options, manifest, videos, packets)


def build_index(dataset: Dataset, root: Path) -> Index:
    """The index of the data set `dataset` whose root is `root`: a store, or the videos themselves."""
    check_finished(root)
    index: Index = read_store(root, dataset) if is_store(root) else dataset.build(root)
    return index


def read_store(root: Path, dataset: Dataset) -> Index:
    """The index of a store as the data set `dataset` describes it. CprspecError if it was prepared from another one."""
    store = open_store(root)
    data = store.manifest["data"]
    wanted = dataset_facts(dataset)
    if dataset.name == "store":
        index: Index = dataset.build(root)
        return index
    if dataset.name == data["component"]:
        for number, variant in enumerate(store.variants):
            if variant == wanted:
                return store.index(number)
        differing = sorted(name for name in wanted if all(v.get(name) != wanted[name] for v in store.variants))
        what = (
            f"with other options ({', '.join(differing) or 'together'}): {clean(json.dumps(store.variants), MAX_ECHO)}"
        )
    else:
        what = f"from a data set of the kind '{clean(str(data['component']), MAX_ECHO)}', not '{dataset.name}'"
    hint = 'use = "store" in the data set\'s table takes it as it is'
    raise CprspecError(Problem(f"this store was prepared {what}", Place(str(root / MANIFEST)), hint))


def dataset_facts(dataset: Dataset) -> Facts:
    """The options of a data set that say what it holds."""
    facts = {
        a.name: getattr(dataset, a.name) for a in fields_of(type(dataset)) if a.metadata.get("in_fingerprint", True)
    }
    return {name: list(value) if isinstance(value, tuple) else value for name, value in facts.items()}


def _check(file: Path, expected: Facts) -> None:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != expected["sha256"]:
        raise _broken(file, "is not the file that the store's manifest describes")


def _check_lines(videos: dict[str, Facts], packets: NDArray[np.uint32], variants: int) -> None:
    """ValueError for a line that leads out of the store, or names packets that are not listed."""
    for name, facts in videos.items():
        path = PurePosixPath(name)
        if not name or path.is_absolute() or ".." in path.parts or "\0" in name:
            raise ValueError(f"'{clean(name, MAX_ECHO)}' does not lie below the store")
        if len(facts["splits"]) != variants or any(s not in (*SPLITS, None) for s in facts["splits"]):
            raise ValueError(f"splits of '{clean(name, MAX_ECHO)}'")
        last = facts["packets"] + facts["frames"] + (facts["frames"] - 1 if facts[FLOW] else 0)
        if not 0 <= facts["packets"] <= last <= len(packets):
            raise ValueError(f"packets of '{clean(name, MAX_ECHO)}'")


def _broken(file: Path, message: str) -> CprspecError:
    return CprspecError(Problem(message, Place(str(file)), "copy the store again, or prepare it again"))
