"""Every pane at three sizes: what the screen shows is what was recorded. UPDATE_SNAPSHOTS=1 records anew; then look at it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from driving import SIZES, drive, press, shown

from cprspec.tui.app import MonitorApp

SNAPSHOTS = Path(__file__).parent / "snapshots"


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_every_pane(three, size, tmp_path):
    async def script(pilot):
        found = {"runs": shown(pilot.app)}
        await press(pilot, "G", "m", "g", "down", "enter")
        found["run"] = shown(pilot.app)
        for key, name in (("3", "mining"), ("4", "compare"), ("5", "experiment"), ("6", "log"), ("?", "help")):
            await press(pilot, key)
            found[name] = shown(pilot.app)
            if name == "compare":  # what it prints is not this package's own
                text = found.pop(name)
                assert "toy-cpr" in text
                assert "toy-infonce" in text
        await press(pilot, "escape", "3", "enter")
        found["examples"] = shown(pilot.app)
        return found

    found = drive(MonitorApp(tmp_path / "runs"), script, size)
    width, height = size
    for name, text in found.items():
        assert len(text.splitlines()) <= height
        assert all(len(line) <= width for line in text.splitlines())
        _compare(f"{name}-{width}x{height}", text)


def _compare(name, text):
    path = SNAPSHOTS / f"{name}.txt"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n")
    assert text == path.read_text().removesuffix("\n"), f"{name} looks different"
