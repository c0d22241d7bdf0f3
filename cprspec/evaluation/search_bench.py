"""What `cprspec bench search` measures: exact nearest neighbours among as many videos as an experiment has.

Features are random, of the size that the phase's backbone gives; what is measured is the search of retrieval and of
`cprspec search`, without encoding videos.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from cprspec.evaluation.retrieval import cosines
from cprspec.learning.ranks import keep_freed_memory, share_threads
from cprspec.learning.rates import median_seconds, product_rate
from cprspec.spec.schema import Phase, Resolved

TOP = 50
"""Neighbours that are looked for: the most that R@k asks for."""


def measure(resolved: Resolved, phase: Phase, videos: int, queries: int, seconds: float) -> dict[str, Any]:
    """Everything as JSON (kind `search-bench`)."""
    device = torch.device("cpu")  # where retrieval searches
    keep_freed_memory()
    threads = share_threads(resolved.launch.threads, resolved.launch.workers, 1)
    size = phase.backbone.feature_size
    generator = torch.Generator().manual_seed(0)
    query_QF, gallery_GF = (normalize(torch.randn(rows, size, generator=generator)) for rows in (queries, videos))
    took = median_seconds(lambda: nearest(query_QF, gallery_GF, TOP), device, rounds=3, at_least_s=seconds)
    rate, top = product_rate(device, torch.float32), min(TOP, videos)
    found = {
        "schema": 1, "kind": "search-bench", "experiment": resolved.name, "phase": phase.name, "threads": threads,
        "videos": videos, "queries": queries, "features": size, "top": top, "search_s": took, "queries_per_s": queries / took,
        "features_gib": 4 * (videos + queries) * size / 2**30, "products_gflop_per_s": rate,
        "share_of_products": 2e-9 * queries * videos * size / took / rate,
    }  # fmt: skip
    found["verdict"] = verdict(found)
    return found


def nearest(query_QF: Tensor, gallery_GF: Tensor, top: int) -> Tensor:
    """The nearest gallery videos of each query `[Q,top]`."""
    return cosines(query_QF, gallery_GF).topk(min(top, len(gallery_GF))).indices


def verdict(found: dict[str, Any]) -> str:
    """What limits the search."""
    share = found["share_of_products"]
    head = f"{found['queries']} queries among {found['videos']} videos take {found['search_s']:.2f} s, exactly; "
    if share > 0.5:
        return head + f"{share:.0%} of the rate of matrix products: more threads make it faster, other settings do not"
    return (
        head
        + f"{share:.0%} of the rate of matrix products: choosing the best of so few products is what takes the time"
    )


def lines(found: dict[str, Any]) -> list[str]:
    """The same for people."""
    head = (
        f"features of phase {found['phase']} of {found['experiment']}: {found['features']} numbers, "
        f"{found['features_gib']:.2f} GiB for all videos, threads: {found['threads']}"
    )
    rows = [
        ("nearest", f"{found['top']} of {found['videos']}"),
        ("queries a second", f"{found['queries_per_s']:.0f}"),
        ("seconds for all", f"{found['search_s']:.2f}"),
        ("matrix products", f"{found['products_gflop_per_s']:.0f} GFLOP/s"),
    ]
    return [head, *(f"  {name:18} {value:>14}" for name, value in rows), found["verdict"]]
