"""How fast a collection is indexed and checked on one core, and whether memory stays flat over many files.

    PYTHONPATH=. python benchmarks/index_speed.py [ROUNDS]

Speed: frames of 320 x 240 for each second of processor time, all processes together, of `data index` (every frame decoded,
sha256), of `data check` with digests and, without them, by decoding; medians over rounds, kinds interleaved. Memory: the
largest resident size of the parent and of a worker over 1,000 and 10,000 files. Files are links to a few that are made here.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np

from cprspec.components.datasets import Folder
from cprspec.data.collections import Collection
from cprspec.data.index_file import IndexFile
from cprspec.data.records import Record
from cprspec.video import indexing
from cprspec.video.checking import check_collection
from cprspec.video.inspect import Job, look_at

FRAMES, COPIES = 175, 20
USED = "CPRSPEC_BENCHMARK_USED"


def make_video(path: Path, codec: str, width: int, height: int, frames: int) -> None:
    """A textured window that moves over a still scene, 25 frames a second."""
    noise = np.random.default_rng(0).integers(0, 256, (height + frames, width + frames, 3)).astype(np.uint8)
    scene = cv2.GaussianBlur(noise, (0, 0), 2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"g": "25"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for t in range(frames):
            picture = np.ascontiguousarray(scene[t : t + height, t : t + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def measured(job: Job) -> Record:
    """The work of a worker; what it has used so far goes to a file of its own."""
    record = look_at(job)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    Path(os.environ[USED], str(os.getpid())).write_text(f"{time.process_time()} {peak}")
    return record


def one(kind: str, root: Path, index: Path) -> None:
    """Do `kind` of work and print processor seconds of all processes, peak KiB of the parent and of a worker."""
    indexing.look_at = measured
    entries = Collection("clips", (Folder(),), root).listed()
    if kind.startswith("index"):
        index.unlink(missing_ok=True)
        indexing.make_index_file(entries, root, index, "clips", digest=kind == "index", processes=1)
    else:
        with IndexFile.open(index) as records:
            assert not check_collection(entries, root, records, processes=1).findings
    used = [path.read_text().split() for path in Path(os.environ[USED]).iterdir()]
    seconds = time.process_time() + sum(float(s) for s, _ in used)
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, max(int(peak) for _, peak in used))


def run(kind: str, root: Path, index: Path) -> tuple[float, int, int]:
    """`one` in a process of its own."""
    with TemporaryDirectory() as used:
        command = [sys.executable, __file__, "--one", kind, str(root), str(index)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {USED: used})
    seconds, parent, worker = done.stdout.split()
    return float(seconds), int(parent), int(worker)


def links(root: Path, originals: list[Path], number: int) -> Path:
    """`number` files that are links to `originals` in turn."""
    for i in range(number):
        original = originals[i % len(originals)]
        folder = root / str(i // 1000)
        folder.mkdir(parents=True, exist_ok=True)
        os.link(original, folder / f"{i}{original.suffix}")
    return root


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
        return
    rounds = int(sys.argv[1]) if sys.argv[1:] else 3
    with TemporaryDirectory() as folder:
        here = Path(folder)
        originals = [here / "h264.mp4", here / "mpeg4.avi"]
        make_video(originals[0], "libx264", 320, 240, FRAMES)
        make_video(originals[1], "mpeg4", 320, 240, FRAMES)
        root = links(here / "videos", originals, COPIES)
        kinds = {"index": "i", "check": "i", "index without digest": "w", "check without digest": "w"}
        found: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(rounds):
            for kind, index in kinds.items():
                found[kind].append(run(kind, root, here / index)[0])
        for kind, seconds in found.items():
            print(f"{kind:21} {FRAMES * COPIES / statistics.median(seconds):7.0f} frames a second a core")
        both = statistics.median(a + b for a, b in zip(found["index"], found["check"], strict=True))
        print(f"{'index and check':21} {FRAMES * COPIES / both:7.0f}")
        small = here / "small.mp4"
        make_video(small, "libx264", 64, 48, 4)
        for number in (1_000, 10_000):
            _, parent, worker = run("index", links(here / f"{number}", [small], number), here / "m")
            print(f"{number:6} files: parent {parent / 1024:.0f} MiB at most, worker {worker / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
