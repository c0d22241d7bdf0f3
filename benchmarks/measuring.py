"""What the scripts here share: interleaved rounds of CPU time, and what the processor can do in the same run."""

from __future__ import annotations

import resource
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from cprspec.learning.rates import products


def cpu_seconds() -> float:
    """User and system time of this process, seconds: what others do on the machine counts less than in wall time."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def interleaved(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each way, one after the other in every round; a first round warms up and does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, run in ways.items():
            began = cpu_seconds()
            run()
            if number:
                seconds[name].append(cpu_seconds() - began)
    return seconds


def ratio(slow: list[float], fast: list[float]) -> str:
    """`slow / fast` by rounds: median, lowest and highest."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    return (
        f"{statistics.median(ratios):5.2f}x (lowest {min(ratios):.2f}, highest {max(ratios):.2f}, {len(ratios)} rounds)"
    )


def table(seconds: Mapping[str, list[float]], reference: str) -> None:
    """Print milliseconds of each way, and how many times faster than `reference` it is."""
    for name, of_way in seconds.items():
        against = "" if name == reference else f"   {ratio(seconds[reference], of_way)}"
        print(f"{name:28} {1e3 * statistics.median(of_way):9.1f} ms{against}", flush=True)


def has_bf16() -> bool:
    """Whether the processor has instructions for bf16 (Linux; elsewhere unknown, and so False)."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def matmul_gflops(dtype: torch.dtype, size: int = 1024, rounds: int = 9) -> float:
    """The rate of `size` x `size` matrix products in the way that is fastest here, GFLOP/s of CPU time."""
    ways = {str(number): way for number, way in enumerate(products(torch.device("cpu"), dtype, size))}
    return 2e-9 * size**3 / min(statistics.median(seconds) for seconds in interleaved(ways, rounds).values())


def say_bf16() -> None:
    """Print this processor's rates, by which ratios in bf16 are to be read."""
    single = matmul_gflops(torch.float32)
    if not has_bf16():
        print(f"matrix products: float32 {single:.0f} GFLOP/s; no avx512_bf16 and no AMX, so bf16 is skipped")
        return
    print(f"matrix products: float32 {single:.0f} GFLOP/s, bf16 {matmul_gflops(torch.bfloat16):.0f} GFLOP/s")
