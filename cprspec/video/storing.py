"""Making a store out of a collection: `cprspec data prepare`.

The videos are shared out over processes, and by `shard` over machines. Each is encoded by one thread to the same bytes
whoever does it, and noted when it is done; so preparing may be killed at any moment and goes on. Whoever finds everything done
writes the store's index, and last the manifest: a folder without one is no store.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from attrs import asdict, evolve, frozen

from cprspec import __version__
from cprspec.data.collections import Collection
from cprspec.data.index import Entry
from cprspec.data.stores import (
    FLOW,
    MANIFEST,
    PACKETS,
    RGB,
    SCHEMA,
    VIDEOS,
    WORK,
    Facts,
    StoreFolder,
    StoreOptions,
    dataset_facts,
    is_store,
    open_store,
)  # fmt: skip
from cprspec.errors import CprspecError, Place, Problem, clean
from cprspec.spec.kinds import Dataset
from cprspec.video.bounds import choose_bound
from cprspec.video.journal import agree_on, append, check_same, from_text, is_done, read_records, records_of
from cprspec.video.limits import flaw_of_death
from cprspec.video.preparing import Job, Record, prepare_video
from cprspec.video.spread import Died, spread

MAX_BAD = 0.01
"""Largest share of a collection's videos that may be left out because they are bad."""


@frozen
class Shard:
    """Part `number` (from 1) of `count` of the work."""

    number: int = 1
    count: int = 1

    def __str__(self) -> str:
        return f"{self.number}-of-{self.count}"


@frozen
class Prepared:
    """What one call did: videos made, and those bad in the whole store so far; `finished` when there is a manifest."""

    made: int
    bad: tuple[Record, ...]
    waiting: int
    finished: bool


