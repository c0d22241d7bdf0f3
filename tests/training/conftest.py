"""A very small experiment on generated videos, run in processes of its own as a user would."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import pytest
from small_run import SPEC, the_run


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache folder of the session's own, so that tests neither need nor touch the user's."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def spec(tmp_path):
    """The small experiment's file."""
    return tmp_path / "small.toml"


@pytest.fixture(scope="session")
def cprspec_session(cache):
    """Call the command line in a process in `folder`, where the small experiment lies as small.toml.

    Gives the CompletedProcess, or the Popen with `wait=False`.
    """

    def call(*arguments, folder, wait=True, check=True, **environment):
        (folder / "small.toml").write_text(SPEC)
        command = [sys.executable, "-m", "cprspec", *(str(a) for a in arguments)]
        env = {**os.environ, "CPRSPEC_CACHE": str(cache), "OMP_NUM_THREADS": "1", "NO_COLOR": "1", **environment}
        options = {"env": env, "cwd": folder, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        if not wait:
            return subprocess.Popen(command, start_new_session=True, **options)
        done = subprocess.run(command, check=False, timeout=240, **options)
        assert not check or done.returncode == 0, done.stderr
        return done

    return call


@pytest.fixture
def cprspec(cprspec_session, tmp_path):
    """`cprspec_session` in the test's own folder."""
    return functools.partial(cprspec_session, folder=tmp_path)


@pytest.fixture(scope="session")
def reference(cprspec_session, tmp_path_factory):
    """An uninterrupted run of the small experiment in one process."""
    folder = tmp_path_factory.mktemp("reference")
    cprspec_session("run", "small.toml", "--runs", "runs", folder=folder)
    return the_run(folder / "runs")
