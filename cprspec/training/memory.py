"""How much memory this process had at most, and from when on.

Linux keeps a high-water mark of resident memory for each process; unlike getrusage's it can be set back, and does not begin
with that of the process that this one was forked from.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

from cprspec.training.report import rss_gib


def forget_peak(device: torch.device) -> None:
    """Begin anew: what was before does not count in `peak_bytes` (on other systems than Linux it does)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: torch.device) -> int:
    """Most memory so far, bytes: on a GPU that of tensors, else what of this process was resident."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return _of_this_process("VmHWM") or int(rss_gib() * 2**30)


def resident_bytes() -> int:
    """What of this process is resident now, bytes (on other systems than Linux: at most so far)."""
    return _of_this_process("VmRSS") or int(rss_gib() * 2**30)


def _of_this_process(what: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 2**10 for line in lines if line.startswith(f"{what}:"))
    except (OSError, StopIteration, ValueError):
        return None
