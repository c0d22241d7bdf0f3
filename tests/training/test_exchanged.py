"""What the formulas say that ranks exchange in a step, against what two ranks of a real run handed to collectives."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
import torch.multiprocessing as mp
from small_run import SPEC

from cprspec.learning.counting import CountedCollectives
from cprspec.mining.picks import RANKS_SHOWN
from cprspec.models.encoders import build_encoder
from cprspec.processes import leave_untidied
from cprspec.spec.registry import builtin_registry
from cprspec.spec.resolve import resolve
from cprspec.training import exchanged, loop
from cprspec.training.request import Request
from cprspec.training.worker import work

WORLD = 2

SEVERAL = (
    SPEC[: SPEC.index("[evaluate.nn]")].replace("epochs = 2", "epochs = 1")
    + """
[phase.iic]
views = ["rgb", "flow"]
epochs = 1
accumulate = 2
framework = { use = "iic", negatives = 16, bn_groups = 2, start_epoch = 0 }
miner = { use = "coclr", topk = 3 }

[phase.labels]
views = ["rgb"]
epochs = 1
miner = { use = "ubernce" }

"""
    + SPEC[SPEC.index("[launch]") :]
)


@pytest.fixture(scope="module")
def counted(tmp_path_factory, cache):
    """For each phase and step of a run on two ranks, as rank 0 saw it: bytes by collective, and examples looked into."""
    folder = tmp_path_factory.mktemp("exchanged")
    (folder / "several.toml").write_text(SEVERAL)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(count_rank, (port, folder, cache), nprocs=WORLD)
    return json.loads((folder / "counted.json").read_text())


def count_rank(me: int, port: int, folder: Path, cache: Path) -> None:
    """A rank of the run that counts, and nothing else that is not as in training."""
    os.environ |= {
        "RANK": str(me), "LOCAL_RANK": str(me), "WORLD_SIZE": str(WORLD), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port), "CPRSPEC_CACHE": str(cache),
    }  # fmt: skip
    found = []
    step, ranks_of = loop.train_step, loop.ranks_of
    with CountedCollectives() as counts:

        def new_step(job, *arguments):
            # What the loop agrees on after a step is counted to it: it ends where the next one begins.
            counts.handed = []
            found.append({"phase": job.phase.name, "handed": counts.handed, "examples": 0})
            step(job, *arguments)

        def counted_ranks(picks, row_R):
            found[-1]["examples"] += len(row_R)
            return ranks_of(picks, row_R)

        loop.train_step, loop.ranks_of = new_step, counted_ranks
        work(Request(spec=folder / "several.toml", runs=folder / "runs"))
    if me == 0:
        for each in found:
            each["handed"] = [(handed.how, handed.size) for handed in each["handed"]]
        (folder / "counted.json").write_text(json.dumps(found))
    leave_untidied(0)


@pytest.fixture(scope="module")
def resolved(counted, tmp_path_factory):
    path = tmp_path_factory.mktemp("resolved") / "several.toml"
    path.write_text(SEVERAL)
    return resolve(path, builtin_registry())


NAMES = {
    exchanged.ALL_REDUCE: "allreduce_", exchanged.ALL_GATHER: "_allgather_base_", exchanged.ALL_TO_ALL: "alltoall_base_",
}  # fmt: skip


@pytest.mark.parametrize("name", ["rgb", "cycle", "iic", "labels"])
def test_a_step_of_a_run_exchanges_what_the_formulas_say(counted, resolved, name):
    phase = resolved.phase(name)
    parameters = sum(p.numel() for p in build_encoder(phase).parameters())
    expected = exchanged.step_exchanges(resolved, phase, WORLD, parameters, videos=64)
    # In the second backward pass DDP says which gradients travel together, and after the last step checkpoints are agreed on.
    steps = [step for step in counted if step["phase"] == name][-4:-1]
    assert len(steps) == 3
    for step in steps:
        examples = step["examples"] * exchanged.example_bytes(phase.miner) if phase.miner else 0
        for how, called in NAMES.items():
            handed = sum(exchange.handed for exchange in expected if exchange.how == how)
            measured = sum(size for collective, size in step["handed"] if collective == called)
            assert measured == handed + (examples if how == exchanged.ALL_GATHER else 0), how
        assert {collective for collective, _ in step["handed"]} <= {*NAMES.values()}


def test_a_step_that_warms_up_has_no_gradients(counted, resolved):
    first = next(step for step in counted if step["phase"] == "cycle")
    agreed = sum(size for collective, size in first["handed"] if collective == "allreduce_")
    assert agreed == exchanged.AGREEMENT


def test_examples_are_as_many_as_are_shown():
    assert exchanged.SHOWN_PICKS == RANKS_SHOWN


def test_what_leaves_a_rank_depends_on_the_collective():
    sent = [exchanged.Exchange("", how, 8).sent(4) for how in NAMES]
    assert sent == [12.0, 24.0, 6.0]


def test_a_batch_that_does_not_divide_has_no_step(resolved):
    assert exchanged.step_exchanges(resolved, resolved.phase("rgb"), 3, 1) is None
