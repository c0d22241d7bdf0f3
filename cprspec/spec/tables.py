"""The tables of an experiment file as written, before components are chosen: the top level, a phase, the rest.

Each class is one table's scalar keys; `structure` checks them. Tables that choose components are not fields here.
"""

from __future__ import annotations

from attrs import frozen

from cprspec.spec.kinds import PRECISIONS, option

SINGLE_COMPONENTS = ("backbone", "framework", "miner", "augment", "optimizer", "schedule")
"""Tables that choose one component for all phases."""

NAMED_TABLES = {"dataset": "dataset", "view": "view", "evaluate": "evaluator"}
"""Tables of named tables that choose components, with the kind of component."""

OF_A_PHASE = ("clip", "augment", "framework", "miner", "optimizer", "schedule")
"""Tables that a phase may have of its own."""

TABLES = (*SINGLE_COMPONENTS, *NAMED_TABLES, "clip", "phase", "launch")
"""Every table of an experiment; `published` is an array of tables."""


@frozen(kw_only=True)
class TopLevel:
    """Keys of an experiment outside any table."""

    format: int = option(help="the format of the file, 1 in this version")
    name: str | None = option(None, help="name of the experiment (default: the file's name)")
    seed: int = option(0, help="of everything that is drawn", ge=0, lt=2**63)
    train_on: str | None = option(None, help="the data set that phases train on (default: the only one)")
    batch_size: int = option(32, help="clips in a step, over all ranks", ge=1)
    accumulate: int = option(1, help="parts in which a batch is computed", ge=1)
    precision: str = option("float32", help="of the networks", choices=PRECISIONS)


@frozen(kw_only=True)
class PhaseTable:
    """Keys of a phase apart from tables; None means the top level's value."""

    views: tuple[str, ...] = option(help='the views that learn, such as ["rgb"]')
    epochs: int = option(help="passes over the training set", ge=1)
    mine_with: str | None = option(None, help="the phase whose frozen encoder mines")
    batch_size: int | None = option(None, help="clips in a step, over all ranks", ge=1)
    accumulate: int | None = option(None, help="parts in which a batch is computed", ge=1)
    precision: str | None = option(None, help="of the networks", choices=PRECISIONS)


@frozen(kw_only=True)
class WeightsTable:
    """`start_from = { file = ..., allow_missing = [...] }`."""

    file: str = option(help="a safetensors file")
    allow_missing: tuple[str, ...] = option((), help="weights that the file need not have")
