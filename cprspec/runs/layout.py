"""The run directory: where everything of one execution lies, how it is made, found, and kept to one writer.

    runs/EXPERIMENT/20261123-024011-9f3c/

Names of experiments, runs and phases match a pattern, so no text from a file is ever a path. The lock is the kernel's
(`flock` on the file `writer.lock`), so it ends with its process and never has to be deleted. See docs/run-directory.md.
"""

from __future__ import annotations

import difflib
import fcntl
import json
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from attrs import frozen

from cprspec.errors import MAX_ECHO, CprspecError, Problem, clean
from cprspec.runs.files import make_durable_folder, write_failed
from cprspec.runs.owner import parse_owner

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What names of experiments, runs, phases and evaluations look like."""

STOP_REQUESTED = "stop-requested"
"""The file in a run directory whose presence asks the run to stop after its step."""

STRIPS = "strips"
"""The folder of a phase's small pictures of what was mined, beside its mining tables."""

RUN_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
_OWNER_WAIT_S = 1.0
_AMBIGUOUS_SHOWN = 5

_held: set[int] = set()


def _let_go_in_child() -> None:
    """A forked child shares its parent's open lock and would keep it after the parent's death: it closes it at once."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go_in_child)


@frozen
class RunDir:
    """Paths inside one run directory. Reading them needs no lock and makes nothing."""

    path: Path

    @staticmethod
    def create(runs: Path, experiment: str) -> RunDir:
        """A new run of `experiment` below the folder `runs`, named by the time (UTC) and four hexadecimal digits."""
        for _ in range(100):
            path = RunDir.next(runs, experiment).path
            try:
                make_durable_folder(path, exist_ok=False)
            except FileExistsError:
                continue
            except OSError as error:
                raise write_failed(path, error) from error
            return RunDir(path)
        raise CprspecError(f"{runs / experiment}: no free name for a new run", exit_code=1)

    @staticmethod
    def next(runs: Path, experiment: str) -> RunDir:
        """Where a new run of `experiment` could lie now; nothing is made."""
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        return RunDir(runs / check_name(experiment, "experiment") / f"{stamp}-{secrets.token_hex(2)}")

    @staticmethod
    def find(text: str, runs: Path) -> RunDir:
        """The run that `text` means: a path, an experiment's name or folder (its latest run), or an unambiguous prefix.

        A prefix is of `EXPERIMENT/ID` or of the ID alone. CprspecError when there is none, or several.
        """
        path = Path(text)
        if is_run(path):
            return RunDir(path)
        everything = list_runs(runs)
        same_folder = [r for r in everything if r.experiment_name == text or _same(r.path.parent, path)]
        if same_folder:
            return same_folder[-1]
        if inside := [RunDir(p) for p in sorted(_folders(path), key=_age) if is_run(p)]:
            return inside[-1]  # an experiment's folder below another folder of runs
        prefix = text.rstrip("/")
        matches = [r for r in everything if prefix and (r.label.startswith(prefix) or r.run_id.startswith(prefix))]
        if len(matches) == 1:
            return matches[0]
        shown = clean(text, MAX_ECHO)
        if matches:
            some = ", ".join(r.label for r in matches[:_AMBIGUOUS_SHOWN])
            more = f" and {len(matches) - _AMBIGUOUS_SHOWN} more" if len(matches) > _AMBIGUOUS_SHOWN else ""
            raise CprspecError(Problem(f"'{shown}' could be {some}{more}", hint="write more of it"))
        names = sorted({r.experiment_name for r in everything})
        near = difflib.get_close_matches(text[:MAX_ECHO], names, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"give a path, or the name of an experiment that ran in {runs}"
        raise CprspecError(Problem(f"no run '{shown}' in {runs}", hint=hint))

    @property
    def experiment_name(self) -> str:
        """The folder the run lies in, which is called after its experiment."""
        return self.path.resolve().parent.name

    @property
    def run_id(self) -> str:
        """The run's own folder name: time and four digits."""
        return self.path.resolve().name

    @property
    def label(self) -> str:
        """EXPERIMENT/ID."""
        return f"{self.experiment_name}/{self.run_id}"

    @property
    def experiment(self) -> Path:
        """The experiment as it was written."""
        return self.path / "experiment.toml"

    @property
    def resolved(self) -> Path:
        """The experiment with every default filled in."""
        return self.path / "resolved.toml"

    @property
    def environment(self) -> Path:
        """Versions and machine."""
        return self.path / "environment.json"

    @property
    def status(self) -> Path:
        """State, place and heartbeat, replaced as a whole."""
        return self.path / "status.json"

    @property
    def events(self) -> Path:
        """The event log."""
        return self.path / "events.jsonl"

    @property
    def job_file(self) -> Path:
        """The file for sbatch of a run that was submitted."""
        return self.path / "job.sbatch"

    @property
    def stop_requested(self) -> Path:
        """Made by whoever wants the run to stop after its step."""
        return self.path / STOP_REQUESTED

    @property
    def writer(self) -> Path:
        """Locked by whoever writes the run, who puts its name into it."""
        return self.path / "writer.lock"

    @property
    def phases(self) -> Path:
        """The folder of all phases."""
        return self.path / "phases"

    @property
    def evaluations(self) -> Path:
        """The folder of all evaluations."""
        return self.path / "evaluations"

    def rank(self, rank: int) -> Path:
        """What one rank is doing."""
        return self.path / "ranks" / f"{rank}.json"

    def machine(self, machine: int) -> Path:
        """The last word of a launcher, of several machines, whose ranks did not end well."""
        return self.path / "machines" / f"{machine}.json"

    def log(self, rank: int) -> Path:
        """A rank's own talk."""
        return self.path / "logs" / f"rank{rank}.log"

    def phase(self, name: str) -> Path:
        """The folder of one phase."""
        return self.phases / check_name(name, "phase")

    def checkpoints(self, phase: str) -> Path:
        """The folder of a phase's checkpoints."""
        return self.phase(phase) / "checkpoints"

    def mining(self, phase: str) -> Path:
        """The folder of a phase's mining tables."""
        return self.phase(phase) / "mining"

    def mining_table(self, phase: str, epoch: int) -> Path:
        """What was mined in one epoch."""
        return self.mining(phase) / f"epoch-{epoch:04d}.json"

    def replay(self, phase: str) -> Path:
        """The last mined epoch, as tensors."""
        return self.mining(phase) / "replay.safetensors"

    def strip(self, phase: str, file: str) -> Path:
        """A small picture of what was mined, by the name in a mining table."""
        return self.mining(phase) / STRIPS / check_name(file, "strip")

    def evaluation(self, name: str) -> Path:
        """The records of one evaluation."""
        return self.evaluations / f"{check_name(name, 'evaluation')}.json"

    def evaluation_work(self, name: str) -> Path:
        """What an unfinished evaluation has done so far; gone when it is finished."""
        return self.evaluations / f"{check_name(name, 'evaluation')}.work"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the run's only writer, until the context or the process ends. CprspecError that names the other writer."""
        path = self.writer
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise write_failed(path, error) from error
        _held.add(descriptor)
        try:
            self._take(descriptor)
            yield
        finally:
            _held.discard(descriptor)
            os.close(descriptor)

    def _take(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"run {self.label} is being written by {_owner(descriptor)}"
            raise CprspecError(Problem(message, hint="wait for it, or stop it first"), exit_code=1) from None
        except OSError as error:
            message = f"{self.path}: this file system cannot lock files ({error.strerror})"
            raise CprspecError(Problem(message, hint="put the runs folder on another one"), exit_code=1) from error
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(owner).encode("ascii"), 0)
        except OSError as error:
            raise write_failed(self.writer, error) from error


