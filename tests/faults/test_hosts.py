"""Two machines: network namespaces with names of their own and a cable between them, one rank on each, files shared.

They meet, train, and one is lost: killed, or its cable is pulled. The other one ends and names it, and both go on bit for bit.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from victims import EVERY_STEP, assert_same, only_run, steps

from cprspec.training.machines import WORD_S

TIMEOUT_S = 15
LEAVING_S = 30 + WORD_S
"""Beyond the time limit: waiting for last words, and leaving, on a machine that has other work."""
SEEDS = range(int(os.environ.get("CPRSPEC_FAULT_SEED", "0")), int(os.environ.get("CPRSPEC_FAULT_SEED", "0")) + 2)
NAMES = ("alpha", "beta")


def missing():
    """Why there can be no namespaces here, or nothing."""
    if shutil.which("ip") is None:
        return "no ip: apt-get install iproute2"
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return "needs root and unshare, to make network namespaces"
    probe = f"cprspec-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], check=False, capture_output=True).returncode == 0
    subprocess.run(["ip", "netns", "del", probe], check=False, capture_output=True)
    return "" if made else "network namespaces may not be made here"


pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.skipif(bool(missing()), reason=missing())]


class Host:
    """One of two machines: `number` 0 or 1."""

    def __init__(self, number, lab, port):
        self.number, self.lab, self.port = number, lab, port
        self.space, self.link = f"cprspec-{os.getpid()}-{NAMES[number]}", f"cpr{number}x{os.getpid()}"[:15]
        self.process = None

    def plug(self, up=True):
        ip("-n", self.space, "link", "set", self.link, "up" if up else "down")

    def start(self, *arguments, endpoint=None):
        """Begin `cprspec run ARGUMENTS` on this machine."""
        self.talk = self.lab.folder / f"talk-{self.number}-{time.monotonic_ns()}"
        command = [
            "ip", "netns", "exec", self.space, "unshare", "--uts", "sh", "-c", 'hostname "$0"; exec "$@"',
            NAMES[self.number], sys.executable, "-m", "cprspec", "run", *map(str, arguments), "--nnodes", "2",
            "--node-rank", str(self.number), "--rdzv-endpoint", endpoint or f"10.77.0.1:{self.port}",
            "--set", f"launch.timeout_s={TIMEOUT_S}",
        ]  # fmt: skip
        environment = {
            **os.environ, "CPRSPEC_CACHE": str(self.lab.cache), "OMP_NUM_THREADS": "1", "NO_COLOR": "1",
            "PYTHONWARNINGS": "ignore",
        }  # fmt: skip
        with self.talk.open("wb") as out:
            self.process = subprocess.Popen(command, cwd=self.lab.folder, env=environment, stdout=out, stderr=out)

    def pids(self):
        """Every process of this machine."""
        return [int(pid) for pid in ip("netns", "pids", self.space).split()]

    def is_empty(self):
        """Nothing is left on it within five seconds."""
        deadline = time.monotonic() + 5
        while (left := self.pids()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not left, [Path(f"/proc/{pid}/cmdline").read_text() for pid in left]

    def kill(self):
        """The machine is lost: nothing on it says another word."""
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def end(self, seconds=240):
        """Its exit code and last three lines."""
        code = self.process.wait(seconds)
        talk = self.talk.read_text()
        assert "Traceback" not in talk, talk
        return code, "\n".join(talk.rstrip().splitlines()[-3:])


def ip(*words):
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def hosts(lab):
    """Both machines, plugged in; what is left on them is killed afterwards."""
    pair = [Host(number, lab, 20000 + os.getpid() % 10000) for number in range(2)]
    try:
        for host in pair:
            ip("netns", "add", host.space)
            ip("-n", host.space, "link", "set", "lo", "up")
        ip(
            "link",
            "add",
            pair[0].link,
            "netns",
            pair[0].space,
            "type",
            "veth",
            "peer",
            pair[1].link,
            "netns",
            pair[1].space,
        )
        for host in pair:
            ip("-n", host.space, "address", "add", f"10.77.0.{host.number + 1}/24", "dev", host.link)
            host.plug()
        yield pair
    finally:
        for host in pair:
            if host.process is not None:
                host.kill()
            subprocess.run(["ip", "netns", "del", host.space], check=False, capture_output=True)


def begin(hosts, folder, seed):
    """A run on both, when it has made some steps."""
    for host in hosts:
        host.start("small.toml", "--runs", folder, *EVERY_STEP)
    count, deadline = random.Random(seed).randrange(1, 24), time.monotonic() + 240
    while sum(log.read_text().count('"kind": "step"') for log in folder.glob("*/*/events.jsonl")) < count:
        assert time.monotonic() < deadline and all(h.process.poll() is None for h in hosts), [
            h.talk.read_text() for h in hosts
        ]
        time.sleep(0.05)
    return only_run(folder)


def go_on(hosts, run, lab):
    for host in hosts:
        host.start(run)
    assert [host.end()[0] for host in hosts] == [0, 0], [host.talk.read_text() for host in hosts]
    assert_same(run, lab.reference("--nproc", 2))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_machine_is_killed(hosts, lab, tmp_path, seed):
    run = begin(hosts, tmp_path / "runs", seed)
    lost, other = hosts if seed % 2 else reversed(hosts)
    lost.kill()
    code, last = other.end(TIMEOUT_S + LEAVING_S)
    assert code == 75, last
    assert f"machine {lost.number} ({NAMES[lost.number]}) was lost (rank {lost.number} last seen in phase" in last
    assert f"go on with: cprspec run {run} --nnodes 2 --node-rank {other.number}" in last
    other.is_empty()
    go_on(hosts, run, lab)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cable_is_pulled(hosts, lab, tmp_path, seed):
    run = begin(hosts, tmp_path / "runs", seed)
    hosts[seed % 2].plug(up=False)
    for host, other in (hosts, hosts[::-1]):
        code, last = host.end(TIMEOUT_S + LEAVING_S)
        assert code == 75, last
        assert f"machine {other.number} ({NAMES[other.number]}) did not answer" in last
        host.is_empty()
    hosts[seed % 2].plug()
    go_on(hosts, run, lab)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rank_dies_and_both_name_it(hosts, lab, tmp_path, seed):
    """It is no machine that was lost: the one that only waited says what the other one knows."""
    run = begin(hosts, tmp_path / "runs", seed)
    rank = int((run / "ranks" / f"{seed % 2}.json").read_text().partition('"pid": ')[2].partition(",")[0])
    os.kill(rank, signal.SIGKILL)
    for host in hosts:
        code, last = host.end(TIMEOUT_S + LEAVING_S)
        assert code == 1, last
        assert f"rank {seed % 2} was killed by SIGKILL" in last
    go_on(hosts, run, lab)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_machine_is_asked_to_stop(hosts, lab, tmp_path, seed):
    """Its launcher did not make the run, and has heard of it: ranks on both agree, and save."""
    run = begin(hosts, tmp_path / "runs", seed)
    host = hosts[1 - seed % 2]
    launcher = min(host.pids())
    os.kill(launcher, signal.SIGTERM)
    for each in hosts:
        code, last = each.end()
        assert code == 143, last
    made = (run / "events.jsonl").read_text().count('"kind": "step"')
    go_on(hosts, run, lab)
    assert made < len(steps(run)) == (run / "events.jsonl").read_text().count('"kind": "step"')


def test_machines_that_cannot_meet(hosts, tmp_path):
    """The second one waits for the first; a name that nobody knows is an error at once."""
    host = hosts[0]
    host.start("small.toml", "--runs", tmp_path / "runs", endpoint="gamma.invalid:29400")
    code, last = host.end()
    assert code == 2 and "--rdzv-endpoint: this machine does not know the host 'gamma.invalid'" in last, last
