"""Text from files is shown and not obeyed: markup, links and terminal escapes in every place a name can stand."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import sys
import time
from pathlib import Path

import pytest
from driving import drive, press, rewrite, shown

from cprspec.runs import events
from cprspec.tui.app import MonitorApp

EVIL = "[/] [red]x[@click=app.quit]q[/] \x1b]0;PWNED\x07\x1b[2J \x9b31m \u202etxt\r\n"
FORBIDDEN = ("\x1b", "\x07", "\x9b", "\u202e", "\r")


@pytest.fixture
def evil_run(recorded):
    run = recorded("evil", where=json.dumps(EVIL)[1:-1])
    with events.EventLog(run.events) as log:
        log.write(
            events.PhaseStarted(
                phase=EVIL, position=2, of=3, views=(EVIL,), miner=EVIL, epochs=2, steps_per_epoch=4, reused_from=EVIL
            )
        )
        log.write(events.Warned(message=EVIL))
        log.write(events.RunFailed(message=EVIL))
    rewrite(run.status, state="failed", why=EVIL, phase=EVIL, host=EVIL)
    table = json.loads(run.mining_table("cycle", 1).read_text())
    for row in (*table["classes"], *table["examples"]):
        row |= {key: f"{row[key][0]}{EVIL}" for key in ("name", "label") if key in row}
    for example in table["examples"]:
        example["name"] = EVIL
        example["strip"] = "../../../" + EVIL
        for pick in example["mined"]:
            pick["name"] = pick["label"] = EVIL
    run.mining_table("cycle", 1).write_text(json.dumps({**table, "note": EVIL}))
    run.log(0).parent.mkdir()
    run.log(0).write_text(f"2026-01-01T00:00:00Z ERROR {EVIL}\n{EVIL}")
    rank = {"kind": "rank", "rank": 0, "stage": EVIL, "file": EVIL, "heartbeat": time.time(), "step": 1}
    run.rank(0).parent.mkdir()
    run.rank(0).write_text(json.dumps(rank))
    return run


def test_no_pane_obeys(evil_run, tmp_path):
    app = MonitorApp(tmp_path / "runs")

    async def script(pilot):
        texts = [shown(pilot.app)]
        for keys in (
            ("m", "2"), ("left_square_bracket",), ("3",), ("enter",), ("i", "escape", "4"), ("5",), ("6",),
            ("right_square_bracket",), ("X",), ("y",),
        ):  # fmt: skip
            await press(pilot, *keys)
            texts.append(shown(pilot.app))
            for y, line in enumerate(texts[-1].splitlines()):
                if (x := line.find("]q[")) >= 0:  # a click on what says it is a link runs nothing
                    await pilot.click(offset=(x + 1, y))
                    break
        assert pilot.app.is_running
        return texts

    texts = drive(app, script, (160, 40))
    for text in texts:
        assert not [bad for bad in FORBIDDEN if bad in text]
    everything = "\n".join(texts)
    assert "[/] [red]x[@click=app.quit]q[/]" in everything
    assert "PWNED" in everything


@pytest.mark.slow
def test_nothing_of_a_file_reaches_the_terminal_as_an_escape(evil_run, tmp_path):
    """The bytes that a real terminal gets, over every pane."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ |= {"TERM": "xterm-256color", "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "120"}
        os.execv(sys.executable, [sys.executable, "-m", "cprspec", "tui", str(tmp_path / "runs")])
    got = bytearray()

    def listen(seconds):
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([terminal], [], [], left)[0]:
                try:
                    got.extend(os.read(terminal, 65536))
                except OSError:
                    return

    listen(6)
    for key in b"m23\r4\x1b456q":
        os.write(terminal, bytes([key]))
        listen(1.5)
    listen(2)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    got = re.sub(rb"\x1b\]22;[a-z-]*\x07", b"", bytes(got))  # Textual's own: the shape of the pointer
    assert b"PWNED" in got
    for bad in (b"\x1b]0;PWNED", b"\x07", "\x9b".encode(), "\u202e".encode()):
        assert bad not in got
