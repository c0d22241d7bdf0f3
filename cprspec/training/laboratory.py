"""The mining laboratory of a run: a grid of miners over its last recorded epoch, and whether its own equals its ledger."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from attrs import asdict, evolve, frozen

from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean
from cprspec.mining.banks import bank_of
from cprspec.mining.recording import Recording, read_recording, unreadable
from cprspec.mining.replay import Setting, replay
from cprspec.runs.files import finite
from cprspec.runs.layout import RunDir
from cprspec.spec.grid import Choice, Plan
from cprspec.training.ledger import Ledger
from cprspec.training.mining_table import MiningTable
from cprspec.training.reuse import FINISHED
from cprspec.training.stepper import picks_generator

SCHEMA = 1
_DIFFERENCES_SHOWN = 3


@frozen(eq=False)
class Row:
    """A setting and what it mined. `seconds` is its own time, without what all settings share."""

    choice: Choice
    own: bool
    table: MiningTable
    seconds: float


@frozen(eq=False)
class Laboratory:
    """Rows in the grid's order (the run's own first if the grid leaves it out), and how its own differs from the ledger."""

    run: str
    plan: Plan
    recording: Recording
    rows: tuple[Row, ...]
    differences: tuple[str, ...]
    seconds: float

    @property
    def problems(self) -> list[Problem]:
        """What the run's own setting has that its ledger has not, in one problem; none if they are equal."""
        if not self.differences:
            return []
        epoch, device = self.recording.epoch, self.recording.video_M.device.type
        message = f"the run's own setting does not equal its ledger: {'; '.join(self.differences)}"
        hint = (
            f"it was trained on {epoch.device} and mined again on {device}: nearly equal similarities may change places"
        )
        return [Problem(message, None, None if device == epoch.device else hint)]

    def lines(self) -> list[str]:
        """What a reader of the table must know."""
        lines = [] if self.differences else ["* is the run's own setting: equal to the run's ledger"]
        if not all(row.own for row in self.rows):
            lines.append("every other setting: encoders held fixed, as the run's own setting trained them")
        count = "1 setting" if len(self.rows) == 1 else f"{len(self.rows)} settings"
        return [*lines, f"{count} in {self.seconds:.1f} s"]

    def to_json(self) -> dict[str, Any]:
        """Ready to print: `docs/mining-laboratory.md` says what each field means."""
        epoch = self.recording.epoch
        return {
            "schema": SCHEMA,
            "kind": "mine",
            "run": self.run,
            "phase": self.plan.phase,
            "dataset": epoch.dataset,
            "epoch": epoch.epoch,
            "encoders": "fixed",
            "equals_ledger": not self.differences,
            "differences": list(self.differences),
            "seconds_s": self.seconds,
            "settings": [_setting(row) for row in self.rows],
        }


def experiment(
    run: RunDir, plan: Plan, device: str = "auto", progress: Callable[[int, int], None] | None = None
) -> Laboratory:
    """Mine the phase's last recorded epoch with each miner of `plan`. CprspecError where there is no recording."""
    began = time.perf_counter()
    path = run.replay(plan.phase)
    if not path.is_file():
        message = f"phase {plan.phase} has no recording of its mining"
        hint = "it was trained with launch.replay = false or an older version; train it again with --fresh"
        if not (run.phase(plan.phase) / FINISHED).exists():
            message = f"phase {plan.phase} is not finished, and no epoch of it that mined is recorded yet"
            hint = f"cprspec run {run.path} goes on with it"
        raise CprspecError(Problem(message, Place(str(path)), hint))
    recording = read_recording(path)
    if device == "auto":
        device = recording.epoch.device if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise CprspecError(Problem("there is no CUDA device here", Place("--device"), "leave it out, or use cpu"))
    recording = recording.to(torch.device(device))
    try:
        bank = bank_of(recording)
    except (KeyError, TypeError, ValueError) as error:
        raise unreadable(path, f"{type(error).__name__}: {error}") from error
    own, *asked = (evolve(c, miner=c.miner.at(recording.epoch.epoch)) for c in (plan.own, *plan.choices))
    choices = asked if any(choice.miner == own.miner for choice in asked) else [own, *asked]
    ledgers = [own_ledger(recording) for _ in choices]
    settings = [Setting(c.miner.build(), c.miner.by_labels, ledger) for c, ledger in zip(choices, ledgers, strict=True)]
    epoch = recording.epoch
    with _threads(epoch.threads):
        replay(recording, bank, settings, lambda key: picks_generator(epoch.seed, key, torch.device(device)), progress)
    rows = []
    for choice, setting, ledger in zip(choices, settings, ledgers, strict=True):
        closing = time.perf_counter()
        table = ledger.finish(epoch.epoch)
        rows.append(Row(choice, choice.miner == own.miner, table, setting.seconds + time.perf_counter() - closing))
    mined = next(row.table for row in rows if row.own)
    differences = tuple(_from_ledger(run, plan.phase, mined))
    return Laboratory(run.label, plan, recording, tuple(rows), differences, time.perf_counter() - began)


