"""`run --tui`: the monitor finds the run that was begun for it, and closes when there will be none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from driving import drive, rewrite, settled, shown

from cprspec.tui.beside import BesideApp


def _child(code):
    return subprocess.Popen([sys.executable, "-c", code], start_new_session=True)


def test_the_run_of_the_child_is_opened_and_left_alone(recorded, tmp_path):
    run = recorded("mine", 1)
    recorded("newer", 2)
    child = _child("import time; time.sleep(60)")
    rewrite(run.status, pid=child.pid)
    app = BesideApp(tmp_path / "runs", child)

    async def script(pilot):
        await settled(pilot)
        assert not app.notice
        return app.watched, app.current_mode

    assert drive(app, script) == (run, "run")
    assert child.poll() is None
    os.kill(child.pid, signal.SIGKILL)
    child.wait()


def test_until_there_is_a_run_of_the_child_the_list_says_so(recorded, tmp_path):
    child = _child("import time; time.sleep(60)")
    words = f"the run that begins here has no folder yet (pid {child.pid})"

    async def script(pilot):
        return shown(pilot.app).splitlines()[-2].strip()

    (tmp_path / "runs").mkdir()
    assert drive(BesideApp(tmp_path / "runs", child), script) == words
    recorded("other")
    assert drive(BesideApp(tmp_path / "runs", child), script).startswith(f"{words} | 1 run: 1 finished")
    child.kill()
    child.wait()


def test_a_child_that_ends_before_there_is_a_run_closes_the_monitor(recorded, tmp_path):
    recorded("other")
    child = _child("raise SystemExit(2)")
    child.wait()
    app = BesideApp(tmp_path / "runs", child)

    async def script(pilot):
        return app.watched

    drive(app, script)
    assert app._exit
