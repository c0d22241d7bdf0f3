"""The command that goes on with a run which ended early."""

from __future__ import annotations

import shlex

from attrs import evolve

from cprspec.runs.layout import RunDir
from cprspec.training import checkpoint
from cprspec.training.division import made_by
from cprspec.training.nodes import Nodes
from cprspec.training.request import Request


def resume_command(request: Request, nodes: Nodes) -> str:
    """The command, quoted for a shell: all that going on in the same way needs, and no more.

    `request` is the one that ranks had. What is allowed there stays allowed only where the run would be refused without.
    """
    run = request.run_path()
    words = ["cprspec", "run", str(run or "RUN")]
    words += ["--nproc", str(nodes.nproc)] if nodes.nproc > 1 else []
    if nodes.nnodes > 1:
        words += ["--nnodes", str(nodes.nnodes), "--node-rank", str(nodes.node_rank)]
        words += ["--rdzv-endpoint", nodes.rdzv_endpoint]
    words += ["--restarts", str(nodes.restarts)] if nodes.restarts else []
    there = RunDir(run) if run else None
    others = there is not None and request.allow_world_size_change and made_by(there) not in (None, nodes.ranks)
    damaged = there is not None and request.fallback and _damaged(there)
    return shlex.join(words + evolve(request, allow_world_size_change=others, fallback=damaged).words())


def _damaged(run: RunDir) -> bool:
    """Whether a phase's newest checkpoint cannot be gone on from."""
    return any(checkpoint.newest(folder)[1] for folder in run.phases.glob("*/checkpoints"))
