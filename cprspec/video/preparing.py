"""One video into a store: its pictures encoded, and its flow computed from the source's own pictures and encoded beside them.

Pictures stream through, so a long video takes no more memory than a short one.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from attrs import frozen

from cprspec.data.stores import FLOW, RGB, StoreOptions
from cprspec.video.decode import Resize
from cprspec.video.encode import Bytes, Encoder, encoded
from cprspec.video.flow import FlowMethod, quantise, stack
from cprspec.video.framing import index_frames
from cprspec.video.opening import BadVideo, open_video

Record = dict[str, Any]


@frozen
class Job:
    """The video `name` of the collection under `root`, to be put into the store in the folder `out`."""

    root: Path
    name: str
    out: Path
    options: StoreOptions


def prepare_video(job: Job) -> Record:
    """Encode one video; what the store's index has to know of it, or `bad` and `defect`: why it is left out."""
    path = job.root / job.name
    record: Record = {"name": job.name, "source": None}
    try:
        facts = path.stat()
        record["source"] = {"bytes": facts.st_size, "mtime_ns": facts.st_mtime_ns}
        frames = _encode(job, path)
        with path.open("rb") as file:
            record["source"]["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    except BadVideo as error:
        return record | {"bad": error.reason, "defect": str(error.defect)}
    except (OSError, cv2.error) as error:
        return record | {
            "bad": f"{getattr(error, 'strerror', None) or 'no flow of its pictures'}",
            "defect": "unreadable",
        }
    record |= {"frames": frames, RGB: _facts(job, RGB, frames), FLOW: None}
    record["width"], record["height"] = record[RGB].pop("size")
    if job.options.flow and frames > 1:
        record[FLOW] = _facts(job, FLOW, frames - 1)
        del record[FLOW]["size"]
    return record


def pictures(path: Path, short_side: int) -> Iterator[Bytes]:
    """Every frame `[H,W,3]` of a video in turn, height and width even. Raises `BadVideo`."""
    with open_video(path) as (container, stream):
        resize = Resize(path, short_side, even=True)
        for frame in container.decode(stream):
            yield np.ascontiguousarray(resize(frame))


def _encode(job: Job, path: Path) -> int:
    """Write the files of one video and return how many frames it has."""
    options, frames = job.options, 0
    method = FlowMethod(options.flow) if options.flow else None
    before: Bytes | None = None
    with ExitStack() as files:
        rgb = files.enter_context(encoded(file_of(job, RGB), options.crf, options.group))
        flow: Encoder | None = None
        for picture in pictures(path, options.short_side):
            rgb.write(picture)
            frames += 1
            if method is not None and before is not None:
                flow = flow or files.enter_context(encoded(file_of(job, FLOW), options.flow_crf, options.group))
                flow.write(stack(quantise(method.between(before, picture), options.bound or 1.0)))
            before = picture
        if not frames:
            raise BadVideo(path, "no frame can be decoded")
    return frames


def file_of(job: Job, kind: str) -> Path:
    """Where a store keeps the pictures or the flow of the job's video."""
    return job.out / kind / f"{job.name}.mp4"


def _facts(job: Job, kind: str, frames: int) -> Record:
    """What reading needs to know of a file just written; that it is as reading expects is checked here, once and for all."""
    file = file_of(job, kind)
    index = index_frames(file)
    regular = (
        index.placed
        and index.frames == frames
        and np.array_equal(index.shown_P, np.arange(frames))
        and np.array_equal(index.key_P, np.arange(frames) % job.options.group == 0)
        and np.array_equal(index.offset_P[1:], (index.offset_P + index.size_P)[:-1])
    )
    if not regular:
        raise RuntimeError(f"the encoder did not write {file} as it was asked to")
    content = file.read_bytes()
    return {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "offset": int(index.offset_P[0]),
        "extradata": index.extradata.hex(),
        "packets": b64encode(index.size_P.astype("<u4").tobytes()).decode("ascii"),
        "size": (index.width, index.height),
    }
