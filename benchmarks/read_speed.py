"""How fast a random clip is read: from source files and from a store, beside OpenCV, torchcodec, decord and a JPEG LMDB.

    pip install -r benchmarks/requirements.txt
    python benchmarks/read_speed.py [--rounds N] [--videos FOLDER]

A clip is 32 frames from a random start of a video of 7 s (320 x 240, 25 frames a second, generated; `--videos`: your own),
its short side brought to 144 pixels, as RGB bytes. Everyone opens the file anew for each clip, on one thread, as training on
a large collection does; ours has a frame index of it, which training makes once. CPU time, interleaved. Before anything is
timed, each way's clip is compared with the decoded video: which frames it holds. Flow is measured too: bytes and error.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from measuring import cpu_seconds, interleaved, ratio, table
from numpy.typing import NDArray
from PIL import Image

from cprspec.cli_prepare import CRF, FLOW_CRF, GROUP
from cprspec.components.datasets import Folder
from cprspec.components.views import Flow, Rgb
from cprspec.data.collections import Collection
from cprspec.data.stores import StoreOptions, open_store
from cprspec.video.decode import read_frames
from cprspec.video.flow import FlowMethod, compute_flow, dequantise
from cprspec.video.store import Store
from cprspec.video.storing import make_store

Bytes = NDArray[np.uint8]
Way = Callable[[int], object]

FRAMES, SHORT, HEIGHT, WIDTH = 32, 144, 240, 320


def pictures(frames: int = 175, seed: int = 0) -> Iterator[Bytes]:
    """A textured scene under a moving camera, an object that moves before it, and a little noise, as in UCF101."""
    rng = np.random.default_rng(seed)
    shape = (HEIGHT + 80, WIDTH + 160)
    scene = np.full((*shape, 3), 128, np.float32)
    for scale in (4, 8, 16, 32, 64):
        small = rng.normal(0, scale**0.7, (shape[0] // scale + 2, shape[1] // scale + 2, 3)).astype(np.float32)
        scene += 4 * np.asarray(cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC))
    thing = np.asarray(cv2.GaussianBlur(rng.normal(128, 400, (90, 60, 3)).astype(np.float32), (0, 0), 3))
    for t in range(frames):
        x, y = int(60 + 50 * np.sin(t / 25)), int(30 + 20 * np.sin(t / 40))
        picture = scene[y : y + HEIGHT, x : x + WIDTH].copy()
        left, top = int(130 + 90 * np.sin(t / 9)), int(80 + 50 * np.cos(t / 13))
        picture[top : top + 90, left : left + 60] = thing
        yield np.clip(picture + rng.normal(0, 1.0, picture.shape), 0, 255).astype(np.uint8)


def generate(folder: Path) -> list[Path]:
    """An MPEG-4 avi and an H.264 mp4."""
    kinds = {"mpeg4.avi": ("mpeg4", {"g": "12", "b": "600k"}), "h264.mp4": ("libx264", {"crf": "23"})}
    folder.mkdir()
    for name, (codec, options) in kinds.items():
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream(codec, rate=25, options=options)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for picture in pictures():
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
    return [folder / name for name in kinds]


def from_opencv(path: Path, size: tuple[int, int]) -> Way:
    def read(start: int) -> Bytes:
        video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        video.set(cv2.CAP_PROP_POS_FRAMES, start)
        frames = [video.read()[1] for _ in range(FRAMES)]
        return np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA)[..., ::-1] for f in frames])

    return read


def from_torchcodec(path: Path, size: tuple[int, int]) -> Way:
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import Resize

    def read(start: int) -> Bytes:
        video = VideoDecoder(
            str(path), num_ffmpeg_threads=1, seek_mode="approximate", dimension_order="NHWC",
            transforms=[Resize((size[1], size[0]))],
        )  # fmt: skip
        return video.get_frames_in_range(start, start + FRAMES).data.numpy()

    return read


def from_decord(path: Path, size: tuple[int, int]) -> Way:
    import decord

    def read(start: int) -> Bytes:
        video = decord.VideoReader(str(path), width=size[0], height=size[1], num_threads=1)
        return video.get_batch(list(range(start, start + FRAMES))).asnumpy()

    return read


def from_lmdb(path: Path, size: tuple[int, int], folder: Path) -> tuple[Way, int]:
    """The published pipeline: each frame a JPEG of OpenCV's quality as large as the source, decoded and resized by PIL."""
    import lmdb

    base = lmdb.open(str(folder / f"{path.name}.lmdb"), map_size=2**30)
    size_in_bytes = 0
    with base.begin(write=True) as transaction, av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            _, jpeg = cv2.imencode(".jpg", frame.to_ndarray(format="bgr24"))
            transaction.put(str(number).encode(), jpeg.tobytes())
            size_in_bytes += len(jpeg)

    def read(start: int) -> Bytes:
        with base.begin() as transaction:
            jpegs = [transaction.get(str(number).encode()) for number in range(start, start + FRAMES)]
        return np.stack([np.asarray(Image.open(io.BytesIO(j)).resize(size, Image.Resampling.BILINEAR)) for j in jpegs])

    return read, size_in_bytes


def ours(store: Store, path: Path) -> Way:
    return lambda start: store.read(path, Rgb(), SHORT)[np.arange(start, start + FRAMES)]


