"""The variable by which tests ask for faults: what it accepts, whom it hits, once, and that it is inert."""

from __future__ import annotations

import signal

import pytest

from cprspec import faults
from cprspec.errors import CprspecError
from cprspec.faults import Fault, read_faults, strike


def test_fields_and_their_defaults():
    assert read_faults("1:37:kill") == (Fault(1, 37, "kill", "step", None),)
    assert read_faults("0:5:nan") == (Fault(0, 5, "nan", "loss", None),)
    assert read_faults("0:8:kill:save,1:3:hang:wait:cycle") == (
        Fault(0, 8, "kill", "save", None),
        Fault(1, 3, "hang", "wait", "cycle"),
    )


@pytest.mark.parametrize(
    "text", ["1", "1:2", "a:1:kill", "-1:1:kill", "1:1:explode", "1:1:kill:nowhere", "1:1:kill:save:a:b"]
)
def test_what_is_no_fault_is_refused(text):
    with pytest.raises(CprspecError, match="RANK:STEP:KIND"):
        read_faults(text)


def test_nothing_happens_unless_it_is_asked_for(monkeypatch):
    monkeypatch.delenv(faults.VARIABLE, raising=False)
    assert not strike("loss", rank=0, step=0, phase="rgb")


def test_it_strikes_whom_it_names_and_once(monkeypatch):
    monkeypatch.setenv(faults.VARIABLE, "1:4:usr1:step:flow")
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
    try:
        others = ((0, 4, "flow", "step"), (1, 3, "flow", "step"), (1, 4, "rgb", "step"), (1, 4, "flow", "save"))
        for rank, step, phase, place in others:
            strike(place, rank=rank, step=step, phase=phase)
        assert not heard
        strike("step", rank=1, step=4, phase="flow")
        strike("step", rank=1, step=4, phase="flow")
        assert heard == [1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_spoiled_loss_is_for_the_caller_to_spoil(monkeypatch):
    monkeypatch.setenv(faults.VARIABLE, "0:2:nan")
    assert strike("loss", rank=0, step=2, phase="rgb")
    assert not strike("loss", rank=0, step=2, phase="rgb")
