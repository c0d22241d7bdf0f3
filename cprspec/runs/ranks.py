"""What each rank of a run is doing, from `ranks/N.json`; a run may have none."""

from __future__ import annotations

import re
import time

from attrs import frozen

from cprspec.runs.layout import RunDir
from cprspec.runs.reading import read_json
from cprspec.runs.records import as_number, as_text, as_whole

_FILE = re.compile(r"\d{1,6}\.json")


@frozen(kw_only=True)
class RankHealth:
    """One rank, as `RankState` has it. None: not known."""

    rank: int
    pid: int | None = None
    host: str | None = None
    phase: str | None = None
    epoch: int | None = None
    step: int | None = None
    stage: str | None = None
    stage_s: float | None = None
    peers: bool = False
    peers_s: float | None = None
    file: str | None = None
    rss_gib: float | None = None
    cpu_cores: float | None = None
    gpu_gib: float | None = None
    gpu_use: float | None = None
    heartbeat_age_s: float | None = None


def read_ranks(run: RunDir, problems: list[str]) -> list[RankHealth]:
    """Every rank that wrote its file, in order."""
    try:
        names = [path.name for path in run.rank(0).parent.iterdir() if _FILE.fullmatch(path.name)]
    except OSError:
        return []  # no rank has written yet, or this run is from before they did
    found = (read_rank(run, number, problems) for number in sorted(int(name.removesuffix(".json")) for name in names))
    return [rank for rank in found if rank is not None]


def read_rank(run: RunDir, number: int, problems: list[str]) -> RankHealth | None:
    """One rank, or None where it has not written its file yet or that cannot be read."""
    data = read_json(run.rank(number), problems, "rank")
    if data is None:
        return None
    beat = as_number(data.get("heartbeat"))
    texts = {key: as_text(data.get(key)) for key in ("host", "phase", "stage", "file")}
    wholes = {key: as_whole(data.get(key)) for key in ("pid", "epoch", "step")}
    kept = ("stage_s", "peers_s", "rss_gib", "cpu_cores", "gpu_gib", "gpu_use")
    numbers = {key: as_number(data.get(key)) for key in kept}
    age = None if beat is None else max(0.0, time.time() - beat)
    peers = data.get("peers") is True
    return RankHealth(rank=number, heartbeat_age_s=age, peers=peers, **texts, **wholes, **numbers)  # type: ignore[arg-type]