def own_ledger(recording: Recording, kind: type[Ledger] = Ledger) -> Ledger:
    """An empty ledger over the videos of a recording."""
    return kind(
        recording.label_V.cpu(),
        recording.source_V.cpu(),
        recording.usable_U.cpu(),
        classes=recording.classes,
        names=recording.names,
        phase=recording.epoch.phase,
        dataset=recording.epoch.dataset,
        directions=recording.epoch.directions,
    )


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """As many CPU threads as training had: with another number a sum may be rounded another way."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _from_ledger(run: RunDir, phase: str, mined: MiningTable) -> list[str]:
    """Where the table mined again differs from the one that training wrote; empty if nowhere."""
    path = run.mining_table(phase, mined.epoch)
    try:
        written = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        return [f"the ledger of epoch {mined.epoch} cannot be read ({clean(str(error), MAX_ECHO)})"]
    again = json.loads(json.dumps(finite(mined.to_json())))
    if not _has_stages(written):  # an older version showed other queries
        written["examples"] = again["examples"]
    found = list(_differences(again, written, ""))
    more = [f"and {len(found) - _DIFFERENCES_SHOWN} more"] if len(found) > _DIFFERENCES_SHOWN else []
    return found[:_DIFFERENCES_SHOWN] + more


def _has_stages(written: Any) -> bool:
    examples = written.get("examples") if isinstance(written, dict) else None
    try:
        return all("stages" in mined for example in examples or () for mined in example["mined"])
    except (TypeError, KeyError):
        return True  # damaged, which is a difference


def _differences(mine: Any, theirs: Any, path: str) -> Iterator[str]:
    """Each place where two JSON values differ: what is here, what the ledger has."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for key in dict.fromkeys([*mine, *theirs]):
            if key == "strip" and key not in mine:
                continue  # a picture, which is no part of mining
            yield from _differences(mine.get(key), theirs.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            yield from _differences(a, b, f"{path}[{i}]")
    elif mine != theirs:
        yield clean(f"{path} is {_short(mine)} here and {_short(theirs)} in the ledger")


def _short(value: Any) -> str:
    return f"a list of {len(value)}" if isinstance(value, list) else clean(json.dumps(value), 40)


def _setting(row: Row) -> dict[str, Any]:
    data = row.table.to_json()
    kept = ("queries", "picks", "true_positives", "precision", "cmr", "funnel", "directions")
    figures = {name: data[name] for name in kept if name in data}
    return {"own": row.own, "miner": options_of(row.choice), **figures, "seconds_s": row.seconds}


def options_of(choice: Choice) -> dict[str, Any]:
    """The card's name as `use`, and every option of its component."""
    return {"use": choice.card, **asdict(choice.miner)}  # type: ignore[arg-type]  # an attrs class, as every component


def varied(rows: Sequence[Row]) -> list[str]:
    """The names of the options that the grid lists, in its order."""
    return list(dict.fromkeys(key for row in rows for key in row.choice.options))
