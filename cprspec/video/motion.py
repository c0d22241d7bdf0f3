"""The embedded data set: procedural clips whose class is an appearance family and a motion programme together.

RGB alone sees the family and not the motion; flow alone sees the motion and not the family. It is made on first use as real
mp4 files, the same for the same options, and shows how mining works by construction: it is no evidence about real video.

An appearance family is a background hue, a texture and a silhouette; a programme moves the silhouette. Clips of one source
share colours, size, texture and clutter; each has its own place, phase, speed and camera shake. No programme is another
one mirrored. Legend: S side of a video in pixels.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import av
import cv2
import numpy as np
from attrs import asdict, frozen
from numpy.typing import NDArray

from cprspec.components.datasets import Motion
from cprspec.data.index import Entry, Index, make_index
from cprspec.video.sampling import generator

VERSION = 2
"""Raised when the same options would mean other videos."""

FAMILIES = ("amber-stripes", "blue-checks", "green-dots", "violet-rings")
PROGRAMMES = ("bounce", "orbit", "pulse", "sway")
HUES = (20, 110, 60, 145)
"""Background hue of each family, in OpenCV's half degrees."""

SUPERSAMPLE = 2
"""Pictures are drawn so many times larger and shrunk, so that slow motion moves edges by parts of a pixel."""

ENCODER = {
    "crf": "18",
    "preset": "veryfast",
    "threads": "1",
    # Looking ahead, x264 reads memory that it never wrote: one video in fifty then differs from the same video made before.
    "x264-params": "rc-lookahead=0:mbtree=0:bframes=0:scenecut=0",
}

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@frozen
class Job:
    """One video to make. `key` seeds what is its own, `source_key` what it shares with its source."""

    path: Path
    options: Motion
    family: int
    programme: int
    source_key: tuple[int, ...]
    key: tuple[int, ...]


def make_motion(options: Motion, root: Path) -> Index:
    """The index of the videos under `root`; makes them if they are not all there."""
    facts = {name: value for name, value in asdict(options).items() if name != "root"} | {"version": VERSION}
    folder = root / "-".join(str(value) for value in facts.values())
    jobs = list(_jobs(options, folder))
    if not (folder / "complete.json").exists():
        # Made beside its place and renamed, so that what has the right name is complete.
        working = root / f".{folder.name}.{os.getpid()}"
        with ProcessPoolExecutor(None, get_context("forkserver")) as pool:
            list(pool.map(_make, _jobs(options, working), chunksize=16))
        (working / "complete.json").write_text(json.dumps(facts))
        _publish(working, folder)
    return make_index(folder, [_entry(job.path.relative_to(folder)) for job in jobs])


def _publish(working: Path, folder: Path) -> None:
    """Give a finished folder its name, in place of what is not whole; another process may have been faster."""
    if folder.exists() and not (folder / "complete.json").exists():
        shutil.rmtree(folder)
    try:
        working.rename(folder)
    except OSError:
        shutil.rmtree(working)
        if not (folder / "complete.json").exists():
            raise


def _entry(path: Path) -> Entry:
    split, label, file = path.parts
    return Entry(path.as_posix(), label, f"{label}/{split}/{file.split('_')[0]}", split)


def _jobs(options: Motion, folder: Path) -> Iterator[Job]:
    for split, (name, sources) in enumerate((("train", options.train_sources), ("test", options.test_sources))):
        for family, look in enumerate(FAMILIES):
            for programme, motion in enumerate(PROGRAMMES):
                for source in range(sources):
                    source_key = (options.seed, split, family, programme, source)
                    for clip in range(options.clips):
                        path = folder / name / f"{look}+{motion}" / f"s{source:02d}_c{clip:02d}.mp4"
                        yield Job(path, options, family, programme, source_key, (*source_key, clip))


