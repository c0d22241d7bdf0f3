"""What strips, and the ranks of shown picks, add to the time of an epoch that a finished run logged.

    python benchmarks/strips.py RUN PHASE        the run has a recording of its mining, and its videos are in the store

Strips of the phase's last mining table are drawn into an empty folder (the dearest epoch), and again where all are there
already. Ranks: the recorded epoch is mined again into ledgers with and without them, in turn. Medians.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch

from cprspec.mining.banks import bank_of
from cprspec.mining.recording import Recording, read_recording
from cprspec.mining.replay import Setting, replay
from cprspec.runs import events
from cprspec.runs.layout import RunDir
from cprspec.runs.tail import read_events
from cprspec.spec.registry import builtin_registry
from cprspec.spec.resolve import resolve
from cprspec.spec.schema import Phase, Resolved
from cprspec.training.laboratory import own_ledger
from cprspec.training.ledger import Ledger
from cprspec.training.mining_table import MiningTable
from cprspec.training.prepare import read_data
from cprspec.training.stepper import picks_generator
from cprspec.training.strips import Strips
from cprspec.video.store import Store

TURNS = 7


class WithoutRanks(Ledger):
    """A ledger that asks for no ranks."""

    def add(self, *args: Any, ranks: Any = None, **kwargs: Any) -> None:
        """Everything but the ranks."""
        super().add(*args, **kwargs)


def mined(recording: Recording, phase: Phase, kind: type[Ledger]) -> tuple[MiningTable, float]:
    """The table of the recorded epoch, and the seconds it took."""
    epoch = recording.epoch
    assert phase.miner is not None
    miner, ledger = phase.miner.at(epoch.epoch), own_ledger(recording, kind)
    setting = Setting(miner.build(), miner.by_labels, ledger)
    began = time.perf_counter()
    replay(recording, bank_of(recording), [setting], lambda key: picks_generator(epoch.seed, key, torch.device("cpu")))
    return ledger.finish(epoch.epoch), time.perf_counter() - began


def drawing(resolved: Resolved, phase: Phase, table: MiningTable) -> tuple[float, float, int, int]:
    """Seconds into an empty folder and again, files, bytes."""
    index = read_data(resolved)[phase.dataset]
    with tempfile.TemporaryDirectory() as folder:
        job = SimpleNamespace(
            folder=Path(folder), store=Store(), views=resolved.views, mining_view=resolved.mining_view(phase), phase=phase,
            index=index, launch=resolved.launch, report=print,
        )  # fmt: skip
        strips, times = Strips(job), []  # type: ignore[arg-type]
        for _ in range(2):
            began = time.perf_counter()
            strips.draw(table)
            times.append(time.perf_counter() - began)
        sizes = [file.stat().st_size for file in Path(folder).rglob("*.jpg")]
    return times[0], times[1], len(sizes), sum(sizes)


def main() -> None:
    """Measure and print."""
    run, name = RunDir(Path(sys.argv[1])), sys.argv[2]
    resolved = resolve(run.resolved, builtin_registry())
    phase = resolved.phase(name)
    recording = read_recording(run.replay(name))
    logged, _ = read_events(run.events, without=[events.Step])
    epoch_s = median(e.seconds_s for e in logged if isinstance(e, events.Epoch) and e.phase == name)
    with_s, without_s, first_s, again_s = [], [], [], []
    for _ in range(TURNS):
        table, seconds = mined(recording, phase, Ledger)
        with_s.append(seconds)
        without_s.append(mined(recording, phase, WithoutRanks)[1])
        first, again, files, size = drawing(resolved, phase, table)
        first_s.append(first)
        again_s.append(again)
    print(f"epoch {epoch_s:.2f} s; {files} strips, {size} bytes")
    for words, seconds in (
        ("strips into an empty folder", median(first_s)),
        ("strips that are there already", median(again_s)),
        ("ranks", median(with_s) - median(without_s)),
    ):
        print(f"{words}: {1000 * seconds:.1f} ms, {100 * seconds / epoch_s:.2f} % of the epoch")


if __name__ == "__main__":
    main()
