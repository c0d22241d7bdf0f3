"""A Slurm of our own on this machine: munged, a controller and two nodes, in a folder, started and stopped by a test.

    apt-get install slurmctld slurmd slurm-client munge

The nodes are two slurmd under two names on one machine; jobs are as real as on a cluster. Needs root, as slurmd does.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from attrs import define, field

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "squeue")

CONFIGURATION = """
ClusterName=trial
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=3
SlurmctldPort={controller}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=1,sched_interval=2,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
KillWait=30
SlurmdParameters=config_overrides
MinJobAge=300
PropagateResourceLimits=NONE
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port={one} CPUs=4 RealMemory=1000
NodeName=two NodeHostname={host} NodeAddr=127.0.0.1 Port={two} CPUs=4 RealMemory=1000
PartitionName=low Nodes=one,two Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=high Nodes=one,two MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""


def missing() -> str:
    """Why there can be no Slurm here, or nothing."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if absent:
        return f"no {', '.join(absent)}: apt-get install slurmctld slurmd slurm-client munge"
    return "" if os.geteuid() == 0 else "slurmd has to be root"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@define
class Cluster:
    """Daemons in `folder`, an empty one with a short path: it holds a socket."""

    folder: Path
    daemons: dict[str, subprocess.Popen] = field(factory=dict)

    def __enter__(self):
        self.folder.chmod(0o755)
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        controller, one, two = free_ports(3)
        text = CONFIGURATION.format(
            host=socket.gethostname().split(".")[0], folder=self.folder, controller=controller, one=one, two=two
        )
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        own = [f"--{option}={self.folder}/munge.{end}" for option, end in files.items()]
        try:
            self.start("munged", "munged", "--foreground", "--force", *own)
            wait_until((self.folder / "munge.socket").exists, 10)
            self.start("slurmctld", "slurmctld", "-D", "-c")
            for node in ("one", "two"):
                self.start_node(node)
            wait_until(lambda: self.call("sinfo", "-h", "-o", "%D %t").stdout.strip() == "2 idle", 60)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_error):
        self.close()

    def start(self, name: str, *command: str) -> None:
        """Start a daemon."""
        with (self.folder / f"{name}.out").open("ab") as out:
            self.daemons[name] = subprocess.Popen(
                command, env=self.environment, stdout=out, stderr=out, cwd=self.folder, start_new_session=True
            )

    def start_node(self, node: str) -> None:
        """Start a node's daemon."""
        self.start(node, "slurmd", "-D", "-N", node)

    def kill_node(self, node: str) -> None:
        """Lose a node: its daemon, and every process of a job that it had begun, at once."""
        daemon = self.daemons.pop(node)
        tasks = [path for path in Path("/proc").glob("[0-9]*") if f"SLURMD_NODENAME={node}" in environment_of(path)]
        keepers = {parent_of(path) for path in tasks} - {int(path.name) for path in tasks}
        for pid in [daemon.pid, *(pid for pid in keepers if pid > 1), *(int(path.name) for path in tasks)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        daemon.wait()

    def close(self) -> None:
        """End everything."""
        for job in self.call("squeue", "-h", "-o", "%i").stdout.split():
            self.call("scancel", job)
        deadline = time.monotonic() + 10
        while self.call("squeue", "-h").stdout.strip() and time.monotonic() < deadline:
            time.sleep(0.2)
        for name in ("one", "two", "slurmctld", "munged"):
            if (daemon := self.daemons.pop(name, None)) is not None:
                daemon.terminate()
                try:
                    daemon.wait(10)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()

    def hurry(self, job: str) -> None:
        """Let a job that was put back start soon, and not in two minutes; at once, nodes would still refuse its credential."""
        self.call("scontrol", "update", f"JobId={job}", "StartTime=now+3")

    def notice_after(self, seconds: int) -> None:
        """How long a node may be silent before the controller takes it for lost."""
        path = self.folder / "slurm.conf"
        path.write_text(re.sub("SlurmdTimeout=.*", f"SlurmdTimeout={seconds}", path.read_text()))
        self.call("scontrol", "reconfigure")

    @property
    def environment(self) -> dict[str, str]:
        """What a user of this cluster has in the environment."""
        path = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def call(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A Slurm command's outcome."""
        return subprocess.run(command, env=self.environment, check=False, capture_output=True, text=True, timeout=60)

    def job(self, number: str) -> dict[str, str]:
        """What the controller says of a job."""
        words = self.call("scontrol", "show", "job", "-o", number).stdout.split()
        return dict(word.split("=", 1) for word in words if "=" in word)


def environment_of(process: Path) -> list[str]:
    """The variables of a process that lives, as NAME=VALUE."""
    try:
        return (process / "environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def parent_of(process: Path) -> int:
    """The pid of its parent, 0 where it is gone."""
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def wait_until(condition, seconds: float, say=lambda: "it did not happen in time") -> None:
    """Wait for `condition`; AssertionError with what `say` gives when it takes longer."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, say()
        time.sleep(0.1)
