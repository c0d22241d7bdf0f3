"""What of a store is done while it is being made: the folder `work` in it, which goes when the manifest is written.

Each shard appends a line for each video that it has finished. A torn last line, or a file that is not as its line says, means
that the video is made again, to the same bytes.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
from attrs import asdict

from cprspec.data.stores import BEGUN, FLOW, RGB, WORK, StoreFolder, StoreOptions
from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean
from cprspec.video.preparing import Record


def agree_on(out: Path, options: StoreOptions) -> StoreOptions:
    """The options that the store in `out` is made with: those of who came first. CprspecError if they differ from ours.

    A bound of None means that whatever was chosen is right; a store that has flow has one in the end.
    """
    file = out / WORK / BEGUN
    own = out / WORK / f".{BEGUN}.{os.getpid()}.tmp"
    if options.flow is None or options.bound is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(json.dumps(asdict(options)))
        with suppress(FileExistsError):
            os.link(own, file)  # unlike a rename, it leaves what is there
        own.unlink()
    try:
        begun = StoreOptions(**json.loads(file.read_text()))
    except FileNotFoundError:
        return options
    except (ValueError, TypeError) as error:
        raise CprspecError(Problem("cannot be read", Place(str(file)), "remove the store and begin again")) from error
    check_same(begun, options, out)
    return begun


def check_same(begun: StoreOptions, options: StoreOptions, out: Path) -> None:
    """CprspecError unless a store that was begun with some options may go on with others."""
    differing = [
        f"{name} {clean(str(value), MAX_ECHO)}, not {asdict(options)[name]}"
        for name, value in asdict(begun).items()
        if value != asdict(options)[name] and not (name == "bound" and options.bound is None)
    ]
    if differing:
        message = f"this store was begun with other options: {'; '.join(differing)}"
        raise CprspecError(Problem(message, Place(str(out)), "use the same ones, or another --out"))


def append(out: Path, shard: str, record: Record) -> None:
    """Note that a video is done."""
    file = out / WORK / f"{shard}.jsonl"
    with file.open("ab") as stream:
        if stream.tell() and not _ends_a_line(file):
            stream.write(b"\n")  # who wrote before us was killed within a line
        stream.write(json.dumps(record).encode("ascii") + b"\n")


def read_records(out: Path) -> dict[str, Record]:
    """Everything that is done, by name: what shards noted, or what stands in the finished store's index."""
    found: dict[str, Record] = {}
    for file in sorted((out / WORK).glob("*.jsonl")):
        for line in file.read_bytes().splitlines():
            with suppress(ValueError, TypeError, KeyError):  # torn; the video is made again
                record = json.loads(line)
                found[record["name"]] = record
    return found


def records_of(store: StoreFolder) -> Iterable[Record]:
    """What shards would have noted of a finished store."""
    for name, facts in store.videos.items():
        record = {key: facts[key] for key in ("name", "source_file", "frames", "width", "height")}
        record["source"] = record.pop("source_file")
        for kind in (RGB, FLOW):
            packets = store.sizes(name, kind) if facts[kind] else None
            record[kind] = None if packets is None else facts[kind] | {"packets": to_text(packets)}
        yield record
    yield from store.manifest["excluded"]


def is_done(record: Record | None, out: Path, source: Path) -> bool:
    """Whether a record tells of the source as it is now, and the files are there."""
    if record is None:
        return False
    try:
        facts = source.stat()
    except OSError:
        return "bad" in record
    try:
        if record["source"] is None or facts.st_size != record["source"]["bytes"]:
            return False
        if "bad" in record:
            return record["source"].get("mtime_ns") in (None, facts.st_mtime_ns)
        files = [(out / kind / f"{record['name']}.mp4", record[kind]) for kind in (RGB, FLOW) if record[kind]]
        return all(file.stat().st_size == about["bytes"] for file, about in files)
    except (OSError, KeyError, TypeError):
        return False


def to_text(packets: np.ndarray) -> str:
    """Sizes of packets as they stand in a record."""
    return b64encode(packets.astype("<u4").tobytes()).decode("ascii")


def from_text(packets: str) -> np.ndarray:
    """The inverse of `to_text`."""
    return np.frombuffer(b64decode(packets), "<u4")


def _ends_a_line(file: Path) -> bool:
    with file.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
