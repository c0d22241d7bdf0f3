"""A finished run without training: made-up weights where training would have put them, over a few small videos."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import torch
from attrs import frozen

from cprspec.models.encoders import build_encoder
from cprspec.runs.layout import RunDir
from cprspec.spec.plan import fingerprints
from cprspec.spec.registry import builtin_registry
from cprspec.spec.resolve import resolve
from cprspec.spec.schema import Resolved
from cprspec.spec.toml import to_toml
from cprspec.training import checkpoint

SPEC = """
format = 1
name = "made"
seed = 5
batch_size = 2
[dataset.clips]
use = "folder"
[clip]
frames = 8
size = 32
[view.flow]
use = "flow"
bound = 6.0
[backbone]
use = "s3d"
width = 0.0625
[framework]
embedding = 12
queue_size = 16
[miner]
use = "cpr"
[phase.rgb]
views = ["rgb"]
epochs = 1
[phase.flow]
views = ["flow"]
epochs = 1
[phase.cycle]
views = ["rgb"]
start_from = "rgb"
mine_with = "flow"
epochs = 1
[phase.aside]
views = ["rgb"]
epochs = 2
"""
RECORD = {
    "metric": "R@1", "value": 0.25, "n": 4, "dataset": "clips", "split": "test", "protocol": "retrieval-default",
    "unit": "video", "seed": 5,
}  # fmt: skip


@frozen
class MadeRun:
    """The run, what it resolved to, and its phases' weights."""

    run: RunDir
    resolved: Resolved
    weights: dict[str, dict[str, torch.Tensor]]
    videos: Path


def write_video(path: Path, frames: int) -> None:
    """Noise that moves; another for every name."""
    noise = np.random.default_rng(len(str(path)) + frames).integers(0, 256, (60, 100, 3)).astype(np.uint8)
    noise = noise.repeat(2, 0).repeat(2, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=15)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for t in range(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(noise[t : t + 48, t : t + 64]), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def perturbed(phase) -> dict[str, torch.Tensor]:
    """Weights of an encoder that no initialisation gives, batch norm's statistics included."""
    generator = torch.Generator().manual_seed(len(phase.name))
    state = build_encoder(phase).state_dict()
    return {
        k: v + torch.rand(v.shape, generator=generator) * 0.1 if v.is_floating_point() else v + 7
        for k, v in state.items()
    }


def make_run(folder: Path, videos: Path) -> MadeRun:
    """A run below `folder` whose phases are all finished, on `videos`."""
    (folder / "made.toml").write_text(SPEC)
    resolved = resolve(folder / "made.toml", builtin_registry(), roots={"clips": str(videos)})
    run = RunDir.create(folder / "runs", "made")
    run.resolved.write_text(to_toml(resolved))
    prints = fingerprints(resolved, resolved.datasets["clips"].build(videos).digest(), lambda path: "")
    weights = {}
    for phase in resolved.phases:
        weights[phase.name] = perturbed(phase)
        last = checkpoint.save(run.checkpoints(phase.name), 3, weights[phase.name], {}, {})
        facts = {
            "schema": 1, "kind": "phase", "name": phase.name, "fingerprint": prints[phase.name],
            "checkpoint": last.name, "weights_sha256": checkpoint.weights_digest(last), "versions": {"torch": "x"},
        }  # fmt: skip
        (run.phase(phase.name) / "phase.json").write_text(json.dumps(facts))
    run.evaluations.mkdir()
    records = [{**RECORD, "encoder": name} for name in ("rgb", "cycle", "cycle+flow")]
    evaluation = {"schema": 1, "kind": "evaluation", "name": "nn", "records": [*records, {**records[1], "value": None}]}
    run.evaluation("nn").write_text(json.dumps(evaluation))
    return MadeRun(run, resolved, weights, videos)
