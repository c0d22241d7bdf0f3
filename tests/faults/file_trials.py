"""One trial of each fault that files suffer: rows D1 to D6, D12, C1 to C5, and torn logs. Seeded; failing is an assertion."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import signal
import struct
import time
from multiprocessing import get_context
from pathlib import Path

import torch
from victims import EVERY_STEP, Lab, assert_same, only_run

from cprspec.components.backbones import Tiny
from cprspec.errors import CprspecError, clean
from cprspec.models.encoders import fill, new_encoder, read_weights
from cprspec.runs.events import EventLog, Resumed, Step
from cprspec.runs.layout import RunDir
from cprspec.runs.tail import read_events
from cprspec.spec.schema import WeightsFile
from cprspec.training import checkpoint

_FORK = get_context("fork")
FILES = (checkpoint.WEIGHTS, checkpoint.STATE, checkpoint.META, checkpoint.MANIFEST)


def scratch(lab: Lab, row: str, seed: int) -> Path:
    """A new folder."""
    path = lab.folder / f"{row}-{seed}-{time.monotonic_ns()}"
    path.mkdir(parents=True)
    return path


def step_event(step: int, loss: float = 1.0) -> Step:
    """A step as the loop logs it."""
    return Step(
        phase="rgb", epoch=0, step=step, loss=loss, lr=0.1, own_key_accuracy=0.5, spread=1.0, step_s=0.1, wait_s=0.0,
        clips_per_s=8.0, warm_up=False,
    )  # fmt: skip


def _write_steps(path: Path, first: int, attempt: int) -> None:
    with EventLog(path) as log:
        if attempt:
            log.write(Resumed(attempt=attempt, phase="rgb", from_step=first))
        for step in range(first, 1_000_000):
            log.write(step_event(step, loss=1.0 + step))
            if step % 50 == 49:
                log.sync()


def torn_log(lab: Lab, seed: int) -> None:
    """Promise 5: the writer is killed at a random moment, three times; every step stands once, in order, and is whole."""
    rng = random.Random(seed)
    path = scratch(lab, "torn", seed) / "events.jsonl"
    resume_from = 0
    for attempt in range(3):
        writer = _FORK.Process(target=_write_steps, args=(path, resume_from, attempt))
        writer.start()
        deadline = time.monotonic() + 20
        while not (path.exists() and path.stat().st_size > 2000) and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.03)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        if rng.random() < 0.5:  # a power cut may leave less of the line than a kill does
            with path.open("r+b") as file:
                file.truncate(max(1, path.stat().st_size - rng.randrange(1, 60)))
        found, damage = read_events(path)
        logged = [e.step for e in found if isinstance(e, Step)]
        assert damage.count == 0
        assert logged == list(range(len(logged)))
        assert all(e.loss == 1.0 + e.step for e in found if isinstance(e, Step))
        resume_from = max(0, len(logged) - rng.randrange(1, 20))
    shutil.rmtree(path.parent)


def made_checkpoint(folder: Path, step: int, fill_with: float = 1.0) -> Path:
    """A small checkpoint."""
    weights = checkpoint.own({"a": torch.full((16, 8), fill_with), "b": torch.arange(6.0).reshape(2, 3).T})
    state = {"bank": torch.arange(64), "optimizer.a|momentum_buffer": torch.ones(16, 8)}
    return checkpoint.save(folder, step, weights, state, {"tally": {"epoch": 1}, "world_size": 1})


def damage(path: Path, rng: random.Random) -> str:
    """Damage a file in one of the ways that disks have; what was done."""
    content = bytearray(path.read_bytes())
    kind = rng.choice(("cut", "flip", "zero", "nul", "gone", "swap", "longer"))
    at = rng.randrange(len(content))
    if kind == "cut":
        content = content[:at]
    elif kind == "flip":
        content[at] ^= 1 << rng.randrange(8)
    elif kind == "zero":
        content = bytearray()
    elif kind == "nul":
        content[at : at + 512] = bytes(len(content[at : at + 512]))
    elif kind == "swap":
        content = bytearray(rng.randbytes(len(content)))
    elif kind == "longer":
        content += b"\0"
    changed = bytes(content) != path.read_bytes()
    path.unlink() if kind == "gone" else path.write_bytes(content)
    return kind if changed or kind == "gone" else ""


def damaged_checkpoint(lab: Lab, seed: int) -> None:
    """C1: any damage of any file is noticed and named; what was made before it is found."""
    rng = random.Random(seed)
    folder = scratch(lab, "C1", seed)
    made_checkpoint(folder, 1)
    newest = made_checkpoint(folder, 2, 2.0)
    meant = checkpoint.load(newest)
    name = rng.choice(FILES)
    kind = damage(newest / name, rng)
    try:
        read = checkpoint.load(newest)
    except CprspecError as error:
        assert str(newest) in str(error), kind
        found, bad = checkpoint.newest(folder)
        assert found is not None
        assert found.folder.name == "step-000001"
        assert bad
    else:  # damage that changes no content: white space of the manifest, or a byte that was the same
        assert not kind or name == checkpoint.MANIFEST, (name, kind)
        assert read.meta == meant.meta
        assert all(read.weights[k].equal(meant.weights[k]) for k in meant.weights)
    shutil.rmtree(folder)


def fallback(lab: Lab, seed: int) -> None:
    """C1: a run whose newest checkpoints are damaged refuses to go on, and with --fallback ends with the same bits.

    Where both that are kept are damaged, it is killed again before it has come as far as they were: what it saved
    meanwhile is there, and needs no --fallback.
    """
    rng = random.Random(seed)
    runs = scratch(lab, "fallback", seed)
    ended = lab.call("run", "small.toml", "--runs", runs, *EVERY_STEP, fault="0:8:kill:step:cycle")
    assert ended.code == -signal.SIGKILL
    run = only_run(runs)
    folder = run / "phases" / "cycle" / "checkpoints"
    damaged = checkpoint.in_order(folder)[-(2 - seed % 2) :]
    for each in damaged:
        assert damage(each / rng.choice(FILES[:3]), rng)
    refused = lab.call("run", run)
    assert refused.code == 2, refused.talk
    assert damaged[-1].name in refused.talk
    assert "--fallback goes on from" in refused.last
    options = ["--fallback"]
    if len(damaged) == 2:  # from the beginning of the phase: keep_last is 2
        step = rng.randrange(2, 6)
        again = lab.call("run", run, "--fallback", *EVERY_STEP, fault=f"0:{step}:kill:step:cycle")
        assert again.code == -signal.SIGKILL, again.talk
        found, bad = checkpoint.newest(folder)
        assert found is not None, f"nothing of {step} steps is there"
        assert (bad, int(found.folder.name[5:]) >= step - 1) == ([], True), found.folder
        options = []
    done = lab.call("run", run, *options)
    assert done.code == 0, done.talk
    assert all(each.name in (run / "events.jsonl").read_text() for each in damaged)
    assert {f"damaged-{each.name}" for each in damaged} <= {each.name for each in folder.iterdir()}
    assert_same(run, lab.reference())


def _race(path: Path, start: float, queue: object) -> None:
    time.sleep(max(0.0, start - time.monotonic()))
    try:
        with RunDir(path).lock():
            queue.put(("won", ""))
            time.sleep(0.3)
    except CprspecError as error:
        queue.put(("refused", str(error)))


def race_for_a_run(lab: Lab, seed: int) -> None:
    """D5: two writers begin within 50 ms; one gets the run, the other is told who has it."""
    rng = random.Random(seed)
    path = scratch(lab, "D5", seed)
    queue, now = _FORK.Queue(), time.monotonic() + 0.05
    racers = [_FORK.Process(target=_race, args=(path, now + d, queue)) for d in (0.0, rng.random() * 0.05)]
    for racer in racers:
        racer.start()
    outcomes = dict(queue.get(timeout=20) for _ in racers)
    for racer in racers:
        racer.join()
    assert set(outcomes) == {"won", "refused"}, outcomes
    assert any(f"pid {racer.pid} on host" in outcomes["refused"] for racer in racers), outcomes
    shutil.rmtree(path)


def _hold(path: Path, ready: object) -> None:
    with RunDir(path).lock():
        ready.set()
        time.sleep(60)


def stale_lock(lab: Lab, seed: int) -> None:
    """D6: the owner is killed, or what it left names a living stranger or another machine; the next one goes on."""
    rng = random.Random(seed)
    path = scratch(lab, "D6", seed)
    ready = _FORK.Event()
    owner = _FORK.Process(target=_hold, args=(path, ready))
    owner.start()
    assert ready.wait(20)
    os.kill(owner.pid, signal.SIGKILL)
    owner.join()
    lock = path / "writer.lock"
    left = rng.choice(
        (None, {"pid": os.getppid(), "host": os.uname().nodename, "since": 1.0}, {"pid": 1, "host": "other"})
    )
    if left is not None:
        lock.write_text(json.dumps(left))
    with RunDir(path).lock():
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    shutil.rmtree(path)


HOSTILE = {
    "empty": b"",
    "seven bytes": b"\0" * 7,
    "header of 2**63": struct.pack("<Q", 2**63) + b"{}",
    "header of 100 MB, none there": struct.pack("<Q", 100 << 20) + b"{" + b" " * 100,
    "not JSON": struct.pack("<Q", 8) + b"{'a': 1}",
    "deep": struct.pack("<Q", 200_000) + b'{"a":' + b"[" * 199_995,
    "pickle": pickle.dumps({"a": 1}),
    "zip": b"PK\x03\x04" + b"\0" * 60,
    "tar": b"a" * 257 + b"ustar" + b"\0" * 250,
}


def _header(**tensors: object) -> bytes:
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text


def hostile_tensors(names: tuple[str, ...] = ("a", "\x1b[2Ja\u202e")) -> dict[str, bytes]:
    """Files that lie in every way the format allows, by what is wrong with them."""
    found = dict(HOSTILE)
    for name in names:
        shown = clean(name)
        for what, dtype, shape, offsets, size in (
            ("overlap", "F32", [2], [0, 8], 4),
            ("beyond the end", "F32", [1000], [0, 4000], 8),
            ("backwards", "F32", [1], [4, 0], 8),
            ("huge shape", "F32", [2**40, 2**40], [0, 8], 8),
            ("negative shape", "F32", [-1], [0, 4], 4),
            ("unknown type", "OBJECT", [1], [0, 4], 4),
            ("shape does not fit", "F32", [3], [0, 8], 8),
            ("hole", "F32", [1], [8, 12], 12),
            ("rest", "F32", [1], [0, 4], 400),
        ):
            found[f"{what} {shown}"] = _header(
                **{name: {"dtype": dtype, "shape": shape, "data_offsets": offsets}}
            ) + bytes(size)
        entry = json.dumps({"dtype": "F32", "shape": [1], "data_offsets": [0, 4]})
        twice = f"{{{json.dumps(name)}: {entry}, {json.dumps(name)}: {entry}}}".encode()
        found[f"twice {shown}"] = struct.pack("<Q", len(twice)) + twice + bytes(4)
    return found


def hostile_weights(lab: Lab, seed: int) -> None:
    """C2: each hostile safetensors file is refused, by weights to start from and by a checkpoint that vouches for it."""
    import hashlib

    folder = scratch(lab, "C2", seed)
    for number, (what, content) in enumerate(hostile_tensors().items()):
        path = folder / f"{number}.safetensors"
        path.write_bytes(content)
        _refused(lambda path=path: read_weights(WeightsFile(path)), what)
        made = made_checkpoint(folder / "checkpoints", number + 1)
        (made / checkpoint.STATE).write_bytes(content)
        manifest = json.loads((made / checkpoint.MANIFEST).read_text())
        manifest["sha256"][checkpoint.STATE] = hashlib.sha256(content).hexdigest()
        (made / checkpoint.MANIFEST).write_text(json.dumps(manifest))
        _refused(lambda made=made: checkpoint.load(made), what)
    os.mkfifo(folder / "fifo")
    _refused(lambda: read_weights(WeightsFile(folder / "fifo")), "fifo")
    shutil.rmtree(folder)


def _refused(read, what: str) -> None:
    began = time.process_time()
    try:
        read()
    except CprspecError as error:
        shown = "\n".join(clean(str(p)) for p in error.problems)
        assert shown.isprintable() or "\n" in shown, what
        assert len(shown) < 1000, what
        assert "weights_only" not in shown, what
    else:
        raise AssertionError(f"{what}: it was read")
    assert time.process_time() - began < 1, what


class Bomb:
    """Leaves a marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self):
        return (Path.touch, (self._marker,))


