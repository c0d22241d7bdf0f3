"""`cprspec submit`: what the file for sbatch says, what is refused before the queue, and when the job goes back into it.

Slurm's commands are scripts here; tests/faults/test_slurm.py has a real one.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_run import SPEC
from typer.testing import CliRunner

from cprspec.cli import app
from cprspec.errors import CprspecError

NAMES = 'it\'s 100% "a" run $HOME `x`'


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CPRSPEC_CACHE", str(tmp_path / "cache"))
    Path("small.toml").write_text(SPEC)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Gives a function that makes one of Slurm's commands: a script with this body, first on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def make(name, body):
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)

    return make


def submit(*arguments):
    return CliRunner().invoke(app, ["submit", "small.toml", "--gpus", "0", *map(str, arguments)])


def directives(text):
    """The options of sbatch in a file, unquoted."""
    words = [shlex.split(line.removeprefix("#SBATCH ")) for line in text.splitlines() if line.startswith("#SBATCH ")]
    assert all(len(each) == 1 for each in words), words
    return dict(each[0].removeprefix("--").partition("=")[::2] for each in words)


def command(text):
    """The words that srun is called with, as the shell reads them."""
    (line,) = [line for line in text.splitlines() if line.startswith("command=(")]
    done = subprocess.run(
        ["bash", "-c", f'{line}\nprintf "%s\\0" "${{command[@]}}"'], check=True, capture_output=True, text=True
    )
    return done.stdout.split("\0")[:-1]


def test_the_file_says_what_was_asked_for():
    done = submit("--dry-run", "--nodes", 2, "--time", "1-12", "--account", "a b", "--sbatch=--constraint=x&y")
    found = directives(done.stdout)
    assert {k: found[k] for k in ("nodes", "ntasks-per-node", "cpus-per-task", "time", "account", "constraint")} == {
        "nodes": "2", "ntasks-per-node": "1", "cpus-per-task": "1", "time": "1-12", "account": "a b", "constraint": "x&y",
    }  # fmt: skip
    assert {"requeue", "output"} <= found.keys() and found["signal"] == "B:USR1@120" and found["open-mode"] == "append"
    assert "gres" not in found and "partition" not in found
    words = command(done.stdout)
    assert (
        words[:2] == ["bash", "-c"] and "SLURM_NODEID" in words[2] and words[-4:] == ["--nproc", "1", "--nnodes", "2"]
    )
    assert "an example" in done.stderr and not Path("runs").exists(), "a dry run makes nothing"


def test_gpus_have_a_rank_each():
    done = CliRunner().invoke(app, ["submit", "small.toml", "--gpus", "2", "--dry-run", "--set", "launch.device=auto"])
    assert directives(done.stdout)["gres"] == "gpu:2"
    assert command(done.stdout)[-2:] == ["--nproc", "2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus", "1"], "--gpus: the experiment trains on the CPU"),
        (["--time", "soon"], "--time: 'soon' is no time; Slurm reads"),
        (["--time", "1\n#SBATCH --wrap=x"], "--time: "),
        (["--partition", "a\nb"], "--partition: 'a\\nb' has control characters"),
        (["--sbatch", "constraint"], "is no option of sbatch; write it as"),
        (["--sbatch", "--array=1-3"], "'--array' is set by the file itself"),
        (["--sbatch", "--signal=USR1@9"], "'--signal' is set by the file itself"),
        (["--sbatch", "-N3"], "'-N3' is set by the file itself"),
        (["--nproc", "3"], "does not divide over 3 ranks"),
        (["--set", "miner.stagse=1"], "did you mean 'stages'"),
        (["--set", "dataset.motion.use=folder"], "motion"),
        (["--runs", "a\\b"], "Slurm cannot write its log into a folder with such a name"),
    ],
)
def test_what_is_wrong_is_said_before_the_queue(slurm, arguments, message):
    slurm("sbatch", "touch submitted; echo 1")
    done = submit(*arguments)
    assert isinstance(done.exception, CprspecError) and message in str(done.exception), done.exception
    assert not Path("submitted").exists() and not Path("runs").exists()


def test_without_slurm_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    done = submit()
    assert "there is no sbatch on this machine; submit on a machine that has" in str(done.exception)
    assert not Path("runs").exists()


def test_a_run_that_is_refused_is_not_left_behind(slurm):
    slurm("sbatch", "echo 'sbatch: error: invalid partition specified: x' >&2; exit 1")
    done = submit("--partition", "x")
    assert str(done.exception) == "sbatch: invalid partition specified: x"
    assert list(Path("runs").iterdir()) == []


def test_a_run_is_made_once_and_stands_alone(slurm):
    slurm("sbatch", 'cp "${@: -1}" handed-in; echo "17;cluster"')
    Path("cards/miner").mkdir(parents=True)
    done = submit("--runs", NAMES, "--set", "launch.threads=2", "--registry", "cards")
    assert done.exit_code == 0, done.exception
    assert done.stdout == "17\n"
    (run,) = Path(NAMES).glob("small/*")
    text = (run / "job.sbatch").read_text()
    assert Path("handed-in").read_text() == text
    assert (run / "logs").is_dir(), "Slurm makes no folder"
    assert directives(text)["output"] == f"{run.absolute()}/logs/slurm-%j.log".replace("100%", "100%%")
    words = command(text)
    assert words[0] == sys.executable
    assert words[1:] == [
        "-m", "cprspec", "run", str(run.absolute()), "--nproc", "1", "--registry", str(Path("cards").absolute()),
    ]  # fmt: skip
    assert (run / "experiment.toml").read_text() == SPEC
    assert "threads = 2" in (run / "resolved.toml").read_text()


def test_a_run_to_go_on_with(slurm, tmp_path):
    slurm("sbatch", "echo 18")
    assert submit().exit_code == 0
    (run,) = Path("runs").glob("small/*")
    arguments = ["submit", str(run), "--gpus", "0", "--set", "launch.workers=3"]
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0, again.exception
    assert list(Path("runs").glob("small/*")) == [run]
    text = (run / "job.sbatch").read_text()
    assert command(text)[-2:] == ["--set", "launch.workers=3"] and directives(text)["cpus-per-task"] == "4"
    checkpoint = run / "phases/rgb/checkpoints/step-000001"
    checkpoint.mkdir(parents=True)
    (checkpoint / "meta.json").write_text('{"world_size": 2}')
    refused = CliRunner().invoke(app, arguments)
    assert "was made by 2 ranks, and these are 1" in str(refused.exception)
    allowed = CliRunner().invoke(app, [*arguments, "--allow-world-size-change"])
    assert allowed.exit_code == 0 and "--allow-world-size-change" in command((run / "job.sbatch").read_text())


def test_a_sweep_is_a_job_for_each_run(slurm):
    slurm("sbatch", "echo 19")
    Path("small.toml").write_text(SPEC + "\n[sweep]\nseed = [1, 2]\n")
    done = submit("--runs", "all")
    assert done.stdout == "19\n19\n", done.exception
    assert len(list(Path("all").glob("small*/*"))) == 2


SAVED = (
    'mkdir -p "$run/phases/rgb/checkpoints/step-000001"; touch "$run/phases/rgb/checkpoints/step-000001/manifest.json"'
)
PREEMPTED, RUNNING, CANCELLED = "RUNNING PreemptTime=2026", "RUNNING PreemptTime=None", "COMPLETING PreemptTime=2026"


@pytest.mark.parametrize(
    ("step", "state", "code", "again"),
    [
        ("exit 0", RUNNING, 0, False),
        ("exit 1", RUNNING, 1, False),
        ("exit 143", RUNNING, 143, False),  # by `cprspec stop`
        ("exit 143", PREEMPTED, 143, True),
        ("exit 143", CANCELLED, 143, False),  # by `scancel`
        ("exit 75", RUNNING, 75, False),  # a machine was lost, and nothing had been saved: that may go on for ever
        (f"{SAVED}; exit 75", RUNNING, 75, True),
        (f"{SAVED}; exit 1", RUNNING, 1, False),
        ("kill -USR1 $PPID; sleep 0.3; exit 143", RUNNING, 143, True),
        ("kill -USR1 $PPID; sleep 0.3; exit 0", RUNNING, 0, False),
    ],
)
def test_when_the_job_goes_back_into_the_queue(slurm, step, state, code, again):
    slurm("sbatch", "echo 20")
    assert submit("--runs", NAMES).exit_code == 0
    (run,) = Path(NAMES).absolute().glob("small/*")
    slurm("srun", f'trap : USR1\nrun={shlex.quote(str(run))}\necho "$@" >> steps\n{step}')
    slurm("scontrol", f'echo "$*" >> asked\n[ "$1" != show ] || echo "JobId=20 JobState={state}"\nexit 0')
    environment = {**os.environ, "SLURM_JOB_ID": "20", "SLURM_CPUS_PER_TASK": "3"}
    done = subprocess.run(["bash", run / "job.sbatch"], check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == code, done.stderr
    assert done.stderr == ""
    asked = Path("asked").read_text().splitlines() if Path("asked").exists() else []
    assert ("requeue 20" in asked) is again
    assert f"run {run}" in Path("steps").read_text()


def test_a_signal_does_not_end_the_shell_before_its_step(slurm):
    slurm("sbatch", "echo 21")
    assert submit().exit_code == 0
    (run,) = Path("runs").glob("small/*")
    slurm("srun", "trap 'echo usr1 >> heard' USR1\necho up >> heard\nfor i in {1..40}; do sleep 0.05; done\nexit 7")
    slurm("scontrol", "exit 0")
    process = subprocess.Popen(["bash", run / "job.sbatch"], env={**os.environ, "SLURM_JOB_ID": "21"})
    while not Path("heard").exists():
        time.sleep(0.02)
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1):
        process.send_signal(number)
        time.sleep(0.2)
    assert process.wait(20) == 7
    assert Path("heard").read_text().split() == ["up", "usr1", "usr1"]
