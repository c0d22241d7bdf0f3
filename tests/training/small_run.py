"""The very small experiment that tests run as a user would, and how its run directory is read."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from cprspec.training import checkpoint

SPEC = """
format = 1
name = "small"
seed = 3
batch_size = 8

[dataset.motion]
use = "motion"
train_sources = 2
test_sources = 1
clips = 2
frames = 12
size = 32

[view.flow]
use = "flow"
bound = 4.0

[clip]
frames = 8
size = 32
short_side = 32

[backbone]
use = "tiny"
width = 0.25

[framework]
use = "moco"
embedding = 16
queue_size = 16
temperature = 0.1
momentum = 0.9
bn_groups = 2

[augment]
use = "clean"
flip = 0.0

[miner]
use = "cpr"
stages = 3
topk = 2

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
epochs = 2

[evaluate.nn]
use = "retrieval"

[launch]
workers = 0
threads = 1
log_every = 1
device = "cpu"
"""

IIC = """
format = 1
name = "small-iic"
seed = 3
batch_size = 8
accumulate = 2

[dataset.motion]
use = "motion"
train_sources = 2
test_sources = 1
clips = 2
frames = 12
size = 32

[view.flow]
use = "flow"
bound = 4.0

[clip]
frames = 8
size = 32
short_side = 32

[backbone]
use = "tiny"
width = 0.25

[framework]
use = "iic"
negatives = 16
bn_groups = 2

[augment]
use = "clean"
flip = 0.0

[phase.iic]
views = ["rgb", "flow"]
epochs = 2
miner = { use = "cpr", stages = 3, topk = 2 }

[launch]
workers = 0
threads = 1
device = "cpu"
"""


def the_run(runs: Path) -> Path:
    """The only run below `runs`."""
    (found,) = runs.glob("*/*")
    return found


def events(run: Path, kind: str) -> list[dict]:
    """The events of one kind, in the order of the log."""
    lines = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def losses(run: Path) -> dict[tuple[str, int], float]:
    """The loss of every step, by phase and step; a step logged again after a resume counts once."""
    return {(e["phase"], e["step"]): e["loss"] for e in events(run, "step")}


def weights(run: Path, phase: str) -> dict[str, torch.Tensor]:
    """The encoder's weights at the end of a phase."""
    facts = json.loads((run / "phases" / phase / "phase.json").read_text())
    return checkpoint.load(run / "phases" / phase / "checkpoints" / facts["checkpoint"]).weights


def state(run: Path, phase: str) -> dict[str, torch.Tensor]:
    """Everything else in the phase's last checkpoint, the bank included."""
    facts = json.loads((run / "phases" / phase / "phase.json").read_text())
    return checkpoint.load(run / "phases" / phase / "checkpoints" / facts["checkpoint"]).state


def mining(run: Path, phase: str, epoch: int) -> dict:
    """The mining table of one epoch."""
    return json.loads((run / "phases" / phase / "mining" / f"epoch-{epoch:04d}.json").read_text())


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of tensors are equal to the bit."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
