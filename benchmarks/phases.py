"""The experiments whose training steps are measured here, by a trial of a phase (cprspec/training/trial.py)."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from cprspec.spec.registry import builtin_registry
from cprspec.spec.resolve import resolve
from cprspec.spec.schema import Resolved

EXPERIMENT = """
format = 1
batch_size = 4

[dataset.clips]
use = "folder"

[clip]
frames = 16
size = 112

[backbone]
use = "s3d"

[framework]
use = "{framework}"

[miner]
use = "cpr"

[launch]
device = "cpu"
workers = 0
threads = 1
"""

MOCO = """
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
"""

IIC_PHASE = """
[phase.iic]
views = ["rgb", "residual"]
epochs = 2
miner = { use = "cpr" }
"""


def experiment(*overrides: str, framework: str = "moco") -> Resolved:
    """S3D, [16,112,112], batch 4, CPR: with the published options of `framework`, and what `overrides` say otherwise."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "steps.toml"
        path.write_text(EXPERIMENT.format(framework=framework) + (MOCO if framework == "moco" else IIC_PHASE))
        return resolve(path, builtin_registry(), overrides=overrides)
