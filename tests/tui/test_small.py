"""Terminals of any size and colours: nothing fails, plots become figures, and nothing is said by colour alone."""

from __future__ import annotations

import json
import os
import time

import pytest
from attrs import evolve
from driving import drive, press, rewrite, settled, shown
from sample_runs import step_event

from cprspec.runs import events
from cprspec.tui.app import MonitorApp


def test_small_terminals_and_resizing(three, tmp_path):
    app = MonitorApp(tmp_path / "runs")

    async def script(pilot):
        await press(pilot, "m", "down", "enter")
        assert "┣" in shown(pilot.app)
        for size in ((20, 5), (1, 1), (60, 12)):
            await pilot.resize_terminal(*size)
            for key in ("1", "2", "3", "4", "5", "6", "2"):
                await pilot.press(key)
                await pilot.pause()
        await settled(pilot)
        text = shown(pilot.app)
        assert "┣" not in text
        assert "loss" in text
        assert "mining precision %" in text

    drive(app, script, (80, 24))


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_last_line_names_help_and_quit_in_any_width(three, tmp_path, width):
    app = MonitorApp(tmp_path / "runs")

    async def script(pilot):
        for key in ("1", "2", "3", "4", "5", "6"):
            await press(pilot, key)
            last = shown(pilot.app).splitlines()[-1]
            assert last.endswith("X Stop run  ? Help  q Quit")
            assert ("Enter" in last) == (key in "13")
        await press(pilot, "2")
        assert ("o Marked" in shown(pilot.app).splitlines()[-1]) == (width == 200)
        await pilot.resize_terminal(width + 60, 24)
        await settled(pilot)
        assert "s Smooth" in shown(pilot.app).splitlines()[-1]

    drive(app, script, (width, 24))


def test_what_is_too_long_for_its_line_is_cut_and_not_wrapped(recorded, tmp_path):
    run = recorded("toy", state="running", where="x")
    rewrite(run.status, heartbeat=time.time(), pid=os.getpid())
    with events.EventLog(run.events) as log:
        log.write(evolve(step_event("cycle", 8), decode_s=0.1234, augment_s=0.05, step_s=0.25))
    rank = {
        "kind": "rank",
        "rank": 0,
        "stage": "wait",
        "file": "a/" * 60 + "b.mp4",
        "heartbeat": time.time(),
        "step": 1,
    }
    run.rank(0).parent.mkdir()
    run.rank(0).write_text(json.dumps(rank | {"pid": os.getpid(), "stage_s": 40.0}))
    app = MonitorApp(tmp_path / "runs", run)

    async def script(pilot):
        lines = shown(pilot.app).splitlines()
        assert [line[:9] for line in lines[2:6]] == ["waiting f", "epoch 2/2", "step 117 ", "cycle by "]
        assert lines[2].endswith("…")
        assert lines[4].endswith("…")

    drive(app, script, (60, 24))


def test_without_colour_everything_is_still_said(three, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    app = MonitorApp(tmp_path / "runs")
    assert app.no_color

    async def script(pilot):
        text = shown(pilot.app)
        assert "✗ failed" in text
        assert "✓ finished" in text
        await press(pilot, "3")
        for strip in pilot.app.screen._compositor.render_strips():
            for segment in strip.apply_filter(pilot.app._filters[-1], pilot.app.background_colors[1]):
                for colour in (segment.style.color, segment.style.bgcolor) if segment.style else ():
                    if colour is not None and colour.triplet is not None:
                        assert len(set(colour.triplet)) == 1  # grey

    drive(app, script)


def test_light_themes(three, tmp_path):
    app = MonitorApp(tmp_path / "runs")

    async def script(pilot):
        for theme in ("textual-light", "ansi-light" if "ansi-light" in pilot.app.available_themes else "textual-ansi"):
            pilot.app.theme = theme
            await press(pilot, "2")
            assert "loss" in shown(pilot.app)

    drive(app, script)
