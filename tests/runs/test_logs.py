"""`cprspec logs`: events as CSV and for TensorBoard, and what is said when that cannot be."""

from __future__ import annotations

import csv
import io
import struct
import subprocess
import sys

import pytest
from sample_runs import epoch_event, step_event

from cprspec.cli import main
from cprspec.runs import events
from cprspec.runs.event_table import write_events
from cprspec.runs.events import EVENTS, EventLog
from cprspec.runs.tail import read_events
from cprspec.runs.tensorboard_log import FILE, scalars, write_log


def table(found, kinds=EVENTS):
    stream = io.StringIO()
    lines = write_events(found, kinds, stream)
    rows = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert len(rows) == lines
    return rows


@pytest.fixture
def logs(tmp_path, monkeypatch, capsys):
    """`cprspec logs` above the runs that `make_run` makes: code, stdout, stderr."""

    def call(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["cprspec", "logs", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code, *capsys.readouterr()

    return call


def test_every_event_is_a_line_with_its_values(make_run):
    found, _ = read_events(make_run("x").events)
    rows = table(found)
    assert [row["kind"] for row in rows] == [event.kind for event in found]
    (first, *_) = rows
    assert (first["phases"], first["world_size"], first["loss"]) == ("rgb cycle", "1", "")
    step = next(row for row in rows if row["kind"] == "step")
    assert (float(step["lr"]), step["warm_up"], step["miner"]) == (1e-3, "false", "")
    assert float(step["time"]) == next(e for e in found if isinstance(e, events.Step)).time
    assert step["utc"].startswith("20")


def test_kinds_choose_lines_and_columns(make_run):
    found, _ = read_events(make_run("x").events)
    rows = table(found, [events.Epoch])
    assert len(rows) == 4
    assert set(rows[0]) == {"kind", "utc", *(f.name for f in events.Epoch.__attrs_attrs__)}


def test_text_is_one_cell_and_no_formula():
    evil = ["=1+1", "a\nb,c", '"', "\x1b[2J", "@x", "-1"]
    rows = table([events.Warned(message=text) for text in evil], [events.Warned])
    assert [row["message"] for row in rows] == ["'=1+1", "a\\nb,c", '"', "\\x1b[2J", "'@x", "'-1"]
    assert table([events.Warned(message="x", time=1e300)])[0]["utc"] == ""


def read_log(path):
    """Tag, step, wall time and value of each scalar in a file, by TensorBoard's own messages."""
    from tensorboard.compat.proto.event_pb2 import Event

    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]
        found += [(v.tag, event.step, event.wall_time, v.simple_value) for v in event.summary.value]
    return found


def test_tensorboard_has_every_known_number_of_steps_and_epochs(make_run, tmp_path):
    pytest.importorskip("tensorboard")
    found, _ = read_events(make_run("x", loss=0.5).events)
    path, points = write_log(found, EVENTS, tmp_path / "tb")
    read = read_log(path)
    assert (path.name, len(read)) == (FILE, points)
    expected = [
        (tag, event.step, event.time, pytest.approx(value))
        for event in found
        if isinstance(event, events.Step | events.Epoch)
        for tag, value in scalars(event)
    ]
    assert read == expected
    tags = {tag for tag, *_ in read}
    assert {"rgb/step/loss", "cycle/step/clips_per_s", "cycle/epoch/loss"} <= tags
    assert "cycle/epoch/precision" not in tags  # it is not known
    assert not {tag for tag in tags if tag.endswith(("/epoch", "/warm_up", "/time"))}


def test_tensorboard_reads_the_file_itself(make_run, tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    path, _ = write_log(read_events(make_run("x").events)[0], EVENTS, tmp_path)
    read = list(loader.LegacyEventFileLoader(str(path)).Load())
    assert read[0].file_version == "brain.Event:2"
    assert len(read) == 1 + 2 * (8 + 2)


def test_the_same_log_is_the_same_file(make_run, tmp_path):
    pytest.importorskip("tensorboard")
    found, _ = read_events(make_run("x").events)
    one, _ = write_log(found, EVENTS, tmp_path / "a")
    two, _ = write_log(found, EVENTS, tmp_path / "b")
    assert one.read_bytes() == two.read_bytes()


def test_what_a_later_attempt_made_again_is_left_out(make_run, logs):
    run = make_run("x")
    with EventLog(run.events) as log:
        log.write(events.Resumed(attempt=1, phase="cycle", from_step=6))
        for step in (6, 7):
            log.write(step_event("cycle", step, loss=9.0))
        log.write(epoch_event("cycle", 1, loss=9.0))
    code, text, said = logs("x", "--to", "csv", "--kind", "step")
    assert (code, said) == (0, "")
    rows = [row for row in csv.DictReader(io.StringIO(text)) if row["phase"] == "cycle"]
    assert [(row["step"], row["loss"]) for row in rows[-3:]] == [("5", "1.5"), ("6", "9.0"), ("7", "9.0")]
    assert len(rows) == 8


def test_files_lie_where_they_were_asked_for(make_run, tmp_path, logs):
    pytest.importorskip("tensorboard")
    run = make_run("x")
    before = {p: p.stat().st_mtime_ns for p in run.path.rglob("*")}
    assert logs("x", "--to", "csv", "-o", "out/x.csv") == (0, "out/x.csv\n", "26 events\n")
    assert (tmp_path / "out/x.csv").read_text().startswith("kind,utc,time,t_s,")
    code, text, said = logs("x", "--to", "tensorboard")
    assert (code, text) == (0, f"tensorboard/x/{run.run_id}/{FILE}\n")
    assert said.endswith(f"look at them with tensorboard --logdir tensorboard/x/{run.run_id}\n")
    assert {p: p.stat().st_mtime_ns for p in run.path.rglob("*")} == before


def test_damaged_lines_are_told_and_the_rest_is_written(make_run, logs):
    run = make_run("x")
    run.events.write_bytes(run.events.read_bytes() + b"\xff\n")
    code, text, said = logs("x", "--to", "csv")
    assert code == 0
    assert len(text.splitlines()) == 27
    assert "1 damaged lines: line 28 (not UTF-8)" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x", "--to", "csv", "--kind", "stpe"], "no event is of kind 'stpe'; did you mean 'step'?"),
        (["x", "--to", "tensorboard", "--kind", "warning"], "TensorBoard shows numbers over steps; choose the kinds"),
        (["y", "--to", "csv"], "no run 'y' in runs"),
    ],
)
def test_wrong_input_is_one_line(make_run, logs, arguments, message):
    make_run("x")
    code, text, said = logs(*arguments)
    assert (code, text) == (2, "")
    assert said.startswith(message)
    assert said.count("\n") == 1


