"""What ranks agree on is marked as a wait for the others, and a collective waits longer than the launcher's watch."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from cprspec.learning.exchange import gather_cat
from cprspec.learning.ranks import Ranks, joined_ranks, wait_for_all
from cprspec.learning.waits import waiting_since

TWO = Ranks(rank=0, world=2, device=torch.device("cpu"))


class SlowReading(torch.Tensor):
    """A result on a GPU: the collective returned at once, and it is waited for where it is read."""

    def __int__(self):
        assert waiting_since() is not None
        return 7


@pytest.fixture
def marked(monkeypatch):
    """Collectives that only note whether a wait was marked when they were called."""
    notes = []

    def note(*arguments, **options):
        notes.append(waiting_since() is not None)

    for name in ("all_reduce", "all_gather_object", "broadcast", "barrier", "new_group", "destroy_process_group"):
        monkeypatch.setattr(dist, name, note)
    monkeypatch.setattr("cprspec.learning.exchange._all_gather", note)
    monkeypatch.setattr("cprspec.learning.exchange.world_size", lambda: 2)
    return notes


@pytest.mark.parametrize(
    "ask",
    [
        lambda: TWO.any(True),
        lambda: TWO.mean(torch.ones(2)),
        lambda: TWO.gather("a"),
        lambda: TWO.text_from_first("a"),
        lambda: wait_for_all(TWO),
        lambda: gather_cat(torch.ones(2)),
    ],
    ids=["any", "mean", "gather", "text", "wait_for_all", "gather_cat"],
)
def test_every_question_to_the_others_is_marked(marked, ask):
    ask()
    assert marked and all(marked)
    assert waiting_since() is None


def test_so_is_the_reading_of_the_answer(marked, monkeypatch):
    monkeypatch.setattr(torch, "tensor", lambda *_, **__: SlowReading())
    assert TWO.largest(3) == 7


def test_a_collective_waits_longer_than_the_watch(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    asked = []

    def refuse(backend, timeout):
        asked.append((backend, timeout.total_seconds()))
        raise InterruptedError

    monkeypatch.setattr(dist, "init_process_group", refuse)
    with pytest.raises(InterruptedError), joined_ranks("cpu", 120.0):
        pass
    assert asked == [("gloo", 130.0)]
