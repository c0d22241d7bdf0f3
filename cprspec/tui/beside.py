"""`cprspec run SPEC --tui`: the run in a process of its own, and the monitor on it.

The run has its own session: neither Ctrl-C in the monitor nor the end of the terminal reaches it. What it prints goes to a
file, and its end is shown when the monitor closes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cprspec.errors import clean
from cprspec.runs.files import write_failed
from cprspec.runs.layout import RunDir
from cprspec.tui.app import MonitorApp
from cprspec.tui.source import News

LAST_LINES = 12


class BesideApp(MonitorApp):
    """The monitor, which opens the run of `child` as soon as it has begun, and closes if it ends before that."""

    def __init__(self, runs: Path, child: subprocess.Popen[bytes]) -> None:
        super().__init__(runs)
        self._child, self._found = child, False
        self.notice = f"the run that begins here has no folder yet (pid {child.pid})"

    def _took(self, news: News) -> None:
        super()._took(news)
        if self._found:
            return
        mine = next((glance.run for glance in news.glances if _of_session(glance.status.pid, self._child.pid)), None)
        if mine is not None:
            self._found, self.notice = True, ""
            self.open_run(mine)
        elif self._child.poll() is not None:
            self.exit()


def _of_session(pid: int | None, session: int) -> bool:
    """Whether `pid` runs here in the session that the child leads, as all its ranks do."""
    try:
        return pid is not None and 0 < pid < 2**31 and os.getsid(pid) == session
    except OSError:
        return False


def run_beside(arguments: Sequence[str], runs: Path) -> int:
    """`cprspec ARGUMENTS` in the background and the monitor on it; the exit code: the run's, 0 while it goes on."""
    said = runs / f".run-{os.getpid()}.log"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        output = said.open("wb")
    except OSError as error:
        raise write_failed(said, error) from error
    with output:
        child = subprocess.Popen(  # noqa: S603  # this program again, with what the user typed
            [sys.executable, "-m", "cprspec", *arguments],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    app = BesideApp(runs, child)
    app.run()
    code = child.poll()
    if code is None:
        where = app.watched if isinstance(app.watched, RunDir) else None
        name = str(where.path) if where else "RUN"
        print(f"the run goes on as pid {child.pid}; what it prints goes to {said}", file=sys.stderr)
        print(f"look again: cprspec tui {name}   end it: cprspec stop {name}", file=sys.stderr)
        return 0
    for line in said.read_text("utf-8", "replace").splitlines()[-LAST_LINES:]:
        print(clean(line), file=sys.stderr)
    said.unlink(missing_ok=True)
    return code if code >= 0 else 128 - code