def check_name(name: str, what: str) -> str:
    """`name` if it may be part of a path; CprspecError if not."""
    if not NAME.fullmatch(name):
        message = f"{what} '{clean(name, MAX_ECHO)}' cannot name a folder"
        raise CprspecError(Problem(message, hint=f"names match {NAME.pattern}"))
    return name


def is_run(path: Path) -> bool:
    """Whether `path` is a folder that holds a run."""
    return any(os.path.isfile(path / name) for name in ("events.jsonl", "status.json", "resolved.toml"))  # noqa: PTH113


def list_runs(runs: Path) -> list[RunDir]:
    """Every run below the folder `runs`, by experiment, oldest first. Folders that hold no run are left out."""
    found = []
    for experiment in _folders(runs):
        found += [RunDir(path) for path in sorted(_folders(experiment), key=_age) if is_run(path) or _fresh(path)]
    return found


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir() and NAME.fullmatch(p.name))
    except OSError:
        return []  # no such folder, or not ours to read: there is nothing to list


def _fresh(path: Path) -> bool:
    """A run that is being made: it has its name and nothing in it yet."""
    return RUN_ID.fullmatch(path.name) is not None


def _age(path: Path) -> tuple[str, int]:
    """By the time in the name; the folder's own time decides between runs of one second."""
    name = path.name[:15] if RUN_ID.fullmatch(path.name) else path.name
    return name, path.stat().st_mtime_ns


def _same(a: Path, b: Path) -> bool:
    return b.is_dir() and a.resolve() == b.resolve()


def _owner(descriptor: int) -> str:
    """Who holds the lock. A new owner needs a moment to write its name, so a dead one is asked again for a second."""
    deadline = time.monotonic() + _OWNER_WAIT_S
    while True:
        owner = parse_owner(os.pread(descriptor, 4096, 0))
        if (owner is not None and owner.alive is not False) or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    if owner is None:
        return "another process"
    since = datetime.fromtimestamp(owner.since).astimezone()
    return f"pid {owner.pid} on host {clean(owner.host, MAX_ECHO)} since {since:%Y-%m-%d %H:%M:%S}"
