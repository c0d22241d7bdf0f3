"""How fast this machine is at what networks are made of: matrix products, by which other rates are judged."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch.nn.functional import linear


def product_rate(device: torch.device, dtype: torch.dtype, rounds: int = 15) -> float:
    """GFLOP/s of a product of two large square matrices, the best of `rounds`: what the machine can do."""
    size = 8192 if device.type == "cuda" else 1024
    return 2e-9 * size**3 / min(min(seconds_of(way, device, rounds)) for way in products(device, dtype, size))


def products(device: torch.device, dtype: torch.dtype, size: int) -> list[Callable[[], torch.Tensor]]:
    """The ways of multiplying two square matrices: torch's, and on a CPU oneDNN's, which some processors are better at."""
    generator = torch.Generator(device).manual_seed(0)
    a, b = (torch.randn(size, size, device=device, generator=generator).to(dtype) for _ in range(2))
    ways: list[Callable[[], torch.Tensor]] = [lambda: a @ b]
    if device.type == "cpu" and dtype == torch.float32 and torch.backends.mkldnn.is_available():
        a_there, b_there = a.to_mkldnn(), b.to_mkldnn()
        ways.append(lambda: linear(a_there, b_there))
    return ways


def median_seconds(
    run: Callable[[], object], device: torch.device, *, rounds: int = 5, at_least_s: float = 0.0
) -> float:
    """Seconds of `run`, the median of `seconds_of`."""
    return statistics.median(seconds_of(run, device, rounds, at_least_s))


def seconds_of(run: Callable[[], object], device: torch.device, rounds: int, at_least_s: float = 0.0) -> list[float]:
    """Seconds of each of `rounds` runs, or of more, until so many seconds are over; a first one warms up."""
    seconds: list[float] = []
    run()
    while len(seconds) < rounds or sum(seconds) < at_least_s:
        wait_for(device)
        began = time.perf_counter()
        run()
        wait_for(device)
        seconds.append(time.perf_counter() - began)
    return seconds


def wait_for(device: torch.device) -> None:
    """Return when `device` has done what it was given; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
