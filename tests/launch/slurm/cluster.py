"""A real Slurm on this machine: two nodes of one core on loopback, with or without accounting.

    python -m tests.launch.slurm.cluster start FOLDER [accounting]
    export SLURM_CONF=FOLDER/slurm.conf    # now sbatch, squeue and launcher=submitit use it
    python -m tests.launch.slurm.cluster stop FOLDER

Needs Debian's slurm-wlm and munge, and for accounting slurmdbd and mariadb-server; nothing of the machine's own Slurm,
munge or database is touched. Partition `low` (the default) is preempted by `high`, by REQUEUE. Timeouts are seconds
where a cluster's are minutes.
"""

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch")
ACCOUNTING_DAEMONS = ("slurmdbd", "mariadbd", "mariadb-install-db")
NODES = ("n1", "n2")
WAIT_SECONDS = 180.0  # for a machine that is busy with other things
NODE_VARIABLE = "TOY_NODE"

SLURM_CONF = """\
ClusterName=toy
SlurmctldHost=localhost
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdLogFile={folder}/slurmd.%n.log
SlurmctldLogFile={folder}/slurmctld.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
KillWait=10
MinJobAge=20
InactiveLimit=0
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobAcctGatherType=jobacct_gather/none
{accounting}
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={n1} CPUs=1 RealMemory=4000
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={n2} CPUs=1 RealMemory=4000
PartitionName=low Nodes=n1,n2 Default=YES PriorityTier=1 MaxTime=INFINITE State=UP
PartitionName=high Nodes=n1,n2 PriorityTier=2 MaxTime=INFINITE State=UP
"""

SLURMDBD_CONF = """\
DbdHost=localhost
DbdPort={database_daemon}
SlurmUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=slurm
StoragePass=toy
StorageLoc=toy
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
"""

CREATE_DATABASE = (
    "create database toy; create user slurm@127.0.0.1 identified by 'toy'; grant all on toy.* to slurm@127.0.0.1;"
)


def missing(accounting: bool = False) -> list[str]:
    """Programs that a cluster needs and this machine lacks."""
    needed = DAEMONS + (ACCOUNTING_DAEMONS if accounting else ())
    return [program for program in needed if shutil.which(program, path=_path()) is None]


