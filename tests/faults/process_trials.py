"""One trial of each fault that processes suffer: rows P1 to P14. A trial takes a lab and a seed, and fails by assertion.

Where the row has a time limit, the trial gives the seconds that it is about.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import time
from pathlib import Path

from victims import (
    EVERY_STEP,
    PHASES,
    Lab,
    assert_same,
    data_workers,
    living,
    only_run,
    rank_pids,
    steps,
    survivors,
    voided_steps,
    wait_for_steps,
)

from cprspec.training import checkpoint

TWO = ("--nproc", 2)


def _runs(lab: Lab, row: str, seed: int) -> Path:
    return lab.folder / f"{row}-{seed}-{time.monotonic_ns()}"


def _moment(rng: random.Random, places: tuple[str, ...] = ("step", "wait", "loss", "save")) -> str:
    phase = rng.choice(list(PHASES))
    place = rng.choice(places)
    first = 1 if place == "save" else 0
    return f"{rng.randrange(first, PHASES[phase])}:{{}}:{place}:{phase}"


def kill_alone(lab: Lab, seed: int, places: tuple[str, ...] = ("step", "wait", "loss", "save")) -> None:
    """P2: the whole run is killed at a random place of a random step, or at a random moment; going on gives the same bits."""
    rng = random.Random(seed)
    reference, runs = lab.reference(), _runs(lab, "P2", seed)
    if len(places) > 1 and rng.random() < 0.3:
        victim = lab.start("run", "small.toml", "--runs", runs, *EVERY_STEP)
        run = wait_for_steps(runs, rng.randrange(1, 25), victim)
        time.sleep(rng.random() * 0.2)  # less than what is left takes
        os.killpg(victim.process.pid, signal.SIGKILL)
        victim.process.join()
    else:
        fault = f"0:{_moment(rng, places).format('kill')}"
        ended = lab.call("run", "small.toml", "--runs", runs, *EVERY_STEP, fault=fault)
        assert ended.code == -signal.SIGKILL, (fault, ended.talk)
        run = only_run(runs)
    done = lab.call("run", run)
    assert done.code == 0, done.talk
    assert_same(run, reference)
    assert not list(run.rglob(".step-*")), "what was half written is still there"
    # Each step was saved; the writer may be at the one before while the next is made.
    assert voided_steps(run) <= 2


def kill_in_save(lab: Lab, seed: int) -> None:
    """P2: killed in the middle of writing a checkpoint."""
    kill_alone(lab, seed, ("save",))


def kill_rank(lab: Lab, seed: int) -> float:
    """P1: one of two ranks is killed; the other one leaves, the right one is named, and going on gives the same bits.

    Seconds from the last step that was made to the end of all.
    """
    rng = random.Random(seed)
    reference, runs, rank = lab.reference(*TWO), _runs(lab, "P1", seed), rng.randrange(2)
    fault = f"{rank}:{_moment(rng, ('step', 'wait', 'loss')).format('kill')}"
    victim = lab.start("run", "small.toml", "--runs", runs, *TWO, *EVERY_STEP, fault=fault)
    ended = victim.wait()
    run = only_run(runs)
    took = seconds_since_last_step(run)
    assert ended.code == 1, ended.talk
    assert f"rank {rank} was killed by SIGKILL" in ended.last, (fault, ended.last)
    assert f"cprspec run {run}" in ended.last
    assert survivors(ended.pid) == []
    done = lab.call("run", run, *TWO)
    assert done.code == 0, done.talk
    assert_same(run, reference)
    assert voided_steps(run) <= 2
    return took


def seconds_since_last_step(run: Path) -> float:
    """Seconds since the run logged a step, or since it began."""
    logged = [
        json.loads(line)["time"] for line in (run / "events.jsonl").read_text().splitlines()[1:] if '"step"' in line
    ]
    return time.time() - (logged[-1] if logged else (run / "environment.json").stat().st_mtime)


def kill_launcher(lab: Lab, seed: int) -> float:
    """P3: only the launcher is killed; ranks and data workers die with it, in so many seconds."""
    runs = _runs(lab, "P3", seed)
    victim = lab.start(
        "run", "small.toml", "--runs", runs, *TWO, "--set", "launch.workers=1", "--set", "phase.cycle.epochs=400"
    )
    wait_for_steps(runs, 1 + seed % 5, victim)
    os.kill(victim.process.pid, signal.SIGKILL)
    began = time.monotonic()
    victim.process.join()
    assert survivors(victim.process.pid) == []
    return time.monotonic() - began


def stop_alone(lab: Lab, seed: int) -> float:
    """P4: one process is asked to stop; it saves, leaves with the signal's code, and nothing is lost. Seconds it took."""
    rng = random.Random(seed)
    reference, runs = lab.reference(), _runs(lab, "P4", seed)
    number = rng.choice((signal.SIGTERM, signal.SIGINT, signal.SIGUSR1))
    victim = lab.start("run", "small.toml", "--runs", runs)
    run = wait_for_steps(runs, rng.randrange(1, 25), victim)
    return _stop_and_go_on(lab, victim, run, number, reference, lambda: os.kill(victim.process.pid, number))


