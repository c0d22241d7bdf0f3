"""How a run is launched: what it was asked for stays, how it ended is told truly, and the command that goes on is whole."""

from __future__ import annotations

import json
import os
import shlex
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from attrs import evolve
from gloo import on_ranks
from small_run import SPEC, events, losses, the_run

from cprspec.errors import CprspecError, Problem
from cprspec.learning.ranks import Ranks
from cprspec.runs.layout import RunDir
from cprspec.training import elastic, going_on, launch, recipe
from cprspec.training.going_on import resume_command
from cprspec.training.nodes import Nodes
from cprspec.training.recipe import Recipe
from cprspec.training.request import Request, begin_run, read_requests

EVERY_STEP = ("--set", "launch.checkpoint_minutes=0.00001")


def logged(runs):
    return sum(log.read_text().count('{"kind": "step"') for log in runs.glob("*/*/events.jsonl"))


def wait_for_steps(process, runs, count):
    deadline = time.monotonic() + 120
    while logged(runs) < count:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)


@pytest.fixture
def written(tmp_path):
    """The small experiment's file, for requests in this process."""
    file = tmp_path / "own.toml"
    file.write_text(SPEC)
    return file


def test_a_restart_does_not_read_the_file_again(cprspec, spec, tmp_path, reference):
    runs = tmp_path / "runs"
    fault = "0:5:kill:step:cycle"
    process = cprspec("run", spec, "--runs", "runs", "--restarts", 1, *EVERY_STEP, wait=False, CPRSPEC_FAULT=fault)
    wait_for_steps(process, runs, 1)
    spec.write_text(SPEC.replace("temperature = 0.1", "temperature = 0.2"))
    _, talk = process.communicate(timeout=120)
    assert process.returncode == 0 and "starting again" in talk, talk
    run = the_run(runs)
    assert (run / "experiment.toml").read_text() == SPEC and "temperature = 0.1" in (run / "resolved.toml").read_text()
    assert losses(run) == losses(reference)


def test_later_files_are_read_at_the_beginning(written, tmp_path):
    (request,) = read_requests([str(written)], Request(spec=Path(), runs=tmp_path / "runs", overrides=("seed=7",)))
    written.write_text("no experiment any more")
    resolved = request.resolve()
    assert resolved.seed == 7
    begun = begin_run(request, resolved)
    run = RunDir(begun.run_dir)
    assert run.experiment.read_text() == SPEC
    assert (begun.spec, begun.overrides, begun.member, begun.known) == (run.resolved, (), None, None)
    assert begun.resolve().seed == 7


def test_each_run_of_a_sweep_is_kept(written, tmp_path):
    written.write_text(SPEC + "\n[sweep]\nseed = [1, 2]\n")
    requests = read_requests([str(written)], Request(spec=Path(), runs=tmp_path / "runs"))
    written.unlink()
    assert [begin_run(request, request.resolve()).resolve().seed for request in requests] == [1, 2]


def test_a_run_that_cannot_be_written_leaves_nothing(written, tmp_path, monkeypatch):
    (request,) = read_requests([str(written)], Request(spec=Path(), runs=tmp_path / "runs"))
    monkeypatch.setattr("cprspec.training.request.to_toml", lambda _: (_ for _ in ()).throw(CprspecError("full")))
    with pytest.raises(CprspecError, match="full"):
        begin_run(request, request.resolve())
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_rank_that_hangs_is_named_though_the_run_was_asked_to_stop(cprspec, spec, tmp_path):
    options = ("--nproc", 2, "--set", "launch.timeout_s=15")
    process = cprspec("run", spec, "--runs", "runs", *options, wait=False, CPRSPEC_FAULT="1:6:hang:step:rgb")
    wait_for_steps(process, tmp_path / "runs", 6)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    _, talk = process.communicate(timeout=60)
    run = the_run(tmp_path / "runs")
    assert process.returncode == 1, talk
    assert "rank 1 has not finished step 6" in talk and f"go on with: cprspec run {run.relative_to(tmp_path)}" in talk
    assert json.loads((run / "status.json").read_text())["state"] == "failed"


