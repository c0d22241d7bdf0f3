"""Runs that shall suffer: real processes of the command line, forked from a server that has its libraries loaded.

Forking saves the seconds that every process would take to import torch; what happens to the process is as real.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import torch
from attrs import field, frozen

sys.path.insert(0, str(Path(__file__).parent.parent / "training"))
from small_run import SPEC

from cprspec.runs.events import Step
from cprspec.runs.layout import RunDir
from cprspec.runs.tail import read_events
from cprspec.training import checkpoint

PHASES = {"rgb": 8, "flow": 8, "cycle": 16}
"""Steps of each phase of the small experiment."""

EVERY_STEP = ("--set", "launch.checkpoint_minutes=0.00001")

_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["cprspec.training.launch", "torch._dynamo"])


@frozen
class Ended:
    """How a process ended: `code` as `Process.exitcode` has it, what it said, and how long it ran, seconds."""

    code: int
    talk: str
    seconds: float
    pid: int

    @property
    def last(self) -> str:
        """The last three lines."""
        return "\n".join(self.talk.rstrip().splitlines()[-3:])


@frozen
class Victim:
    """A running command in a session of its own."""

    process: object
    talk: Path
    began: float = field(factory=time.monotonic)

    def wait(self, seconds: float = 240) -> Ended:
        """How it ended; it is killed, and the trial fails, when that takes too long."""
        self.process.join(seconds)
        took, code = time.monotonic() - self.began, self.process.exitcode
        if code is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise AssertionError(f"it did not end within {seconds} s: {self.talk.read_text()}")
        talk = self.talk.read_text()
        assert "Traceback" not in talk, talk
        return Ended(code, talk, took, self.process.pid)


@frozen
class Lab:
    """A folder with the small experiment, and the store that its runs share."""

    folder: Path
    cache: Path

    def prepare(self) -> Lab:
        """Write the experiment, without its evaluation."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = SPEC[: SPEC.index("[evaluate")] + SPEC[SPEC.index("[launch]") :]
        (self.folder / "small.toml").write_text(text)
        return self

    def start(self, *arguments: object, fault: str = "", folder: Path | None = None, **environment: str) -> Victim:
        """Start `cprspec ARGUMENTS`."""
        talk = self.folder / f"talk-{time.monotonic_ns()}"
        talk.touch()
        variables = {
            "CPRSPEC_CACHE": str(self.cache), "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "CPRSPEC_FAULT": fault,
            "PYTHONWARNINGS": "ignore", **environment,
        }  # fmt: skip
        words = [str(a) for a in arguments]
        process = _CONTEXT.Process(target=_suffer, args=(words, str(folder or self.folder), str(talk), variables))
        process.start()
        return Victim(process, talk)

    def call(self, *arguments: object, **options: object) -> Ended:
        """Start it and wait."""
        return self.start(*arguments, **options).wait()

    def reference(self, *options: object) -> Path:
        """An uninterrupted run of the small experiment with these options, made once."""
        runs = self.folder / ("reference-" + "".join(c for c in "-".join(str(o) for o in options) if c.isalnum()))
        if not runs.exists():
            ended = self.call("run", "small.toml", "--runs", runs, *options)
            assert ended.code == 0, ended.talk
        return only_run(runs)


def _suffer(words: list[str], folder: str, talk: str, variables: dict[str, str]) -> None:
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the server may have been started sheltered (cprspec/processes.py)
    os.chdir(folder)
    os.environ.update({k: v for k, v in variables.items() if v})
    for name in (k for k, v in variables.items() if not v):
        os.environ.pop(name, None)
    descriptor = os.open(talk, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = (open(n, "w", buffering=1, closefd=False) for n in (1, 2))  # noqa: SIM115
    sys.argv = ["cprspec", *words]
    torch.set_num_threads(1)
    from cprspec.cli import main

    main()


def only_run(runs: Path) -> Path:
    """The only run below `runs`."""
    (found,) = runs.glob("*/*")
    return found


def steps(run: Path) -> list[tuple[str, int, float | None]]:
    """Phase, step and loss of every step that counts, in the order of the log; the log must be whole."""
    found, damage = read_events(run / "events.jsonl")
    assert damage.count == 0, damage
    return [(e.phase, e.step, e.loss) for e in found if isinstance(e, Step)]


def voided_steps(run: Path) -> int:
    """How many steps were logged and then made again."""
    return (run / "events.jsonl").read_text().count('{"kind": "step"') - len(steps(run))


def ended_state(run: Path) -> dict[str, object]:
    """All that must be equal to the bit: weights and state of each phase, mining tables, recording."""
    found: dict[str, object] = {}
    for phase in PHASES:
        folder = run / "phases" / phase
        last = checkpoint.load(folder / "checkpoints" / json.loads((folder / "phase.json").read_text())["checkpoint"])
        for name, tensor in {**last.weights, **last.state}.items():
            found[f"{phase}/{name}"] = (tensor.dtype, tuple(tensor.shape), tensor.numpy().tobytes())
        for path in sorted((folder / "mining").glob("*")):
            if path.is_file():
                found[f"{phase}/mining/{path.name}"] = path.read_bytes()
    return found


def assert_same(run: Path, reference: Path) -> None:
    """`run` ended as `reference` did: the same losses, each step once, and the same bits."""
    assert steps(run) == steps(reference)
    ours, theirs = ended_state(run), ended_state(reference)
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if ours[name] != theirs[name]]
    assert not different, different


def survivors(session: int, within_s: float = 5.0) -> list[str]:
    """Processes of a session that still live after so many seconds."""
    deadline = time.monotonic() + within_s
    while (left := _of_session(session)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [name for _, name in left.values()]


def living(session: int) -> list[int]:
    """The pids of a session's living processes."""
    return [*_of_session(session)]


def data_workers(session: int) -> list[int]:
    """The pids of the data workers of a run of one rank: its grandchildren, forked from the server that it started."""
    parents = {pid: parent for pid, (parent, _) in _of_session(session).items()}
    return [pid for pid, parent in parents.items() if parents.get(parent) == session]


def _of_session(session: int) -> dict[int, tuple[int, str]]:
    """Parent and name of every living process of a session, by its pid."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().rpartition(")")
        except OSError:
            continue
        state, parent, _group, its_session = rest.split()[:4]
        if int(its_session) == session and state != "Z":
            found[int(path.parent.name)] = int(parent), name
    return found


def wait_for_steps(runs: Path, count: int, victim: Victim) -> Path:
    """The run, once it has logged so many steps."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and victim.process.is_alive():
        logs = list(runs.glob("*/*/events.jsonl"))
        if logs and logs[0].read_text().count('"kind": "step"') >= count:
            return logs[0].parent
        time.sleep(0.02)
    raise AssertionError(f"no {count} steps: {victim.talk.read_text()}")


def rank_pids(run: Path) -> dict[int, int]:
    """The pid of each rank."""
    from cprspec.runs.rank_state import read_ranks

    return {rank: state.pid for rank, state in read_ranks(RunDir(run)).items()}
