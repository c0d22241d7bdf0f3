"""A run as a job of Slurm: the file for sbatch, and handing it in. No torch.

The job starts one launcher on each machine (`cprspec run RUN`, which meets the others through torch elastic) and always goes
on with the same run directory, so whatever ends it, the next start loses nothing that a checkpoint holds. See docs/clusters.md.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from cprspec.errors import MAX_ECHO, CprspecError, Place, Problem, clean
from cprspec.runs.layout import RunDir
from cprspec.spec.schema import Resolved

_TIME = re.compile(r"\d+|\d+:\d\d(:\d\d)?|\d+-\d+(:\d\d){0,2}")
_FIXED = (
    "-a",
    "--array",
    "-N",
    "--nodes",
    "-n",
    "--ntasks",
    "--ntasks-per-node",
    "-o",
    "--output",
    "-W",
    "--wrap",
    "--signal",
)
"""Options of sbatch that the file relies on, or sets itself."""

_BODY = r"""
# Slurm sends USR1 to this shell before the time is over. What the run has done is then saved, and the job goes back into the
# queue; so it does when its nodes were wanted for others, or when a machine was lost and something had been saved.
started=$(date +%s)
told= step=
trap 'told=1; kill -USR1 "$step" 2>/dev/null' USR1
trap : TERM  # srun has it, too: its end is waited for

