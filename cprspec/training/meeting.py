"""Machines wait for each other before their ranks are started: one may still prepare its data, for hours.

torch would wait in C++, where no signal reaches it, and ask ever more rarely. Machine 0 keeps a store at the endpoint, which
torch elastic shares afterwards; each other machine enters itself, and machine 0 says when all are there.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]  # it is there

from cprspec.errors import MAX_ECHO, CprspecError, Problem, clean
from cprspec.learning.ranks import LONGEST_PREPARATION_H
from cprspec.training.nodes import Nodes

POLL_S = 0.5
_ANSWER_S = 20.0
"""How long one question to the store may take, seconds."""
_GO, _LEFT = "cprspec/go", "cprspec/left"


def meet(nodes: Nodes, stopped_by: Callable[[], int], longest_h: float = LONGEST_PREPARATION_H) -> TCPStore | None:
    """Wait until all machines are here; the store by which they met, to be kept until ranks run. None where a stop came first.

    CprspecError if a machine left, or did not come within `longest_h` hours.
    """
    deadline = time.monotonic() + 3600 * longest_h
    store: TCPStore | None = None
    try:
        while not stopped_by() and time.monotonic() < deadline:
            store = store or _open(nodes)
            if store is not None and _all_here(store, nodes):
                return store
            time.sleep(POLL_S)
    except DistError as error:
        raise not_met(nodes, clean(str(error).splitlines()[0], MAX_ECHO)) from error
    if store is not None:
        with suppress(DistError):
            store.set(_LEFT, f"machine {nodes.node_rank} left before all were there")
    if stopped_by():
        return None
    raise not_met(nodes, f"not all came within {longest_h:g} hours")


def not_met(nodes: Nodes, why: str) -> CprspecError:
    """What to say, and to look at, on this machine."""
    others = "are the other machines running, and is its port here open to them?"
    first = "is machine 0 running, and its port open to the others?"
    message = f"the machines did not meet at {clean(nodes.rdzv_endpoint, MAX_ECHO)}: {why}"
    return CprspecError(Problem(message, hint=first if nodes.node_rank else others), exit_code=1)


def _open(nodes: Nodes) -> TCPStore | None:
    """The store at the endpoint; None while there is none."""
    host, _, port = nodes.rdzv_endpoint.rpartition(":")
    host = host.strip("[]")
    first = nodes.node_rank == 0
    if not first:
        try:
            socket.create_connection((host, int(port)), 5 * POLL_S).close()
        except OSError:
            return None
    answer = timedelta(seconds=_ANSWER_S)
    store = TCPStore(host, int(port), None, first, answer, wait_for_workers=False, multi_tenant=True)
    store.set(_here(nodes.node_rank), "1")
    return store


def _all_here(store: TCPStore, nodes: Nodes) -> bool:
    if store.check([_LEFT]):
        raise not_met(nodes, clean(store.get(_LEFT).decode(), MAX_ECHO))
    if nodes.node_rank == 0 and all(store.check([_here(machine)]) for machine in range(nodes.nnodes)):
        store.set(_GO, "1")
    return bool(store.check([_GO]))


def _here(machine: int) -> str:
    return f"cprspec/here/{machine}"
