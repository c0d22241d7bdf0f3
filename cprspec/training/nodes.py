"""How many processes train a run, on how many machines, and what can be wrong with that. No torch."""

from __future__ import annotations

from attrs import frozen

from cprspec.errors import CprspecError, Place, Problem
from cprspec.training.ports import check_endpoint


@frozen(kw_only=True)
class Nodes:
    """How many processes on how many machines, and where they meet; one machine needs no endpoint.

    `restarts`: how often they are started again from the last checkpoint when one of them dies.
    """

    nproc: int = 1
    nnodes: int = 1
    node_rank: int = 0
    rdzv_endpoint: str = ""
    restarts: int = 0

    @property
    def in_place(self) -> bool:
        """Whether this process does the work itself; one that shall be started again needs somebody who does that."""
        return self.ranks == 1 and not self.restarts

    @property
    def ranks(self) -> int:
        """Ranks on all machines."""
        return self.nproc * self.nnodes


def check_nodes(nodes: Nodes) -> None:
    """CprspecError with all that does not fit together in `nodes`, or where machines could not meet there."""
    problems = []
    if nodes.node_rank >= nodes.nnodes:
        message = f"machine {nodes.node_rank} of {nodes.nnodes}: machines count from 0"
        problems.append(Problem(message, Place("--node-rank"), "--nnodes says how many there are"))
    if nodes.nnodes > 1 and not nodes.rdzv_endpoint:
        problems.append(Problem("several machines need --rdzv-endpoint HOST:PORT, the same on each"))
    if nodes.nnodes > 1 and nodes.restarts:
        hint = "start the ranks with torchrun --max-restarts, which brings several machines together again"
        problems.append(Problem("--restarts is for one machine", hint=hint))
    if problems:
        raise CprspecError(problems)
    if nodes.rdzv_endpoint and not nodes.in_place:
        check_endpoint(nodes.rdzv_endpoint, first=nodes.node_rank == 0)
