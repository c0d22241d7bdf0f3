"""How processes leave: with their code and what they had to say, and, where gloo was at work, without being taken apart."""

import os
import subprocess
import sys

import pytest

LEFT = """
import atexit
from cprspec.processes import {how}

class Part:
    def __del__(self):
        print("taken apart")

part = Part()
atexit.register(print, "exit function")
print("said")
{how}({code})
"""


@pytest.mark.parametrize(("how", "code"), [("leave", 0), ("leave", 75), ("leave_untidied", 0), ("leave_untidied", 75)])
def test_a_process_leaves_without_being_taken_apart(how, code):
    left = subprocess.run(
        [sys.executable, "-c", LEFT.format(how=how, code=code)], check=False, capture_output=True, text=True
    )
    assert left.returncode == code
    assert "taken apart" not in left.stdout
    if how == "leave":  # the other one is for what multiprocessing started, which flushes by itself
        assert left.stdout == "said\nexit function\n"


@pytest.mark.parametrize(("arguments", "code"), [(["components"], 0), (["check", "no-such-file.toml"], 2)])
def test_ranks_of_torchrun_end_as_others_do(arguments, code):
    command = [sys.executable, "-m", "cprspec", *arguments]
    usual = subprocess.run(command, check=False, capture_output=True, text=True)
    as_rank = subprocess.run(
        command, check=False, capture_output=True, text=True, env=os.environ | {"TORCHELASTIC_RUN_ID": "some"}
    )
    assert usual.returncode == as_rank.returncode == code
    assert (as_rank.stdout, as_rank.stderr) == (usual.stdout, usual.stderr)
    assert usual.stdout + usual.stderr
