"""Run directories: made, found, locked; files replaced in one step."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from attrs import fields

from cprspec.errors import CprspecError
from cprspec.runs.comparison import LossRow, MiningRow, ResultRow
from cprspec.runs.events import EVENTS
from cprspec.runs.files import atomic_write_bytes, atomic_write_json, atomic_write_text
from cprspec.runs.layout import RUN_ID, RunDir, check_name, list_runs
from cprspec.runs.records import Record
from cprspec.training.mining_table import ClassRow, FunnelStage, MinedVideo, MiningTable, RecallSummary

BAD_NAMES = ["", ".", "..", "../../etc", "/abs", "a/b", "-rf", "a\0b", "x" * 101, "a\n", "é", ".hidden", "a b"]


def make(runs, name, stamp):
    path = runs / name / stamp
    path.mkdir(parents=True)
    (path / "status.json").write_text("{}")
    return RunDir(path)


def test_create_names_a_run_by_time_and_hex(tmp_path):
    run = RunDir.create(tmp_path / "runs", "ucf101-cpr")
    assert RUN_ID.fullmatch(run.run_id)
    assert run.path.is_dir()
    assert run.experiment_name == "ucf101-cpr"
    assert RunDir.create(tmp_path / "runs", "ucf101-cpr").path != run.path


@pytest.mark.parametrize("name", BAD_NAMES)
def test_no_name_leads_outside(tmp_path, name):
    run = RunDir(tmp_path)
    for attempt in (lambda: RunDir.create(tmp_path, name), lambda: run.phase(name), lambda: run.evaluation(name)):
        with pytest.raises(CprspecError, match="cannot name a folder"):
            attempt()
    assert list(tmp_path.iterdir()) == []


def test_good_names_pass():
    assert check_name("a", "run") == "a"
    assert check_name("A0._-" + "x" * 95, "run")


def test_find_by_path_prefix_and_name(tmp_path):
    runs = tmp_path / "runs"
    first = make(runs, "cpr", "20260101-000000-aaaa")
    second = make(runs, "cpr", "20260102-000000-bbbb")
    other = make(runs, "coclr", "20260102-000000-cccc")
    assert RunDir.find(str(first.path), runs) == first
    assert RunDir.find("cpr", runs) == second
    assert RunDir.find(str(runs / "cpr"), runs).path == second.path
    assert RunDir.find(str(runs / "cpr"), tmp_path / "elsewhere").path == second.path
    assert RunDir.find("cpr/20260101", runs) == first
    assert RunDir.find("20260102-000000-c", runs) == other
    assert RunDir.find("co", runs) == other
    with pytest.raises(CprspecError, match=r"could be .*cpr/20260102-000000-bbbb"):
        RunDir.find("20260102", runs)
    with pytest.raises(CprspecError, match="did you mean 'coclr'"):
        RunDir.find("coclrr", runs)
    with pytest.raises(CprspecError, match="no run"):
        RunDir.find("\x1b[2J../../x", runs)
    with pytest.raises(CprspecError, match="no run"):
        RunDir.find("", runs)
    assert [run.label for run in list_runs(runs)] == [other.label, first.label, second.label]
    assert list_runs(tmp_path / "none") == []


def test_of_two_runs_in_one_second_the_later_is_the_latest(tmp_path):
    runs = tmp_path / "runs"
    late = make(runs, "x", "20260101-000000-0001")
    early = make(runs, "x", "20260101-000000-ffff")
    os.utime(early.path, (1, 1))
    assert RunDir.find("x", runs) == late


def test_paths_are_those_of_the_documentation():
    run = RunDir(Path("r"))
    expected = {
        "experiment.toml": run.experiment, "resolved.toml": run.resolved, "environment.json": run.environment,
        "status.json": run.status, "events.jsonl": run.events, "ranks/2.json": run.rank(2),
        "phases/p/checkpoints": run.checkpoints("p"), "phases/p/mining/epoch-0007.json": run.mining_table("p", 7),
        "phases/p/mining/replay.safetensors": run.replay("p"), "evaluations/nn.json": run.evaluation("nn"),
        "logs/rank0.log": run.log(0), "stop-requested": run.stop_requested,
    }  # fmt: skip
    assert {str(path.relative_to("r")): path for path in expected.values()} == expected


def test_the_documentation_names_every_field():
    text = (Path(__file__).parents[2] / "docs" / "run-directory.md").read_text()
    for event in EVENTS:
        row = next(line for line in text.splitlines() if line.startswith(f"| `{event.kind}` |"))
        for name in {f.name for f in fields(event)} - {"time", "t_s"}:
            assert f"`{name}`" in row, (event.kind, name)
    for rows in (MiningTable, ClassRow, FunnelStage, RecallSummary, MinedVideo, Record, MiningRow, ResultRow, LossRow):
        for f in fields(rows):
            assert f"`{f.name.replace('cmr_source', 'cmr.source')}`" in text or f"`{f.name}`" in text, (rows, f.name)


def test_replacing_a_file_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "s.json"
    atomic_write_json(path, {"a": [1.0, float("nan")], "b": "\ud800"})
    assert json.loads(path.read_text()) == {"a": [1.0, None], "b": "\ud800"}
    monkeypatch.setattr(
        "pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(CprspecError, match=r"s\.json: cannot write 3 bytes: No space left.*bytes are free") as caught:
        atomic_write_bytes(path, b"new")
    assert caught.value.exit_code == 1
    assert json.loads(path.read_text())["a"][0] == 1.0
    assert [p.name for p in path.parent.iterdir()] == ["s.json"]


def test_order_is_write_sync_rename_sync_folder(tmp_path, monkeypatch):
    calls = []
    real_sync, real_replace = os.fsync, Path.replace
    monkeypatch.setattr(
        os, "fsync", lambda fd: (calls.append(str(Path(f"/proc/self/fd/{fd}").readlink())), real_sync(fd))[1]
    )
    monkeypatch.setattr(Path, "replace", lambda self, to: (calls.append("rename"), real_replace(self, to))[1])
    atomic_write_text(tmp_path / "x.txt", "text")
    assert calls[0].endswith(".tmp")
    assert calls[1:] == ["rename", str(tmp_path)]
    calls.clear()
    atomic_write_text(tmp_path / "x.txt", "text", durable=False)
    assert calls == ["rename"]


def test_a_folder_that_went_away_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CprspecError, match="cannot write"):
        atomic_write_text(tmp_path / "file" / "x", "text")


FORK = multiprocessing.get_context("fork")


def race(path, barrier, release, answers):
    barrier.wait()
    try:
        with RunDir(path).lock():
            answers.put(("writer", os.getpid()))
            release.wait(20)
    except CprspecError as error:
        answers.put(("refused", str(error)))


def test_two_processes_race_for_one_directory(tmp_path):
    run = make(tmp_path, "x", "20260101-000000-aaaa")
    for _ in range(5):
        barrier, release, answers = FORK.Barrier(2), FORK.Event(), FORK.Queue()
        processes = [FORK.Process(target=race, args=(run.path, barrier, release, answers)) for _ in range(2)]
        for process in processes:
            process.start()
        found = dict(answers.get(timeout=20) for _ in range(2))
        release.set()
        for process in processes:
            process.join(20)
        assert set(found) == {"writer", "refused"}
        assert f"run x/20260101-000000-aaaa is being written by pid {found['writer']} on host" in found["refused"]
        assert "since 20" in found["refused"]
    with run.lock():
        pass


def hold(path, answers):
    with RunDir(path).lock():
        child = FORK.Process(target=time.sleep, args=(30,))
        child.start()
        answers.put(child.pid)
        time.sleep(30)


def test_a_killed_writer_leaves_no_lock_even_if_its_child_lives(tmp_path):
    run = make(tmp_path, "x", "20260101-000000-aaaa")
    answers = FORK.Queue()
    process = FORK.Process(target=hold, args=(run.path, answers))
    process.start()
    child = answers.get(timeout=20)
    try:
        with pytest.raises(CprspecError), run.lock():
            pass
        os.kill(process.pid, signal.SIGKILL)
        os.waitpid(process.pid, 0)
        deadline = time.monotonic() + 10
        while True:
            try:
                with run.lock():
                    break
            except CprspecError:
                assert time.monotonic() < deadline
    finally:
        os.kill(child, signal.SIGKILL)


def test_the_same_process_cannot_lock_twice_and_can_lock_again(tmp_path):
    run = make(tmp_path, "x", "20260101-000000-aaaa")
    with run.lock(), pytest.raises(CprspecError, match=f"pid {os.getpid()}"), run.lock():
        pass
    with run.lock():
        pass
