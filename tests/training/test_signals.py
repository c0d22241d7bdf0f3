"""Requests to stop that nobody heard, and what a second signal leaves of a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from cprspec.runs.layout import RunDir
from cprspec.training.launch import check_place
from cprspec.training.signals import StopRequest, forget_request

LEAVE = """
import os, signal, time
from cprspec.training.signals import StopRequest
StopRequest().install()
os.kill(os.getpid(), signal.SIGINT)
time.sleep(0.5)
os.kill(os.getpid(), signal.SIGINT)
time.sleep(60)
"""


@pytest.mark.parametrize(("term", "shown"), [("xterm-256color", b"\x1b[?25h"), ("dumb", b"")])
def test_a_second_signal_gives_the_cursor_back(term, shown):
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": term}
    with subprocess.Popen([sys.executable, "-c", LEAVE], env=environment, stderr=theirs) as process:
        os.close(theirs)
        assert process.wait(60) == 130
    try:
        found = os.read(ours, 4096)
    except OSError:  # the other end is closed, and nothing is left to read
        found = b""
    os.close(ours)
    assert found == shown


def test_nothing_is_written_into_a_file():
    done = subprocess.run([sys.executable, "-c", LEAVE], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (130, b"")


def test_a_request_that_a_dead_attempt_left_stops_no_other(tmp_path, monkeypatch):
    from cprspec.training import launch

    monkeypatch.setattr(launch, "check_space", lambda *_: None)
    run = RunDir(tmp_path)
    run.stop_requested.touch()
    request = type("Request", (), {"run_dir": tmp_path, "runs": tmp_path})
    check_place(request, None)
    stop = StopRequest()
    stop.look_for(run.stop_requested)
    assert stop.number == 0
    forget_request(run.stop_requested)  # there may be none