@pytest.mark.parametrize("send", [lambda p: p.send_signal(signal.SIGTERM), lambda p: os.killpg(p.pid, signal.SIGINT)])
def test_a_stop_before_the_first_step_is_a_stop(cprspec, spec, tmp_path, send):
    process = cprspec("run", spec, "--runs", "runs", "--nproc", 2, wait=False)
    while not list((tmp_path / "runs").glob("*/*/resolved.toml")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    time.sleep(0.5)
    send(process)
    _, talk = process.communicate(timeout=30)
    assert process.returncode in (130, 143) and "stopped; go on with: cprspec run" in talk, talk


@pytest.mark.parametrize("fault", ["0:3:nan:loss:rgb", ""])
def test_what_must_recur_is_not_tried_again(cprspec, spec, tmp_path, fault):
    """A loss that is not finite, and a run that begins again with other ranks than it may."""
    process = cprspec(
        "run", spec, "--runs", "runs", *EVERY_STEP, wait=False, CPRSPEC_FAULT=fault or "0:5:term:step:rgb"
    )
    process.communicate(timeout=60)
    run = the_run(tmp_path / "runs")
    ranks = () if fault else ("--nproc", 2)
    done = cprspec("run", run, *ranks, "--restarts", 1, check=False, CPRSPEC_FAULT=fault)
    assert done.returncode == (1 if fault else 2)
    assert "starting again" not in done.stderr
    assert json.loads((run / "status.json").read_text())["state"] == "failed"


def test_a_full_disk_does_not_replace_what_happened(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise CprspecError(Problem("no room", hint="make some"), 1)

    monkeypatch.setattr(elastic, "note_end", full)
    elastic._close_books(RunDir(tmp_path), "failed", "rank 1 was killed")
    assert capsys.readouterr().err == "warning: no room; make some\n"


@pytest.mark.parametrize(("codes", "worst"), [((75, 1), 1), ((1, 75), 1), ((75,), 75), ((1, 2, 75), 2), ((), 0)])
def test_a_lost_machine_is_not_the_worst(monkeypatch, codes, worst):
    ends = iter(codes)

    def end(*_):
        raise CprspecError("x", next(ends))

    monkeypatch.setattr(launch, "launch", end)
    requests = [Request(spec=Path("x.toml"), runs=Path("runs")) for _ in codes]
    assert launch.launch_all(requests, Nodes()) == (worst, [])


def test_the_command_that_goes_on_can_be_pasted(written, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    odd = tmp_path / "plug $in.py"
    request = Request(spec=written, runs=tmp_path / "my runs", plugins=(odd,), registries=(Path("a b"),))
    new = evolve(request, overrides=("launch.device=cpu",), roots=(f"motion={tmp_path}",), fallback=True)
    begun = begin_run(new, evolve(request, plugins=(), registries=()).resolve())
    words = shlex.split(resume_command(begun, Nodes(nproc=2, restarts=1)))
    assert words == [
        "cprspec", "run", str(begun.run_dir), "--nproc", "2", "--restarts", "1", "--registry", "a b", "--plugin", str(odd),
    ], "the rest stands in the run"  # fmt: skip


def test_the_command_has_what_was_said_beside_the_run(tmp_path, monkeypatch):
    run = tmp_path / "runs/small/20261123-024011-9f3c"
    (run / "phases/rgb/checkpoints/step-000001").mkdir(parents=True)
    (run / "phases/rgb/checkpoints/step-000001/meta.json").write_text('{"world_size": 2}')
    request = Request(
        spec=run / "resolved.toml", runs=tmp_path / "runs", run_dir=run, overrides=("launch.device=cpu",),
        roots=("motion=/a b",), allow_world_size_change=True, fallback=True,
    )  # fmt: skip
    monkeypatch.setattr(going_on.checkpoint, "newest", lambda _: (None, [Problem("damaged")]))
    words = shlex.split(resume_command(request, Nodes()))
    beside = ["--set", "launch.device=cpu", "--root=motion=/a b"]
    assert words == ["cprspec", "run", str(run), *beside, "--fallback", "--allow-world-size-change"]
    monkeypatch.setattr(going_on.checkpoint, "newest", lambda _: (None, []))
    assert shlex.split(resume_command(request, Nodes(nproc=2)))[3:] == ["--nproc", "2", *beside]


def test_a_root_that_the_configuration_would_hide_is_said_again(written, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "cprspec").mkdir()
    (tmp_path / "cprspec/config.toml").write_text('[roots]\nmotion = "elsewhere"\n')
    request = Request(spec=written, runs=tmp_path / "runs", roots=(f"motion={tmp_path}",))
    assert begin_run(request, request.resolve()).words() == [f"--root=motion={tmp_path}"]


def _own(rank, world=2):
    return Ranks(rank=rank, world=world, local=rank, local_world=world, device=torch.device("cpu"))


def _finished(rank, folder):
    """What each rank takes for a finished phase that only the machine of rank 0 shows."""
    facts = {"checkpoint": "step-000008", "fingerprint": "f"}
    recipe.finished_phase = lambda folder, _: recipe.Finished(folder, facts) if rank == 0 else None
    own = SimpleNamespace(ranks=_own(rank), fingerprints={"rgb": "f"}, fresh=True)
    found, _before = Recipe._finished(own, Path(folder), "rgb")
    return found is not None and found.checkpoint.name == "step-000008"


def test_ranks_agree_on_what_is_finished(tmp_path):
    assert on_ranks(2, _finished, str(tmp_path)) == [True, True]


def _agree(rank, same):
    _own(rank).check_same("step 8")
    try:
        _own(rank).check_same("step 8" if same else f"step {rank}")
    except CprspecError as error:
        return str(error)
    return ""


def test_ranks_that_would_go_on_from_different_steps_are_refused():
    assert on_ranks(2, _agree, True) == ["", ""]
    for said in on_ranks(2, _agree, False):
        assert "ranks would not go on from the same place: rank 0 at step 0, rank 1 at step 1" in said


def test_a_rank_waits_until_it_sees_what_the_first_made(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "SEEN_BY_ALL_S", 0.4)
    own, began = SimpleNamespace(ranks=_own(1)), time.monotonic()
    assert Recipe._see(own, tmp_path) == tmp_path and time.monotonic() - began < 0.2
    Recipe._see(own, tmp_path / "absent")
    assert 0.3 < time.monotonic() - began < 5


def _leave_by_error(rank, folder):
    """Whether a rank leaves at once while the other one is busy; and that it had joined."""
    import torch.distributed as dist

    from cprspec.learning.ranks import joined_ranks

    dist.destroy_process_group()
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1",
        MASTER_PORT=(Path(folder) / "port").read_text(),
    )  # fmt: skip
    left = []
    dist_destroy = dist.destroy_process_group
    dist.destroy_process_group = lambda *a: left.append(1)
    try:
        with joined_ranks("cpu", 20.0) as ranks:
            ranks.gather(rank)
            raise ValueError("of this rank")
    except ValueError:
        bad = len(left)
    dist.destroy_process_group = dist_destroy
    return bad


def test_the_group_is_left_only_at_a_good_end(tmp_path):
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        (tmp_path / "port").write_text(str(probe.getsockname()[1]))
    assert on_ranks(2, _leave_by_error, str(tmp_path)) == [0, 0]


def test_events_name_a_reused_phase_on_two_ranks(cprspec, spec, tmp_path):
    cprspec("run", spec, "--runs", "runs", "--nproc", 2)
    first = the_run(tmp_path / "runs")
    cprspec("run", spec, "--runs", "runs", "--nproc", 2)
    (again,) = [path for path in first.parent.iterdir() if path != first]
    assert all(e["reused_from"] for e in events(again, "phase-started"))
    assert losses(again) == {}