def _make(job: Job) -> None:
    cv2.setNumThreads(1)
    job.path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(job.path), "w") as container:
        stream = container.add_stream("libx264", rate=12, options=ENCODER)
        stream.width = stream.height = job.options.size
        stream.pix_fmt = "yuv420p"
        for picture in _pictures(job):
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def _pictures(job: Job) -> Iterator[Bytes]:
    side = job.options.size * SUPERSAMPLE
    shared, own = generator(*job.source_key, 1), generator(*job.key, 2)
    margin = side // 8
    scene = _background(job.family, shared, side + 2 * margin)
    radius = shared.uniform(0.13, 0.19) * side
    colour = _rgb((HUES[job.family] + 90 + shared.uniform(-12, 12)) % 180, shared.uniform(150, 230), 235)
    centre = side * (0.5 + own.uniform(-0.1, 0.1, 2))
    phase, turns = own.uniform(0, 2 * np.pi), own.uniform(1.6, 2.6)
    tilt, reach = own.uniform(0, np.pi), own.uniform(0.17, 0.24) * side
    shake = np.cumsum(own.normal(0, 0.006 * side, (job.options.frames, 2)), axis=0)
    for t in range(job.options.frames):
        angle = phase + 2 * np.pi * turns * t / job.options.frames
        offset, scale = _moved(job.programme, angle, reach)
        dx, dy = np.clip(shake[t], -margin, margin)
        shift = np.array([[1, 0, dx - margin], [0, 1, dy - margin]], np.float32)
        picture = np.asarray(cv2.warpAffine(scene, shift, (side, side)), np.uint8)
        _silhouette(picture, job.family, centre + offset + (dx, dy), radius * scale, colour, tilt)
        yield np.asarray(cv2.resize(picture, (job.options.size,) * 2, interpolation=cv2.INTER_AREA), np.uint8)


def _moved(programme: int, angle: float, reach: float) -> tuple[tuple[float, float], float]:
    """Where the silhouette is, from its centre, and how large, when the programme is at `angle`."""
    wave, quadrature = float(np.sin(angle)), float(np.cos(angle))
    match PROGRAMMES[programme]:
        case "bounce":
            return (0.0, wave * reach), 1.0
        case "orbit":
            return (quadrature * reach, wave * reach), 1.0
        case "pulse":
            return (0.0, 0.0), 1.0 + 0.55 * wave
        case _:
            return (wave * reach, 0.0), 1.0


def _rgb(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    pixel = np.array([[[hue % 180, saturation, value]]], np.uint8)
    red, green, blue = cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return red, green, blue


def _background(family: int, rng: np.random.Generator, side: int) -> Bytes:
    """The family's hue and texture, with clutter that belongs to no family."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    period, shift = rng.uniform(0.14, 0.2) * side, rng.uniform(0, side, 2)
    u, v = 2 * np.pi * (x + shift[0]) / period, 2 * np.pi * (y + shift[1]) / period
    distance = np.hypot(x - side / 2 - shift[0] / 8, y - side / 2 - shift[1] / 8)
    texture = (
        np.sin(u + v),
        np.sign(np.sin(u) * np.sin(v)),
        np.sin(u) * np.sin(v),
        np.sin(2 * np.pi * distance / period),
    )
    hue = HUES[family] + rng.uniform(-8, 8)
    value = np.clip(120 + 26 * texture[family] + rng.normal(0, 3, (side, side)), 0, 255)
    hsv = np.stack([np.full_like(value, hue % 180), np.full_like(value, rng.uniform(90, 150)), value], -1)
    picture = np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB), np.uint8)
    for _ in range(4):
        corner = rng.integers(0, side, 2)
        extent = rng.integers(side // 14, side // 7, 2)
        cv2.rectangle(picture, corner.tolist(), (corner + extent).tolist(), _rgb(rng.uniform(0, 180), 60, 150), -1)
    return picture


def _silhouette(
    picture: Bytes, family: int, centre: Floats, radius: float, colour: tuple[int, int, int], tilt: float
) -> None:
    """Draw the family's shape: a bar, a square, a disc or a ring."""
    at = (round(float(centre[0])), round(float(centre[1])))
    if family == 2:
        cv2.circle(picture, at, round(radius), colour, -1, cv2.LINE_AA)
    elif family == 3:
        cv2.circle(picture, at, round(radius), colour, max(1, round(radius * 0.45)), cv2.LINE_AA)
    else:
        size = (radius * 2.2, radius * 1.1) if family == 0 else (radius * 1.8, radius * 1.8)
        corners = cv2.boxPoints((at, size, np.degrees(tilt)))
        cv2.fillConvexPoly(picture, corners.astype(np.int32), colour, cv2.LINE_AA)
