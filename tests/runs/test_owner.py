"""Who writes a run: read from any file, and alive only where that can be known."""

from __future__ import annotations

import os
import socket

import pytest

from cprspec.runs.owner import Owner, alive, parse_owner, read_owner


def test_alive_is_known_of_this_host_only(nobody):
    here = socket.gethostname()
    assert alive(os.getpid(), here) is True
    assert alive(1, here) is True  # perhaps not ours to signal
    assert alive(nobody["pid"], here) is False
    for pid, host in ((nobody["pid"], "elsewhere"), (None, here), (0, here), (-1, here), (os.getpid(), None)):
        assert alive(pid, host) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "host": "h", "since": 1}', "[" * 9999, b"\xff"]
)
def test_a_file_that_is_not_whole_names_nobody(text):
    assert parse_owner(text) is None


def test_the_lock_names_its_owner(make_run):
    run = make_run()
    assert read_owner(run.writer) is None
    with run.lock():
        owner = read_owner(run.writer)
    assert (owner, owner.alive) == (Owner(os.getpid(), socket.gethostname(), owner.since), True)
