"""`cprspec data prepare`: a data set as a store."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cprspec.cli_options import Json, Plugins, Registries, print_json
from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean, print_problems

if TYPE_CHECKING:
    from cprspec.data.collections import Collection
    from cprspec.data.stores import StoreOptions
    from cprspec.spec.registry import Registry
    from cprspec.video.storing import Prepared, Shard

prepare_app = typer.Typer()

CRF, FLOW_CRF, GROUP = 23, 16, 16
"""x264's quality of pictures and of flow, and frames from one key frame to the next; docs/data.md has the figures."""


@prepare_app.command()
def prepare(
    target: Annotated[
        str, typer.Argument(metavar="NAME|SPEC", help="A data set's card, or an experiment.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="STORE", help="The folder of the store.")],
    roots: Annotated[
        list[str] | None, typer.Option("--root", metavar="[NAME=]DIR", help="Where the videos lie.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", metavar="NAME", help="Which data set of an experiment with several.")
    ] = None,
    short_side: Annotated[
        int | None,
        typer.Option(
            min=8, help="Short side of pictures, pixels (default: the experiment's, or 144).", show_default=False
        ),
    ] = None,
    flow: Annotated[
        str | None,
        typer.Option(help="dis, tvl1, tvl1-light, or none (default: the experiment's, or dis).", show_default=False),
    ] = None,
    bound: Annotated[
        float | None,
        typer.Option(help="Largest motion kept, pixels per frame (default: chosen from the data).", show_default=False),
    ] = None,
    crf: Annotated[int, typer.Option(min=0, max=51, help="Quality of pictures, smaller is better.")] = CRF,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Make part I of N (default: RANK and WORLD_SIZE, if set).")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes (default: one for each core).", show_default=False)
    ] = None,
    max_bad: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the videos that may be left out because they are bad.")
    ] = 0.01,
    json: Json = False,
    registries: Registries = None,
    plugins: Plugins = None,
) -> None:
    """Turn a collection of videos into a store: small pictures, flow, labels and splits in one folder that stands alone."""
    from cprspec.spec.registry import builtin_registry
    from cprspec.training.progress import filling
    from cprspec.video.storing import make_store

    registry = builtin_registry(registries or (), plugins or ())
    part = read_shard(shard)
    options = _options(target, registry, short_side, flow, bound, crf)
    collection = _collection(target, registry, roots or [], dataset)
    _check_beside(collection, out)
    try:
        with filling(words=f"preparing {clean(collection.name)},") as progress:
            done = make_store(
                collection, out, options, shard=part, processes=workers or _share(), max_bad=max_bad, progress=progress
            )
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on where it was", file=sys.stderr)
        raise typer.Exit(130) from None
    record = _record(out, done)
    print_json(record) if json else print("\n".join(_lines(record)))
    print_problems(
        Problem(f"left out: {clean(bad['bad'])}", Place(bad["name"]), warning=True) for bad in record["excluded"]
    )


def read_shard(text: str | None) -> Shard:
    """The part that `I/N` names, or that torchrun's environment does. CprspecError for anything else."""
    from cprspec.video.storing import Shard

    if text is None:
        rank, world = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
        if rank is None or world is None:
            return Shard()
        text = f"{int(rank) + 1}/{world}" if rank.isdecimal() else f"{rank}/{world}"
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        message = f"'{clean(text, MAX_ECHO)}' is not a part I of N"
        raise CprspecError(Problem(message, Place("--shard"), "for example 1/4, then 2/4, 3/4 and 4/4"))
    return Shard(int(number), int(count))


def _share() -> int:
    """This process's part of the machine's cores, where torchrun started several."""
    here = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, (os.cpu_count() or 1) // max(1, int(here) if here.isdecimal() else 1))


def _options(
    target: str, registry: Registry, short_side: int | None, flow: str | None, bound: float | None, crf: int
) -> StoreOptions:
    from cprspec.components.views import METHODS
    from cprspec.data.stores import StoreOptions
    from cprspec.spec.resolve import resolve_all
    from cprspec.spec.words import did_you_mean
    from cprspec.video.wanted import FLOW, SHORT_SIDE, flow_of, short_side_of

    if flow is not None and flow not in (*METHODS, "none"):
        message = f"no flow method is called '{clean(flow, MAX_ECHO)}'"
        raise CprspecError(Problem(message, Place("--flow"), did_you_mean(flow, [*METHODS, "none"])))
    if bound is not None and not 0 < bound < float("inf"):
        raise CprspecError(Problem(f"{bound} is no motion, in pixels per frame", Place("--bound"), "for example 20"))
    path = Path(target)
    experiment = path.suffix == ".toml" or path.is_file()
    runs = resolve_all(path, registry) if experiment else ()
    side = short_side or (short_side_of(runs, path) if experiment else SHORT_SIDE)
    if side % 2:
        hint = "H.264 keeps colours of two by two pixels: choose --short-side, and the experiment's clip.short_side"
        raise CprspecError(Problem(f"a short side of {side} pixels is odd", None, hint))
    method = flow or (flow_of(runs, path) if experiment else FLOW)
    method = None if method == "none" else method
    return StoreOptions(
        short_side=side, crf=crf, group=GROUP, flow=method, bound=bound if method else None, flow_crf=FLOW_CRF
    )


def _collection(target: str, registry: Registry, roots: list[str], dataset: str | None) -> Collection:
    from cprspec.data.collections import find_collections
    from cprspec.spec.words import did_you_mean

    found = find_collections(target, registry, roots)
    names = [collection.name for collection in found]
    chosen = [c for c in found if dataset in (None, c.name)]
    if not chosen:
        message = f"no data set is called '{clean(str(dataset), MAX_ECHO)}'"
        raise CprspecError(Problem(message, Place("--dataset"), did_you_mean(str(dataset), names)))
    if len(chosen) > 1:
        hint = f"one store holds one: --dataset {' or '.join(map(clean, names))}"
        raise CprspecError(Problem("the experiment has several data sets", Place(target), hint))
    return chosen[0]


def _check_beside(collection: Collection, out: Path) -> None:
    """CprspecError for a store among the videos that it is made from: what is in it would be taken for more of them."""
    if out.resolve().is_relative_to(collection.root.resolve()):
        message = f"the store would lie among the videos that it is made from, below {clean(str(collection.root))}"
        raise CprspecError(Problem(message, Place("--out"), "choose a folder outside"))


def _record(out: Path, done: Prepared) -> dict[str, Any]:
    from cprspec.data.stores import open_store

    record: dict[str, Any] = {
        "store": str(out), "finished": done.finished, "made": done.made, "waiting": done.waiting,
        "excluded": [{"name": bad["name"], "defect": bad["defect"], "bad": bad["bad"]} for bad in done.bad],
    }  # fmt: skip
    if done.finished:
        manifest = open_store(out).manifest
        record |= {name: manifest[name] for name in ("options", "videos", "frames", "bytes")}
    return record


def _lines(record: dict[str, Any]) -> list[str]:
    """The record for a reader."""
    if not record["finished"]:
        return [f"made {record['made']} videos; {record['waiting']} wait for other shards"]
    options, frames = record["options"], max(1, record["frames"])
    per_frame = {kind: size / frames for kind, size in record["bytes"].items()}
    lines = [
        f"{clean(record['store'])}: {record['videos']} videos, {record['frames']} frames, made {record['made']} now",
        f"pictures  short side {options['short_side']}, {per_frame['rgb']:.0f} bytes a frame",
    ]
    if options["flow"]:
        lines.append(f"flow      {options['flow']}, bound {options['bound']:g}, {per_frame['flow']:.0f} bytes a frame")
    return lines