export CPRSPEC_PORT=$((10000 + (SLURM_JOB_ID + 1009 * ${SLURM_RESTART_COUNT:-0}) % 20000))
[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
srun --wait=180 --kill-on-bad-exit=0 "${command[@]}" &
step=$!
[ -z "$told" ] || kill -USR1 "$step"
until wait "$step"; ! kill -0 "$step" 2>/dev/null; do :; done  # a signal ends `wait`, not the step
wait "$step"
code=$?

preempted() { scontrol show job -o "$SLURM_JOB_ID" | grep 'JobState=RUNNING' | grep -qv 'PreemptTime=None'; }
saved() { find "$run/phases" -name manifest.json -newermt "@$started" -print -quit 2>/dev/null | grep -q .; }
if [ "$code" -ne 0 ] && { [ -n "$told" ] || preempted || { [ "$code" -eq 75 ] && saved; }; }; then
    echo "back into the queue: scontrol requeue $SLURM_JOB_ID"
    scontrol requeue "$SLURM_JOB_ID" && exit "$code"
    echo "job $SLURM_JOB_ID was not put back; go on with: sbatch $file"
fi
exit "$code"
"""

_MEET = 'exec "$@" --node-rank "$SLURM_NODEID" --rdzv-endpoint "$SLURM_LAUNCH_NODE_IPADDR:$CPRSPEC_PORT"'
"""What each machine's shell adds: its number, and the first machine's address as Slurm knows it."""


@frozen(kw_only=True)
class Wish:
    """What a job asks Slurm for. `cpus`: cores on each machine; `notice_s`: told to stop so long before its end, seconds.

    `gpus` on each machine, one rank for each; with none, `nproc` ranks on the CPU. `extra`: options for sbatch as they are.
    """

    nodes: int = 1
    gpus: int = 1
    nproc: int | None = None
    cpus: int | None = None
    time: str | None = None
    notice_s: int = 120
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    extra: tuple[str, ...] = ()

    @property
    def ranks(self) -> int:
        """Ranks on each machine."""
        return self.nproc or max(1, self.gpus)

    def cores(self, resolved: Resolved) -> int:
        """Cores on each machine: as asked for, or what each rank and its data workers keep busy."""
        launch = resolved.launch
        return self.cpus or self.ranks * (max(1, launch.threads) + launch.workers)


def check_wish(wish: Wish, resolved: Resolved) -> None:
    """CprspecError with everything in `wish` that Slurm or the experiment would refuse later, in the queue."""
    problems: list[Problem] = []
    device = resolved.launch.device
    if wish.gpus and device == "cpu":
        message = "the experiment trains on the CPU (launch.device)"
        problems.append(Problem(message, Place("--gpus"), "say --gpus 0, or --set launch.device=auto"))
    if not wish.gpus and device == "cuda":
        problems.append(Problem("the experiment trains on GPUs (launch.device)", Place("--gpus"), "ask for some"))
    if wish.gpus and wish.nproc not in (None, wish.gpus):
        message = f"{wish.nproc} ranks for {wish.gpus} GPUs on each machine"
        problems.append(Problem(message, Place("--nproc"), "each GPU has one rank; leave --nproc out"))
    if wish.time is not None and not _TIME.fullmatch(wish.time):
        hint = "Slurm reads MINUTES, HOURS:MINUTES:SECONDS or DAYS-HOURS"
        problems.append(Problem(f"'{clean(wish.time, MAX_ECHO)}' is no time", Place("--time"), hint))
    for name in ("partition", "account", "qos"):
        problems += _check_text(f"--{name}", getattr(wish, name) or "")
    for text in wish.extra:
        problems += _check_text("--sbatch", text)
        option = re.split(r"[=\s]", text, maxsplit=1)[0]
        if not text.startswith("-"):
            message = f"'{clean(text, MAX_ECHO)}' is no option of sbatch"
            problems.append(Problem(message, Place("--sbatch"), "write it as --sbatch=--constraint=a100"))
        elif option in _FIXED or (option[:2] in _FIXED and option[1] != "-"):
            message = f"'{clean(option, MAX_ECHO)}' is set by the file itself"
            problems.append(Problem(message, Place("--sbatch"), "see cprspec submit --help for what can be chosen"))
    if problems:
        raise CprspecError(problems)


def _check_text(option: str, text: str) -> list[Problem]:
    if text.isprintable():
        return []
    return [Problem(f"'{clean(text, MAX_ECHO)}' has control characters", Place(option))]


def job_text(run: RunDir, wish: Wish, resolved: Resolved, options: Sequence[str]) -> str:
    """The file for sbatch: `cprspec run RUN OPTIONS` on every machine. CprspecError where Slurm could not write there."""
    log = str(run.path / "logs")
    if "\\" in log or not log.isprintable():
        hint = "choose another folder with --runs"
        raise CprspecError(Problem("Slurm cannot write its log into a folder with such a name", Place(log), hint))
    directives = {
        "job-name": run.experiment_name, "nodes": wish.nodes, "ntasks-per-node": 1,
        "cpus-per-task": wish.cores(resolved), "gres": f"gpu:{wish.gpus}" if wish.gpus else None, "time": wish.time,
        "partition": wish.partition, "account": wish.account, "qos": wish.qos,
        "signal": f"B:USR1@{wish.notice_s}", "open-mode": "append",
        "output": log.replace("%", "%%") + "/slurm-%j.log",
    }  # fmt: skip
    lines = [f"#SBATCH --{name}={shlex.quote(str(value))}" for name, value in directives.items() if value is not None]
    lines += ["#SBATCH --requeue", *(f"#SBATCH {text}" for text in wish.extra)]
    words = [sys.executable, "-m", "cprspec", "run", str(run.path), "--nproc", str(wish.ranks), *options]
    if wish.nodes > 1:
        words = ["bash", "-c", _MEET, "cprspec", *words, "--nnodes", str(wish.nodes)]
    head = (
        f"# Trains {run.label}; written by `cprspec submit`. Each start goes on with the run: `sbatch` takes it again."
    )
    values = [
        f"run={shlex.quote(str(run.path))}",
        f"file={shlex.quote(str(run.job_file))}",
        f"command=({shlex.join(words)})",
    ]
    return "\n".join(["#!/bin/bash", head, *lines, "", *values]) + "\n" + _BODY.lstrip("\n")


def check_sbatch() -> None:
    """CprspecError where Slurm's commands are not."""
    if shutil.which("sbatch") is None:
        hint = "submit on a machine that has Slurm's commands; --dry-run prints the file"
        raise CprspecError(Problem("there is no sbatch on this machine", hint=hint), exit_code=1)


def hand_in(file: Path) -> str:
    """Have Slurm take `file`; the job's number. CprspecError with what sbatch says."""
    done = subprocess.run(["sbatch", "--parsable", str(file)], check=False, capture_output=True, text=True)  # noqa: S603, S607
    if done.returncode:
        said = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in done.stderr.splitlines()]
        raise CprspecError(Problem(f"sbatch: {clean('; '.join(said), 500)}"), exit_code=1)
    return done.stdout.strip().partition(";")[0]  # JOB;CLUSTER