def stop_ranks(lab: Lab, seed: int) -> float:
    """P4: two ranks are asked to stop, by a signal to their launcher, to one of them, or to all processes."""
    rng = random.Random(seed)
    reference, runs = lab.reference(*TWO), _runs(lab, "P4", seed)
    number, target = (
        rng.choice((signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)),
        ("launcher", "rank", "group")[seed % 3],
    )
    # All processes: data workers and multiprocessing's own helpers, too, as when a batch system signals a job.
    workers = ("--set", "launch.workers=1") if target == "group" else ()
    victim = lab.start("run", "small.toml", "--runs", runs, *TWO, *workers)
    run = wait_for_steps(runs, rng.randrange(1, 20), victim)
    send = {
        "launcher": lambda: os.kill(victim.process.pid, number),
        "rank": lambda: os.kill(rank_pids(run)[rng.randrange(2)], number),
        "group": lambda: os.killpg(victim.process.pid, number),
    }[target]
    return _stop_and_go_on(lab, victim, run, number, reference, send, *TWO)


def _stop_and_go_on(lab, victim, run, number, reference, send, *options) -> float:
    send()
    began = time.monotonic()
    ended = victim.wait()
    took = time.monotonic() - began
    expected = 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
    assert ended.code == expected, ended.talk
    assert f"go on with: cprspec run {run}" in ended.last
    assert survivors(ended.pid) == []
    assert json.loads((run / "status.json").read_text())["state"] == "stopped"
    done = lab.call("run", run, *options)
    assert done.code == 0, done.talk
    assert_same(run, reference)
    assert voided_steps(run) == 0
    return took


def stop_twice(lab: Lab, seed: int) -> float:
    """P5: a second SIGINT half a second later ends it at once, and what was saved is whole. Seconds after the second."""
    runs = _runs(lab, "P5", seed)
    slow = ("--set", "phase.cycle.epochs=400")
    victim = lab.start(
        "run", "small.toml", "--runs", runs, *slow, *(TWO if seed % 2 else ()), fault=f"0:{2 + seed % 4}:hang"
    )
    run = wait_for_steps(runs, 2 + seed % 4, victim)
    time.sleep(0.5)
    os.kill(victim.process.pid, signal.SIGINT)
    time.sleep(0.5)
    os.kill(victim.process.pid, signal.SIGINT)
    began = time.monotonic()
    ended = victim.wait()
    took = time.monotonic() - began
    assert ended.code == 130, ended.talk
    assert survivors(ended.pid) == []
    assert all(checkpoint.load(folder) for folder in run.glob("phases/*/checkpoints/step-*"))
    return took


def stop_at_a_place(lab: Lab, seed: int) -> None:
    """P6: SIGTERM while a checkpoint is written, while clips are read, or while the run starts."""
    rng = random.Random(seed)
    reference, runs = lab.reference(), _runs(lab, "P6", seed)
    place = ("save", "wait", "start")[seed % 3]
    if place == "start":
        victim = lab.start("run", "small.toml", "--runs", runs)
        time.sleep(rng.random())
        os.kill(victim.process.pid, signal.SIGTERM)
        ended = victim.wait()
        assert ended.code in (143, -signal.SIGTERM), ended.talk
    else:
        fault = f"0:{_moment(rng, (place,)).format('term')}"
        ended = lab.call("run", "small.toml", "--runs", runs, *EVERY_STEP, fault=fault)
        assert ended.code == 143, (fault, ended.talk)
    assert survivors(ended.pid) == []
    found = list(runs.glob("*/*/resolved.toml"))
    if not found:
        return  # it was stopped before there was a run
    done = lab.call("run", found[0].parent)
    assert done.code == 0, done.talk
    assert_same(found[0].parent, reference)


