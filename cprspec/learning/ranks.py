"""Where this process stands among its peers, and the few things ranks agree on.

One process needs no process group and no port. Several come from torch elastic (or plain torchrun), which sets RANK,
LOCAL_RANK and WORLD_SIZE; they speak gloo on CPU and NCCL on CUDA.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from attrs import frozen

from cprspec.errors import MAX_ECHO, CprspecError, Problem, clean
from cprspec.learning.waits import waiting

T = TypeVar("T")


@frozen(kw_only=True)
class Ranks:
    """This process's place: `rank` of `world`, `local` on its machine of `local_world`, and its device."""

    rank: int = 0
    world: int = 1
    local: int = 0
    local_world: int = 1
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this rank writes the run directory."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true on any rank; every rank must ask."""
        return self.largest(int(flag)) > 0

    @waiting()
    def largest(self, value: int) -> int:
        """The largest `value` over ranks; every rank must ask."""
        if self.world == 1:
            return value
        on_device = torch.tensor(value, device=self.device)
        dist.all_reduce(on_device, op=dist.ReduceOp.MAX)
        return int(on_device)

    @waiting()
    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean of `values` over ranks."""
        if self.world == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.world

    @waiting()
    def gather(self, value: T) -> list[T]:
        """Each rank's `value`, by rank; for what is small and rare."""
        if self.world == 1:
            return [value]
        values: list[T] = [value] * self.world
        dist.all_gather_object(values, value)
        return values

    @waiting()
    def text_from_first(self, text: str | None) -> str:
        """The text that rank 0 gives; the others may give None."""
        if self.world == 1:
            assert text is not None
            return text
        encoded = (text or "").encode()
        size = self.largest(len(encoded))
        buffer = torch.zeros(size, dtype=torch.uint8, device=self.device)
        if self.first:
            buffer.copy_(torch.frombuffer(bytearray(encoded), dtype=torch.uint8))
        dist.broadcast(buffer, 0)
        return bytes(buffer.cpu().tolist()).decode()


def pick_device(wish: str, local: int) -> torch.device:
    """The device for local rank `local`: `auto` takes CUDA where there is one.

    float32 is float32 there: torch's default is TF32 for convolutions, which keeps three digits, and not for matrix products.
    """
    torch.backends.cudnn.allow_tf32 = False
    if wish == "cuda" or (wish == "auto" and torch.cuda.is_available()):
        return torch.device("cuda", local % max(1, torch.cuda.device_count()))
    return torch.device("cpu")


WATCH_FIRST_S = 10.0
"""How much longer than the launcher's watch a collective waits, seconds: the watch names who hangs, a collective cannot."""

LOST_PEER = 75
"""The exit code of a rank that ended only because another one did (the system's "temporary failure")."""


class LostPeerError(CprspecError):
    """A rank waited for another one in vain; what happened to that one is for its launcher to say."""


@contextmanager
def naming_lost_peers(ranks: Ranks) -> Iterator[None]:
    """Turn what torch raises when another rank is gone into a `LostPeerError`."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if ranks.world == 1 or not (isinstance(error, dist.DistError) or "gloo" in text or "NCCL" in text):
            raise
        reason = clean(text.splitlines()[0], MAX_ECHO)
        message = f"rank {ranks.rank} waited for another rank in vain: {reason}"
        raise LostPeerError(Problem(message), exit_code=LOST_PEER) from error


@contextmanager
def joined_ranks(device: str, timeout_s: float) -> Iterator[Ranks]:
    """Join the process group that the environment describes, if it describes one, and leave it at the end."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    chosen = pick_device(device, local)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world == 1:
        yield Ranks(device=chosen)
        return
    timeout = timedelta(seconds=timeout_s + WATCH_FIRST_S)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=timeout)
    lost = False
    try:
        yield Ranks(
            rank=dist.get_rank(),
            world=dist.get_world_size(),
            local=local,
            local_world=int(os.environ.get("LOCAL_WORLD_SIZE", str(world))),
            device=chosen,
        )
    except LostPeerError:
        lost = True
        raise
    finally:
        if not lost:  # taking leave of one that is gone may wait for it for ever
            dist.destroy_process_group()


@waiting()
def wait_for_all(ranks: Ranks, longest_h: float = 48.0) -> None:
    """Wait until every rank comes here, longer than the process group's time limit: one may be preparing data."""
    if ranks.world == 1:
        return
    patient = dist.new_group(backend="gloo", timeout=timedelta(hours=longest_h))
    dist.barrier(patient)  # type: ignore[arg-type]  # new_group says it may be a number: not for a member
    dist.destroy_process_group(patient)


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_threads(threads: int, workers: int, local_world: int) -> int:
    """Set and return the CPU threads of this rank: `threads`, or its share of the cores beside the data workers."""
    chosen = threads or max(1, cores() // local_world - workers)
    torch.set_num_threads(chosen)
    return chosen


def keep_freed_memory() -> None:
    """Let glibc keep large blocks that are freed, instead of returning each to the system (Linux; elsewhere nothing).

    A training step on the CPU frees and asks for the same hundreds of megabytes again and again; otherwise each time the
    kernel has to find and clear the pages anew. Changes no result.
    """
    m_trim_threshold, m_mmap_threshold = -1, -3
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # another C library
    mallopt(m_mmap_threshold, 1 << 29)
    mallopt(m_trim_threshold, 1 << 30)