def shown(clip: object, whole: Bytes, start: int) -> str:
    """Which frames a clip holds: those asked for, if it is more similar to them than to the same number before or after.

    Neighbours may be so similar that coding decides which is nearest; a clip that is off by a frame is not where things move.
    """
    around = range(max(0, start - 4), min(len(whole), start + FRAMES + 4))
    candidates = whole[around.start : around.stop].astype(np.int16)
    errors = np.array([np.abs(candidates - f).mean((1, 2, 3)) for f in np.asarray(clip).astype(np.int16)])
    by_shift = {
        shift: errors[
            np.arange(FRAMES), np.clip(np.arange(FRAMES) + start - around.start + shift, 0, len(around) - 1)
        ].mean()
        for shift in range(-4, 5)
    }
    best = min(by_shift, key=lambda shift: by_shift[shift])
    return "the same frames" if best == 0 else f"OTHER frames: the whole clip is off by {best}"


def measure(path: Path, stored: Path, store: Store, folder: Path, rounds: int) -> None:
    whole = read_frames(path, SHORT)
    size = (whole.shape[2], whole.shape[1])
    rng = np.random.default_rng(1)
    starts = rng.integers(0, len(whole) - FRAMES, 8).tolist()
    print(f"\n{path.name}: {len(whole)} frames, {path.stat().st_size} bytes")
    lmdb_way, lmdb_bytes = from_lmdb(path, size, folder)
    ways: dict[str, Way] = {
        "source, ours": ours(store, path),
        "store, ours": ours(store, stored),
        "JPEG LMDB, PIL": lmdb_way,
    }
    for name, make in (("OpenCV", from_opencv), ("torchcodec", from_torchcodec), ("decord", from_decord)):
        try:
            way = make(path, size)
            way(0)
        except (ImportError, OSError, RuntimeError) as error:
            print(f"{name}: not measured, {str(error).splitlines()[0][:100]}")
            continue
        ways[name] = way
    for name, way in ways.items():
        print(f"{name:28} {shown(way(starts[0]), whole, starts[0])}")
    seconds = interleaved({name: lambda w=way: [w(s) for s in starts] for name, way in ways.items()}, rounds)
    print(f"{len(starts)} clips:")
    table(seconds, "source, ours")
    peers = [name for name in ("OpenCV", "torchcodec", "decord") if name in seconds]
    for name in peers:
        print(f"source, ours, against {name:12} {ratio(seconds[name], seconds['source, ours'])}")
    best = min([*peers, "source, ours"], key=lambda name: statistics.median(seconds[name]))
    best_peer = min(peers, key=lambda name: statistics.median(seconds[name]), default=best)
    print(
        f"store against the best peer from the source ({best_peer}) {ratio(seconds[best_peer], seconds['store, ours'])}"
    )
    print(f"store against JPEG LMDB {ratio(seconds['JPEG LMDB, PIL'], seconds['store, ours'])}")
    stored_bytes = stored.stat().st_size
    share = f"LMDB {lmdb_bytes}: 1/{lmdb_bytes / stored_bytes:.1f}"
    print(f"store {stored_bytes} bytes, {stored_bytes / len(whole):.0f} a frame; {share}")
    print(f"store's pictures against the source's: PSNR {psnr(store, stored, whole):.1f} dB")


def psnr(store: Store, stored: Path, whole: Bytes) -> float:
    got = store.read(stored, Rgb(), SHORT)[np.arange(len(whole))]
    return float(10 * np.log10(255**2 / np.mean((got.astype(np.float64) - whole) ** 2)))


def measure_flow(paths: list[Path], root: Path, store: Store) -> None:
    """Bytes and mean endpoint error of stored flow against the flow before it was quantised, beyond the bound included."""
    folder = open_store(root)
    bound = folder.options.bound or 0.0
    print(f"\nflow: {folder.options.flow}, bound {bound:g} px, chosen from the data")
    for path, name in zip(paths, folder.videos, strict=True):
        exact = compute_flow(read_frames(path, SHORT), "dis")
        got = dequantise(store.read(folder.file(name, "rgb"), Flow(bound=bound), SHORT)[np.arange(len(exact))], bound)
        error = np.hypot(*np.moveaxis(got - exact, -1, 0)).mean()
        beyond = (np.abs(exact).max(-1) > bound).mean()
        size = folder.videos[name]["flow"]["bytes"] / len(exact)
        print(f"{path.name:28} {size:6.0f} bytes a frame, error {error:.4f} px, beyond the bound {beyond:.2%}")


def flow_methods(path: Path) -> None:
    """What each flow method costs a frame, and how it agrees with TV-L1."""
    frames = read_frames(path, SHORT)
    pairs = [(frames[i], frames[i + 1]) for i in (20, 60, 100)]
    print(f"\nflow methods at {frames.shape[2]} x {SHORT}, a frame")
    found, spent = {}, {}
    for name in ("dis", "tvl1-light", "tvl1"):
        method = FlowMethod(name)
        method.between(*pairs[0])
        began = cpu_seconds()
        found[name] = np.stack([method.between(*pair) for pair in pairs])
        spent[name] = (cpu_seconds() - began) / len(pairs)
    for name, flow in found.items():
        agrees = np.corrcoef(flow.ravel(), found["tvl1"].ravel())[0, 1]
        print(f"{name:28} {1e3 * spent[name]:8.1f} ms, correlation with tvl1 {agrees:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--videos", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        root = arguments.videos or folder / "videos"
        paths = generate(root) if arguments.videos is None else []
        options = StoreOptions(short_side=SHORT, crf=CRF, group=GROUP, flow="dis", bound=None, flow_crf=FLOW_CRF)
        make_store(Collection("benchmark", (Folder(),), root), folder / "store", options)
        stored = open_store(folder / "store")
        paths = [root / name for name in stored.videos]
        store = Store(folder / "cache", cache="none")
        for path, name in zip(paths, stored.videos, strict=True):
            measure(path, stored.file(name, "rgb"), store, folder, arguments.rounds)
        measure_flow(paths, folder / "store", store)
        flow_methods(paths[0])


if __name__ == "__main__":
    main()
