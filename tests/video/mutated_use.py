"""Damaged videos in use: what `data prepare` makes of random mutations, and training of a store whose files were damaged.

    PYTHONPATH=. python tests/video/mutated_use.py prepare|training [MUTATIONS] [SEED]

prints the counts. The commands run in processes of their own, as a user's would.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from attrs import frozen
from mutations import make_seeds, mutate

TRAINING = """
format = 1
name = "mutated"
batch_size = 8
[dataset.videos]
use = "store"
[clip]
frames = 4
size = 32
short_side = 32
[backbone]
use = "tiny"
width = 0.25
[framework]
use = "moco"
embedding = 16
queue_size = 16
bn_groups = 2
[augment]
use = "clean"
[phase.rgb]
views = ["rgb"]
epochs = 2
[launch]
workers = 1
threads = 1
bad_clips = 1.0
data_timeout_s = 30
device = "cpu"
cache = "none"
"""
"""A run that reads every video twice, mutated ones replaced without limit, and keeps nothing decoded."""


@frozen
class Used:
    """How a command ended, what it said, and how long it took."""

    exit_code: int
    said: str
    out: str
    seconds: float


def cprspec(folder: Path, *arguments: object, timeout_s: float) -> Used:
    """The command in `folder`; subprocess.TimeoutExpired is a hang."""
    began = time.monotonic()
    environment = {**os.environ, "CPRSPEC_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "cprspec", *map(str, arguments)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=timeout_s,
    )  # fmt: skip
    return Used(done.returncode, done.stderr, done.stdout, time.monotonic() - began)


def write_mutations(folder: Path, mutations: int, seed: int, seeds: dict[str, Path]) -> list[Path]:
    """Mutated videos in `folder`."""
    folder.mkdir()
    names, paths = list(seeds), []
    for number in range(mutations):
        data = seeds[names[number % len(names)]].read_bytes()
        paths.append(folder / f"{number:05d}-{names[number % len(names)]}")
        paths[-1].write_bytes(mutate(data, np.random.default_rng((seed, number))))
    return paths


def prepare_mutations(folder: Path, mutations: int, seed: int) -> Used:
    """`cprspec data prepare` of that many damaged videos, all of which may be left out; JSON on its output."""
    (folder / "seeds").mkdir()
    write_mutations(folder / "videos", mutations, seed, make_seeds(folder / "seeds"))
    options = ("--short-side", 32, "--bound", 4, "--max-bad", 1, "--workers", 1, "--json")
    command = ("data", "prepare", "folder", "--root", "videos", "--out", "store", *options)
    return cprspec(folder, *command, timeout_s=60 + 2 * mutations)


def train_on_mutations(folder: Path, mutations: int, seed: int) -> tuple[Used, dict[str, int]]:
    """A run on a store whose files are damaged after it was made; the run, and how many clips it asked for and replaced."""
    (folder / "seeds").mkdir()
    seeds = make_seeds(folder / "seeds")
    (folder / "videos").mkdir()
    for number in range(mutations):
        name = list(seeds)[number % len(seeds)]
        os.link(seeds[name], folder / "videos" / f"{number:05d}-{name}")
    prepared = cprspec(
        folder, "data", "prepare", "folder", "--root", "videos", "--out", "store", "--short-side", 32, "--flow", "none",
        timeout_s=60 + 2 * mutations,
    )  # fmt: skip
    assert prepared.exit_code == 0, prepared.said
    for number, path in enumerate(sorted((folder / "store" / "rgb").rglob("*.mp4"))):
        damage_in_place(path, np.random.default_rng((seed, number)))
    (folder / "mutated.toml").write_text(TRAINING)
    used = cprspec(
        folder, "run", "mutated.toml", "--runs", "runs", "--root", "videos=store", timeout_s=120 + 2 * mutations
    )
    events = [json.loads(line) for log in folder.glob("runs/*/*/events.jsonl") for line in log.read_text().splitlines()]
    return used, {
        "clips": 2 * (mutations - mutations % 8),
        "replaced": sum(e.get("replaced") or 0 for e in events if e["kind"] == "epoch"),
        "named": sum("not a readable video" in e.get("message", "") for e in events if e["kind"] == "warning"),
    }


def damage_in_place(path: Path, rng: np.random.Generator) -> None:
    """A mutation; three of four keep the size, since another one is seen before a decoder sees the file."""
    data = path.read_bytes()
    changed = mutate(data, rng)
    if rng.random() < 0.75:
        changed = changed[: len(data)] + rng.bytes(max(0, len(data) - len(changed)))
    path.unlink()
    path.write_bytes(changed)


def main() -> None:
    """Do it once and print the counts."""
    what, mutations, seed = sys.argv[1], *(int(a) for a in [*sys.argv[2:4], *("2000", "0")[len(sys.argv) - 2 :]])
    with TemporaryDirectory() as folder:
        if what == "prepare":
            used, counts = prepare_mutations(Path(folder), mutations, seed), {}
            if used.exit_code == 0:
                found = json.loads(used.out)
                counts = {key: len(v) if isinstance(v, list) else v for key, v in found.items()}
        else:
            used, counts = train_on_mutations(Path(folder), mutations, seed)
    print(f"{mutations} mutations through {what}: exit code {used.exit_code} after {used.seconds:.0f} s, {counts}")
    print("traceback:", "Traceback" in used.said, "; last words:", used.said.strip().splitlines()[-1:])


if __name__ == "__main__":
    main()