def hang(lab: Lab, seed: int) -> float:
    """P7: a rank stops showing life, or waits for ever; it is ended and named. Seconds beyond the limit until it is.

    They count from the last step that was made, so the step that hangs is within them.
    """
    rng = random.Random(seed)
    runs, rank, limit = _runs(lab, "P7", seed), rng.randrange(2), 10
    kind, place = (("stop", "step"), ("hang", "wait"), ("hang", "step"))[seed % 3]
    options, step = (*TWO, "--set", f"launch.timeout_s={limit}"), rng.randrange(1, 8)
    victim = lab.start("run", "small.toml", "--runs", runs, *options, fault=f"{rank}:{step}:{kind}:{place}")
    run = wait_for_steps(runs, step, victim)
    while rank not in (pids := rank_pids(run)) or pids[rank] in living(victim.process.pid):
        time.sleep(0.05)
    took = seconds_since_last_step(run) - limit
    ended = victim.wait()
    assert ended.code == 1, ended.talk
    assert f"rank {rank} has not finished step {step} " in ended.last, (kind, place, ended.last)
    assert survivors(ended.pid) == []
    return took


def data_worker(lab: Lab, seed: int) -> float:
    """P8: a data worker is killed, breaks or hangs in a run; it is named with its file, and the run goes on bit for bit.

    Seconds from the fault to the end; for one that hangs, beyond the limit.
    """
    rng = random.Random(seed)
    reference, runs = lab.reference(), _runs(lab, "P8", seed)
    number = (signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP)[seed % 3]
    limit = 15 if number == signal.SIGSTOP else 90
    options = ("--set", "launch.workers=2", "--set", f"launch.data_timeout_s={limit}")
    slow = "--set", "phase.cycle.epochs=400"
    victim = lab.start("run", "small.toml", "--runs", runs, *options, *EVERY_STEP, *(slow if seed % 2 else ()))
    run = wait_for_steps(runs, 17 + rng.randrange(6), victim)
    os.kill(rng.choice(data_workers(victim.process.pid)), number)
    began = time.monotonic()
    ended = victim.wait()
    took = time.monotonic() - began
    assert ended.code == 1, ended.talk
    if number == signal.SIGSTOP:
        assert f"has not finished an item for {limit} s" in ended.last, ended.last
    else:
        assert f"was killed by {number.name}" in ended.last, ended.last
    assert "data worker" in ended.last, ended.last
    assert survivors(ended.pid) == []
    if not seed % 2:
        done = lab.call("run", run, "--set", "launch.data_timeout_s=90")
        assert done.code == 0, done.talk
        assert_same(run, reference)
    return took - limit * (number == signal.SIGSTOP)


def restart(lab: Lab, seed: int) -> None:
    """P1: with --restarts a run whose rank is killed ends as if nothing had happened."""
    rng = random.Random(seed)
    reference, runs = lab.reference(*TWO), _runs(lab, "restart", seed)
    fault = f"{rng.randrange(2)}:{_moment(rng, ('step', 'wait', 'loss')).format('kill')}"
    ended = lab.call("run", "small.toml", "--runs", runs, *TWO, *EVERY_STEP, "--restarts", 1, fault=fault)
    assert ended.code == 0, ended.talk
    assert "starting again from the last checkpoint (1 of 1)" in ended.talk
    assert_same(only_run(runs), reference)


def port_in_use(lab: Lab, seed: int) -> None:
    """P10: a port that somebody else has is named, with its owner."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = lab.call(
            "run",
            "small.toml",
            "--runs",
            _runs(lab, "P10", seed),
            "--nnodes",
            2,
            "--rdzv-endpoint",
            f"127.0.0.1:{port}",
        )
    assert ended.code == 1, ended.talk
    assert f"port {port} is in use" in ended.last
    assert f"pid {os.getpid()}" in ended.last


def two_at_once(lab: Lab, seed: int) -> None:
    """P10: two runs of two ranks each do not get into each other's way."""
    victims = [lab.start("run", "small.toml", "--runs", _runs(lab, "P10", seed), *TWO, "--fresh") for _ in range(2)]
    assert [victim.wait().code for victim in victims] == [0, 0]


def other_world_size(lab: Lab, seed: int) -> None:
    """P12: another number of ranks is refused, and allowed by name; every step then sees the same videos."""
    runs = _runs(lab, "P12", seed)
    first, second = ((TWO, ()), ((), TWO), ((*TWO, "--set", "framework.bn_groups=4"), ("--nproc", 4)))[seed % 3]
    fault = "0:11:term:step:cycle"
    ended = lab.call("run", "small.toml", "--runs", runs, *first, *EVERY_STEP, fault=fault)
    assert ended.code == 143, ended.talk
    run = only_run(runs)
    refused = lab.call("run", run, *second)
    assert refused.code == 2, refused.talk
    assert "--allow-world-size-change" in refused.last
    done = lab.call("run", run, *second, "--allow-world-size-change")
    assert done.code == 0, done.talk
    assert "does not go on exactly" in (run / "events.jsonl").read_text()
    reference = lab.reference(*first)
    (ours,), (theirs,) = ([*r.glob("phases/cycle/checkpoints/*")] for r in (run, reference))
    ours, theirs = checkpoint.load(ours).state, checkpoint.load(theirs).state
    assert ours["model.bank.video_K"].equal(theirs["model.bank.video_K"])