def pickle_under_any_name(lab: Lab, seed: int) -> None:
    """C3: a pickle, whatever it is called and wherever it lies, is refused and never opened as one."""
    folder = scratch(lab, "C3", seed)
    marker = folder / "marker"
    plain = pickle.dumps(Bomb(marker), protocol=seed % 6)
    torch.save({"a": Bomb(marker)}, folder / "saved.pt")
    saved = (folder / "saved.pt").read_bytes()
    for name in ("w.safetensors", "w.pt", "w.pth", "w.tar", "w.toml", "w", "w.json"):
        for content in (plain, saved):
            path = folder / name
            path.write_bytes(content)
            _refused(lambda path=path: read_weights(WeightsFile(path)), name)
    made = made_checkpoint(folder / "checkpoints", 1)
    for name in FILES:
        content = (made / name).read_bytes()
        (made / name).write_bytes(plain)
        _refused(lambda: checkpoint.load(made), name)
        (made / name).write_bytes(content)
    assert not marker.exists()
    shutil.rmtree(folder)


def wrong_weights(lab: Lab, seed: int) -> None:
    """C4: weights of another network are refused with the first differences, and nothing is loaded of them."""
    rng = random.Random(seed)
    encoder = new_encoder(Tiny(width=0.25), 16, 0)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    weights = {k: torch.ones_like(v) for k, v in encoder.state_dict().items()}
    name = rng.choice(sorted(weights))
    kind = rng.choice(("missing", "shape", "extra"))
    if kind == "missing":
        del weights[name]
    elif kind == "shape":
        weights[name] = torch.ones(3, 5, 7)
    else:
        weights["unheard-of"] = torch.ones(1)
    try:
        fill(encoder, weights, "test", None)
    except CprspecError as error:
        assert (name if kind != "extra" else "unheard-of") in str(error)
    else:
        raise AssertionError(f"{kind} {name} was loaded")
    assert all(before[k].equal(v) for k, v in encoder.state_dict().items())


