"""Where the time of a training step goes: each moment counts to the part of the step that it is in.

Parts are entered and left by hooks around networks, miner and optimiser, and by a `Stepper` around the stepper: the step itself
(training/loop.py) knows nothing of it. Of a GPU, which works on by itself, every border waits until it is done.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cprspec.learning.cascade import Mined
from cprspec.learning.moco import MinerLike
from cprspec.learning.rates import wait_for
from cprspec.training.stepper import Batch, Picks, Stepper

CLIPS, FORWARD, BACKWARD, KEY, SAMPLER = "clips to floats", "query forward", "backward", "key", "sampler"
MINING, LOSS, MOMENTUM, OPTIMIZER, BANK = "mining", "loss", "momentum", "optimizer", "bank"
LEDGER, CHECKS, REST = "ledger", "checks and log", "rest"

PARTS = (CLIPS, FORWARD, BACKWARD, KEY, SAMPLER, MINING, LOSS, MOMENTUM, OPTIMIZER, BANK, LEDGER, CHECKS, REST)
"""The parts of a step, as they are told."""

NETWORKS = (FORWARD, BACKWARD, KEY, SAMPLER)
"""Those that are a network's work."""

_MODULES = {
    "encoder_q": FORWARD, "encoder": FORWARD, "encoder_k": KEY, "sampler": SAMPLER,
    "to_input": CLIPS, "mining_input": CLIPS, "first_input": CLIPS, "second_input": CLIPS,
}  # fmt: skip
"""The part that each module of a framework (learning/moco.py, learning/iic.py) is."""


class Laps:
    """What `clock` counts, by part, since it was last `taken`. The clock need not be one: anything that only grows will do."""

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> None:
        self._device, self._clock = device, clock
        self._parts = [REST]
        self._counted: dict[str, float] = defaultdict(float)
        self._since = clock()

    def _count(self) -> None:
        wait_for(self._device)
        now = self._clock()
        self._counted[self._parts[-1]] += now - self._since
        self._since = now

    def enter(self, part: str) -> None:
        """From now on it is `part`, until it is left."""
        self._count()
        self._parts.append(part)

    def leave(self) -> None:
        """The part that was before goes on."""
        self._count()
        self._parts.pop()

    def go_on(self, part: str) -> None:
        """What is within no other part is `part` from now on."""
        self._count()
        self._parts[0] = part

    @contextmanager
    def within(self, part: str) -> Iterator[None]:
        """It is `part` within the context."""
        self.enter(part)
        try:
            yield
        finally:
            self.leave()

    def taken(self) -> dict[str, float]:
        """What was counted since this was last asked."""
        self._count()
        counted, self._counted = self._counted, defaultdict(float)
        return dict(counted)


class TimedMiner:
    """A miner whose work counts as mining."""

    def __init__(self, miner: MinerLike, laps: Laps) -> None:
        self._miner, self._laps = miner, laps

    def __call__(
        self,
        main_ND: Tensor,
        aux_ND: Tensor,
        bank_main_KD: Tensor,
        bank_aux_KD: Tensor,
        eligible_NK: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> Mined:
        """Mine."""
        with self._laps.within(MINING):
            return self._miner(main_ND, aux_ND, bank_main_KD, bank_aux_KD, eligible_NK, generator=generator)


class TimedStepper:
    """A stepper whose parts are counted; hooks on its modules, its miner and `optimizer` stay until `removed`."""

    def __init__(self, stepper: Stepper, optimizer: torch.optim.Optimizer, miner: MinerLike | None, laps: Laps) -> None:
        self._stepper, self._laps, self._miner = stepper, laps, miner
        self.module, self.encoder = stepper.module, stepper.encoder
        self.not_saved, self.directions, self.replay = stepper.not_saved, stepper.directions, stepper.replay
        self._hooks: list[Any] = []
        for name, module in stepper.module.named_children():
            if name in _MODULES:
                self._watch(module, _MODULES[name])
        self._hooks.append(optimizer.register_step_pre_hook(lambda *_: laps.enter(OPTIMIZER)))
        self._hooks.append(optimizer.register_step_post_hook(lambda *_: laps.leave()))
        if miner is not None:
            stepper.use_miner(TimedMiner(miner, laps))

    def _watch(self, module: nn.Module, part: str) -> None:
        laps = self._laps
        self._hooks.append(module.register_forward_pre_hook(lambda *_: laps.enter(part)))
        self._hooks.append(module.register_forward_hook(lambda *_: laps.leave()))

    def removed(self) -> None:
        """Count no more."""
        for hook in self._hooks:
            hook.remove()
        if self._miner is not None:
            self._stepper.use_miner(self._miner)

    def use_miner(self, miner: MinerLike) -> None:
        """Mine with `miner` from now on; it is not counted."""
        self._stepper.use_miner(miner)

    def begin(self, epoch: int, step: int) -> bool:
        """Draws and the momentum update."""
        with self._laps.within(MOMENTUM):
            return self._stepper.begin(epoch, step)

    def forward(self, parallel: nn.Module, batch: Batch, micro: int) -> Tensor:
        """The loss; what no hook counts otherwise is its own. After it comes the backward pass."""
        with self._laps.within(LOSS):
            loss = self._stepper.forward(parallel, batch, micro)
        self._laps.go_on(BACKWARD)
        return loss

    def picks(self) -> Iterator[Picks]:
        """What was mined, for the ledger: it is entered, then recorded."""
        self._laps.go_on(LEDGER)
        yield from self._stepper.picks()

    def bank(self) -> dict[str, Tensor]:
        """What is recorded of the bank."""
        return self._stepper.bank()

    def embedded(self) -> Iterator[dict[str, Tensor]]:
        """What is recorded of each clip."""
        return self._stepper.embedded()

    def finish(self) -> None:
        """The bank takes the clips in."""
        with self._laps.within(BANK):
            self._stepper.finish()

    def numbers(self) -> Tensor:
        """What is logged; checks and the log follow."""
        self._laps.go_on(CHECKS)
        return self._stepper.numbers()
