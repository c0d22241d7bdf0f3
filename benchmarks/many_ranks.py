"""What the formulas of training/exchanged.py predict for a phase on many GPUs: no measurement, assumptions as options.

    python benchmarks/many_ranks.py [SPEC [PHASE]] [--same-batch] [--step-s S] [--networks GB/S ...] [and more: --help]

Every GPU has the clips that one has in SPEC on as many GPUs as `bn_groups` says, so the batch grows with the ranks, which is
another recipe; or with `--same-batch` GPUs share SPEC's batch. `--step-s` is the time of a step with the first. Collectives
go in rings through GPUs and from node to node; a node has one network link, of the speeds given, each way. Gradients
travel while the backward pass computes, half of a step; whatever is longer than that, and everything else, is waited for.
`--hop-us` is what a message takes from one GPU to the next, whatever its size.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from attrs import evolve

from cprspec.models.encoders import build_encoder
from cprspec.spec.registry import builtin_registry
from cprspec.spec.resolve import resolve
from cprspec.spec.roots import parse_roots
from cprspec.spec.schema import Phase
from cprspec.training.exchanged import ALL_TO_ALL, Exchange, step_exchanges

RANKS = (8, 16, 32, 64, 128, 256)

BACKWARD = 0.5
"""The share of a step in which gradients can travel."""

MESSAGES = {"key clips": 1, "keys back": 1, "bank": 4, "ledger": 3, "recording": 4, "agreement": 3}
"""Collectives in a step with one micro-batch; those of gradients wait for nobody."""


def through_link(exchange: Exchange, world: int, node: int) -> float:
    """Bytes that leave a node of `node` GPUs; of a GPU, where all are in one node."""
    if world <= node:
        return exchange.sent(world)
    if exchange.how == ALL_TO_ALL:  # every GPU of the node sends what other nodes need
        return node * exchange.handed * (world - node) / world
    return exchange.sent(world)  # a ring leaves a node once


def waited_s(
    exchanges: tuple[Exchange, ...], world: int, options: argparse.Namespace, network: float, step_s: float
) -> float:
    """Seconds of a step of `step_s` in which GPUs wait for each other."""
    speed = 1e9 * (options.nvlink if world <= options.node else network)
    waited = 0.0
    for exchange in exchanges:
        seconds = through_link(exchange, world, options.node) / speed
        if exchange.what == "gradients":
            waited += max(0.0, seconds - BACKWARD * step_s)
        else:
            hops = 1 if exchange.how == ALL_TO_ALL else world - 1
            waited += seconds + MESSAGES[exchange.what] * hops * options.hop_us * 1e-6
    return waited


def clips_of_rank(phase: Phase) -> int:
    """Clips that a GPU has where there are as many as the experiment means."""
    return phase.batch_size // phase.framework.bn_groups


def main() -> None:
    """Print what leaves GPUs and nodes, and what of a step is left for work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", nargs="?", type=Path, default=Path("experiments/ucf101_cpr.toml"))
    parser.add_argument("phase", nargs="?", default="cycle1-rgb")
    parser.add_argument("--same-batch", action="store_true")
    parser.add_argument("--step-s", type=float, default=0.25)
    parser.add_argument("--nvlink", type=float, default=200.0)
    parser.add_argument("--networks", type=float, nargs="+", default=[25.0, 12.5])
    parser.add_argument("--node", type=int, default=8)
    parser.add_argument("--hop-us", type=float, default=3.0)
    options = parser.parse_args()
    resolved = resolve(options.spec, builtin_registry(), overrides=(), roots=parse_roots([]))
    phase = resolved.phase(options.phase)
    with torch.device("meta"):
        parameters = sum(p.numel() for p in build_encoder(phase).parameters())
    networks = "".join(f"  at {network:g} GB/s: waits ms, work" for network in options.networks)
    print(f"GPUs  batch  a GPU hands MB  sends MB  a link carries MB: gradients, key clips, rest{networks}")
    for world in RANKS:
        on = phase if options.same_batch else evolve(phase, batch_size=clips_of_rank(phase) * world)
        exchanges = step_exchanges(resolved, on, world, parameters)
        if exchanges is None:
            print(f"{world:4}  {on.batch_size:5}  does not divide")
            continue
        step_s = options.step_s * on.batch_size / world / clips_of_rank(phase)
        carried = {e.what: through_link(e, world, options.node) / 1e6 for e in exchanges}
        rest = sum(carried.values()) - carried["gradients"] - carried.get("key clips", 0)
        handed, sent = sum(e.handed for e in exchanges), sum(e.sent(world) for e in exchanges)
        times = ""
        for network in options.networks:
            waited = waited_s(exchanges, world, options, network, step_s)
            times += f"   {1e3 * waited:8.1f} {step_s / (step_s + waited):6.1%}"
        print(
            f"{world:4}  {on.batch_size:5}  {handed / 1e6:14.1f}  {sent / 1e6:8.1f}  "
            f"{carried['gradients']:10.1f} {carried.get('key clips', 0):10.1f} {rest:6.1f}{times}"
        )


if __name__ == "__main__":
    main()
