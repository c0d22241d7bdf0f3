"""How fast this machine is at what networks are made of: matrix products, by which other rates are judged."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch


def product_rate(device: torch.device, dtype: torch.dtype, rounds: int = 5) -> float:
    """GFLOP/s of a product of two large square matrices; a multiplication and an addition count as two."""
    size = 8192 if device.type == "cuda" else 1024
    generator = torch.Generator(device).manual_seed(0)
    a, b = (torch.randn(size, size, device=device, generator=generator).to(dtype) for _ in range(2))
    return 2e-9 * size**3 / median_seconds(lambda: a @ b, device, rounds=rounds)


def median_seconds(
    run: Callable[[], object], device: torch.device, *, rounds: int = 5, at_least_s: float = 0.0
) -> float:
    """Seconds of `run`, the median of `rounds`, or of more, until so many seconds are over; a first one warms up."""
    seconds: list[float] = []
    run()
    while len(seconds) < rounds or sum(seconds) < at_least_s:
        wait_for(device)
        began = time.perf_counter()
        run()
        wait_for(device)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def wait_for(device: torch.device) -> None:
    """Return when `device` has done what it was given; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