def other_threads(lab: Lab, seed: int) -> None:
    """P13: going on with other threads is said to be inexact, and for ten steps is nearly so."""
    runs, last = _runs(lab, "P13", seed), seed % 6
    assert lab.call("run", "small.toml", "--runs", runs, *EVERY_STEP, fault=f"0:{last}:term:step:cycle").code == 143
    run = only_run(runs)
    done = lab.call("run", run, "--set", "launch.threads=2")
    assert done.code == 0, done.talk
    assert "threads 1 then, 2 now" in (run / "events.jsonl").read_text()
    for ours, theirs in zip(steps(run), steps(lab.reference()), strict=True):
        assert ours[:2] == theirs[:2]
        if ours[0] == "cycle" and ours[1] <= last + 10:
            assert abs(ours[2] - theirs[2]) <= 1e-5 * abs(theirs[2]), (ours, theirs)


def not_finite(lab: Lab, seed: int) -> None:
    """P14: a loss that is not finite ends the run before the update; in every third trial an update overflows instead."""
    if seed % 3 == 2:
        update_overflows(lab, seed)
    else:
        loss_not_finite(lab, seed)


def update_overflows(lab: Lab, seed: int) -> None:
    """P14: loss and gradients are finite, the learning rate is so high that the update is not: it is not saved.

    Whoever tries again is told the same again, instead of being stuck with weights that nothing can be made of.
    """
    rng = random.Random(seed)
    runs, two = _runs(lab, "P14", seed), TWO if rng.random() < 0.5 else ()
    lr = rng.choice(("3e38", "1e37", "1e30"))
    ended = lab.call("run", "small.toml", "--runs", runs, *EVERY_STEP, *two, "--set", f"optimizer.lr={lr}")
    assert ended.code == 1, ended.talk
    assert "not finite" in ended.talk, ended.talk
    run = only_run(runs)
    (path,) = run.glob("phases/rgb/non-finite-step-*.json")
    facts = json.loads(path.read_text())
    assert len(facts["videos"]) == 8
    assert lr != "3e38" or facts["state"], "the first update overflows"
    _all_finite(run)
    again = lab.call("run", run, *two)
    assert again.code == 1, again.talk
    assert f"step {facts['step']}: " in again.talk, again.talk
    _all_finite(run)


def loss_not_finite(lab: Lab, seed: int) -> None:
    """P14: a loss that is not finite ends the run before the update and leaves the clips of the batch."""
    rng = random.Random(seed)
    runs = _runs(lab, "P14", seed)
    phase = rng.choice(list(PHASES))
    step = rng.randrange(PHASES[phase])
    ended = lab.call("run", "small.toml", "--runs", runs, *EVERY_STEP, fault=f"0:{step}:nan:loss:{phase}")
    assert ended.code == 1, ended.talk
    run = only_run(runs)
    path = run / "phases" / phase / f"non-finite-step-{step:06d}.json"
    assert f"step {step}: loss nan is not finite; weights were not updated" in ended.last
    assert str(path.relative_to(lab.folder)) in ended.last
    facts = json.loads(path.read_text())
    assert (facts["step"], len(facts["videos"])) == (step, 8)
    assert steps(run) == steps(lab.reference())[: len(steps(run))], "the steps before it"
    _all_finite(run)


def _all_finite(run: Path) -> None:
    for folder in run.glob("phases/*/checkpoints/step-*"):
        found = checkpoint.load(folder)
        assert all(bool(t.isfinite().all()) for t in (*found.weights.values(), *found.state.values()))


def writer_breaks(lab: Lab, seed: int) -> None:
    """P6: writing a checkpoint fails in a way that nobody expects: the run ends with it, and goes on bit for bit."""
    rng = random.Random(seed)
    reference, runs = lab.reference(), _runs(lab, "P6-error", seed)
    phase = rng.choice(list(PHASES))
    step = rng.choice((PHASES[phase], rng.randrange(1, PHASES[phase])))  # often the last, after which nothing is saved
    ended = lab.call("run", "small.toml", "--runs", runs, *EVERY_STEP, fault=f"0:{step}:error:save:{phase}")
    assert ended.code == 1, (phase, step, ended.talk)
    assert "InjectedError" in ended.last, ended.last
    run = only_run(runs)
    assert json.loads((run / "status.json").read_text())["state"] == "failed"
    assert not list(run.glob(f"phases/{phase}/checkpoints/step-{step:06d}"))
    done = lab.call("run", run)
    assert done.code == 0, done.talk
    assert_same(run, reference)