def make_store(
    collection: Collection,
    out: Path,
    options: StoreOptions,
    *,
    shard: Shard = Shard(),
    processes: int | None = None,
    max_bad: float = MAX_BAD,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Put this shard's videos into the store in the folder `out`, and finish the store if nothing else is missing.

    A bound of None is chosen from the data. CprspecError where the store cannot be written, was begun in another way, or
    too many videos are bad.
    """
    data = _data_facts(collection)
    entries: dict[str, Entry] = data.pop("entries")
    try:
        options = _begin(collection, out, options, entries, data)
        made = _make(collection, out, options, list(entries), shard, processes, progress)
        return _finish(collection, out, options, entries, data, made, max_bad)
    except OSError as error:
        problem = Problem(
            f"cannot write the store ({error.strerror})", Place(str(out)), "make room, or choose another --out"
        )
        raise CprspecError(problem, exit_code=1) from error


def _data_facts(collection: Collection) -> Facts:
    """`entries` by name, and `component` and `variants`: the options of each data set, and of its other official splits."""
    variants: list[Facts] = []
    splits: list[dict[str, Entry]] = []
    for dataset in collection.datasets:
        for variant, must in _official_splits(dataset):
            facts = dataset_facts(variant)
            if facts in variants:
                continue
            try:
                index = variant.build(collection.root)
            except CprspecError:
                if must:
                    raise
                continue  # the lists of this split are not there
            variants.append(facts)
            labels = index.classes
            splits.append(
                {
                    v.name: Entry(
                        v.name, None if v.label is None else labels[v.label], index.sources[v.source], v.split
                    )
                    for v in index.videos
                }
            )
    entries = {name: entry for found in reversed(splits) for name, entry in found.items()}
    table = {name: [s[name].split if name in s else None for s in splits] for name in entries}
    component = collection.datasets[0].name
    return {
        "component": component, "variants": variants, "splits": table,
        "entries": {name: entries[name] for name in sorted(entries)},
    }  # fmt: skip


def _official_splits(dataset: Dataset) -> list[tuple[Dataset, bool]]:
    """A data set, and its forms with another official split; whether it is an error if that cannot be read."""
    current = getattr(dataset, "split", None)
    if not isinstance(current, int):
        return [(dataset, True)]
    others = [n for n in (1, 2, 3) if n != current]
    return [(dataset, True), *((evolve(dataset, split=n), False) for n in others)]  # type: ignore[misc]


def _begin(
    collection: Collection, out: Path, options: StoreOptions, entries: dict[str, Entry], data: Facts
) -> StoreOptions:
    """The options to go on with; a finished store is opened again if it lacks a video, or says of one what is no longer so."""
    names = list(entries)
    if is_store(out):
        store = open_store(out)
        check_same(store.options, options, out)
        records = {record["name"]: record for record in records_of(store)}
        if records.keys().isdisjoint(names):
            message = "this store was made of other videos, none of which is here"
            raise CprspecError(Problem(message, Place(str(out)), "choose another --out, or remove it"))
        done = all(is_done(records.get(name), out, collection.root / name) for name in names)
        if done and _still_so(store, entries, data):
            return store.options
        agree_on(out, store.options)
        for record in records.values():
            append(out, "finished", record)
        (out / MANIFEST).unlink()
    options = agree_on(out, options)
    if options.flow and options.bound is None:
        chosen = choose_bound([collection.root / name for name in names], options.short_side)
        options = agree_on(out, evolve(options, bound=chosen.bound))
    return options


def _still_so(store: StoreFolder, entries: dict[str, Entry], data: Facts) -> bool:
    """Whether the labels, sources and splits of a finished store are those of the collection now, and its videos no others."""
    bad = {record["name"] for record in store.manifest["excluded"]}
    now = {n: (e.label, e.source, data["splits"][n]) for n, e in entries.items() if n not in bad}
    then = {n: (line["label"], line["source"], line["splits"]) for n, line in store.videos.items()}
    same = (store.manifest["data"]["component"], store.variants) == (data["component"], data["variants"])
    return same and now == then and bad <= entries.keys()


def _make(
    collection: Collection,
    out: Path,
    options: StoreOptions,
    names: list[str],
    shard: Shard,
    processes: int | None,
    progress: Callable[[int, int], None] | None,
) -> int:
    """Make what is missing of the shard's videos; how many."""
    if is_store(out):
        return 0
    records = read_records(out)
    mine = names[shard.number - 1 :: shard.count]
    jobs = [
        Job(collection.root, name, out, options)
        for name in mine
        if not is_done(records.get(name), out, collection.root / name)
    ]
    workers = min(processes or os.cpu_count() or 1, len(jobs))
    results = spread(prepare_video, jobs, workers, begin=_one_thread) if jobs else ()
    for done, (job, result) in enumerate(results, start=1):
        append(out, str(shard), _crashed(job, result) if isinstance(result, Died) else result)
        if progress:
            progress(done, len(jobs))
    return len(jobs)


def _crashed(job: Job, death: Died) -> Record:
    facts = (job.root / job.name).stat()
    source = {"bytes": facts.st_size, "mtime_ns": facts.st_mtime_ns}
    return {"name": job.name, "source": source, "bad": flaw_of_death(death.exitcode).reason, "defect": "crash"}


def _one_thread() -> None:
    cv2.setNumThreads(1)


def _finish(
    collection: Collection,
    out: Path,
    options: StoreOptions,
    entries: dict[str, Entry],
    data: Facts,
    made: int,
    max_bad: float,
) -> Prepared:
    if is_store(out):
        return Prepared(made, tuple(open_store(out).manifest["excluded"]), 0, finished=True)
    records = read_records(out)
    waiting = sum(not is_done(records.get(name), out, collection.root / name) for name in entries)
    bad = [records[name] for name in entries if name in records and "bad" in records[name]]
    if waiting:
        return Prepared(made, tuple(bad), waiting, finished=False)
    if len(bad) > max_bad * len(entries):
        told = [
            Problem(f"{clean(r['defect'])}: {clean(r['bad'])}", Place(str(collection.root / r["name"])))
            for r in bad[:20]
        ]
        message = f"{len(bad)} of {len(entries)} videos are bad; at most {max_bad:.1%} may be left out"
        raise CprspecError(
            [*told, Problem(message, Place(str(out)), "mend or remove them, or allow more with --max-bad")], 1
        )
    _write_index(out, options, entries, data, records)
    return Prepared(made, tuple(bad), 0, finished=True)


def _write_index(
    out: Path, options: StoreOptions, entries: dict[str, Entry], data: Facts, records: dict[str, Record]
) -> None:
    """The lines, the sizes of packets, and when all else is on the disk the manifest."""
    lines, packets, at = [], [], 0
    good = [(records[name], entry) for name, entry in entries.items() if "bad" not in records[name]]
    for record, entry in good:
        mine = [from_text(record[kind]["packets"]) for kind in (RGB, FLOW) if record[kind]]
        lines.append(json.dumps(_line(record, entry, data["splits"][entry.name], at)) + "\n")
        packets += mine
        at += sum(map(len, mine))
    listing = io.BytesIO()
    np.save(listing, np.concatenate([np.empty(0, np.uint32), *packets]).astype(np.uint32), allow_pickle=False)
    files = {VIDEOS: "".join(lines).encode("ascii"), PACKETS: listing.getvalue()}
    for name, content in files.items():
        write_whole(out / name, content)
    manifest = {
        "schema": SCHEMA, "kind": "store", "made_by": f"cprspec {__version__}", "options": asdict(options),
        "data": {"component": data["component"], "variants": data["variants"]},
        "videos": len(good), "frames": sum(r["frames"] for r, _ in good),
        "bytes": {kind: sum(r[kind]["bytes"] for r, _ in good if r[kind]) for kind in (RGB, FLOW)},
        "excluded": [_without_times(r) for r in (records[name] for name in entries) if "bad" in r],
        "files": {n: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in files.items()},
    }  # fmt: skip
    for left in [*(out / RGB).rglob(".*.tmp"), *(out / FLOW).rglob(".*.tmp")]:
        left.unlink(missing_ok=True)  # of processes that were killed
    os.sync()
    write_whole(out / MANIFEST, json.dumps(manifest, indent=1).encode("ascii") + b"\n")
    shutil.rmtree(out / WORK, ignore_errors=True)


def _line(record: Record, entry: Entry, splits: list[str | None], packets: int) -> Facts:
    about = {
        kind: {k: v for k, v in record[kind].items() if k != "packets"} if record[kind] else None
        for kind in (RGB, FLOW)
    }
    return {
        "name": entry.name, "label": entry.label, "source": entry.source, "splits": splits,
        "frames": record["frames"], "width": record["width"], "height": record["height"], "packets": packets,
        **about, "source_file": _without_times(record)["source"],
    }  # fmt: skip


def _without_times(record: Record) -> Record:
    """When files were changed differs between copies of a collection, and what is made of them should not."""
    source = {k: v for k, v in record["source"].items() if k != "mtime_ns"} if record["source"] else None
    return record | {"source": source}


def write_whole(file: Path, content: bytes) -> None:
    """Replace `file` in one step, on the disk before it has its name."""
    working = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    with working.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    working.replace(file)
