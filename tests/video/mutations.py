"""Random damage to sound videos, seeded: what becomes of it in a look at the file, and how much of it a check finds.

    PYTHONPATH=. python tests/video/mutations.py [MUTATIONS] [SEED]

prints the counts. Seeds of four containers and five codecs are made on the spot.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from attrs import define, field, frozen
from hostile_videos import pictures, write_video

from cprspec.data.records import Record
from cprspec.video import limits
from cprspec.video.inspect import Job, look_at
from cprspec.video.opening import BadVideo, open_video
from cprspec.video.spread import Died, spread

SEEDS = {
    "h264.mp4": ("libx264", {"g": "10", "bf": "2"}), "hevc.mp4": ("libx265", {"x265-params": "log-level=none:keyint=10"}),
    "mpeg4.mp4": ("mpeg4", {"g": "10"}), "mjpeg.mov": ("mjpeg", {}), "h264.mov": ("libx264", {"g": "10"}),
    "h264.mkv": ("libx264", {"g": "10"}), "vp9.mkv": ("libvpx-vp9", {"g": "10", "deadline": "realtime", "cpu-used": "8"}),
    "mjpeg.mkv": ("mjpeg", {}), "vp9.webm": ("libvpx-vp9", {"g": "10", "deadline": "realtime", "cpu-used": "8"}),
    "mpeg4.avi": ("mpeg4", {"g": "10", "bf": "2"}), "mjpeg.avi": ("mjpeg", {}), "h264.avi": ("libx264", {"g": "10"}),
}  # fmt: skip
"""Clean videos by name, with codec and options."""

FRAMES = 24


@frozen
class Looked:
    """What a look at a file found, a digest of every picture that decoding gives (None: it ends with an error), seconds."""

    record: Record
    output: str | None
    seconds: float


@define
class Counts:
    """What became of mutations: `outcomes` by class of defect, `usable` or `died`; how changed pictures were found."""

    outcomes: Counter[str] = field(factory=Counter)
    changed: int = 0
    found_by_digest: int = 0
    found_without: int = 0
    died: list[str] = field(factory=list)
    longest_s: float = 0.0


def make_seeds(folder: Path) -> dict[str, Path]:
    """Write the clean videos."""
    result = {}
    for name, (codec, options) in SEEDS.items():
        smooth = [np.kron(p[::8, ::8], np.ones((8, 8, 1), np.uint8)) for p in pictures(FRAMES, 96, 72)]
        result[name] = write_video(
            folder / name, smooth, codec, "yuvj420p" if codec == "mjpeg" else "yuv420p", **options
        )
    return result


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Damage of one kind, somewhere: bits, a block of noise or zeros, a block lost or doubled, the end lost."""
    size = len(data)
    kind = int(rng.integers(6))
    at, length = int(rng.integers(size)), int(rng.integers(1, 1 + min(4096, size // 4)))
    if kind == 0:
        changed = np.frombuffer(data, np.uint8).copy()
        places = rng.integers(size, size=int(rng.integers(1, 65)))
        changed[places] ^= (1 << rng.integers(8, size=len(places))).astype(np.uint8)
        return changed.tobytes()
    if kind == 1:
        return data[:at] + rng.bytes(length) + data[at + length :]
    if kind == 2:
        return data[:at] + bytes(min(length, size - at)) + data[at + length :]
    if kind == 3:
        return data[:at] + data[at + length :]
    if kind == 4:
        return data[: at + length] + data[at:]
    return data[:at]


def look(job: Job) -> Looked:
    """Look at the file as indexing does, and once more at every picture."""
    began = time.monotonic()
    record = look_at(job)
    seconds = time.monotonic() - began
    hasher = hashlib.sha256()
    try:
        with open_video(job.path) as (container, stream):
            for frame in container.decode(stream):
                limits.progressing()
                hasher.update(f"{frame.width}x{frame.height}".encode())
                for plane in frame.planes:
                    hasher.update(bytes(plane))
        output = hasher.hexdigest()
    except BadVideo:
        output = None
    return Looked(record, output, seconds)


def survey(folder: Path, mutations: int, seed: int, processes: int = 1) -> Counts:
    """Mutate clean videos in turn, look at each mutation, and count."""
    clean = make_seeds(folder)
    whole = {job.name: found for job, found in spread(look, [Job(p, n) for n, p in clean.items()], 1)}
    assert all(isinstance(found, Looked) and found.output for found in whole.values()), whole
    counts = Counts()

    def jobs():
        for i in range(mutations):
            name = list(clean)[i % len(clean)]
            data = clean[name].read_bytes()
            changed = mutate(data, np.random.default_rng((seed, i)))
            if changed == data:
                continue
            path = folder / f"{i:05d}-{name}"
            path.write_bytes(changed)
            yield Job(path, f"{i:05d}-{name}")

    for job, found in spread(look, jobs(), processes, begin=limits.limit_time_and_memory):
        then = whole[job.name.partition("-")[2]]
        job.path.unlink()
        if isinstance(found, Died):
            counts.died.append(f"{job.name}: {limits.flaw_of_death(found.exitcode).reason}")
            counts.outcomes["died"] += 1
            continue
        flaw = found.record.flaw
        counts.outcomes[flaw.defect.value if flaw else "usable"] += 1
        counts.longest_s = max(counts.longest_s, found.seconds)
        if found.output != then.output:
            counts.changed += 1
            counts.found_by_digest += found.record.sha256 != then.record.sha256
            counts.found_without += flaw is not None or found.record.video != then.record.video
    return counts


def main() -> None:
    """Run the survey and print its counts."""
    mutations, seed = (int(a) for a in [*sys.argv[1:3], *("2000", "0")[len(sys.argv) - 1 :]])
    with TemporaryDirectory() as folder:
        counts = survey(Path(folder), mutations, seed)
    print(f"{counts.outcomes.total()} mutations: {dict(counts.outcomes.most_common())}")
    print(f"longest look {counts.longest_s:.2f} s; died: {counts.died or 'none'}")
    print(
        f"pictures changed or lost in {counts.changed}: found by digest {counts.found_by_digest / counts.changed:.1%},"
    )
    print(f"without a digest {counts.found_without / counts.changed:.1%}")


if __name__ == "__main__":
    main()