@dataclass(frozen=True)
class Cluster:
    """A cluster whose configuration, state and logs are in `folder`."""

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        """The environment in which Slurm's commands reach this cluster."""
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _path()}

    def run(self, *command: str) -> str:
        """Output of a command of Slurm. Raises CalledProcessError."""
        return subprocess.run(command, env=self.env, capture_output=True, text=True, check=True).stdout

    def start_node(self, node: str) -> None:
        self._spawn("slurmd", "-D", "-N", node, log=f"slurmd.{node}.out", **{NODE_VARIABLE: node})

    def kill_node(self, node: str) -> None:
        """Ends slurmd of `node` and all that it runs by SIGKILL, as a loss of power would."""
        _kill_all(f"{NODE_VARIABLE}={node}", f"SLURMD_NODENAME={node}", within=self._mark)

    def start_controller(self) -> None:
        self._spawn("slurmctld", "-D", log="slurmctld.out", **{NODE_VARIABLE: "controller"})

    def kill_controller(self) -> None:
        _kill_all(f"{NODE_VARIABLE}=controller", within=self._mark)

    def queue(self) -> dict[str, str]:
        """{id: state} of the jobs that have not ended."""
        lines = self.run("squeue", "--noheader", "--array", "--format=%i|%T").split()
        return dict(line.split("|") for line in lines)

    def is_idle(self) -> bool:
        """Whether every node answers and runs nothing."""
        return self.run("sinfo", "-h", "-p", "low", "-t", "idle", "-r", "-o", "%D").strip() == f"{len(NODES)}"

    @property
    def _mark(self) -> str:
        return f"SLURM_CONF={self.folder}/slurm.conf"

    def start(self, accounting: bool = False) -> None:
        """Returns once both nodes are idle. Raises TimeoutError, with the end of the logs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        ports = dict(zip(("controller", "n1", "n2", "database", "database_daemon"), _free_ports(5), strict=True))
        values = {**ports, "folder": self.folder, "user": getpass.getuser()}
        lines = (
            "AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=localhost\n"
            f"AccountingStoragePort={ports['database_daemon']}\nAccountingStoragePass={self.folder}/munge.socket"
            if accounting
            else "AccountingStorageType=accounting_storage/none"
        )
        (self.folder / "slurm.conf").write_text(SLURM_CONF.format(**values, accounting=lines))
        (self.folder / "state").mkdir()
        self._start_munge()
        if accounting:
            self._start_accounting(ports["database"], SLURMDBD_CONF.format(**values))
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        self._wait("the nodes", self.is_idle)

    def stop(self) -> None:
        """Ends every daemon and job of this cluster, and no other process."""
        _kill_all(self._mark, within=self._mark)

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={self.folder}/munge.{ending}" for option, ending in files.items()]
        self._spawn("munged", "--foreground", "--force", *options, log="munged.out")
        self._wait("munge", (self.folder / "munge.socket").exists)

    def _start_accounting(self, port: int, configuration: str) -> None:
        data = self.folder / "database"
        user, socket_file = getpass.getuser(), f"--socket={self.folder}/database.socket"
        install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", f"--user={user}", "--skip-test-db"]
        subprocess.run(
            [*install, "--auth-root-authentication-method=normal"], env=self.env, capture_output=True, check=True
        )
        where = [f"--datadir={data}", f"--port={port}", "--bind-address=127.0.0.1", socket_file]
        self._spawn("mariadbd", "--no-defaults", *where, f"--user={user}", log="mariadbd.out")
        client = ["mariadb", "--no-defaults", "--user=root", socket_file]
        self._wait("the database", lambda: self.run(*client, "--execute=select 1"))
        self.run(*client, f"--execute={CREATE_DATABASE}")
        conf = self.folder / "slurmdbd.conf"
        conf.write_text(configuration)
        conf.chmod(0o600)
        self._spawn("slurmdbd", "-D", log="slurmdbd.out")
        self._wait("slurmdbd", lambda: self.run("sacctmgr", "--immediate", "add", "cluster", "toy"))

    def _spawn(self, *command: str, log: str, **env: str) -> None:
        with (self.folder / log).open("ab") as out:
            subprocess.Popen(command, env={**self.env, **env}, stdout=out, stderr=out, start_new_session=True)

    def _wait(self, what: str, ready: Callable[[], object]) -> None:
        def answers() -> object:
            with contextlib.suppress(subprocess.CalledProcessError):
                return ready()

        try:
            wait_until(answers)
        except TimeoutError:
            logs = "\n".join(f"{path.name}: {path.read_text()[-500:]}" for path in self.folder.glob("*.out"))
            raise TimeoutError(f"{what}: not up after {WAIT_SECONDS:.0f} s\n{logs}") from None


def wait_until(reached: Callable[[], object]) -> None:
    """Raises TimeoutError after WAIT_SECONDS."""
    end = time.monotonic() + WAIT_SECONDS
    while not reached():
        if time.monotonic() > end:
            raise TimeoutError(f"not reached within {WAIT_SECONDS:.0f} s")
        time.sleep(0.1)


def _kill_all(*any_of: str, within: str) -> None:
    """SIGKILL to each process whose environment holds `within` and one of `any_of`, until none is left."""
    while pids := [pid for pid, env in _environments() if within in env and not env.isdisjoint(any_of)]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _environments() -> Iterator[tuple[int, set[str]]]:
    """Every other process that this user may read, and the lines NAME=value of its environment."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(folder.name) != os.getpid():
                yield int(folder.name), set((folder / "environ").read_text(errors="replace").split("\0"))


def _path() -> str:
    """PATH with the folders of daemons, which a user's often lacks."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


if __name__ == "__main__":
    action, folder, *accounting = sys.argv[1:]
    cluster = Cluster(Path(folder).absolute())
    if action == "start":
        cluster.start(accounting == ["accounting"])
    else:
        cluster.stop()
