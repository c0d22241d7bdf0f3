"""The peak of memory that `cprspec show` states against the one that a run had: short trainings in processes of their own.

    python benchmarks/memory.py [NAME ...]        names of settings (all without any), see `SETTINGS`

Each setting trains a few steps of every phase on generated clips, on the CPU with one thread. Its phases' `phase.json` say what
was resident at most and what was stated before; printed are both in MiB, and stated / measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SPEC = """format = 1
name = "memory"
batch_size = {batch}
precision = "{precision}"
optimizer = {{ use = "adam", lr = 1e-5 }}

[dataset.motion]
use = "motion"
train_sources = 2
test_sources = 1
clips = {clips}
frames = {stored}
size = {size}

[clip]
frames = {frames}
size = {size}
short_side = {size}

[backbone]
use = "{backbone}"

[augment]
use = "clean"

[launch]
device = "cpu"
threads = 1
workers = {workers}
checkpoint_activations = {again}
"""

MOCO = """
[framework]
use = "moco"
queue_size = {queue}
bn_groups = {groups}

[phase.rgb]
views = ["rgb"]
epochs = 1
"""

CPR = """
[miner]
use = "cpr"

[phase.flow]
views = ["flow"]
epochs = 1

[phase.cycle]
views = ["rgb"]
start_from = "rgb"
mine_with = "flow"
epochs = 2
"""

IIC = """
[framework]
use = "iic"
negatives = 16
bn_groups = {groups}

[phase.iic]
views = ["rgb", "residual"]
epochs = 1
"""

COMMON = {
    "backbone": "s3d", "batch": 8, "frames": 16, "size": 112, "precision": "float32", "again": "false", "workers": 1,
    "queue": 16, "groups": 1, "method": MOCO,
}  # fmt: skip

SETTINGS: dict[str, dict[str, object]] = {
    "s3d": {},
    "s3d-again": {"again": "true"},
    "s3d-4": {"batch": 4},
    "s3d-bf16": {"precision": "bf16"},
    "s3d-bf16-again": {"precision": "bf16", "again": "true"},
    "s3d-groups": {"groups": 2},
    "s3d-small-clips": {"size": 64, "frames": 8, "batch": 16, "queue": 16},
    "s3d-cpr": {"method": MOCO + CPR, "batch": 4, "queue": 8},
    "s3d-cpr-again": {"method": MOCO + CPR, "batch": 4, "queue": 8, "again": "true"},
    "s3d-iic": {"method": IIC, "batch": 4},
    "s3d-iic-again": {"method": IIC, "batch": 4, "again": "true"},
    "r21d": {"backbone": "r21d", "batch": 4},
    "r21d-again": {"backbone": "r21d", "batch": 4, "again": "true"},
    "c3d": {"backbone": "c3d", "batch": 4},
    "tiny": {"backbone": "tiny", "batch": 16},
    "tiny-again": {"backbone": "tiny", "batch": 16, "again": "true"},
    "tiny-cpr": {"backbone": "tiny", "batch": 16, "method": MOCO + CPR},
    "tiny-long": {"backbone": "tiny", "batch": 8, "frames": 32, "size": 128},
    "tiny-small": {"backbone": "tiny", "batch": 16, "frames": 8, "size": 48},
    "tiny-here": {"backbone": "tiny", "batch": 16, "workers": 0},
}


def phases_of(name: str, folder: Path) -> dict[str, dict[str, float]]:
    """Train a setting below `folder`; what each phase's `phase.json` says."""
    setting = {**COMMON, **SETTINGS[name]}
    # Three steps or more an epoch: 16 classes of generated clips, with two sources each.
    each = max(1, -(-3 * int(str(setting["batch"])) // 32))
    facts = {**setting, "clips": each, "stored": int(str(setting["frames"])) + 4}
    text = (SPEC + str(setting["method"])).format(**facts)
    spec = folder / f"{name}.toml"
    spec.write_text(text)
    command = [sys.executable, "-m", "cprspec", "run", str(spec), "--runs", str(folder / name)]
    environment = {**os.environ, "CPRSPEC_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    return {path.parent.name: json.loads(path.read_text()) for path in (folder / name).glob("*/*/phases/*/phase.json")}


def main(names: list[str]) -> None:
    """Run the settings one after the other and print a row for each phase."""
    print(f"{'setting':20} {'phase':8} {'stated':>9} {'measured':>9}   stated / measured", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in names or SETTINGS:
            for phase, facts in phases_of(name, Path(folder)).items():
                stated, peak = (1024 * facts[key] for key in ("stated_gib", "peak_gib"))
                print(f"{name:20} {phase:8} {stated:9.0f} {peak:9.0f}   {stated / peak:.2f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
