"""What monitors cost the run they watch: steps a second of a training, with none and with five of them on terminals.

    python benchmarks/watched.py [--monitors 5] [--rounds 5] [--window 20]

One training goes on all the time; the monitors are halted and let go in turn, a window of seconds each. Wall time: use a
machine that does nothing else. Prints both rates, their ratio by rounds, and the processor time that one monitor takes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pty
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from measuring import ratio

COMMAND = [sys.executable, "-m", "cprspec"]
EXPERIMENT = Path(__file__).parent.parent / "experiments" / "quickstart.toml"


def train(runs: Path) -> tuple[subprocess.Popen, Path]:
    """Start a training that does not end, and wait until it makes steps: the process and its log."""
    process = subprocess.Popen(
        [*COMMAND, "run", str(EXPERIMENT), "--runs", str(runs), "--set", "phase.rgb.epochs=100000",
         "--set", "launch.threads=1", "--set", "launch.workers=0", "--set", "launch.log_every=1"],
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    while not (logs := [log for log in runs.glob("*/*/events.jsonl") if steps(log) > 20]):
        if process.poll() is not None:
            raise SystemExit(f"the training ended with {process.returncode}")
        time.sleep(0.5)
    return process, logs[0]


def steps(log: Path) -> int:
    """Lines in the log, nearly all of which are steps."""
    return log.read_bytes().count(b"\n")


def monitor(runs: Path) -> int:
    """Start a monitor on a terminal of its own that somebody reads; its pid."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
        os.execv(COMMAND[0], [*COMMAND, "tui", str(runs)])

    def read() -> None:
        with contextlib.suppress(OSError):  # the monitor has ended
            while os.read(terminal, 65536):
                continue

    threading.Thread(target=read, daemon=True).start()
    return child


def cpu(pid: int) -> float:
    """User and system time of a process so far, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rate(log: Path, seconds: float) -> float:
    """Seconds a step over a window."""
    before = steps(log)
    time.sleep(seconds)
    return seconds / (steps(log) - before)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--monitors", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--window", type=float, default=20)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        training, log = train(Path(folder))
        pids = [monitor(Path(folder)) for _ in range(wanted.monitors)]
        time.sleep(10)
        alone, watched, spent = [], [], 0.0
        for _ in range(wanted.rounds):
            for signal_, rates in ((signal.SIGSTOP, alone), (signal.SIGCONT, watched)):
                for pid in pids:
                    os.kill(pid, signal_)
                time.sleep(1)
                before = cpu(pids[0])
                rates.append(rate(log, wanted.window))
                spent += cpu(pids[0]) - before
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        os.killpg(training.pid, signal.SIGKILL)
        training.wait()
    for what, rates in (("alone", alone), (f"with {wanted.monitors} monitors", watched)):
        print(f"{what:20} {1 / statistics.median(rates):8.2f} steps a second")
    print(f"watched to alone     {ratio(alone, watched)}")
    print(f"one monitor takes    {100 * spent / (wanted.window * wanted.rounds):8.1f} % of a core")


if __name__ == "__main__":
    main()
