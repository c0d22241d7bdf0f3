"""Batches that are taken ahead: the same ones in the same order, and what they cost told with them."""

from __future__ import annotations

import pytest
import torch

from cprspec.training.ahead import Ahead
from cprspec.video.tray import Spent, Unread

CPU = torch.device("cpu")


class Numbered:
    """Batches that are their number, of which every one cost as many seconds; `given` so far."""

    def __init__(self, count):
        self.count, self.given, self._spent = count, 0, Spent()

    def __next__(self):
        if self.given == self.count:
            raise StopIteration
        self.given += 1
        self._spent.add(Spent(decode_s=self.given, unread=[Unread(self.given, "torn")]))
        return {"video": torch.tensor([self.given])}

    def take_spent(self):
        spent, self._spent = self._spent, Spent()
        return spent


@pytest.fixture(params=[False, True], ids=["as they come", "ahead"])
def batches(request, monkeypatch):
    made = Ahead(Numbered(4), CPU)
    if request.param:  # as on a GPU, without one
        made._stream = object()
        monkeypatch.setattr(Ahead, "_sent", lambda self, batch: batch)
        monkeypatch.setattr(Ahead, "_arrived", lambda self, batch: batch)
    return made


def test_each_batch_once_with_what_it_cost(batches):
    found = []
    for batch in batches:
        batches.look_ahead()
        batches.look_ahead()  # one batch ahead is enough
        spent = batches.take_spent()
        found.append((batch["video"].item(), spent.decode_s, [unread.video for unread in spent.unread]))
    assert found == [(n, float(n), [n]) for n in range(1, 5)]
    assert batches.take_spent() == Spent()


def test_costs_of_several_batches_add_up(batches):
    next(batches)
    batches.look_ahead()
    next(batches)
    batches.look_ahead()
    assert batches.take_spent().decode_s == 3


def test_only_a_gpu_takes_early():
    here = Ahead(numbered := Numbered(2), CPU)
    next(here)
    here.look_ahead()
    assert numbered.given == 1


def test_what_goes_wrong_ahead_is_raised(batches, monkeypatch):
    def broken(self):
        raise OSError("gone")

    next(batches)
    monkeypatch.setattr(Numbered, "__next__", broken)
    with pytest.raises(OSError, match="gone"):
        batches.look_ahead()
        next(batches)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_batches_lie_on_the_gpu_as_they_were():
    class Pinned(Numbered):
        def __next__(self):
            return {"clip": torch.full((64, 1 << 16), super().__next__()["video"].item()).pin_memory()}

    device, found = torch.device("cuda"), []
    batches = Ahead(Pinned(20), device)
    for batch in batches:
        assert batch["clip"].device.type == "cuda"
        found.append(batch["clip"].double().sum())
        batches.look_ahead()
    assert [total.item() / (64 << 16) for total in found] == [*range(1, 21)]
