"""Fixtures of this folder: small run directories."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
from sample_runs import write_run

from cprspec.cli import main


@pytest.fixture
def make_run(tmp_path):
    """A function that writes a run below `tmp_path / "runs"` and gives its RunDir; see `sample_runs.write_run`."""
    return lambda *args, **kwargs: write_run(tmp_path / "runs", *args, **kwargs)


@pytest.fixture
def nobody():
    """`pid` and `host` of a process that is dead."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return {"pid": process.pid, "host": socket.gethostname()}


@pytest.fixture
def cprspec(tmp_path, monkeypatch, capsys):
    """A function that does what the command line does, above the runs of `make_run`: exit code, stdout, stderr."""

    def call(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["cprspec", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code, *capsys.readouterr()

    return call
