"""Reads [phase.NAME] tables: each with the experiment's defaults filled in, and a miner only where it mines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import define, field

from cprspec.errors import CprspecError, Problem
from cprspec.spec.compose import Composed, expand
from cprspec.spec.kinds import Framework, Miner
from cprspec.spec.positions import KeyPath
from cprspec.spec.reader import ComponentReader
from cprspec.spec.schema import Clip, Phase, WeightsFile
from cprspec.spec.structure import structure
from cprspec.spec.tables import OF_A_PHASE, PhaseTable, TopLevel, WeightsTable
from cprspec.spec.words import found, quoted


@define
class PhaseReader:
    """Reads the phases of one experiment. After `all`, `tables` holds every phase's own keys that could be read."""

    reader: ComponentReader
    top: TopLevel
    train_on: str
    tables: dict[str, PhaseTable | None] = field(factory=dict)
    starts: dict[str, str | WeightsFile | None] = field(factory=dict)

    @property
    def composed(self) -> Composed:
        """The experiment's files."""
        return self.reader.composed

    @property
    def problems(self) -> list[Problem]:
        """Where problems go."""
        return self.reader.problems

    @property
    def views_named(self) -> dict[str, KeyPath]:
        """The views that phases name, each with where it is named first."""
        result: dict[str, KeyPath] = {}
        for name, table in self.tables.items():
            for i, view in enumerate(table.views if table else ()):
                result.setdefault(view, ("phase", name, "views", i))
        return result

    def all(self) -> dict[str, Phase]:
        """Every phase that could be read, as written."""
        written = self.composed.data.setdefault("phase", {})
        if not written:
            hint = "add a table [phase.NAME] with views and epochs"
            self.problems.append(Problem("the experiment has no phase", self.composed.place("phase"), hint))
        result: dict[str, Phase] = {}
        for name, table in written.items():
            if not isinstance(table, dict):
                message = f"phase {quoted(name)} must be a table, found {found(table)}"
                self.problems.append(Problem(message, self.composed.place("phase", name)))
                self.tables[name] = None
                continue
            phase = self._phase(name, table)
            if phase is not None:
                result[name] = phase
        return result

    def _phase(self, name: str, table: dict[str, Any]) -> Phase | None:
        plain = {k: v for k, v in table.items() if k not in (*OF_A_PHASE, "start_from")}
        own, wrong = structure(
            PhaseTable,
            plain,
            f"phase {quoted(name)}",
            self.composed.under("phase", name),
            (*OF_A_PHASE, "start_from"),
        )
        self.problems.extend(wrong)
        self.tables[name] = own
        start = self.starts[name] = self._start_from(name, table.get("start_from"))
        clip = self._clip(name, table.get("clip", {}))
        backbone = self.reader.single("backbone")
        parts = {kind: self.reader.single(kind, name) for kind in ("augment", "framework", "optimizer", "schedule")}
        miner = self._miner(name, own, parts["framework"])
        if own is None or clip is None or backbone is None or None in parts.values():
            return None
        return Phase(
            name=name,
            views=own.views,
            epochs=own.epochs,
            seed=self.top.seed,
            dataset=self.train_on,
            start_from=start,
            mine_with=own.mine_with,
            batch_size=own.batch_size or self.top.batch_size,
            accumulate=own.accumulate or self.top.accumulate,
            precision=own.precision or self.top.precision,
            clip=clip,
            backbone=backbone,
            miner=miner,
            **parts,
        )

    def _start_from(self, name: str, value: Any) -> str | WeightsFile | None:
        """An earlier phase by name, or a weights file relative to the experiment that says so."""
        path = ("phase", name, "start_from")
        if value is None or isinstance(value, str):
            return None if value is None else str(value)
        if not isinstance(value, dict):
            message = f"'start_from' of phase {quoted(name)} must be text or a table, found {found(value)}"
            self.problems.append(Problem(message, self.composed.place(*path), 'a phase or { file = "x.safetensors" }'))
            return None
        owner = f"'start_from' of phase {quoted(name)}"
        table, wrong = structure(WeightsTable, value, owner, self.composed.under(*path))
        self.problems.extend(wrong)
        if table is None:
            return None
        try:
            file = expand(table.file, self.composed.place(*path, "file"))
        except CprspecError as error:
            self.problems.extend(error.problems)
            return None
        folder = self.composed.folder(*path, "file")
        return WeightsFile((Path(folder) / file).absolute(), table.allow_missing)

    def _clip(self, name: str, own: Any) -> Clip | None:
        """The clip of a phase: its own table over the experiment's."""
        if not isinstance(own, dict):
            message = f"'clip' of phase {quoted(name)} must be a table, found {found(own)}"
            self.problems.append(Problem(message, self.composed.place("phase", name, "clip")))
            return None
        top = self.composed.data.get("clip", {})

        def where(path: tuple[str | int, ...]) -> Any:
            base = ("phase", name, "clip") if path and path[0] in own else ("clip",)
            return self.composed.place(*base, *path)

        clip, wrong = structure(Clip, {**top, **own}, "[clip]", where)
        self.problems.extend(wrong)
        return clip

    def _miner(self, name: str, own: PhaseTable | None, framework: Framework | None) -> Miner | None:
        """The miner of a phase that mines: because of `mine_with`, its framework's own banks, or labels; else None."""
        if own is None:
            return None
        named_here = "miner" in self.composed.data["phase"][name]
        if not named_here and own.mine_with is None:
            return None
        miner: Miner | None = self.reader.single("miner", name)
        if miner is None:
            self._say_no_miner(name)
            return None
        if own.mine_with is not None or miner.by_labels or framework is None or framework.brings_banks:
            return miner
        self.reader.cards.pop(f"phase.{name}.miner", None)
        place = self.composed.place("phase", name, "miner")
        message = f"phase {quoted(name)} names a miner but mines nothing"
        self.problems.append(Problem(message, place, "say whose encoder mines with mine_with = ...", warning=True))
        return None

    def _say_no_miner(self, name: str) -> None:
        """A phase mines and nobody names a miner; silent if one is named but wrong, which was said already."""
        if not self.composed.data.get("miner") and not self.composed.data["phase"][name].get("miner"):
            message = f"phase {quoted(name)} mines with another, but no miner is named"
            place = self.composed.place("phase", name, "mine_with")
            self.problems.append(Problem(message, place, 'add [miner] with use = "cpr"'))
