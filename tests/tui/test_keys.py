"""What keys do, pane by pane: keystrokes in, characters on the screen out."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import typer
from driving import drive, press, rewrite, settled, shown
from sample_runs import epoch_event, step_event
from textual.widgets import Input

from cprspec import cli_monitor
from cprspec.runs import events
from cprspec.tui.app import MonitorApp
from cprspec.tui.screens.examples import ExamplesScreen
from cprspec.tui.widgets import runs_table
from cprspec.tui.widgets.plot import MetricPlot
from cprspec.tui.widgets.runs_table import RunsTable


@pytest.fixture
def app(three, tmp_path):
    return MonitorApp(tmp_path / "runs")


def test_the_list_is_filtered_sorted_and_marked(app):
    async def script(pilot):
        names = lambda: [run.experiment_name for run in pilot.app.screen.query_one(RunsTable)._shown]  # noqa: E731
        assert names() == ["toy-coclr", "toy-cpr", "toy-infonce"]
        await press(pilot, "r")
        assert names() == ["toy-infonce", "toy-cpr", "toy-coclr"]
        await press(pilot, "S")  # the last column that can be sorted by is why
        await press(pilot, "S")  # R@1, the best first
        assert names() == ["toy-cpr", "toy-coclr", "toy-infonce"]
        assert "R@1 ▼" in shown(pilot.app)
        await press(pilot, "slash", *"failed", "enter")
        assert names() == ["toy-coclr"]
        assert "1 of 3 runs" in shown(pilot.app)
        await press(pilot, "escape")
        assert len(names()) == 3
        assert pilot.app.screen.query_one(Input).value == ""
        await press(pilot, "g", "m", "m", "G", "space")
        assert [run.experiment_name for run in pilot.app.marked] == ["toy-cpr", "toy-coclr", "toy-infonce"]
        assert shown(pilot.app).count("\n*") == 4  # the head of the column, and three runs
        await press(pilot, "M")
        assert not pilot.app.marked

    drive(app, script)


def test_curves_follow_the_axis_the_window_and_the_phase(app):
    async def script(pilot):
        await press(pilot, "down", "enter")
        assert "cycle by step" in shown(pilot.app)
        await press(pilot, "x")
        assert "cycle by epoch" in shown(pilot.app)
        await press(pilot, "x", "l", "s")
        assert "cycle by time (minutes)" in shown(pilot.app)
        assert "loss (smoothed 0.6, log)" in shown(pilot.app)
        await press(pilot, "x", "plus")
        assert "cycle by step, 1.75 to 5.25" in shown(pilot.app)
        await press(pilot, "right", "right", "right", "right", "right")
        assert "cycle by step, 3.5 to 7" in shown(pilot.app)
        await press(pilot, "minus")
        assert "cycle by step\n" in shown(pilot.app)
        await press(pilot, "left_square_bracket")
        assert "rgb by step" in shown(pilot.app)
        assert "this phase mines nothing" in shown(pilot.app)
        await press(pilot, "f", "n", "z")
        assert [plot.metric.column for plot in pilot.app.screen.query(MetricPlot) if plot.display] == ["precision"]

    drive(app, script)


def test_a_run_that_grows_and_falls_silent(recorded, tmp_path):
    run = recorded("toy", state="running")
    app = MonitorApp(tmp_path / "runs", run)

    async def script(pilot):
        rewrite(run.status, heartbeat=time.time())
        with events.EventLog(run.events) as log:
            for step in range(8, 20):
                event = step_event("cycle", step, loss=0.123)
                log.write(type(event)(**{**_fields(event), "spread": 0.01}))
            log.write(epoch_event("cycle", 4))
        pilot.app._read()
        await settled(pilot)
        assert "loss 0.123" in shown(pilot.app)
        assert "embeddings collapse: spread" in shown(pilot.app)
        rewrite(run.status, heartbeat=time.time() - 41)
        pilot.app._read()
        await settled(pilot)
        assert re.search(r"! stale 4\d s", shown(pilot.app))
        assert re.search(r"silent for 4\d s: killed, hung, or cut off \(pid 1 on host h\)", shown(pilot.app))

    drive(app, script)


def _fields(event):
    return {name: getattr(event, name) for name in event.to_json() if name != "kind"}


def test_mining_is_sorted_by_what_is_asked(app):
    async def script(pilot):
        await press(pilot, "G", "m", "g", "down", "3")
        text = shown(pilot.app)
        assert "cycle epoch 1 of 0..1, by source" in text
        assert "vs B" in text
        await press(pilot, "comma")
        assert "cycle epoch 0 of 0..1" in shown(pilot.app)
        await press(pilot, "f", "u", "s", "r")
        assert "by video" in shown(pilot.app)
        assert "CMR % ▼" in shown(pilot.app)
        await press(pilot, "d")
        assert "vs B" not in shown(pilot.app)
        await press(pilot, "down", "enter")
        assert isinstance(pilot.app.screen, ExamplesScreen)
        first = shown(pilot.app)
        assert first.splitlines()[-1].endswith("esc Back  ? Help")
        await press(pilot, "n")
        assert shown(pilot.app) != first
        await press(pilot, "question_mark")
        assert "Picture size" in shown(pilot.app)
        await press(pilot, "escape")
        await press(pilot, "escape")
        assert "by video" in shown(pilot.app)

    drive(app, script)


def test_log_is_searched_and_filtered(app):
    async def script(pilot):
        await press(pilot, "6", "slash", *"finished", "enter")
        assert "events: 3 of 10 lines, every level, with 'finished'" in shown(pilot.app)
        await press(pilot, "v", "v")
        assert "events: 0 of 10 lines, warning and worse" in shown(pilot.app)
        await press(pilot, "v", "v", "escape")
        assert "events: 10 of 10 lines, every level\n" in shown(pilot.app)
        assert "rgb: epoch 1 done in 0 s, loss 1.500" in shown(pilot.app)
        await press(pilot, "escape")
        assert pilot.app.current_mode == "runs"

    drive(app, script)


def test_the_log_is_wrapped_anew_when_the_terminal_narrows(recorded, tmp_path):
    run = recorded("toy")
    with events.EventLog(run.events) as log:
        log.write(events.Warned(message=f"{'word ' * 20}end"))
    app = MonitorApp(tmp_path / "runs", run)

    async def script(pilot):
        await press(pilot, "6")
        for width in (120, 60, 40, 160):
            await pilot.resize_terminal(width, 24)
            pilot.app._read()
            await settled(pilot)
            lines = [line for line in shown(pilot.app).splitlines() if "word" in line]
            assert sum(line.count("word") for line in lines) == 20
            assert len(lines) == {120: 2, 60: 3, 40: 4, 160: 1}[width]

    drive(app, script)


def test_rows_are_made_again_only_where_a_run_changed(app, three, monkeypatch):
    made = []
    cells = runs_table._cells
    monkeypatch.setattr(runs_table, "_cells", lambda glance, *rest: made.append(glance.run) or cells(glance, *rest))

    async def script(pilot):
        made.clear()
        pilot.app._read()
        await settled(pilot)
        assert not made
        rewrite(three[0].status, epoch=7)
        pilot.app._read()
        await settled(pilot)
        assert {run.path for run in made} == {three[0].path}
        made.clear()
        await press(pilot, "m")
        assert {run.path for run in made} == {three[2].path}

    drive(app, script)


def test_the_cursor_is_in_sight_after_sorting(recorded, tmp_path):
    for number in range(1, 30):
        recorded("toy", number)
    app = MonitorApp(tmp_path / "runs")

    async def script(pilot):
        table = pilot.app.screen.query_one(RunsTable)
        await press(pilot, "g", "r")
        assert table.cursor_row == 28
        assert table.scroll_offset.y + table.size.height > 28
        pilot.app._read()  # news leave the view where someone moved it
        table.scroll_to(0, 0, animate=False)
        await settled(pilot)
        assert table.scroll_offset.y == 0

    drive(app, script, (80, 20))


def test_zooming_goes_by_the_axis_that_is_shown(app):
    async def script(pilot):
        await press(pilot, "down", "enter", "z", "x", "plus")
        assert "cycle by epoch, 0.4375 to 1.312" in shown(pilot.app)

    drive(app, script)


def test_stopping_asks_first_and_is_about_the_run_under_the_cursor(recorded, tmp_path):
    recorded("later", 2)
    run = recorded("earlier", 1, state="running")
    rewrite(run.status, heartbeat=time.time())
    app = MonitorApp(tmp_path / "runs")

    async def script(pilot):
        await press(pilot, "down", "X")
        assert "Stop this run after its step?" in shown(pilot.app)
        assert run.label in shown(pilot.app)
        await press(pilot, "n")
        assert not run.stop_requested.exists()
        await press(pilot, "X", "y")
        assert run.stop_requested.exists()
        await press(pilot, "up", "X")
        assert "Stop this run" not in shown(pilot.app)
        asked, refused = [note.message for note in pilot.app._notifications]
        assert asked == f"asked {run.label} to stop after its step"
        assert refused.endswith("is finished; there is nothing to stop")

    drive(app, script)


def test_the_palette_knows_every_command_of_a_pane(app):
    async def script(pilot):
        await press(pilot, "2")
        commands = {command.title: command for command in pilot.app.get_system_commands(pilot.app.screen)}
        assert {"X axis", "Smooth", "Log", "Zoom", "Stop run", "Mining", "Theme", "Quit"} <= set(commands)
        await commands["X axis"].callback()
        await settled(pilot)
        assert "by epoch" in shown(pilot.app)
        await press(pilot, "ctrl+p")
        await press(pilot, *"mining", "enter")
        await settled(pilot)
        assert pilot.app.current_mode == "mining"

    drive(app, script)


def test_looking_writes_nothing(app, tmp_path):
    files = lambda: sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))  # noqa: E731
    before = files()

    async def script(pilot):
        await press(pilot, "2", "3", "4", "5", "6", "q")

    drive(app, script)
    assert files() == before


@pytest.mark.parametrize("named", ["toy-cpr", "runs/toy-cpr", "runs/toy-cpr/20260101-000002-0002"])
def test_a_run_named_in_any_way_is_opened(three, tmp_path, monkeypatch, named):
    opened = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli_monitor, "check_terminal", lambda: None)
    monkeypatch.setattr(MonitorApp, "run", lambda self: opened.append(self))  # noqa: PLW0108  # a method
    with pytest.raises(typer.Exit):
        cli_monitor.tui(named, Path("runs"))

    async def script(pilot):
        return shown(pilot.app)

    text = drive(opened[0], script)
    assert "toy-cpr/20260101-000002-0002" in text
    assert "✓ rgb → ✓ cycle" in text
