"""What a person sees of a run: plain lines away from a terminal, a live display on one, and no text obeyed."""

from __future__ import annotations

import io

import pytest
from attrs import evolve

from cprspec.runs import events
from cprspec.training.progress import Progress

PHASE = events.PhaseStarted(
    phase="rgb", position=1, of=3, views=("rgb",), miner="cascade", epochs=2, steps_per_epoch=50, reused_from=None
)
STEP = events.Step(
    phase="rgb", epoch=0, step=0, loss=2.5, lr=1e-3, own_key_accuracy=0.5, spread=1.0, step_s=0.1, wait_s=0.0,
    clips_per_s=160.0, warm_up=False,
)  # fmt: skip
EPOCH = events.Epoch(
    phase="rgb", epoch=0, step=50, loss=2.0, own_key_accuracy=0.25, precision=0.48, cmr_source_median=0.875,
    cmr_video_median=0.5, clips_per_s=161.0, seconds_s=65.0, rss_gib=1.0,
)  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _an_ordinary_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


def shown(*some, stream=None):
    stream = stream or io.StringIO()
    with Progress(stream) as progress:
        for event in some:
            progress.show(event)
    return stream.getvalue()


def test_plain_lines_every_few_seconds_and_one_for_each_epoch():
    steps = [evolve(STEP, step=i, t_s=i * 0.5) for i in range(50)]
    lines = shown(PHASE, *steps, EPOCH).splitlines()
    assert lines[0] == "phase 2 of 3, rgb: rgb, mined by cascade, 2 epochs of 50 steps"
    assert lines[-1] == (
        "phase 2 of 3, rgb: epoch 0 done in 1 min 05 s, loss 2.000, own key 25.0 %, "
        "mining precision 48.0 %, median CMR 87.5 %, 161 clips/s"
    )
    assert [line.split(", ")[2] for line in lines[1:-1]] == ["step 10", "step 20", "step 30", "step 40"]
    assert lines[1].endswith("loss 2.500, 160 clips/s, 44 s left")


def test_every_other_event_is_one_line():
    some = [
        events.RunStarted(name="n", seed=3, phases=("a",), world_size=2, version="0"),
        events.Resumed(attempt=1, phase="a", from_step=3),
        evolve(PHASE, reused_from="x/y"),
        events.PhaseFinished(phase="a", seconds_s=61, weights_sha256=""),
        events.EvaluationStarted(name="nn"),
        events.Evaluated(name="nn", records=6, seconds_s=2.0),
        events.Evaluated(name="nn", records=6, seconds_s=2.0, reused_from="x/y"),
        events.Evaluated(name="features", records=0, seconds_s=2.0),
        events.Warned(message="careful"),
        events.RunFinished(seconds_s=3700),
        events.RunFailed(message="no"),
        events.Stopped(signal="SIGINT", step=9),
        events.Stopped(signal="SIGINT", step=None),
    ]
    lines = shown(*some).splitlines()
    assert len(lines) == len(some)
    assert "taken from x/y" in lines[2]
    assert lines[4].endswith("evaluation nn begins")
    assert lines[5:8] == [
        "evaluated nn: 6 records in 2 s",
        "evaluation nn: taken from x/y, where it was made already",
        "evaluated features in 2 s",
    ]
    assert "1 h 01 min" in lines[9]
    assert [line[line.index("stopped") :] for line in lines[-2:]] == [
        "stopped by SIGINT after step 9; everything is saved",
        "stopped by SIGINT; everything is saved",
    ]


def test_an_evaluation_that_trains_tells_how_far_it_is():
    news = events.Evaluating(name="act", encoder="rgb", dataset="clips", epoch=0, of=40, loss=2.5)
    some = [evolve(news, epoch=i, t_s=i * 1.0) for i in range(40)]
    over = events.Evaluated(name="act", records=2, seconds_s=40.0)
    lines = shown(*some, over).splitlines()
    assert lines[0] == "evaluation act, rgb on clips: epoch 0 of 40, loss 2.500"
    assert lines[1].startswith("evaluation act, rgb on clips: epoch 5 of 40")
    assert lines[-2:] == [
        "evaluation act, rgb on clips: epoch 39 of 40, loss 2.500",
        "evaluated act: 2 records in 40 s",
    ]
    stream = Terminal()
    with Progress(stream) as progress:  # the display is what it leaves when it is drawn last
        progress.show(PHASE)
        progress.show(some[7])
        progress._live.refresh()
        assert "evaluation act, rgb on clips: epoch 7 of 40" in stream.getvalue()
        progress.show(events.EvaluationStarted(name="nn"))
        progress.show(events.Warned(message="careful"))
        progress._live.refresh()
    assert stream.getvalue().rpartition("warning: careful")[2].count("evaluation nn")


def test_a_terminal_gets_the_live_display():
    stream = Terminal()
    with Progress(stream) as progress:
        progress.show(PHASE)
        progress.show(STEP)
        progress.show(evolve(STEP, step=10, t_s=1.0))
        progress.show(EPOCH)
        progress._live.refresh()
    text = stream.getvalue()
    assert "epoch 0 of 2, loss 2.500, 160 clips/s, mining precision 48.0 %" in text
    assert "9 s left" in text


@pytest.mark.parametrize("terminal", [False, True])
def test_hostile_text_is_shown_and_not_obeyed(terminal):
    evil = "[red]x[/] [/] \x1b]0;title\x07 \x9b31m \x00 \u202e"
    some = [
        events.Warned(message=evil),
        events.RunFailed(message=evil * 100),
        evolve(PHASE, phase=evil, views=(evil,), miner=evil),
        evolve(STEP, phase=evil, t_s=9.0),
        evolve(EPOCH, phase=evil),
    ]
    text = shown(*some, stream=Terminal() if terminal else None)
    assert "[red]x[/]" in text
    assert "\\x1b]0;title" in text
    for bad in ("\x1b]0", "\x07", "\x9b", "\x00", "\u202e"):
        assert bad not in text
    if not terminal:
        assert "\x1b" not in text


def test_a_dumb_terminal_gets_plain_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    text = shown(PHASE, evolve(STEP, t_s=9.0), EPOCH, stream=Terminal())
    assert "\x1b[" not in text
    assert "epoch 0 done" in text


def test_a_loss_that_is_not_known_is_a_dash():
    assert "loss -," in shown(PHASE, evolve(STEP, loss=None, t_s=9.0))