def test_a_run_without_a_log_or_a_step(make_run, logs):
    pytest.importorskip("tensorboard")
    run = make_run("x")
    run.events.unlink()
    code, _, said = logs("x", "--to", "csv")
    assert code == 1
    assert "events.jsonl: cannot be read" in said
    EventLog(run.events).close()
    assert logs("x", "--to", "tensorboard")[2].startswith("the run has logged no step yet; wait for one")


def test_without_the_extra_it_is_named_and_torch_stays_out(make_run, tmp_path):
    run = make_run("x")
    code = (
        "import sys\nfrom pathlib import Path\nfrom cprspec.errors import CprspecError\n"
        "from cprspec.runs.events import EVENTS\nfrom cprspec.runs.tail import read_events\n"
        "from cprspec.runs.tensorboard_log import write_log\n"
        "found = read_events(Path(sys.argv[1]))[0]\nwrite_log(found, EVENTS, Path(sys.argv[2]))\n"
        "print(sorted({'torch', 'tensorflow'} & set(sys.modules)))\n"
        "for name in [n for n in sys.modules if n.split('.')[0] == 'tensorboard']:\n    sys.modules[name] = None\n"
        "try:\n    write_log(found, EVENTS, Path(sys.argv[2]))\nexcept CprspecError as error:\n    print(error)\n"
    )
    pytest.importorskip("tensorboard")
    done = subprocess.run(
        [sys.executable, "-c", code, run.events, tmp_path], capture_output=True, text=True, timeout=60, check=False
    )
    expected = "a TensorBoard log needs tensorboard; install it with pip install 'cprspec[tensorboard]'"
    assert done.stdout.splitlines() == ["[]", expected], done.stderr
