"""Banks out of a recording, moved as training moved them, and what each of them lets a miner look at.

`MoCoBank` is the queue of momentum contrast (learning/bank.py), `IICBanks` the memories of IIC (learning/iic.py): their
own code moves the rows. A framework's name in the recording chooses.

Legend: N clips of one rank's part, M of a whole step, K bank rows, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import torch
from attrs import frozen
from torch import Tensor
from torch.nn.functional import normalize

from cprspec.learning.bank import Bank
from cprspec.learning.iic import move_rows, searched_rows
from cprspec.mining.recording import Recording, check_ids


@frozen(eq=False)
class Look:
    """What a miner is given for one part of a batch in one direction. `place` ends the key of its random numbers."""

    main_ND: Tensor
    aux_ND: Tensor
    main_KD: Tensor
    aux_KD: Tensor
    direction: str = ""
    place: tuple[int, ...] = ()


class Replayed(Protocol):
    """A framework's bank in replay. `video_K`: the video in each row, -1 for none."""

    video_K: Tensor

    @property
    def mines(self) -> bool:
        """Whether training mined with the bank as it is now."""
        ...

    def eligible(self, source_N: Tensor) -> Tensor:
        """Which rows a query of each source may choose, bool `[N,K]`."""
        ...

    def looks(self, rows: slice) -> Iterator[Look]:
        """What to mine for the clips `rows` of the recording, in each direction."""
        ...

    def take(self, rows: slice) -> None:
        """Take in the clips `rows`, a whole optimiser step."""
        ...


class MoCoBank:
    """A queue. A phase with a mining view mines once it is full."""

    def __init__(self, recording: Recording) -> None:
        own, self._clips = recording.bank, recording.clips
        mining_KD = own.get("mining_KD")
        self._source_V = recording.source_V
        key_KD = own["key_KD"]
        width = None if mining_KD is None else mining_KD.shape[1]
        bank = Bank(len(key_KD), key_KD.shape[1], width, dtype=key_KD.dtype)
        check_ids("video_K", own["video_K"], len(recording.label_V), -1)
        source_K = recording.source_V[own["video_K"].clamp(min=0)].masked_fill(own["video_K"] < 0, -1)
        for rows in (mining_KD, own["video_K"]):
            _check(rows is None or len(rows) == len(bank), "the bank's parts have not as many rows as each other")
        bank.to(own["key_KD"].device).load_state_dict({**own, "source_K": source_K})
        for clips, bank_name in (("query_MD", "key_KD"), ("key_MD", "key_KD"), ("mining_MD", "mining_KD")):
            _check_widths(self._clips.get(clips), own.get(bank_name), f"{clips} and {bank_name}")
        self._bank = bank
        self.video_K = bank.video_K

    @property
    def mines(self) -> bool:
        """Whether the queue was full, where a mining view waits for that."""
        return self._bank.mining_KD is None or self._bank.full

    def eligible(self, source_N: Tensor) -> Tensor:
        """Filled rows of other sources."""
        return self._bank.filled_K & ~self._bank.siblings(source_N)

    def looks(self, rows: slice) -> Iterator[Look]:
        """One direction: the mining view's embedding (else the key) is main, the query aux."""
        # Copies, so that each product is of the very shape and alignment it had in training.
        key_KD, mining_KD = self._bank.key_KD, self._bank.mining_KD
        main = "key_MD" if mining_KD is None else "mining_MD"
        main_ND, aux_ND = self._clips[main][rows].clone(), self._clips["query_MD"][rows].clone()
        yield Look(main_ND, aux_ND, key_KD if mining_KD is None else mining_KD, key_KD)

    def take(self, rows: slice) -> None:
        """Enqueue a step's keys."""
        video_M = self._clips["video_M"][rows]
        mining_MD = self._clips["mining_MD"][rows] if "mining_MD" in self._clips else None
        self._bank.enqueue(self._clips["key_MD"][rows], mining_MD, video_M, self._source_V[video_M])


class IICBanks:
    """The memories of two views, a row for each training video. Each view is mined for with the other as main."""

    def __init__(self, recording: Recording) -> None:
        epoch = recording.epoch
        self._clips, self._directions = recording.clips, tuple(epoch.directions)
        self._banks = [recording.bank[name].clone() for name in ("first_VD", "second_VD")]
        self._updated_V = recording.bank["updated_V"].clone()
        self.video_K = recording.usable_U
        self._row_of_video = recording.usable_U.new_full((len(recording.label_V),), -1)
        self._row_of_video[self.video_K] = torch.arange(len(self.video_K), device=self.video_K.device)
        self._source_K = recording.source_V[self.video_K]
        self._momentum = float(epoch.replay["momentum"])
        self._mines = epoch.epoch >= int(epoch.replay["start_epoch"])
        # The rows of one micro-batch of all ranks move at once.
        self._together = recording.part * epoch.world_size
        for rows in (*self._banks, self._updated_V):
            _check(len(rows) == len(self.video_K), "the banks have not a row for each training video")
        _check(bool((self._row_of_video[recording.video_M] >= 0).all()), "a clip is of no training video")
        for clips, bank_VD in zip(("first_MD", "second_MD"), self._banks, strict=True):
            _check_widths(self._clips.get(clips), bank_VD, f"{clips} and its bank")

    @property
    def mines(self) -> bool:
        """Whether the epoch was one that mines."""
        return self._mines

    def eligible(self, source_N: Tensor) -> Tensor:
        """Rows that were updated once, of other sources."""
        return searched_rows(self._updated_V, self._source_K, source_N)

    def looks(self, rows: slice) -> Iterator[Look]:
        """For each view's loss: the other view is main, its own aux."""
        features = [normalize(self._clips[name][rows].clone()) for name in ("first_MD", "second_MD")]
        for d, direction in enumerate(self._directions):
            main = 1 - d
            yield Look(features[main], features[d], self._banks[main], self._banks[d], direction, (d,))

    def take(self, rows: slice) -> None:
        """Move the rows of a step's videos, micro-batch by micro-batch."""
        for first in range(rows.start, rows.stop, self._together):
            micro = slice(first, first + self._together)
            row_M = self._row_of_video[self._clips["video_M"][micro]]
            for bank_VD, name in zip(self._banks, ("first_MD", "second_MD"), strict=True):
                move_rows(bank_VD, row_M, self._clips[name][micro], self._momentum)
            self._updated_V[row_M] = True


FRAMEWORKS: Mapping[str, Callable[[Recording], Replayed]] = {"moco": MoCoBank, "iic": IICBanks}


def bank_of(recording: Recording) -> Replayed:
    """The bank before the recorded epoch. KeyError, TypeError or ValueError where the recording contradicts itself."""
    name = str(recording.epoch.replay.get("framework"))
    if name not in FRAMEWORKS:
        raise ValueError(f"no framework is called {name!r}")
    return FRAMEWORKS[name](recording)


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _check_widths(clips_MD: Tensor | None, bank_KD: Tensor | None, names: str) -> None:
    """Clips and bank rows that are compared have the same features, or there are neither."""
    same = clips_MD is not None and bank_KD is not None and clips_MD.shape[1:] == bank_KD.shape[1:]
    _check(same or (clips_MD is None and bank_KD is None), f"{names} do not belong together")
