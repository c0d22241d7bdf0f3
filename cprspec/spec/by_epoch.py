"""Options that change while a phase trains: `topk = { 0 = 1, 40 = 3 }` is 1 from epoch 0 and 3 from epoch 40 on.

The CPR paper's progressive training raises the number of mined positives with the epochs (PROTOCOL 0.3, row 11). In TOML
the table's keys are epochs, counted from 0; a plain number is the same in every epoch and stays a plain number here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen


def _ascending(_: object, __: object, steps: tuple[tuple[int, int], ...]) -> None:
    epochs = [epoch for epoch, _ in steps]
    if not epochs or epochs[0] != 0 or epochs != sorted(set(epochs)):
        raise ValueError(f"epochs must begin with 0 and ascend, found {epochs}")


@frozen
class ByEpoch:
    """A whole number for each epoch: `steps` are pairs of the epoch from which it counts, and the number.

    Epochs begin with 0 and ascend; ValueError otherwise.
    """

    steps: tuple[tuple[int, int], ...] = field(validator=_ascending)

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs from which each number counts."""
        return tuple(epoch for epoch, _ in self.steps)

    @property
    def values(self) -> tuple[int, ...]:
        """The numbers, in the order of their epochs."""
        return tuple(value for _, value in self.steps)

    def at(self, epoch: int) -> int:
        """The number in `epoch`, from 0."""
        return next(value for start, value in reversed(self.steps) if start <= epoch)

    def to_table(self) -> dict[str, int]:
        """The table as an experiment writes it."""
        return {str(epoch): value for epoch, value in self.steps}


def plain(value: Any) -> Any:
    """An option's value in numbers, text, tables and arrays alone, as TOML and JSON have them."""
    if isinstance(value, ByEpoch):
        return value.to_table()
    return list(value) if isinstance(value, tuple) else value


def is_by_epoch(value: object) -> bool:
    """Whether a table is one value that goes by epoch: plain values under numbers. Named tables hold tables."""
    if not isinstance(value, Mapping) or not value:
        return False
    return all(str(key).isdecimal() and not isinstance(inner, dict) for key, inner in value.items())
