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

from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean
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

    def check_same(self, value: str) -> None:
        """CprspecError on every rank if they do not all give the same; every rank must ask."""
        each = self.gather(value)
        if len(set(each)) > 1:
            said = ", ".join(f"rank {rank} at {what}" for rank, what in enumerate(each))
            hint = "their machines see different files; look at the file system, and start it again"
            raise CprspecError(Problem(f"ranks would not go on from the same place: {said}", hint=hint), exit_code=1)

    @waiting()
    def text_from_first(self, text: str | None) -> str:
        """The text that rank 0 gives; the others may give None."""
        if self.world == 1:
            assert text is not None
            return text
        encoded = (text or "").encode()
        size = self.largest(len(encoded))
        if size == 0:
            return ""
        buffer = torch.zeros(size, dtype=torch.uint8, device=self.device)
        if self.first:
            buffer.copy_(torch.frombuffer(bytearray(encoded), dtype=torch.uint8))
        dist.broadcast(buffer, 0)
        return bytes(buffer.cpu().tolist()).decode()


def pick_device(wish: str, local: int) -> torch.device:
    """The device for local rank `local`: `auto` takes CUDA where there is one. CprspecError where `cuda` cannot be had.

    float32 is float32 there: torch's default is TF32 for convolutions, which keeps three digits, and not for matrix products.
    """
    check_devices(wish, 1)
    torch.backends.cudnn.allow_tf32 = False
    if wish == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    # Where each rank was shown a GPU of its own by its starter, they all count it as number 0.
    return torch.device("cuda", local % torch.cuda.device_count())


def check_devices(wish: str, ranks: int) -> None:
    """CprspecError where `ranks` ranks of this machine cannot have the device `wish`: each needs a GPU of its own."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    place = Place("launch.device")
    if wish == "cuda" and not gpus:
        hint = "--set launch.device=cpu trains on the CPU; `nvidia-smi` and torch.version.cuda say what is there"
        raise CprspecError(Problem("'cuda' is asked for, and torch finds no GPU to use on this machine", place, hint))
    if wish != "cpu" and gpus and ranks > gpus:
        hint = f"--nproc {gpus}, or --set launch.device=cpu"
        raise CprspecError(Problem(f"{ranks} ranks on this machine need a GPU each, and it has {gpus}", place, hint))


LONGEST_PREPARATION_H = 48.0
"""How long ranks and machines wait for one that prepares its data, hours."""

SAVING_H = 1.0
"""How long the other ranks wait for what rank 0 writes, hours: a slow disk is no hang."""

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
    """Join the process group that the environment describes, if it describes one, and leave it at a good end.

    Taking leave waits for the others; after an error they may be gone or busy, and the process ends without (processes.py).
    """
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
    yield Ranks(
        rank=dist.get_rank(),
        world=dist.get_world_size(),
        local=local,
        local_world=int(os.environ.get("LOCAL_WORLD_SIZE", str(world))),
        device=chosen,
    )
    dist.destroy_process_group()


@waiting()
def wait_for_all(ranks: Ranks, longest_h: float = LONGEST_PREPARATION_H) -> None:
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