def changed_after_loading(lab: Lab, seed: int) -> None:
    """C5: a checkpoint's files are cut and overwritten after it was loaded; what was loaded stays."""
    rng = random.Random(seed)
    folder = scratch(lab, "C5", seed)
    made = made_checkpoint(folder, 1, 3.0)
    found = checkpoint.load(made)
    for name in FILES:
        if rng.random() < 0.5:
            os.truncate(made / name, 0)
        else:
            with (made / name).open("r+b") as file:
                file.write(rng.randbytes(64))
    assert float(found.weights["a"].sum()) == 3.0 * 128
    assert found.state["bank"].equal(torch.arange(64))
    shutil.rmtree(folder)


def deleted_run(lab: Lab, seed: int) -> None:
    """D4: the run directory is removed or moved while it is written to; the run ends with one clear line."""
    runs = scratch(lab, "D4", seed)
    from victims import wait_for_steps

    victim = lab.start("run", "small.toml", "--runs", runs, "--set", "phase.cycle.epochs=400")
    run = wait_for_steps(runs, 3 + seed % 9, victim)
    run.rename(runs / "elsewhere") if seed % 2 else shutil.rmtree(run, ignore_errors=True)
    ended = victim.wait()
    assert ended.code == 1, ended.talk
    assert "run directory was removed or moved" in ended.last, ended.last
    assert not run.exists() or not (run / "status.json").exists(), "it was made anew"


def same_settings(run: Path) -> dict[str, str]:
    """The digest of every file of a run's checkpoints, as the manifests say."""
    return {
        str(path.relative_to(run)): path.read_text()
        for path in sorted(run.glob("phases/*/checkpoints/*/manifest.json"))
    }


def full_disk(lab: Lab, seed: int) -> None:
    """D1: the disk fills within a log line or a checkpoint; what was there stays whole, and the run goes on afterwards."""
    rng = random.Random(seed)
    runs = scratch(lab, "D1", seed)
    step = rng.randrange(2, 8)
    ended = lab.call(
        "run",
        "small.toml",
        "--runs",
        runs,
        *EVERY_STEP,
        fault=f"0:{step}:full-disk:{rng.choice(('step', 'loss'))}:cycle",
    )
    run = only_run(runs)
    assert ended.code == 1, ended.talk
    assert "cannot write" in ended.last, ended.last
    assert "bytes are free" in ended.last, ended.last
    assert str(run) in ended.last, ended.last
    for folder in run.glob("phases/*/checkpoints/step-*"):
        checkpoint.load(folder)
    done = lab.call("run", run)
    assert done.code == 0, done.talk
    assert_same(run, lab.reference())
